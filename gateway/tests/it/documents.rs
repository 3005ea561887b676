//! Documents that the gateway knows already.

use anyhow::{Context, Result};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{ANA, House, OPERATOR, PLACE, code, order};
use crate::placing::stored;

#[tokio::test(flavor = "multi_thread")]
async fn a_known_document_is_answered_like_one_that_is_not() -> Result<()> {
    let house = House::open().await?;
    let input = |edit: &dyn Fn(&mut Value)| {
        let mut input = order("ana", Some("the-same"));
        edit(&mut input);
        json!({ "input": input })
    };
    let list = "query($n: Int!, $more: Boolean = true) {
        orders(first: $n) { nodes { id note @include(if: $more) timeline { type at eventId } } } }";
    let pairs = [
        (PLACE, input(&|_| ())),
        (PLACE, input(&|i| i["currency"] = json!("XXQ"))),
        (PLACE, input(&|i| i["currency"] = json!(5))),
        (PLACE, input(&|i| i["contact"] = json!("x"))),
        (PLACE, input(&|i| i["lines"][0]["quantity"] = json!("2"))),
        (PLACE, input(&|i| i["lines"][0]["more"] = json!(2))),
        (PLACE, json!({})),
        (list, json!({ "n": 1 })),
        (list, json!({ "n": 100, "more": false })),
        (list, json!({ "n": 101 })),
        (list, json!({ "n": "1" })),
        (list, json!({ "n": 1, "more": null })),
        (list, json!({})),
    ];
    house.data(ANA, PLACE, input(&|_| ())).await?;
    house.data(ANA, list, json!({ "n": 1 })).await?;
    for (n, (document, variables)) in pairs.iter().enumerate() {
        let known = house.ask(Some(ANA), document, variables.clone()).await?;
        let other = format!("{document} # {n}");
        let unknown = house.ask(Some(ANA), &other, variables.clone()).await?;
        assert_eq!(known, unknown, "{document} {variables}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_executed_where_a_variable_is_missing() -> Result<()> {
    let house = House::open().await?;
    let document = "mutation($a: PlaceOrderInput!, $b: PlaceOrderInput!) {
        a: placeOrder(input: $a) { order { id } } b: placeOrder(input: $b) { order { id } } }";
    let variables = json!({ "a": order("ana", None) });
    let (status, answer) = house.ask(Some(OPERATOR), document, variables).await?;
    let expected = (StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED");
    assert_eq!((status, code(&answer)), expected);
    assert_eq!(answer.get("data"), None, "no order was placed: {answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_of_a_variable_decides_what_is_skipped() -> Result<()> {
    let house = House::open().await?;
    let document = "query($skip: Boolean = true) {
        __typename order(id: \"x\") @skip(if: $skip) { id } }";
    let data = house.data(OPERATOR, document, json!({})).await?;
    assert_eq!(data, json!({ "__typename": "Query" }));
    let data = house.data(OPERATOR, document, json!({ "skip": false })).await?;
    assert_eq!(data, json!({ "__typename": "Query", "order": null }));
    Ok(())
}

/// Orders without a key: each that is placed is another one.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_asked_for_under_one_key_several_times_is_placed_once() -> Result<()> {
    let house = House::open().await?;
    let begin = "mutation($i: PlaceOrderInput!, $j: PlaceOrderInput!, $yes: Boolean = true)";
    let variables = json!({ "i": order("ana", None), "j": order("ana", None) });
    let merged = [
        "{ placeOrder(input: $i) { order { id } } placeOrder(input: $i) { receipt { token } } }",
        "{ ...f ... on Mutation { placeOrder(input: $i) { order { id } } } }
         fragment f on Mutation { placeOrder(input: $i) { receipt { token } } }",
        "{ ...f @include(if: $yes) placeOrder(input: $i) @skip(if: false) { order { id } }
            placeOrder(input: $i) @skip(if: true) { errors { code } } }
         fragment f on Mutation { placeOrder(input: $i) { receipt { token } } }",
    ];
    for (n, document) in merged.iter().enumerate() {
        let document = format!("{begin} {document}");
        // The rules want each variable used.
        let document = document.replacen(", $j: PlaceOrderInput!", "", 1);
        let document = match document.contains("$yes)") {
            true => document,
            false => document.replacen(", $yes: Boolean = true", "", 1),
        };
        let variables = json!({ "i": variables["i"] });
        let data = house.data(OPERATOR, &document, variables).await?;
        let placed = data["placeOrder"].as_object().context("one answer")?;
        assert_eq!(placed.len(), 2, "{data}");
        assert!(placed["order"]["id"].is_string() && placed["receipt"]["token"].is_string());
        assert_eq!(stored(&house).await?.len(), n + 1, "{document}");
    }
    for conflict in [
        "{ placeOrder(input: $i) { order { id } } placeOrder(input: $j) { order { id } } }",
        "{ ...f ...g } fragment f on Mutation { a: placeOrder(input: $i) { order { id } } }
         fragment g on Mutation { ... on Mutation { a: placeOrder(input: $j) { order { id } } } }",
    ] {
        let document = format!("{begin} {conflict}").replacen(", $yes: Boolean = true", "", 1);
        let (status, answer) = house.ask(Some(OPERATOR), &document, variables.clone()).await?;
        let expected = (StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED");
        assert_eq!((status, code(&answer)), expected, "{answer}");
    }
    assert_eq!(stored(&house).await?.len(), merged.len());
    Ok(())
}
