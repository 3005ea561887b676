use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_graphql::{Pos, Request, ValidationMode};
use futures_util::FutureExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::validator::Nothing;
use super::*;
use crate::execute::alone;
use crate::schema::Schema;

fn limits() -> schema::Limits {
    schema::Limits {
        max_depth: 15,
        max_complexity: 500,
        max_batch: 100,
        max_lines: 200,
        receipt_wait: Duration::ZERO,
    }
}

fn documents_of(entries: usize, bytes: u64) -> Documents {
    Documents::of_limits(crate::limits::generous(), entries, bytes)
}

fn documents() -> Documents {
    documents_of(1000, 1 << 24)
}

fn find(documents: &Documents, text: &str) -> Result<Found, ServerError> {
    documents.find(&Wanted::Text(text.into()), &None)
}

/// The schema that executes, without the execution.
fn executing() -> Schema {
    let schema = schema::bounded(limits()).validation_mode(ValidationMode::Fast);
    schema.extension(Nothing).finish()
}

/// Whether the document was known, and all that is wrong before anything is executed.
fn check(
    documents: &Documents,
    executing: &Schema,
    text: &str,
    variables: &Value,
) -> (bool, Vec<String>) {
    let mut variables = Variables::from_json(variables.clone());
    let found = match find(documents, text) {
        Ok(found) => found,
        Err(error) => return (false, vec![error.message]),
    };
    let parsed = &found.document.parsed;
    // The first one by name, where there are several.
    let (name, operation) = parsed.operations.iter().min_by_key(|(name, _)| *name).unwrap();
    let name = name.map(|name| name.as_str());
    let errors = match documents.validate(&found, (name, &operation.node), &mut variables) {
        Err(errors) => errors,
        Ok(()) => {
            let collected = found.document.executable(name, &operation.node, &variables);
            let mut request = Request::new("").variables(variables);
            request.set_parsed_query(alone(&collected));
            executing.execute(request).now_or_never().unwrap().errors
        }
    };
    // Of several unknown fields any can be the one that is named, and some rules report in any
    // order.
    let words = |error: &ServerError| {
        let message = error.message.split("unknown field").next().unwrap_or_default();
        format!("{:?} {message}", error.locations)
    };
    let mut errors: Vec<_> = errors.iter().map(words).collect();
    errors.sort();
    (found.is_valid, errors)
}

fn order() -> Value {
    json!({
        "idempotencyKey": null,
        "customerId": "ana",
        "contact": { "name": "Ana Ruiz", "email": "ana@example.com" },
        "currency": "EUR",
        "lines": [{ "sku": "TAP-03", "name": "Patatas", "quantity": 2, "unitPriceMinor": 650 }],
        "paymentMethod": "pm_card_visa",
    })
}

fn edited(edit: impl FnOnce(&mut Value)) -> Value {
    let mut order = order();
    edit(&mut order);
    json!({ "input": order })
}

const PLACE: &str = "mutation($input: PlaceOrderInput!) { placeOrder(input: $input) {
    order { id } errors { code } } }";

