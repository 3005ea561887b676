use async_graphql::{EmptySubscription, Object, Schema, value};

use super::*;

struct Query;

#[Object]
impl Query {
    async fn fine(&self) -> i32 {
        1
    }

    async fn fails(&self) -> Result<i32, Failure> {
        Err(Failure::new(Code::Overloaded, "no"))
    }

    async fn may_fail(&self) -> Option<Result<i32, Failure>> {
        Some(Err(Failure::new(Code::Overloaded, "no")))
    }

    async fn takes(&self, list: Vec<i32>) -> usize {
        list.len()
    }
}

async fn answer(query: &str, variables: serde_json::Value) -> Answer {
    let schema = Schema::new(Query, async_graphql::EmptyMutation, EmptySubscription);
    let variables = async_graphql::Variables::from_json(variables);
    Answer::from(schema.execute(Request::new(query).variables(variables)).await)
}

async fn data(query: &str) -> Option<Value> {
    answer(query, serde_json::json!({})).await.data
}

#[tokio::test]
async fn a_field_that_cannot_be_null_takes_all_data_with_it_and_another_does_not() {
    assert_eq!(data("{ fine }").await, Some(value!({ "fine": 1 })));
    assert_eq!(data("{ fine other: fails }").await, Some(Value::Null));
    assert_eq!(data("{ fine mayFail }").await, Some(value!({ "fine": 1, "mayFail": null })));
    assert_eq!(data("{ fine @skip(if: true) }").await, Some(value!({})));
}

#[tokio::test]
async fn errors_have_a_code_and_whether_to_try_again() {
    let failed = answer("{ fails }", serde_json::json!({})).await;
    assert_eq!(failed.code(), Some(Code::Overloaded));
    let unknown = answer("{ nothing }", serde_json::json!({})).await;
    assert_eq!((unknown.code(), unknown.data), (Some(Code::ValidationFailed), None));
}

#[tokio::test]
async fn a_variable_of_the_wrong_type_is_refused_and_not_repeated() {
    let query = "query($list: [Int!]!) { takes(list: $list) }";
    for wrong in ["\"4242\"", "[\"4242\"]", "{\"a\": 4242}", "4242.5", "null"] {
        let list: serde_json::Value = serde_json::from_str(wrong).unwrap();
        let refused = answer(query, serde_json::json!({ "list": list })).await;
        assert_eq!(refused.data, None, "{wrong}");
        assert_eq!(refused.code(), Some(Code::ValidationFailed), "{wrong}");
        assert!(!refused.errors[0].message.contains("4242"), "{:?}", refused.errors);
    }
}
