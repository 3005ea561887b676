mod bench;

use async_graphql::registry::{MetaType, Registry};
use comanda_schemas::TraceContext;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::auth::{Caller, Principal};
use crate::rate::Prepaid;
use crate::schema;
use bench::Bench;

/// What is selected where nothing else is of interest.
const SELECTED: &str = "{ order { id status } receipt { topic partition offset token } \
                        errors { code message path retriable } }";

fn asker(caller: &Caller) -> Asker {
    let trace = TraceContext::new_root();
    Asker {
        caller: caller.clone(),
        trace,
        prepaid: Prepaid::default(),
        reading: schema::Reading::default(),
    }
}

fn operator() -> Caller {
    Some(Principal::Operator)
}

fn input(customer: &str, key: &str) -> Value {
    json!({
        "idempotencyKey": key,
        "customerId": customer,
        "contact": { "name": "Ana \"\\ \u{1F355}", "email": "ana@example.com" },
        "currency": "EUR",
        "lines": [
            { "sku": "TAP-03", "name": "Patatas bravas", "quantity": 2, "unitPriceMinor": 650 },
            { "sku": "VIN-11", "name": "Albariño", "quantity": 1, "unitPriceMinor": 480 },
        ],
        "paymentMethod": "pm_card_visa",
    })
}

fn one(selected: &str) -> String {
    format!("mutation($input: PlaceOrderInput!) {{ placeOrder(input: $input) {selected} }}")
}

fn many(selected: &str) -> String {
    format!("mutation($inputs: [PlaceOrderInput!]!) {{ placeOrders(inputs: $inputs) {selected} }}")
}

fn body(document: &str, variables: Value) -> Value {
    json!({ "query": document, "variables": variables })
}

/// Makes a document known.
fn learn(bench: &Bench, document: &str) {
    let nobody = &None;
    let variable = if document.contains("placeOrders") { "inputs" } else { "input" };
    let input = input("ana", "k");
    let value = if variable == "inputs" { json!([input]) } else { input };
    bench.generally(&body(document, json!({ variable: value })), nobody);
}

fn has_plan(document: &str) -> bool {
    Plan::compile(
        &crate::syntax::parse(document, 1_000).unwrap().document,
        &crate::limits::generous(),
    )
    .is_some()
}

#[test]
fn documents_have_a_plan_that_place_orders_by_one_variable() {
    for document in [
        &one(SELECTED),
        &many(SELECTED),
        &one("{ __typename a: errors { __typename code } b: errors { code } }"),
        "mutation Name($x: PlaceOrderInput!) { t: __typename y: placeOrder(input: $x) {
            order { id } } __typename }",
    ] {
        assert!(has_plan(document), "{document}");
    }
    for document in [
        "{ orders { nodes { id } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { ...f } }
         fragment f on PlaceOrderPayload { order { id } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { ... { order { id } } } }",
        "mutation($i: PlaceOrderInput!) { ... { placeOrder(input: $i) { order { id } } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { order { id @skip(if: false) } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) @skip(if: false) { order { id } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { order { id } order { note } } }",
        "mutation($i: PlaceOrderInput = {}) { placeOrder(input: $i) { order { id } } }",
        "mutation($i: PlaceOrderInput!, $j: PlaceOrderInput!) { placeOrder(input: $i) {
            order { id } } }",
        "mutation($i: PlaceOrderInput!) { a: placeOrder(input: $i) { order { id } }
            b: placeOrder(input: $i) { order { id } } }",
        "mutation($i: PlaceOrderInput!) { placeOrders(inputs: [$i]) { order { id } } }",
        "mutation($i: CancelOrderInput!) { cancelOrder(input: $i) { order { id } } }",
        "mutation A($i: PlaceOrderInput!) { placeOrder(input: $i) { order { id } } }
         mutation B($i: PlaceOrderInput!) { placeOrder(input: $i) { order { id } } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { order } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) { nobody } }",
        "mutation($i: PlaceOrderInput!) { placeOrder(input: $i) }",
    ] {
        assert!(!has_plan(document), "{document}");
    }
}

#[test]
fn plans_know_every_field_of_the_schema() {
    let registry: Registry = schema::registry();
    assert!(has_plan(&one(&everything(&registry, "PlaceOrderPayload"))));
    let Some(MetaType::InputObject { input_fields, .. }) = registry.types.get("PlaceOrderInput")
    else {
        panic!("there is no input");
    };
    let contact = 2;
    assert_eq!(VALUES, 1 + input_fields.len() + contact);
}

/// All fields of a type, and of those within them, with an alias here and there.
fn everything(registry: &Registry, type_name: &str) -> String {
    let Some(MetaType::Object { fields, .. }) = registry.types.get(type_name) else {
        return String::new();
    };
    let field = |(n, name): (usize, &String)| {
        let of = fields[name].ty.trim_matches(|c| "[]!".contains(c));
        let alias = if n % 3 == 1 { format!("a{n}: ") } else { String::new() };
        format!("{alias}{name} {}", everything(registry, of))
    };
    let all: Vec<_> = fields.keys().enumerate().map(field).collect();
    format!("{{ __typename {} }}", all.join(" "))
}