/// Documents, variables that they are valid with, and others.
fn pairs() -> Vec<(&'static str, Value, Vec<Value>)> {
    let wrong_orders = vec![
        json!({}),
        json!({ "input": null }),
        json!({ "input": [] }),
        json!({ "input": "x" }),
        json!({ "other": 1 }),
        edited(|i| i["contact"] = json!("text")),
        edited(|i| i["contact"] = Value::Null),
        edited(|i| i["contact"]["phone"] = json!(1)),
        edited(|i| i["lines"] = json!({ "sku": "x" })),
        edited(|i| i["lines"] = i["lines"][0].take()),
        edited(|i| i["lines"][0]["quantity"] = json!(1.5)),
        edited(|i| i["lines"][0]["quantity"] = json!(1_u64 << 40)),
        edited(|i| i["lines"][0]["unitPriceMinor"] = json!("650")),
        edited(|i| i["lines"][0]["unitPriceMinor"] = json!(u64::MAX)),
        edited(|i| i["lines"][0]["sku"] = Value::Null),
        edited(|i| i["customerId"] = json!(5)),
        edited(|i| i["customerId"] = json!(1.5)),
        edited(|i| i["currency"] = json!({})),
        edited(|i| i["extra"] = json!(1)),
        edited(|i| drop(i.as_object_mut().unwrap().remove("currency"))),
    ];
    let pages = vec![
        json!({}),
        json!({ "n": 100 }),
        json!({ "n": null }),
        json!({ "n": -1 }),
        json!({ "n": "5" }),
        json!({ "n": 5.5 }),
        json!({ "n": [5] }),
        json!({ "n": 1e300 }),
    ];
    let conditions = vec![
        json!({}),
        json!({ "c": null }),
        json!({ "c": "true" }),
        json!({ "c": 1 }),
        json!({ "c": false }),
    ];
    vec![
        (PLACE, json!({ "input": order() }), wrong_orders.clone()),
        (
            "mutation($input: PlaceOrderInput!) { ...f }
             fragment f on Mutation { placeOrder(input: $input) { order { id } } }",
            json!({ "input": order() }),
            wrong_orders,
        ),
        (
            "mutation($i: ID!, $q: Int = 2, $l: [OrderLineInput!]!) { placeOrder(input: {
                customerId: $i, contact: { name: \"a\", email: \"b\" }, currency: \"EUR\",
                lines: [{ sku: \"a\", name: \"b\", quantity: $q, unitPriceMinor: 1 }],
                paymentMethod: \"p\" }) { order { id } }
              placeOrders(inputs: [{ customerId: $i, contact: { name: \"a\", email: \"b\" },
                currency: \"EUR\", lines: $l, paymentMethod: \"p\" }]) { order { id } } }",
            json!({ "i": "ana", "l": [] }),
            vec![
                json!({ "i": "ana", "l": [], "q": null }),
                json!({ "i": "ana", "l": [], "q": "1" }),
                json!({ "i": "ana", "l": [{}] }),
                json!({ "i": "ana", "l": order()["lines"][0] }),
                json!({ "i": {}, "l": [] }),
                json!({ "i": "ana" }),
                json!({ "l": [] }),
            ],
        ),
        ("query($n: Int) { orders(first: $n) { nodes { id note status } } }", json!({ "n": 1 }), {
            pages.clone()
        }),
        ("query($n: Int!) { orders(last: $n) { nodes { id note status } } }", json!({ "n": 1 }), {
            pages.clone()
        }),
        (
            "query($n: Int = 100) { orders(first: $n) { nodes { id note status timeline { type }
                lines { sku } } } }",
            json!({ "n": 1 }),
            pages.clone(),
        ),
        (
            "query($n: Int) { ...f } fragment f on Query { orders(first: $n) { nodes { ...o } } }
             fragment o on Order { id note status timeline { type } lines { sku } }",
            json!({ "n": 1 }),
            pages.clone(),
        ),
        (
            "query A($n: Int) { orders(first: $n) { nodes { id } } }
             query B($n: Int!) { orders(last: $n) { nodes { id status } } }",
            json!({ "n": 1 }),
            pages,
        ),
        (
            "query($c: Boolean!) { order(id: \"x\") { id @skip(if: $c) note @include(if: $c) } }",
            json!({ "c": true }),
            conditions.clone(),
        ),
        (
            "query($c: Boolean = true) { ... @skip(if: $c) { order(id: \"x\") { id } } }",
            json!({}),
            conditions.clone(),
        ),
        (
            "query($c: Boolean!) { ...f @include(if: $c) } fragment f on Query { __typename }",
            json!({ "c": true }),
            conditions,
        ),
        (
            "query($f: OrderFilter, $s: [OrderStatus!]) { orders(filter: $f) { nodes { id } }
                paid: orders(first: 1, filter: { status: $s }) { nodes { id } } }",
            json!({}),
            vec![
                json!({ "s": ["PAID"] }),
                json!({ "s": "PAID" }),
                json!({ "s": ["PAID", "NONE"] }),
                json!({ "s": [null] }),
                json!({ "f": { "status": ["PAID"], "placedAfter": "2026-11-24T12:00:00Z" } }),
                json!({ "f": { "status": 1 } }),
                json!({ "f": { "placedAfter": "yesterday" } }),
                json!({ "f": { "placedAfter": "yesterday", "x": 1 } }),
                json!({ "f": [] }),
            ],
        ),
        ("query($t: String!) { __type(name: $t) { name } }", json!({ "t": "Query" }), {
            vec![json!({ "t": 1 }), json!({}), json!({ "t": null })]
        }),
        (
            "subscription($id: ID, $a: String) { orderUpdates(orderId: $id, after: $a) { cursor } }",
            json!({}),
            vec![json!({ "id": {} }), json!({ "id": 1, "a": 1 }), json!({ "a": null })],
        ),
    ]
}

#[test]
fn a_known_document_is_answered_like_one_that_is_not() {
    let (known, executing) = (documents(), executing());
    let mut wrong = 0;
    for (text, good, others) in pairs() {
        assert_eq!(check(&known, &executing, text, &good), (false, vec![]), "{text} {good}");
        assert_eq!(check(&known, &executing, text, &good), (true, vec![]), "{text} {good}");
        for variables in others {
            let (was_known, errors) = check(&known, &executing, text, &variables);
            assert!(was_known, "{text}");
            let cold = check(&documents(), &executing, text, &variables);
            assert_eq!((false, &errors), (cold.0, &cold.1), "{text} {variables}");
            wrong += usize::from(!errors.is_empty());
        }
    }
    assert!(wrong > 40, "{wrong}");
}

#[test]
fn what_the_variables_make_too_complex_is_refused_whether_known_or_not() {
    let (known, executing) = (documents(), executing());
    let text =
        "query($n: Int) { orders(first: $n) { nodes { id status note timeline { type } } } }";
    let errors = |n: i32| check(&known, &executing, text, &json!({ "n": n }));
    assert_eq!(errors(1), (false, vec![]));
    let (was_known, refused) = errors(100);
    assert!(was_known && refused[0].contains("Query is too complex."), "{refused:?}");
    assert_eq!(errors(2), (true, vec![]));
}

#[test]
fn a_document_that_is_not_valid_is_not_kept() {
    let (documents, executing) = (documents(), executing());
    for text in ["{ nothing }", "query($n: Int!) { orders { nodes { id } } }"] {
        for _ in 0..2 {
            let (was_known, errors) = check(&documents, &executing, text, &json!({}));
            assert!(!was_known && !errors.is_empty(), "{text}");
        }
    }
    // It would be with other variables.
    let order = json!({ "input": order() });
    assert!(!check(&documents, &executing, PLACE, &json!({ "input": {} })).1.is_empty());
    assert_eq!(check(&documents, &executing, PLACE, &order), (false, vec![]));
    assert_eq!(check(&documents, &executing, PLACE, &order), (true, vec![]));
}

#[test]
fn the_documents_that_are_kept_are_bounded_in_number_and_in_bytes() {
    let executing = executing();
    let text = |n: usize| format!("{{ a{n}: order(id: \"x\") {{ id }} }}");
    let one = find(&documents(), &text(100)).unwrap().document.bytes;
    let few = documents_of(64, 1 << 30);
    let small = documents_of(1_000, 64 * one as u64);
    for documents in [&few, &small] {
        for n in 100..1_000 {
            check(documents, &executing, &text(n), &json!({}));
        }
        let known = (100..1_000).filter(|n| find(documents, &text(*n)).unwrap().is_valid);
        // Each shard holds its part.
        let known = known.count();
        assert!((32..=64).contains(&known), "{known}");
    }
}

#[test]
fn a_document_that_is_used_again_and_again_is_not_driven_out_by_many_that_are_used_once() {
    let (documents, executing) = (documents_of(64, 1 << 30), executing());
    let order = json!({ "input": order() });
    check(&documents, &executing, PLACE, &order);
    for n in 0..2_000 {
        let once = format!("{{ a{n}: order(id: \"x\") {{ id }} }}");
        check(&documents, &executing, &once, &json!({}));
        if n % 5 == 0 {
            assert!(check(&documents, &executing, PLACE, &order).0, "{n}");
        }
    }
}

#[test]
fn a_short_field_takes_no_more_than_is_reckoned_with() {
    use async_graphql::Positioned;
    use async_graphql::parser::types::Selection;
    assert!(size_of::<Positioned<Selection>>() <= BYTES_PER_TOKEN);
}

#[test]
fn a_syntax_error_says_what_was_expected_and_quotes_nothing() {
    let error = find(&documents(), "{ order(id: \"4242) }").err().unwrap();
    assert_eq!(error.message, "the document is not GraphQL: expected the end of the string");
    assert_eq!(error.locations, [Pos { line: 1, column: 21 }]);
}

/// All that is wrong with a document and its variables, before anything is executed.
fn wrong(text: &str, variables: Value) -> Vec<String> {
    check(&documents(), &executing(), text, &variables).1
}

#[test]
fn literals_are_of_their_types_wherever_they_stand() {
    let order = |field: &str| {
        format!(
            "mutation {{ placeOrder(input: {{ customerId: \"a\", currency: \"EUR\", {field}, \
             paymentMethod: \"p\" }}) {{ order {{ id }} }} }}"
        )
    };
    let line = |quantity: &str| {
        order(&format!(
            "contact: {{ name: \"a\", email: \"b\" }}, lines: [{{ sku: \"a\", name: \"b\", \
             quantity: {quantity}, unitPriceMinor: 1 }}]"
        ))
    };
    for good in [
        line("2147483647"),
        line("-2147483648"),
        order("contact: { name: \"a\", email: \"b\" }, lines: []"),
        "{ orders(first: 1, filter: { status: PAID }) { nodes { id } } }".into(),
        "{ orders(first: 1, filter: { status: [PAID, CANCELLED] }) { nodes { id } } }".into(),
        "{ order(id: 5) { id timeline(last: 1) { type } } }".into(),
        "query($n: Int = 5, $s: [OrderStatus!] = [PAID]) {
            orders(first: $n, filter: { status: $s }) { nodes { id } } }"
            .into(),
        "query($n: Int!, $s: [OrderStatus!]! = PAID, $o: OrderStatus! = PAID) {
            orders(first: $n, filter: { status: $s }) { nodes { id } }
            b: orders(first: 1, filter: { status: [PAID, $o] }) { nodes { id } } }"
            .into(),
        "query($c: Boolean = true) { order(id: \"x\") @skip(if: $c) { id } }".into(),
    ] {
        assert_eq!(wrong(&good, json!({ "n": 1 })), [""; 0], "{good}");
    }
    for bad in [
        line("2147483648"),
        line("-2147483649"),
        line("1.0"),
        line("\"1\""),
        line("null"),
        line("[1]"),
        line("{}"),
        line("ONE"),
        order("contact: \"text\", lines: []"),
        order("contact: PAID, lines: []"),
        order("contact: [], lines: []"),
        order("contact: { name: \"a\" }, lines: []"),
        order("contact: { name: \"a\", email: \"b\", c: 1 }, lines: []"),
        order("contact: { name: a, email: \"b\" }, lines: []"),
        "{ order(id: \"x\") { timeline(last: -2465166948120) { type } } }".into(),
        "{ order(id: \"x\") { ...f } } fragment f on Order { timeline(last: 4294967296) { type } }"
            .into(),
        "{ order(id: \"x\") { ... on Order { timeline(last: \"1\") { type } } } }".into(),
        "{ order(id: 1.5) { id } }".into(),
        "{ order(id: true) { id } }".into(),
        "{ order(id: X) { id } }".into(),
        "{ orders(first: 9999999999) { nodes { id } } }".into(),
        "{ orders(filter: { status: \"PAID\" }) { nodes { id } } }".into(),
        "{ orders(filter: { status: [\"PAID\"] }) { nodes { id } } }".into(),
        "{ orders(filter: { status: NONE }) { nodes { id } } }".into(),
        "{ orders(filter: []) { nodes { id } } }".into(),
        "{ orders(filter: 1) { nodes { id } } }".into(),
        "{ order(id: \"x\") @skip(if: \"true\") { id } }".into(),
        "{ order(id: \"x\") { id @include(if: 1) } }".into(),
        "query($n: Int = 2147483648) { orders(first: $n) { nodes { id } } }".into(),
        "query($s: [OrderStatus!] = [\"PAID\"]) { orders(filter: { status: $s }) { nodes { id } } }"
            .into(),
        "query($f: OrderFilter = 1) { orders(filter: $f) { nodes { id } } }".into(),
        // A variable of another type than its place takes, however deep.
        "query($s: String) { orders(filter: { status: $s }) { nodes { id } } }".into(),
        "query($s: OrderStatus) { orders(filter: { status: [$s] }) { nodes { id } } }".into(),
        "query($c: Boolean) { order(id: \"x\") @skip(if: $c) { id } }".into(),
        "query($c: Boolean = null) { order(id: \"x\") @skip(if: $c) { id } }".into(),
        "query($s: [OrderStatus]) { orders(filter: { status: $s }) { nodes { id } } }".into(),
        "query($i: String!) { order(id: $i) { id } }".into(),
        "query($n: Long) { orders(first: $n) { nodes { id } } }".into(),
        "query($n: Int) { order(id: \"x\") { ...f } }
         fragment f on Order { timeline(before: $n) { type } }"
            .into(),
    ] {
        assert!(!wrong(&bad, json!({})).is_empty(), "{bad}");
    }
}

#[test]
fn variables_are_of_the_types_that_they_were_declared_with() {
    let first = "query($v: Int) { orders(first: $v) { nodes { id } } }";
    let states = "query($v: [OrderStatus!]) { orders(filter: { status: $v }) { nodes { id } } }";
    let filter = "query($v: OrderFilter) { orders(filter: $v) { nodes { id } } }";
    for (text, good) in [
        (first, json!(5)),
        (first, json!(null)),
        (states, json!("PAID")),
        (states, json!(["PAID"])),
        (filter, json!({ "status": ["PAID"], "placedAfter": "2026-11-24T12:00:00Z" })),
        (filter, json!({ "status": null })),
    ] {
        assert_eq!(wrong(text, json!({ "v": good })), [""; 0], "{text} {good}");
    }
    for (text, bad) in [
        (first, json!(2_147_483_648_i64)),
        (first, json!("5")),
        (first, json!([5])),
        (first, json!({})),
        (states, json!([null])),
        (states, json!([["PAID"]])),
        (states, json!("NONE")),
        (filter, json!([])),
        (filter, json!("x")),
        (filter, json!({ "status": 1 })),
        (filter, json!({ "more": 1 })),
    ] {
        assert!(!wrong(text, json!({ "v": bad })).is_empty(), "{text} {bad}");
    }
    // The place where it is used takes more than its type.
    let strict = "query($v: [OrderStatus!]!) { orders(filter: { status: $v }) { nodes { id } } }";
    assert!(!wrong(strict, json!({ "v": null })).is_empty());
    let input = "mutation($v: CancelOrderInput!) { cancelOrder(input: $v) { order { id } } }";
    let told =
        wrong(input, json!({ "v": { "orderId": "x", "expectedVersion": 3_000_000_000_u32 } }));
    assert!(told[0].contains("\"v.expectedVersion\", expected type \"Int\""), "{told:?}");
}

#[test]
fn variables_of_types_that_are_not_of_input_are_refused() {
    for bad in [
        "query($v: [Strijg] = [\"x\"]) { order(id: $v) { id } }",
        "query($v: Strijg = 1) { order(id: $v) { id } }",
        "query($v: Nothing) { order(id: $v) { id } }",
        "query($v: [[Order!]!] = [[]]) { order(id: $v) { id } }",
        "query($v: Query = {}) { order(id: $v) { id } }",
        "{ ...f } fragment f on Nothing { id }",
        "{ ... on Nothing { id } }",
        "{ ... on OrderFilter { id } }",
        "subscription($v: Strijg = 1) { orderUpdates(after: $v) { cursor } }",
    ] {
        let told = wrong(bad, json!({}));
        assert!(!told.is_empty(), "{bad}");
        assert!(!told.iter().any(|told| told.contains("failed")), "{bad}: {told:?}");
    }
}

#[test]
fn equal_fields_merge_and_conflicting_ones_are_refused() {
    let place = |rest: &str| format!("mutation($i: PlaceOrderInput!, $j: PlaceOrderInput!) {rest}");
    let variables = json!({ "i": order(), "j": order() });
    for good in [
        "{ placeOrder(input: $i) { order { id } } placeOrder(input: $i) { receipt { token } }
            b: placeOrder(input: $j) { order { id } } }",
        "{ ... on Mutation { placeOrder(input: $i) { order { id } } } ...f
            b: placeOrder(input: $j) { order { id } } }
         fragment f on Mutation { placeOrder(input: $i) { order { note } } }",
        "{ a: placeOrder(input: $i) { order { id } } ... { a: placeOrder(input: $i) { order { id } } }
            placeOrder(input: $j) { order { x: id x: id } } }",
    ] {
        assert_eq!(wrong(&place(good), variables.clone()), [""; 0], "{good}");
    }
    for bad in [
        "{ placeOrder(input: $i) { order { id } } placeOrder(input: $j) { order { id } } }",
        "{ placeOrder(input: $i) { order { id } } ... on Mutation { placeOrder(input: $j) { order {
            id } } } }",
        "{ ...f ...g } fragment f on Mutation { a: placeOrder(input: $i) { order { id } } }
         fragment g on Mutation { a: placeOrder(input: $j) { order { id } } }",
        "{ ...f ... { ...g } } fragment f on Mutation { a: placeOrder(input: $i) { order { id } } }
         fragment g on Mutation { ... on Mutation { a: placeOrder(input: $j) { order { id } } } }",
        "{ a: placeOrder(input: $i) { order { x: id } } a: placeOrder(input: $i) { order { x: note } }
            b: placeOrder(input: $j) { order { id } } }",
        "{ a: placeOrder(input: $i) { order { id } } a: __typename
            b: placeOrder(input: $j) { order { id } } }",
        "{ placeOrder(input: $i) { order { timeline(last: 1) { type } } }
           placeOrder(input: $i) { order { ...f } } b: placeOrder(input: $j) { order { id } } }
         fragment f on Order { timeline(last: 2) { type } }",
        // Whether they are skipped does not matter.
        "{ placeOrder(input: $i) { order { id } }
           placeOrder(input: $j) @skip(if: true) { order { id } } }",
    ] {
        let told = wrong(&place(bad), variables.clone());
        assert!(told.iter().any(|told| told.contains("conflict")), "{bad}: {told:?}");
    }
}

