//! One customer does the worst that its limits allow; another one still places its orders.

use std::sync::Arc;

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::house::{ANA, BOB, House, PLACE, code, order};
use crate::ws_client::WsClient;

/// Requests of the hostile customer at one time, beyond what it may have in flight.
const HOSTILE: usize = 24;
/// Orders of the other customer.
const ORDERS: usize = 60;

/// What the hostile customer sends, over and over.
fn hostile(n: usize, id: &str) -> (String, Value) {
    match n % 3 {
        0 => {
            let page = |n| {
                format!("a{n}: orders(first: 100) {{ totalCount nodes {{ id lines {{ sku }} }} }} ")
            };
            let pages: String = (0..20).map(page).collect();
            (format!("{{ {pages} }}"), json!({}))
        }
        1 => {
            let change = "mutation($input: UpdateOrderInput!) {
                updateOrder(input: $input) { errors { code } } }";
            let input = json!({ "orderId": id, "note": format!("note {n}") });
            (change.to_owned(), json!({ "input": input }))
        }
        _ => {
            let all = "mutation($inputs: [PlaceOrderInput!]!) {
                placeOrders(inputs: $inputs) { errors { code } } }";
            (all.to_owned(), json!({ "inputs": vec![order("bob", None); 100] }))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_customer_at_its_worst_refuses_no_order_of_another() -> Result<()> {
    let house = House::with(|options| {
        (options.customer_rate, options.customer_burst) = (200, 2_000);
        (options.customer_in_flight, options.customer_reads) = (16, 2);
        options.max_open_changes = 5;
        options.max_complexity = 20_000;
    })
    .await?;
    let _projector = house.projector().await?;
    let (id, _) = house.placed(BOB, order("bob", None)).await?;
    let house = Arc::new(house);
    let mut attack = JoinSet::new();
    for n in 0..HOSTILE {
        let (house, (query, variables)) = (house.clone(), hostile(n, &id));
        attack.spawn(async move {
            loop {
                // A connection that is cut is the hostile client's own affair.
                let _ = house.ask(Some(BOB), &query, variables.clone()).await;
            }
        });
    }
    let addr = house.addr;
    attack.spawn(async move {
        let query = "subscription { orderUpdates(after: \"AQ\") { cursor } }";
        loop {
            let Ok(mut client) = WsClient::of(addr, BOB).await else { continue };
            let payload = json!({ "query": query });
            let _ = client.say(json!({ "type": "subscribe", "id": "1", "payload": payload })).await;
            tokio::task::yield_now().await;
        }
    });
    for n in 0..ORDERS {
        let key = format!("key-{n}");
        let input = json!({ "input": order("ana", Some(&key)) });
        let (status, answer) = house.ask(Some(ANA), PLACE, input).await?;
        assert_eq!((status, code(&answer)), (StatusCode::OK, ""), "order {n}: {answer}");
        assert_eq!(answer["data"]["placeOrder"]["errors"], json!([]), "order {n}");
    }
    // The attack went on all the time.
    assert_eq!(attack.len(), HOSTILE + 1);
    assert!(attack.try_join_next().is_none(), "a hostile client has stopped");
    attack.shutdown().await;
    Ok(())
}