/// Variables of one order: what is right, and what is wrong or needs coercion.
fn variables() -> Vec<Value> {
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut input = input("ana", "edited");
        edit(&mut input);
        json!({ "input": input })
    };
    let mut all = vec![
        json!({ "input": input("ana", "k-1") }),
        json!({ "input": input("bob", "k-1") }),
        json!({ "input": input("overloaded", "k-1") }),
        json!({ "input": input("unknown", "k-1") }),
        json!({ "input": input("ana", "k-1"), "other": 1 }),
        json!({ "Input": input("ana", "k-1") }),
        json!({ "input": null }),
        json!({ "input": [input("ana", "k-1")] }),
        json!({ "input": ["k", "ana", ["n", "e@example.com"], "EUR", [], "pm", null] }),
        json!({ "input": "x" }),
        json!({ "input": {} }),
        json!({}),
        Value::Null,
        edited(&|i| i["idempotencyKey"] = Value::Null),
        edited(&|i| drop(i.as_object_mut().unwrap().remove("idempotencyKey"))),
        edited(&|i| i["idempotencyKey"] = json!(7)),
        edited(&|i| i["idempotencyKey"] = json!("")),
        edited(&|i| i["note"] = json!("a\nb")),
        edited(&|i| i["note"] = json!("")),
        edited(&|i| i["note"] = json!("\u{0}")),
        edited(&|i| i["note"] = json!(["a"])),
        edited(&|i| i["extra"] = json!(1)),
        edited(&|i| i["customerId"] = json!(5)),
        edited(&|i| i["customerId"] = json!(5.5)),
        edited(&|i| i["customerId"] = json!(u64::MAX)),
        edited(&|i| i["customerId"] = json!("")),
        edited(&|i| i["contact"] = json!(["Ana", "ana@example.com"])),
        edited(&|i| i["contact"] = Value::Null),
        edited(&|i| i["contact"]["phone"] = json!("1")),
        edited(&|i| i["contact"]["email"] = json!("no address")),
        edited(&|i| i["currency"] = json!("EURO")),
        edited(&|i| i["currency"] = json!(true)),
        edited(&|i| i["paymentMethod"] = json!("4242 4242 4242 4242")),
        edited(&|i| drop(i.as_object_mut().unwrap().remove("paymentMethod"))),
        edited(&|i| i["lines"] = json!([])),
        edited(&|i| i["lines"] = Value::Null),
        edited(&|i| i["lines"] = json!([null])),
        edited(&|i| i["lines"] = i["lines"][0].take()),
        edited(&|i| i["lines"] = json!([["a", "b", 1, 1]])),
        edited(&|i| i["lines"] = json!([i["lines"][0], i["lines"][0], i["lines"][0]])),
        edited(&|i| i["lines"] = Value::Array(vec![i["lines"][0].clone(); 5])),
        edited(&|i| i["lines"] = Value::Array(vec![i["lines"][0].clone(); 30])),
        edited(&|i| i["lines"][0]["extra"] = json!({})),
    ];
    for number in ["0", "-0", "1.0", "1e2", "2147483648", "9223372036854775808", "\"1\"", "true"] {
        let number: Value = serde_json::from_str(number).unwrap();
        all.push(edited(&|i| i["lines"][0]["quantity"] = number.clone()));
        all.push(edited(&|i| i["lines"][0]["unitPriceMinor"] = number.clone()));
    }
    all
}

#[test]
fn a_plan_answers_as_graphql_does_or_leaves_it_to_it() {
    let bench = Bench::new();
    let registry = schema::registry();
    let everything = everything(&registry, "PlaceOrderPayload");
    let documents = [
        one(SELECTED),
        one(&everything),
        "mutation Name($input: PlaceOrderInput!) { a: __typename \n b: placeOrder(input: $input) {
            o: order { id __typename } } c: __typename }"
            .to_owned(),
        "mutation($input: PlaceOrderInput!) { placeOrder(input: $input) { ...f } }
         fragment f on PlaceOrderPayload { order { id } errors { code path } }"
            .to_owned(),
    ];
    let callers = [operator(), Some(Principal::Customer("ana".into())), None];
    let (mut planned, mut all) = (0, 0);
    for document in &documents {
        learn(&bench, document);
        for variables in variables() {
            for caller in &callers {
                planned += usize::from(bench.compare(&body(document, variables.clone()), caller));
                all += 1;
            }
        }
    }
    // What there is no plan for is in the lists on purpose.
    assert!(planned > all / 4 && planned < all / 2, "{planned} of {all}");
}

