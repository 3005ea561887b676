use comanda_schemas::{OrderEvent, OrderEventType, OrderId, PaymentEventType};
use comanda_store::{Cursor, Filter, OrderState, OrderStatus, OrderView, Page, Store};
use proptest::prelude::*;

use crate::samples::{Log, asked, result, seconds};
use crate::{TestStore, block_on};

/// Orders of two customers, many placed in the same second, in three states.
fn log(orders: &[(u8, i64, u8)]) -> Log {
    let mut log = Log::default();
    for (n, (customer, second, outcome)) in orders.iter().enumerate() {
        let placed = OrderEvent {
            customer_id: format!("c-{customer}"),
            occurred_at: seconds(*second),
            ..asked(&format!("k-{n}"), 1, OrderEventType::Placed)
        };
        let outcome = match outcome {
            0 => Some(PaymentEventType::Succeeded),
            1 => Some(PaymentEventType::Failed),
            _ => None,
        };
        outcome.map(|outcome| log.payment(result(&placed, outcome)).records.len());
        log.order(placed);
    }
    log
}

fn filters() -> impl Strategy<Value = Filter> {
    let statuses = vec![OrderStatus::Paid, OrderStatus::PaymentFailed, OrderStatus::Pending];
    (
        prop::option::weighted(0.3, 0..2u8),
        prop::sample::subsequence(statuses, 0..=2),
        prop::option::weighted(0.3, 0..6i64),
        prop::option::weighted(0.3, 0..6i64),
    )
        .prop_map(|(customer, statuses, after, before)| Filter {
            customer_id: customer.map(|c| format!("c-{c}")),
            statuses,
            placed_after: after.map(seconds),
            placed_before: before.map(seconds),
            ..Filter::default()
        })
}

fn passes(filter: &Filter, order: &OrderView) -> bool {
    filter.customer_id.as_ref().is_none_or(|c| *c == order.customer_id)
        && (filter.statuses.is_empty() || filter.statuses.contains(&order.status))
        && filter.placed_after.is_none_or(|t| order.placed_at >= t)
        && filter.placed_before.is_none_or(|t| order.placed_at < t)
}

fn cursor(order: &OrderState) -> Cursor {
    Cursor { placed_at: order.placed_at, id: order.id }
}

/// All pages one after the other, newest first, whichever way they are walked.
async fn walk(store: &Store, filter: &Filter, size: u32, forward: bool) -> Vec<OrderId> {
    let mut seen: Vec<OrderId> = Vec::new();
    let mut edge = None;
    loop {
        let page = match forward {
            true => Page::Forward { first: size, after: edge },
            false => Page::Backward { last: size, before: edge },
        };
        let listing = store.orders(filter, page).await.unwrap();
        let ids: Vec<_> = listing.orders.iter().map(|o| o.id).collect();
        let (more, back) = match forward {
            true => (listing.has_next, listing.has_previous),
            false => (listing.has_previous, listing.has_next),
        };
        assert_eq!(back, edge.is_some(), "what was walked over lies behind");
        let repeated = ids.iter().find(|id| seen.contains(id));
        assert_eq!(repeated, None, "an order is on one page only");
        match forward {
            true => seen.extend(ids),
            false => seen = [ids, seen].concat(),
        }
        if !more {
            return seen;
        }
        assert_eq!(listing.orders.len(), size as usize, "a page before the last is full");
        let edge_order = if forward { listing.orders.last() } else { listing.orders.first() };
        edge = edge_order.map(cursor);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn pages_in_either_direction_show_each_matching_order_once_newest_first(
        orders in prop::collection::vec((0..2u8, 0..6i64, 0..3u8), 0..14),
        filter in filters(),
        size in 1..5u32,
    ) {
        block_on(async {
            for test in TestStore::each().await {
                test.store.apply(&log(&orders).records).await.unwrap();
                let mut all = Vec::new();
                for n in 0..orders.len() {
                    let id = OrderId::derive("c-1", &format!("k-{n}"));
                    all.push(test.store.order(id).await.unwrap().unwrap());
                }
                all.retain(|order| passes(&filter, order));
                all.sort_by_key(|order| std::cmp::Reverse((order.placed_at, order.id)));
                let expected: Vec<_> = all.iter().map(|order| order.id).collect();
                assert_eq!(walk(&test.store, &filter, size, true).await, expected);
                assert_eq!(walk(&test.store, &filter, size, false).await, expected);
            }
        });
    }
}

#[tokio::test]
async fn an_order_in_a_list_is_what_it_is_alone() {
    for test in TestStore::each().await {
        test.store.apply(&log(&[(0, 1, 0), (1, 2, 1), (0, 3, 2)]).records).await.unwrap();
        let page = Page::Forward { first: 10, after: None };
        let listing = test.store.orders(&Filter::default(), page).await.unwrap();
        assert_eq!(listing.orders.len(), 3);
        for state in listing.orders {
            assert_eq!(test.store.state(state.id).await.unwrap().as_ref(), Some(&state));
            let order = test.store.order(state.id).await.unwrap().unwrap();
            let contents = test.store.contents(&[state.content, state.latest]).await.unwrap();
            assert_eq!(
                (order.id, order.version, order.status),
                (state.id, state.version, state.status)
            );
            assert_eq!((order.customer_id, order.payment), (state.customer_id, state.payment));
            assert_eq!((order.placed_at, order.updated_at), (state.placed_at, state.updated_at));
            assert_eq!((order.waiting_since, order.receipt), (state.waiting_since, state.receipt));
            assert_eq!(contents.get(&state.content), Some(&order.order));
            assert_eq!(contents.get(&state.latest), Some(&order.latest));
        }
    }
}

#[tokio::test]
async fn a_page_of_nothing_still_tells_what_lies_around_it() {
    for test in TestStore::each().await {
        test.store.apply(&log(&[(0, 1, 0), (0, 2, 0)]).records).await.unwrap();
        let page = Page::Forward { first: 0, after: None };
        let listing = test.store.orders(&Filter::default(), page).await.unwrap();
        assert_eq!(
            (listing.orders.len(), listing.has_next, listing.has_previous),
            (0, true, false)
        );

        let page = Page::Backward { last: 1, before: None };
        let oldest = test.store.orders(&Filter::default(), page).await.unwrap();
        let page = Page::Forward { first: 5, after: Some(cursor(&oldest.orders[0])) };
        let listing = test.store.orders(&Filter::default(), page).await.unwrap();
        assert_eq!(
            (listing.orders.len(), listing.has_next, listing.has_previous),
            (0, false, true)
        );
    }
}
