use super::*;

fn parsed(text: &str) -> Parsed {
    Parsed::new(text).unwrap_or_else(|e| panic!("{text}: {}", e.message))
}

fn reads(writer: &str, reader: &str) -> bool {
    cannot_read(&parsed(writer), &parsed(reader)).is_none()
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

#[test]
fn numbers_are_promoted_upwards_only() {
    let order = ["int", "long", "float", "double"];
    for (i, small) in order.iter().enumerate() {
        for large in &order[i..] {
            assert!(reads(small, large), "{small} to {large}");
            assert_eq!(reads(large, small), small == large, "{large} to {small}");
        }
    }
    assert!(reads("string", "bytes") && reads("bytes", "string"));
    assert!(!reads("int", "string") && !reads("boolean", "int"));
}

#[test]
fn a_reader_may_miss_a_field_that_has_a_default_and_ignore_one_it_does_not_know() {
    let one = record(r#"{"name":"a","type":"int"}"#);
    let with = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int","default":0}"#);
    let without = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    assert!(reads(&one, &with) && reads(&with, &one));
    assert!(!reads(&one, &without) && reads(&without, &one));
}

#[test]
fn a_null_default_is_a_default_and_nullable_alone_is_none() {
    let one = record(r#"{"name":"a","type":"int"}"#);
    let field = |default: &str| {
        record(&format!(
            r#"{{"name":"a","type":"int"}},{{"name":"b","type":["null","string"]{default}}}"#
        ))
    };
    assert!(reads(&one, &field(r#","default":null"#)));
    assert!(!reads(&one, &field("")));
}

#[test]
fn a_new_enum_symbol_needs_a_default_in_the_reader() {
    let symbols = |list: &str, rest: &str| {
        format!(r#"{{"type":"enum","name":"E","symbols":[{list}]{rest}}}"#)
    };
    let old = symbols(r#""A","B""#, "");
    let old_with_default = symbols(r#""A","B""#, r#","default":"A""#);
    let new = symbols(r#""A","B","C""#, "");
    assert!(reads(&old, &new));
    assert!(!reads(&new, &old));
    assert!(reads(&new, &old_with_default));
}

#[test]
fn a_reading_union_must_have_every_branch_of_the_writer() {
    assert!(reads(r#"["null","int"]"#, r#"["null","int","string"]"#));
    assert!(!reads(r#"["null","int","string"]"#, r#"["null","int"]"#));
    assert!(reads("int", r#"["null","int"]"#));
    assert!(reads("int", r#"["null","long"]"#));
    assert!(!reads(r#"["null","int"]"#, "int"));
    assert!(reads(r#"["int"]"#, "long"));
}

#[test]
fn names_sizes_and_logical_types_count_as_in_the_specification() {
    let fixed =
        |name: &str, size: u8| format!(r#"{{"type":"fixed","name":"{name}","size":{size}}}"#);
    assert!(reads(&fixed("F", 16), &fixed("F", 16)));
    assert!(!reads(&fixed("F", 16), &fixed("F", 8)));
    assert!(!reads(&fixed("F", 16), &fixed("G", 16)));
    let micros = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
    assert!(reads(micros, "long") && reads("long", micros));
    let uuid = r#"{"type":"string","logicalType":"uuid"}"#;
    assert!(reads(uuid, "string") && reads("string", uuid));
    let fixed_uuid = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
    assert!(!reads(uuid, fixed_uuid) && !reads(fixed_uuid, uuid));
}

#[test]
fn a_field_is_found_by_the_readers_alias() {
    let old = record(r#"{"name":"a","type":"int"}"#);
    let renamed = record(r#"{"name":"b","aliases":["a"],"type":"int"}"#);
    assert!(reads(&old, &renamed));
    assert!(!reads(&renamed, &old));
}

#[test]
fn where_a_named_type_is_defined_makes_no_difference() {
    let money = r#"{"type":"record","name":"Money","fields":[{"name":"minor","type":"long"}]}"#;
    let old = record(&format!(r#"{{"name":"a","type":{money}}},{{"name":"b","type":"Money"}}"#));
    let new = record(&format!(r#"{{"name":"b","type":{money}}},{{"name":"a","type":"Money"}}"#));
    let fewer = record(&format!(r#"{{"name":"b","type":{money}}}"#));
    assert!(reads(&old, &new) && reads(&new, &old));
    assert!(reads(&old, &fewer));
    let text = money.replace("long", "string");
    let other = record(&format!(r#"{{"name":"b","type":{text}}}"#));
    assert!(!reads(&old, &other));
}

#[test]
fn a_type_may_contain_itself() {
    let list = |of: &str| {
        format!(
            r#"{{"type":"record","name":"List","fields":[{{"name":"head","type":"{of}"}},
                {{"name":"tail","type":["null","List"],"default":null}}]}}"#
        )
    };
    assert!(reads(&list("int"), &list("long")));
    assert!(!reads(&list("long"), &list("int")));
}

#[test]
fn each_level_looks_in_its_own_direction() {
    let old = parsed(&record(r#"{"name":"a","type":"int"}"#));
    let needs_more = parsed(&record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#));
    let allowed = |level: Level| level.problems(&needs_more, &old, 1).is_empty();
    let ok: Vec<_> = Level::ALL.into_iter().filter(|level| allowed(*level)).collect();
    assert_eq!(ok, [Level::None, Level::Forward, Level::ForwardTransitive]);
    let allowed = |level: Level| level.problems(&old, &needs_more, 1).is_empty();
    let ok: Vec<_> = Level::ALL.into_iter().filter(|level| allowed(*level)).collect();
    assert_eq!(ok, [Level::None, Level::Backward, Level::BackwardTransitive]);
}

#[test]
fn a_problem_names_the_field_and_the_version() {
    let nested = |of: &str| {
        parsed(&record(&format!(
            r#"{{"name":"outer","type":{{"type":"record","name":"In","fields":[
                {{"name":"inner","type":"{of}"}}]}}}}"#
        )))
    };
    let problems = Level::Backward.problems(&nested("int"), &nested("string"), 3);
    assert_eq!(
        problems,
        ["the new schema cannot read version 3: at outer.inner: the types differ"]
    );
}
