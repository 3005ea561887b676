//! Who may look at the schema.

use anyhow::Result;
use comanda_gateway::Audience;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{ANA, House, OPERATOR, code};
use crate::ws_client::WsClient;

const SCHEMA: &str = "{ __schema { queryType { name } } }";

/// Documents with a mistake, near to something that the schema has.
const MISTAKES: [&str; 9] = [
    "{ ordes { nodes { id } } }",
    "{ orders { nodes { statu } } }",
    "{ order(ids: \"x\") { id } }",
    "{ orders(firs: 1) { nodes { id } } }",
    "{ orders(filter: { statuss: PAID }) { nodes { id } } }",
    "{ orders(filter: { status: PAYED }) { nodes { id } } }",
    "{ __typename ... on Quer { __typename } }",
    "{ orders @skip(iff: true) { nodes { id } } }",
    "mutation { placeOrdr(input: {}) { order { id } } }",
];

async fn house(introspection: Audience) -> Result<House> {
    House::with(|options| options.introspection = introspection).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_shown_to_those_it_is_meant_for() -> Result<()> {
    let callers = [None, Some(ANA), Some(OPERATOR)];
    for (audience, expected) in [
        (Audience::Everybody, [true, true, true]),
        (Audience::Operators, [false, false, true]),
        (Audience::Nobody, [false, false, false]),
    ] {
        let house = house(audience).await?;
        for (caller, is_shown) in callers.into_iter().zip(expected) {
            // Twice: a document that is known is not shown for that reason.
            for document in [SCHEMA, SCHEMA, "{ __type(name: \"Order\") { name } }"] {
                let (status, answer) = house.ask(caller, document, json!({})).await?;
                if is_shown {
                    assert_eq!((status, &answer["errors"]), (StatusCode::OK, &Value::Null));
                } else {
                    let refused = (StatusCode::FORBIDDEN, "INTROSPECTION_DISABLED");
                    assert_eq!((status, code(&answer)), refused);
                    assert_eq!(answer.get("data"), None);
                }
            }
            let (_, answer) = house.ask(caller, "{ __typename }", json!({})).await?;
            assert_eq!(answer, json!({ "data": { "__typename": "Query" } }));
        }
        let page = house.http.get(format!("http://{}/", house.addr)).send().await?.status();
        assert_eq!(page == StatusCode::OK, audience != Audience::Nobody, "{audience:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_document_does_not_open_the_schema_to_others() -> Result<()> {
    let house = house(Audience::Operators).await?;
    house.data(OPERATOR, SCHEMA, json!({})).await?;
    let (_, answer) = house.ask(Some(ANA), SCHEMA, json!({})).await?;
    assert_eq!(code(&answer), "INTROSPECTION_DISABLED");
    let mut client = WsClient::of(house.addr, ANA).await?;
    client.subscribe("1", SCHEMA, json!({})).await?;
    let refused = client.hear().await?;
    assert_eq!(refused["payload"][0]["extensions"]["code"], "INTROSPECTION_DISABLED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_see_the_schema_are_told_what_was_meant() -> Result<()> {
    let house = house(Audience::Operators).await?;
    let mut suggestions = 0;
    for document in MISTAKES {
        let (_, shown) = house.ask(Some(OPERATOR), document, json!({})).await?;
        suggestions += shown.to_string().matches("Did you mean").count();
        for caller in [None, Some(ANA)] {
            let (status, hidden) = house.ask(caller, document, json!({})).await?;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{document}");
            assert!(!hidden.to_string().contains("Did you mean"), "{hidden}");
            let words = |answer: &Value| {
                let message = answer["errors"][0]["message"].as_str().unwrap();
                message.split(" Did you mean").next().unwrap().to_owned()
            };
            assert_eq!(words(&hidden), words(&shown));
        }
    }
    assert!(suggestions >= 4, "{suggestions}");
    Ok(())
}
