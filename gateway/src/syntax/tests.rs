use async_graphql::parser::parse_query;
use async_graphql::parser::types::{Directive, ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Name, Positioned};
use async_graphql_value::Value;
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Parsed, Error> {
    parse(text, 100_000)
}

fn tokens(text: &str) -> usize {
    read(text).unwrap().tokens
}

/// Code and place of what is wrong.
fn refused(text: &str) -> (Code, usize, usize) {
    let Err(Error { failure, pos }) = read(text) else { panic!("{text} is taken") };
    (failure.code, pos.line, pos.column)
}

/// The value of the argument of `{a(b:…)}`.
fn value(argument: &str) -> Option<Value> {
    let document = read(&format!("{{a(b:{argument})}}")).ok()?.document;
    let (_, operation) = document.operations.iter().next()?;
    let Selection::Field(field) = &operation.node.selection_set.node.items[0].node else {
        return None;
    };
    Some(field.node.arguments[0].1.node.clone())
}

fn string(literal: &str) -> Option<String> {
    match value(literal)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[test]
fn tokens_are_counted_as_graphql_has_them() {
    assert_eq!(tokens("{ a, b # { comment } \n c }"), 5);
    assert_eq!(tokens(r#"{a(b:"{ \" {{{",c:-1.5)}"#), 11);
    assert_eq!(tokens("{a(b:\"\"\"{ \" \\\"\"\" {\"\"\")}"), 8);
    assert_eq!(tokens("\u{feff}{a}\u{feff}"), 3);
    assert!(parse("{ a }", 3).is_ok() && parse("{ a }", 2).is_err());
}

#[test]
fn a_long_name_counts_as_several_tokens_and_a_longer_one_is_refused() {
    let name = |length| format!("{{{}}}", "a".repeat(length));
    assert_eq!((tokens(&name(32)), tokens(&name(33)), tokens(&name(MAX_NAME))), (3, 4, 10));
    assert_eq!(refused(&name(MAX_NAME + 1)), (Code::LimitExceeded, 1, 2));
    let long = read(&name(1_000_000)).err().unwrap().failure.message;
    assert!(long.len() < 100, "it is not repeated: {}", long.len());
}

#[test]
fn brackets_of_all_kinds_count_as_nesting_but_not_in_strings() {
    let nested = |depth: usize| format!("{}{{a}}{}", "{a(b:[1])".repeat(depth), "}".repeat(depth));
    assert!(read(&nested(MAX_NESTING - 2)).is_ok());
    assert_eq!(refused(&nested(MAX_NESTING)).0, Code::LimitExceeded);
    for open in ["{a", "{...", "{...on T"] {
        assert_eq!(refused(&open.repeat(500_000)).0, Code::LimitExceeded, "{open}");
    }
    for open in ["[", "{a:"] {
        let deep = format!("{{a(b:{}", open.repeat(500_000));
        assert_eq!(refused(&deep).0, Code::LimitExceeded, "{open}");
    }
    assert_eq!(refused(&format!("query($v:{}", "[".repeat(500_000))).0, Code::LimitExceeded);
    assert!(read(&format!("{{a(b:\"{}\")}}", "{".repeat(1000))).is_ok());
}

#[test]
fn an_unterminated_string_hides_nothing() {
    // async-graphql reads "" and goes on behind it.
    let deep = "[".repeat(1_500);
    for open in ["\"\"\" a\"", "\"\"\"\\\"\"\"", "\"\"\"", "\"a\n", "\"\\"] {
        let text = format!("query($v:[String]=[{open}]){{orders(first:{deep}");
        assert_eq!(refused(&text).0, Code::ParseFailed, "{open}");
    }
}

#[test]
fn strings_mean_what_the_specification_says() {
    for (literal, expected) in [
        (r#""""#, ""),
        (r#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\u2713""#, "é✓"),
        (r#""\ud83c\udf55""#, "\u{1F355}"),
        (r#""\uD83C\uDF55!""#, "\u{1F355}!"),
        (r#""\u{1F355}\u{61}\u{0000061}""#, "\u{1F355}aa"),
        (r#""\u{10FFFF}""#, "\u{10FFFF}"),
        ("\"a\tb \u{1F355} #\"", "a\tb \u{1F355} #"),
        (r#""""""""#, ""),
        (r#""""a\"""""""#, "a\"\"\""),
        (r#""""\\"""""""#, "\\\"\"\""),
        (r#""""a "" b \n \u0041""""#, r#"a "" b \n \u0041"#),
        ("\"\"\"\n    a\n      b\r\n\r\n    c\n  \"\"\"", "a\n  b\n\nc"),
        ("\"\"\"a\r   b\r     c\"\"\"", "a\nb\n  c"),
        ("\"\"\"\n\ta\n\t \t\n\tb\n\"\"\"", "a\n \t\nb"),
        ("\"\"\"\n    a\n \n    b\"\"\"", "a\n\nb"),
        ("\"\"\" \n \t\n\"\"\"", ""),
        ("\"\"\"  a  \"\"\"", "  a  "),
    ] {
        assert_eq!(string(literal).as_deref(), Some(expected), "{literal}");
    }
}

#[test]
fn strings_that_are_none_are_refused() {
    for literal in [
        r#"""#,
        r#""a"#,
        "\"a\nb\"",
        "\"a\rb\"",
        r#""\x""#,
        r#""\"#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\ud83c""#,
        r#""\udf55\ud83c""#,
        r#""\ud83c\u0041""#,
        r#""\ud83cx""#,
        r#""\u{}""#,
        r#""\u{110000}""#,
        r#""\u{d83c}""#,
        r#""\u{1F355""#,
        r#""\u{FFFFFFFFFFFFFFFFF}""#,
        r#""""a"#,
        r#""""a"""#,
        r#""""a\""""#,
    ] {
        assert_eq!(value(literal), None, "{literal}");
    }
}

#[test]
fn numbers_are_read_as_the_specification_says() {
    for good in ["0", "-0", "12", "-3", "1.5", "0.0", "-1e5", "1E+5", "1.25e-3"] {
        assert!(matches!(value(good), Some(Value::Number(_))), "{good}");
    }
    assert_eq!(value("-0"), value("0"));
    for bad in [
        "01", "-", "+1", "1.", ".5", "1.e1", "1e", "1e+", "1a", "0x1", "1.5.5", "1_0", "--1",
        "1e999",
    ] {
        assert_eq!(value(bad), None, "{bad}");
    }
}

#[test]
fn an_error_points_at_the_text_of_the_client() {
    for (text, place) in [
        ("", (1, 1)),
        ("{ a", (1, 4)),
        ("{ a(b: \"x) }", (1, 13)),
        ("{\r\n a\r ? }", (3, 2)),
        ("# \u{1F355}\n{ a(b: \"\u{1F355}é\", c: ) }", (2, 17)),
        ("{ a(b: \"\"\"x\n\ny\"\"\" ; ) }", (3, 6)),
        ("{ a(b: \"\\q\") }", (1, 9)),
        ("query A { a } query A { b }", (1, 15)),
    ] {
        let (_, line, column) = refused(text);
        assert_eq!((line, column), place, "{text}");
    }
}

#[test]
fn the_grammar_is_the_one_of_the_specification() {
    for good in [
        "query($a: [ Int ! ] !, $b: A = {a: [1]} @d(x: 2)) @d { a }",
        "\"What\" query A(\"What\" $a: Int) { a } \"\"\"What\"\"\" fragment F on T { a }",
        "{ on: on(on: on) @on { ... on on { on } } } fragment true on T { null }",
        "{ a(b: nullable, c: trueish, d: [falsey, A]) query: fragment }",
        "{ a(b: {}, c: [], d: {e: $f}) ... @d { b } ...F @d } fragment F on T @d { a }",
        "subscription { a }",
    ] {
        assert!(read(good).is_ok(), "{good}");
    }
    for bad in [
        "queryA { a }",
        "{}",
        "{ a {} }",
        "query() { a }",
        "{ a() }",
        "{ a @d() }",
        "{ ...on }",
        "fragment on on T { a } { a }",
        "fragment F { a } { a }",
        "{ a: }",
        "{ a: b: c }",
        "query($a: Int = $b) { a }",
        "query($a Int) { a }",
        "query(a: Int) { a }",
        "{ a(b: $) }",
        "query($a: Int @d(x: $a)) { a }",
        "query($a: Int!!) { a }",
        "{ a } { b }",
        "{ a } query B { b }",
        "query A { a } { b }",
        "type A { a: Int }",
        "fragment F on T { a }",
        "\"What\" { a }",
        "{ a(b: {c: 1, c: 2}) }",
        "{ a .. b }",
        "{ a } }",
        "{ a(b: [1) }",
        "{ a \u{0} }",
        "{ é }",
        "fragment F on T { a } fragment F on T { b } { a }",
        "{ a % b }",
        "query A query B { b }",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

/// The document in one certain form; what it says is all in it, but for positions.
fn print(document: &ExecutableDocument) -> String {
    let operations = document.operations.iter().map(|(name, operation)| {
        let operation = &operation.node;
        let mut text = format!("{} {} ", operation.ty, name.map_or("", |name| name.as_str()));
        if !operation.variable_definitions.is_empty() {
            let variables = operation.variable_definitions.iter().map(|definition| {
                let definition = &definition.node;
                let default = definition.default_value.as_ref().map(|v| format!("= {}", v.node));
                let directives = directives(&definition.directives);
                // In the order that async-graphql's parser wants.
                let default = default.unwrap_or_default();
                format!("${}: {} {directives} {default}", definition.name, definition.var_type)
            });
            text += &format!("({})", variables.collect::<Vec<_>>().join(", "));
        }
        text + &directives(&operation.directives) + &selections(&operation.selection_set.node)
    });
    let fragments = document.fragments.iter().map(|(name, fragment)| {
        let on = &fragment.node.type_condition.node.on;
        let directives = directives(&fragment.node.directives);
        let selections = selections(&fragment.node.selection_set.node);
        format!("fragment {name} on {on} {directives} {selections}")
    });
    let mut definitions: Vec<_> = operations.chain(fragments).collect();
    definitions.sort();
    definitions.join("\n")
}

fn directives(all: &[Positioned<Directive>]) -> String {
    let one =
        |d: &Positioned<Directive>| format!(" @{} {}", d.node.name, arguments(&d.node.arguments));
    all.iter().map(one).collect()
}

type Argument = (Positioned<Name>, Positioned<Value>);

fn arguments(all: &[Argument]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let one = |(name, value): &Argument| format!("{name}: {}", value.node);
    format!("({})", all.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn selections(all: &SelectionSet) -> String {
    if all.items.is_empty() {
        return String::new();
    }
    let one = |selection: &Positioned<Selection>| match &selection.node {
        Selection::Field(field) => {
            let field = &field.node;
            let alias = field.alias.as_ref().map(|alias| format!("{alias}: ")).unwrap_or_default();
            let (arguments, directives) =
                (arguments(&field.arguments), directives(&field.directives));
            let below = selections(&field.selection_set.node);
            format!("{alias}{}{arguments}{directives}{below}", field.name)
        }
        Selection::FragmentSpread(spread) => {
            format!("...{}{}", spread.node.fragment_name, directives(&spread.node.directives))
        }
        Selection::InlineFragment(inline) => {
            let on = inline.node.type_condition.as_ref();
            let on = on.map(|on| format!("on {}", on.node.on)).unwrap_or_default();
            let directives = directives(&inline.node.directives);
            format!("... {on}{directives}{}", selections(&inline.node.selection_set.node))
        }
    };
    format!(" {{ {} }}", all.items.iter().map(one).collect::<Vec<_>>().join(" "))
}

/// Positions included.
fn debug(document: &ExecutableDocument) -> Vec<String> {
    let operations = document.operations.iter().map(|all| format!("{all:?}"));
    let fragments = document.fragments.iter().map(|all| format!("{all:?}"));
    let mut all: Vec<_> = operations.chain(fragments).collect();
    all.sort();
    all
}

/// Tokens of an argument's value.
fn value_tokens() -> impl Strategy<Value = Vec<String>> {
    let leaves = [
        "1",
        "-2.5e3",
        "0",
        "true",
        "false",
        "null",
        "PAID",
        "a_1",
        "\"\"",
        "\"x y\"",
        "\"\\n\\\"\"",
        "\"\\u00e9\"",
        "\"\"\"b\"\"\"",
        "\"\"\"\"\"\"",
        "\"\"\"\n  a\n   b\n\"\"\"",
        "\"# {\"",
    ];
    let leaf = prop_oneof![
        prop::sample::select(leaves.to_vec()).prop_map(|leaf| vec![leaf.to_owned()]),
        Just(vec!["$".to_owned(), "v".to_owned()]),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| wrapped(
                "[",
                items.concat(),
                "]"
            )),
            inner.prop_map(|value| wrapped("{", [words("f :"), value].concat(), "}")),
        ]
    })
}

/// The tokens of a text with white space between them; `~` is a space within one. Theirs has no
/// comments behind `on`.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| word.replace('~', " ")).collect()
}

fn wrapped(open: &str, inner: Vec<String>, close: &str) -> Vec<String> {
    [vec![open.to_owned()], inner, vec![close.to_owned()]].concat()
}

fn directive_tokens() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::sample::select(vec!["@ d", "@ skip ( if : true )", "@ a @ b ( c : 1 )"])
            .prop_map(words),
    ]
}

fn selection_tokens() -> impl Strategy<Value = Vec<String>> {
    let argument = value_tokens().prop_map(|value| [words("x :"), value].concat());
    let arguments = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(argument, 1..3)
            .prop_map(|all| wrapped("(", all.concat(), ")")),
    ];
    let field = (prop::sample::select(vec!["a", "b : c", "on", "query", "true"]), arguments);
    let field = (field, directive_tokens())
        .prop_map(|((name, arguments), directives)| [words(name), arguments, directives].concat());
    field.prop_recursive(3, 16, 3, |inner| {
        let below = prop::collection::vec(inner.clone(), 1..3)
            .prop_map(|all| wrapped("{", all.concat(), "}"));
        let heads = vec!["a", "b : c ( x : 1 )", "...", "... on~T"];
        let nested = (prop::sample::select(heads), directive_tokens(), below)
            .prop_map(|(head, directives, below)| [words(head), directives, below].concat());
        prop_oneof![nested, Just(words("... F")), inner]
    })
}

fn document_tokens() -> impl Strategy<Value = Vec<String>> {
    let heads = vec![
        "",
        "query",
        "query A",
        "mutation M ( $ v : Int )",
        "subscription ( $ v : [Int!]! , )",
        "query ( $ v : A = { f : [ 1 ] } $ w : B @ d ) @ d",
    ];
    let body = |all: Vec<Vec<String>>| wrapped("{", all.concat(), "}");
    let selections = || prop::collection::vec(selection_tokens(), 1..4).prop_map(body);
    let operation = (prop::sample::select(heads), selections())
        .prop_map(|(head, body)| [words(head), body].concat());
    let fragment = prop_oneof![
        Just(Vec::new()),
        selections().prop_map(|body| [words("fragment F on~T"), body].concat()),
    ];
    (operation, fragment).prop_map(|(operation, fragment)| [operation, fragment].concat())
}

/// What async-graphql's parser sees otherwise than the specification has it, where tokens are
/// apart from each other.
fn is_known_to_differ(tokens: &[String]) -> bool {
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let text = words.join(" ");
    ["( )", "... on }", "... on @", "... on .", "... on a", "fragment on", "true", "null", "false"]
        .iter()
        .any(|known| text.contains(known))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn documents_are_read_as_async_graphql_reads_them(
        tokens in document_tokens(),
        gaps in prop::collection::vec(
            prop::sample::select(vec![" ", "\n", " , ", "\t", " # { \"\n", "\n\n "]), 1..9),
        edit in prop::option::weighted(0.5, (any::<prop::sample::Index>(), 0..3)),
    ) {
        let mut tokens = tokens;
        if let Some((at, kind)) = edit {
            let at = at.index(tokens.len());
            match kind {
                0 => drop(tokens.remove(at)),
                1 => tokens.insert(at, tokens[at].clone()),
                _ => tokens.swap(at, 0),
            }
        }
        let gaps = gaps.iter().cycle();
        let text: String = tokens.iter().zip(gaps).flat_map(|(token, gap)| [token, *gap]).collect();
        match (read(&text), parse_query(&text)) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(print(&ours.document), print(&theirs), "{}", text);
                prop_assert_eq!(debug(&ours.document), debug(&theirs), "{}", text);
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => prop_assert!(
                edit.is_some() && is_known_to_differ(&tokens),
                "{text:?}: {:?}, {theirs:?}", ours.map(|ours| ours.tokens)
            ),
        }
    }

    /// Whatever strings, comments and escapes there are: what we read is what it is printed as, to
    /// async-graphql as well.
    #[test]
    fn pieces_of_strings_and_comments_are_never_read_in_two_ways(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "(", ")", "[", "]", ":", "a", "b", "$", "!", "@d", "...", " ", ",", "\n", "\r",
            "\"", "\"\"\"", "\\\"\"\"", "\\", "\\\"", "\\u", "\\ud83c\\udf55", "\\u{1F355}", "\\ud83c",
            "00e9", "#", "\u{feff}", "\u{1F355}", "\t", "1", "-", "0.5", "null", "{a(b:", ")}", "{a(b:\"",
            "\")}", "{a(b:\"\"\"", "\"\"\")}", "query", "fragment f on T", "=", "$v:[Int]",
        ]), 1..30),
        max in 1usize..60,
    ) {
        let text = pieces.concat();
        match parse(&text, max) {
            Ok(ours) => {
                prop_assert!(ours.tokens <= max);
                let printed = print(&ours.document);
                let theirs = parse_query(&printed).map(|theirs| print(&theirs));
                if !is_known_to_differ(&words(&printed)) {
                    prop_assert_eq!(theirs.as_ref().ok(), Some(&printed), "{:?}", text);
                }
                prop_assert_eq!(print(&read(&printed).unwrap().document), printed);
            }
            Err(error) => prop_assert!(error.pos.line >= 1 && error.pos.column >= 1),
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*") {
        let _ = parse(&text, 100);
    }
}