#[test]
fn a_subscription_has_one_field_at_its_root() {
    for good in [
        "subscription { orderUpdates { cursor } }",
        "subscription { ...f } fragment f on Subscription { orderUpdates { cursor } }",
        "subscription { ... on Subscription { a: orderUpdates { cursor } } }",
        "subscription { ...f orderUpdates { at } }
         fragment f on Subscription { orderUpdates { cursor } }",
    ] {
        assert_eq!(wrong(good, json!({})), [""; 0], "{good}");
    }
    for bad in [
        "subscription { a: orderUpdates { cursor } b: orderUpdates { cursor } }",
        "subscription { ...f b: orderUpdates { cursor } }
         fragment f on Subscription { a: orderUpdates { cursor } }",
        "subscription { __typename }",
        "subscription { orderUpdates { cursor } __typename }",
        "subscription { orderUpdates @include(if: true) { cursor } }",
        "subscription { ... @skip(if: false) { orderUpdates { cursor } } }",
        "subscription A { a: orderUpdates { cursor } ... { b: orderUpdates { cursor } } }
         query B { __typename }",
    ] {
        assert!(!wrong(bad, json!({})).is_empty(), "{bad}");
    }
}

/// What is executed of the only operation of a document.
fn executed(text: &str, variables: Value) -> String {
    let documents = documents();
    let found = find(&documents, text).unwrap();
    let (_, operation) = found.document.parsed.operations.iter().next().unwrap();
    let mut variables = Variables::from_json(variables);
    documents.validate(&found, (None, &operation.node), &mut variables).unwrap();
    let collected = found.document.executable(None, &operation.node, &variables);
    let mut printed = String::new();
    print(&collected.selection_set.node, &mut printed);
    printed
}

