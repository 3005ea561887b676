//! Reading orders back.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{ANA, BOB, House, OPERATOR, code, order};

const READ: &str = "query($id: ID!, $receipt: String) {
    order(id: $id, receipt: $receipt) { id customerId status contact { email } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_makes_a_query_wait_for_its_own_write() -> Result<()> {
    let house = House::open().await?;
    let (id, token) = house.placed(ANA, order("ana", None)).await?;
    let before = house.data(ANA, READ, json!({ "id": id })).await?;
    assert_eq!(before["order"], Value::Null, "nobody fills the store yet");
    let waiting = house.data(ANA, READ, json!({ "id": id, "receipt": token }));
    let (read, projector) = tokio::join!(waiting, house.projector());
    projector?;
    assert_eq!(read?["order"]["id"], json!(id));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_get_there_is_a_retriable_error() -> Result<()> {
    let house = House::with(|options| options.receipt_wait_ms = 50).await?;
    let (id, token) = house.placed(ANA, order("ana", None)).await?;
    let variables = json!({ "id": id, "receipt": token });
    let (status, answer) = house.ask(Some(ANA), READ, variables).await?;
    assert_eq!((status, code(&answer)), (StatusCode::OK, "RECEIPT_TIMEOUT"));
    assert_eq!(answer["data"], json!({ "order": null }));
    assert_eq!(answer["errors"][0]["extensions"]["retriable"], json!(true));
    for wrong in ["", "x", "AQ", "AQAAb3RoZXI"] {
        let variables = json!({ "id": id, "receipt": wrong });
        let (_, answer) = house.ask(Some(ANA), READ, variables).await?;
        assert_eq!(code(&answer), "BAD_USER_INPUT", "{wrong}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_its_customers_and_the_operators_alone() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let (id, token) = house.placed(ANA, order("ana", None)).await?;
    let variables = json!({ "id": id, "receipt": token });
    for key in [ANA, OPERATOR] {
        let read = house.data(key, READ, variables.clone()).await?;
        assert_eq!(read["order"]["contact"]["email"], "ana@example.com");
    }
    let foreign = house.data(BOB, READ, variables).await?;
    assert_eq!(foreign["order"], Value::Null);
    for nonsense in ["", "no-id", "00000000-0000-0000-0000-000000000000"] {
        let read = house.data(ANA, READ, json!({ "id": nonsense })).await?;
        assert_eq!(read["order"], Value::Null);
    }
    Ok(())
}

const LIST: &str =
    "query($first: Int, $after: String, $last: Int, $before: String, $filter: OrderFilter) {
    orders(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
        edges { cursor node { id } } nodes { id customerId }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_through_all_orders_and_back() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let mut placed = Vec::new();
    for _ in 0..5 {
        let (id, token) = house.placed(ANA, order("ana", None)).await?;
        house.data(ANA, READ, json!({ "id": id, "receipt": token })).await?;
        placed.insert(0, id);
    }
    let (foreign, token) = house.placed(BOB, order("bob", None)).await?;
    house.data(BOB, READ, json!({ "id": foreign, "receipt": token })).await?;

    let ids = |page: &Value| -> Vec<String> {
        let nodes = page["orders"]["nodes"].as_array().unwrap();
        nodes.iter().map(|n| n["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = house.data(ANA, LIST, json!({ "first": 3 })).await?;
    assert_eq!(ids(&first), placed[..3]);
    let info = &first["orders"]["pageInfo"];
    assert_eq!((&info["hasNextPage"], &info["hasPreviousPage"]), (&json!(true), &json!(false)));
    assert_eq!(info["startCursor"], first["orders"]["edges"][0]["cursor"]);
    let rest = house.data(ANA, LIST, json!({ "first": 3, "after": info["endCursor"] })).await?;
    assert_eq!(ids(&rest), placed[3..], "only Ana's own");
    let info = &rest["orders"]["pageInfo"];
    assert_eq!((&info["hasNextPage"], &info["hasPreviousPage"]), (&json!(false), &json!(true)));
    let back = house.data(ANA, LIST, json!({ "last": 2, "before": info["startCursor"] })).await?;
    assert_eq!(ids(&back), placed[1..3]);

    let filter = |filter: Value| json!({ "filter": filter });
    let all = house.data(OPERATOR, LIST, json!({})).await?;
    assert_eq!(ids(&all).len(), 6);
    let bobs = house.data(OPERATOR, LIST, filter(json!({ "customerId": "bob" }))).await?;
    assert_eq!(ids(&bobs), [foreign]);
    let others = house.data(ANA, LIST, filter(json!({ "customerId": "bob" }))).await?;
    assert_eq!(ids(&others), Vec::<String>::new());
    let paid = house.data(ANA, LIST, filter(json!({ "status": ["PAID"] }))).await?;
    assert_eq!(ids(&paid), Vec::<String>::new());
    let old = json!({ "placedBefore": "2020-01-01T00:00:00Z" });
    assert_eq!(ids(&house.data(ANA, LIST, filter(old)).await?), Vec::<String>::new());
    let pending = json!({ "status": ["PENDING"], "placedAfter": "2020-01-01T00:00:00+02:00" });
    assert_eq!(ids(&house.data(ANA, LIST, filter(pending)).await?), placed);

    for wrong in
        [json!({ "first": 1, "last": 1 }), json!({ "first": 101 }), json!({ "after": "x" })]
    {
        let (status, answer) = house.ask(Some(ANA), LIST, wrong.clone()).await?;
        assert_eq!((status, code(&answer)), (StatusCode::BAD_REQUEST, "BAD_USER_INPUT"), "{wrong}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_come_in_the_order_they_are_asked_for() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let (id, token) = house.placed(ANA, order("ana", None)).await?;
    let query = format!(
        r#"{{ order(id: "{id}", receipt: "{token}") {{ version id timeline {{ version type eventId }} customerId }} }}"#
    );
    let request = house.http.post(house.url()).bearer_auth(ANA);
    let text = request.json(&json!({ "query": query })).send().await?.text().await?;
    let places: Vec<_> = ["version", "\"id\"", "timeline", "type", "eventId", "customerId"]
        .iter()
        .map(|field| text.find(field).unwrap())
        .collect();
    assert!(places.is_sorted(), "{text}");
    Ok(())
}

const SEARCH: &str = "query($first: Int, $after: String, $filter: OrderFilter) {
    orders(first: $first, after: $after, filter: $filter) {
        totalCount nodes { id lines { sku } note payment { status }
            timeline { type eventId } notifications { status } }
        pageInfo { hasNextPage endCursor } } }";

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_found_by_payment_text_and_time_and_counted() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let mut placed = Vec::new();
    for note in ["Without ONIONS", "extra olives"] {
        let mut input = order("ana", None);
        input["note"] = json!(note);
        let (id, token) = house.placed(ANA, input).await?;
        house.data(ANA, READ, json!({ "id": id, "receipt": token })).await?;
        placed.insert(0, id);
    }
    let find = async |key: &'static str, filter: Value| -> Result<(Vec<String>, Value)> {
        let page = house.data(key, SEARCH, json!({ "filter": filter })).await?;
        let nodes = page["orders"]["nodes"].as_array().unwrap();
        let ids = nodes.iter().map(|n| n["id"].as_str().unwrap().to_owned()).collect();
        Ok((ids, page["orders"]["totalCount"].clone()))
    };
    let all = (placed.clone(), json!(2));
    let second = (vec![placed[1].clone()], json!(1));
    let none = (Vec::new(), json!(0));
    for key in [ANA, OPERATOR] {
        assert_eq!(find(key, json!({})).await?, all);
        assert_eq!(find(key, json!({ "text": "onions" })).await?, second);
        assert_eq!(find(key, json!({ "text": "ANA@example" })).await?, all);
        assert_eq!(find(key, json!({ "paymentStatus": ["PENDING", "UNKNOWN"] })).await?, all);
        assert_eq!(find(key, json!({ "paymentStatus": ["FAILED"] })).await?, none);
        assert_eq!(find(key, json!({ "paymentId": "pi_none" })).await?, none);
        assert_eq!(find(key, json!({ "updatedAfter": "2020-01-01T00:00:00Z" })).await?, all);
        assert_eq!(find(key, json!({ "updatedBefore": "2020-01-01T00:00:00Z" })).await?, none);
    }
    assert_eq!(find(BOB, json!({ "text": "onions" })).await?, none, "another's order");
    assert_eq!(find(BOB, json!({ "customerId": "ana" })).await?, none);

    let page = house.data(ANA, SEARCH, json!({ "first": 2 })).await?;
    for node in page["orders"]["nodes"].as_array().unwrap() {
        assert!(node["lines"][0]["sku"].is_string() && node["note"].is_string(), "{node}");
        assert_eq!(node["timeline"][0]["type"], "ORDER_PLACED");
        assert_eq!(node["notifications"], json!([]));
    }
    for wrong in [json!({ "text": "" }), json!({ "text": "x".repeat(101) })] {
        let variables = json!({ "filter": wrong });
        let (_, answer) = house.ask(Some(ANA), SEARCH, variables).await?;
        assert_eq!(code(&answer), "BAD_USER_INPUT");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_is_read_backwards_in_parts() -> Result<()> {
    let house = House::open().await?;
    let _projector = house.projector().await?;
    let (id, mut token) = house.placed(ANA, order("ana", None)).await?;
    for n in 0..4 {
        let update = "mutation($id: ID!, $note: String, $receipt: String) {
            updateOrder(input: { orderId: $id, note: $note, receipt: $receipt }) {
                receipt { token } errors { code }
                order { timeline(last: 1) { type version } } } }";
        let variables = json!({ "id": id, "note": format!("note {n}"), "receipt": token });
        let changed = house.data(ANA, update, variables).await?;
        assert_eq!(changed["updateOrder"]["errors"], json!([]));
        let entries = &changed["updateOrder"]["order"]["timeline"];
        assert_eq!(*entries, json!([{ "type": "ORDER_UPDATED", "version": n + 2 }]));
        token = changed["updateOrder"]["receipt"]["token"].as_str().unwrap().to_owned();
    }
    let read = "query($id: ID!, $receipt: String, $last: Int, $before: ID) {
        order(id: $id, receipt: $receipt) {
            all: timeline { eventId } part: timeline(last: $last, before: $before) {
                eventId version } } }";
    let ask = async |last: Option<i32>, before: &Value| {
        let variables = json!({ "id": id, "receipt": token, "last": last, "before": before });
        house.data(ANA, read, variables).await
    };
    let whole = ask(None, &Value::Null).await?;
    let all = whole["order"]["all"].as_array().unwrap().clone();
    assert_eq!(all.len(), 5);
    let (mut seen, mut before) = (Vec::new(), Value::Null);
    loop {
        let page = ask(Some(2), &before).await?;
        let part = page["order"]["part"].as_array().unwrap().clone();
        let Some(first) = part.first() else { break };
        before = first["eventId"].clone();
        seen = [part.iter().map(|e| json!({ "eventId": e["eventId"] })).collect(), seen].concat();
    }
    assert_eq!(seen, all);
    let foreign = json!("00000000-0000-0000-0000-000000000000");
    assert_eq!(ask(Some(2), &foreign).await?["order"]["part"], json!([]));
    for (last, before) in [(Some(101), Value::Null), (Some(-1), Value::Null), (None, json!("x"))] {
        let variables = json!({ "id": id, "last": last, "before": before });
        let (_, answer) = house.ask(Some(ANA), read, variables).await?;
        assert_eq!(code(&answer), "BAD_USER_INPUT", "{last:?} {before}");
    }
    Ok(())
}