#[test]
fn a_plan_answers_for_many_orders_as_graphql_does() {
    let bench = Bench::new();
    let selected = everything(&schema::registry(), "PlaceOrderPayload");
    let inputs = |names: &[&str]| {
        let all = names.iter().map(|name| input(name, &format!("m-{name}")));
        json!({ "inputs": all.collect::<Vec<_>>() })
    };
    let mut wrong = inputs(&["ana", "ana", "bob"]);
    wrong["inputs"][1]["lines"] = json!([]);
    wrong["inputs"][2]["contact"]["email"] = json!("x");
    let mut short = inputs(&["a", "b", "c", "d", "e"]);
    for input in short["inputs"].as_array_mut().unwrap() {
        input["lines"] = json!([]);
    }
    let conflict = [input("ana", "twice"), input("ana", "twice"), {
        let mut other = input("ana", "twice");
        other["note"] = json!("another");
        other
    }];
    for document in [many(SELECTED), many(&selected)] {
        learn(&bench, &document);
        for (variables, has_plan) in [
            (inputs(&[]), true),
            (inputs(&["ana"]), true),
            (inputs(&["bob", "overloaded", "unknown", "ana"]), true),
            // More than the variables may have, and more than the batch takes.
            (inputs(&["a"; 5]), false),
            (short.clone(), true),
            (wrong.clone(), true),
            (json!({ "inputs": conflict.clone() }), true),
            (json!({ "inputs": input("ana", "single") }), false),
            (json!({ "inputs": [null] }), false),
            (json!({ "inputs": null }), false),
        ] {
            for caller in [operator(), Some(Principal::Customer("ana".into())), None] {
                let body = body(&document, variables.clone());
                assert_eq!(bench.compare(&body, &caller), has_plan, "{body}");
            }
        }
    }
}

#[test]
fn names_and_persisted_documents_lead_to_the_same_plan() {
    let bench = Bench::new();
    let document = "mutation Name($input: PlaceOrderInput!) { placeOrder(input: $input) {
        order { id } errors { code } } }";
    let variables = json!({ "input": input("ana", "k-names") });
    let mut body = body(document, variables.clone());
    assert_eq!(bench.by_plan(&body, &operator()), None, "nobody has sent it before");
    assert!(bench.compare(&body, &operator()));
    body["operationName"] = json!("Name");
    assert!(bench.compare(&body, &operator()));
    body["operationName"] = json!("Other");
    assert!(!bench.compare(&body, &operator()));
    let hash = hex::encode(crate::digest::digest(document));
    let persisted = json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
    let by_hash = json!({ "extensions": persisted, "variables": variables });
    assert!(bench.compare(&by_hash, &operator()));
    assert!(bench.compare(&json!({ "documentId": hash, "variables": variables }), &operator()));
}

/// Text of JSON: keys with escapes or twice, and what else a tree can't have.
#[test]
fn unusual_json_goes_the_general_way() {
    let good = json!({ "input": input("ana", "k-text") }).to_string();
    let read = |text: &str| {
        let input: Option<PlaceOrderInput> = input::only(text, "input");
        input.is_some()
    };
    assert!(read(&good));
    assert!(read(&format!(" {} ", good.replace(':', " : "))));
    for (from, to) in [
        ("\"input\"", "\"\\u0069nput\""),
        ("\"currency\":\"EUR\"", "\"currency\":\"EUR\",\"currency\":\"EUR\""),
        ("\"currency\":\"EUR\"", "\"currency\":\"\\ud800\""),
        ("\"quantity\":2", "\"quantity\":-0"),
        ("\"quantity\":2", "\"quantity\":2.0"),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(!read(&good.replacen(from, to, 1)), "{to}");
    }
}

/// A value of JSON of any kind, most often one that fits.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2..3i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~é\u{1F355}]{0,6}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["a", 1])),
        Just(json!({ "name": "Ana", "email": "ana@example.com" })),
        Just(json!({ "sku": "a", "name": "b", "quantity": 1, "unitPriceMinor": 1 })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_is_sent_is_answered_alike(
        edits in prop::collection::vec((0..14usize, any_value()), 0..3),
        is_keyed in prop::bool::weighted(0.9),
        is_many: bool,
        caller in 0..3usize,
    ) {
        static BENCH: std::sync::LazyLock<Bench> = std::sync::LazyLock::new(Bench::new);
        let mut input = input("ana", &format!("{edits:?}"));
        if !is_keyed {
            input["idempotencyKey"] = Value::Null;
        }
        for (at, value) in edits {
            let pointers = [
                "/customerId", "/contact", "/contact/name", "/contact/email", "/currency", "/lines",
                "/lines/0", "/lines/0/sku", "/lines/1/name", "/lines/0/quantity",
                "/lines/1/unitPriceMinor", "/paymentMethod", "/idempotencyKey", "",
            ];
            if let Some(place) = input.pointer_mut(pointers[at]) {
                *place = value;
            }
        }
        let (document, variables) = if is_many {
            (many(SELECTED), json!({ "inputs": [input] }))
        } else {
            (one(SELECTED), json!({ "input": input }))
        };
        learn(&BENCH, &document);
        let caller = [operator(), Some(Principal::Customer("ana".into())), None][caller].clone();
        BENCH.compare(&body(&document, variables), &caller);
    }
}