fn print(set: &async_graphql::parser::types::SelectionSet, printed: &mut String) {
    use async_graphql::parser::types::Selection;
    for selection in &set.items {
        let Selection::Field(field) = &selection.node else { panic!("a field was expected") };
        assert!(field.node.directives.is_empty());
        *printed += &field.node.response_key().node;
        for (name, value) in &field.node.arguments {
            *printed += &format!("({}: {})", name.node, value.node);
        }
        *printed += " ";
        if !field.node.selection_set.node.items.is_empty() {
            *printed += "{ ";
            print(&field.node.selection_set.node, printed);
            *printed += "} ";
        }
    }
}

#[test]
fn each_field_is_executed_once_and_without_what_is_not_given() {
    let merged = "query($a: Boolean = false) { ...f order(id: \"x\") { note ...g @skip(if: $a) } }
        fragment f on Query { order(id: \"x\") { id ... @include(if: $a) { status } } }
        fragment g on Order { id version }";
    assert_eq!(executed(merged, json!({})), "order(id: \"x\") { id note version } ");
    let skipped = executed(merged, json!({ "a": true }));
    assert_eq!(skipped, "order(id: \"x\") { id status note } ");
    let typename = "query($a: Boolean!) { order(id: \"x\") { id } __typename @skip(if: $a) }";
    assert_eq!(executed(typename, json!({ "a": true })), "order(id: \"x\") { id } ");
    assert_eq!(executed(typename, json!({ "a": false })), "order(id: \"x\") { id } __typename ");
    let update = "mutation($id: ID!, $note: String, $lines: [OrderLineInput!]) {
        updateOrder(input: { orderId: $id, note: $note, lines: $lines }) { order { id } } }";
    let none = executed(update, json!({ "id": "x" }));
    assert_eq!(none, "updateOrder(input: {orderId: $id}) { order { id } } ");
    let null = executed(update, json!({ "id": "x", "note": null }));
    assert_eq!(null, "updateOrder(input: {orderId: $id, note: $note}) { order { id } } ");
    let list = "query($n: Int, $after: String) { orders(first: $n, after: $after) { totalCount } }";
    assert_eq!(executed(list, json!({ "n": 2 })), "orders(first: $n) { totalCount } ");
}

/// Any JSON, with the names and values that the schema knows.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-5..105).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["ana", "EUR", "PAID", "2026-11-24T12:00:00Z", ""])
            .prop_map(Value::from),
    ];
    let names = ["customerId", "contact", "name", "email", "lines", "quantity", "status", "x"];
    leaf.prop_recursive(3, 20, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(names.to_vec()), inner, 0..4)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// A good order with something else in one of its places, perhaps.
fn almost_an_order() -> impl Strategy<Value = Value> {
    let places = ["/customerId", "/contact", "/contact/name", "/lines", "/lines/0", "/note"];
    let more = ["/lines/0/quantity", "/lines/0/unitPriceMinor", "/lines/0/sku", "/currency", ""];
    let places = [&places[..], &more[..]].concat();
    (prop::sample::select(places), json_value()).prop_map(|(place, value)| {
        let mut order = order();
        if let Some(found) = order.pointer_mut(place) {
            *found = value;
        }
        order
    })
}

static SHARED: LazyLock<(Documents, Schema)> = LazyLock::new(|| (documents(), executing()));
static TEXTS: AtomicU64 = AtomicU64::new(0);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn whatever_the_variables_a_known_document_is_answered_like_one_that_is_not(
        input in almost_an_order(), other in json_value(), which in 0usize..14,
    ) {
        let (documents, executing) = &*SHARED;
        let (text, good, _) = pairs().swap_remove(which);
        prop_assert_eq!(check(documents, executing, text, &good).1, Vec::<String>::new());
        let mut variables = json!({ "input": input });
        for name in ["n", "c", "f", "s", "t", "i", "l", "q", "id", "a"] {
            variables[name] = other.clone();
        }
        let (was_known, errors) = check(documents, executing, text, &variables);
        prop_assert!(was_known);
        // The same, as a document that nobody has sent yet.
        let new = format!("{text} # {}", TEXTS.fetch_add(1, Ordering::Relaxed));
        let cold = check(documents, executing, &new, &variables);
        prop_assert_eq!((false, errors), cold);
    }
}
