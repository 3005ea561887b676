//! Pages of orders, after the GraphQL Cursor Connections Specification (Relay).

use async_graphql::{Object, SimpleObject};
use comanda_store::{Cursor, Filter, Listing, OrderState, Page, Store};

use super::Order;
use crate::failure::{Code, Failure};

/// Orders on a page where nothing is said.
const DEFAULT_PAGE: u32 = 20;
/// Most orders on a page.
const MAX_PAGE: u32 = 100;

/// The type `OrderConnection`.
pub(crate) struct OrderConnection {
    store: Store,
    filter: Option<Filter>,
    is_backward: bool,
    listing: Listing,
}

/// A page of orders.
#[Object(serial)]
impl OrderConnection {
    /// The orders with their cursors.
    async fn edges(&self) -> Vec<OrderEdge> {
        let cursors: Vec<_> = self.listing.orders.iter().map(cursor_of).collect();
        let edge = |(cursor, node)| OrderEdge { cursor, node };
        cursors.into_iter().zip(self.orders()).map(edge).collect()
    }

    /// The orders alone.
    async fn nodes(&self) -> Vec<Order> {
        self.orders()
    }

    /// How many orders there are on all pages together; null where more than 2,000 would have to be
    /// looked at to tell.
    #[graphql(complexity = "100")]
    async fn total_count(&self) -> Result<Option<u32>, Failure> {
        match &self.filter {
            Some(filter) => Ok(self.store.count(filter).await?),
            None => Ok(Some(0)),
        }
    }

    /// What there is beyond the page. A page on which conditions are checked order by order can have
    /// fewer orders than were asked for, or none, and a next page all the same: each looks through
    /// 2,000 orders at the most.
    async fn page_info(&self) -> PageInfo {
        let Listing { orders, has_next, has_previous, edge } = &self.listing;
        let edge = edge.map(|cursor| cursor.to_string());
        let (start, end) = match self.is_backward {
            true => (edge, None),
            false => (None, edge),
        };
        PageInfo {
            has_next_page: *has_next,
            has_previous_page: *has_previous,
            start_cursor: start.or_else(|| orders.first().map(cursor_of)),
            end_cursor: end.or_else(|| orders.last().map(cursor_of)),
        }
    }
}

impl OrderConnection {
    /// The page of those that pass `filter`; an empty one where there is none.
    pub async fn read(store: &Store, filter: Option<Filter>, page: Page) -> Result<Self, Failure> {
        let listing = match &filter {
            Some(filter) => store.orders(filter, page).await?,
            None => {
                let orders = Vec::new();
                Listing { orders, has_next: false, has_previous: false, edge: None }
            }
        };
        let is_backward = matches!(page, Page::Backward { .. });
        Ok(Self { store: store.clone(), filter, is_backward, listing })
    }

    fn orders(&self) -> Vec<Order> {
        Order::listed(&self.store, self.listing.orders.clone())
    }
}

/// An order in a list.
#[derive(SimpleObject)]
#[graphql(serial)]
pub(crate) struct OrderEdge {
    /// Its place in the list.
    cursor: String,
    /// The order.
    node: Order,
}

/// What there is beyond a page.
#[derive(SimpleObject)]
#[graphql(serial)]
pub(crate) struct PageInfo {
    /// Whether there are older ones.
    has_next_page: bool,
    /// Whether there are newer ones.
    has_previous_page: bool,
    /// Cursor of the first order on the page.
    start_cursor: Option<String>,
    /// Cursor of the last order on the page.
    end_cursor: Option<String>,
}

fn cursor_of(order: &OrderState) -> String {
    Cursor { placed_at: order.placed_at, id: order.id }.to_string()
}

/// Which page, as a client asks for it.
pub(crate) struct PageRequest {
    pub first: Option<i32>,
    pub after: Option<String>,
    pub last: Option<i32>,
    pub before: Option<String>,
}

impl PageRequest {
    /// How many orders the page can have, to weigh the query by; what is out of bounds is refused
    /// later.
    pub fn size(first: Option<i32>, last: Option<i32>) -> usize {
        let asked = first.or(last).and_then(|n| u32::try_from(n).ok()).unwrap_or(DEFAULT_PAGE);
        asked.clamp(1, MAX_PAGE) as usize
    }

    pub fn parse(self) -> Result<Page, Failure> {
        let invalid = |message| Err(Failure::new(Code::Invalid, message));
        match (self.first, self.last) {
            (Some(_), Some(_)) => invalid("give first or last, not both"),
            (first, None) if self.before.is_none() => {
                Ok(Page::Forward { first: size(first, "first")?, after: cursor(self.after)? })
            }
            (None, last) if self.after.is_none() => {
                Ok(Page::Backward { last: size(last, "last")?, before: cursor(self.before)? })
            }
            _ => invalid("after goes with first, before goes with last"),
        }
    }
}

fn size(asked: Option<i32>, name: &str) -> Result<u32, Failure> {
    let size = asked.map_or(Ok(DEFAULT_PAGE), u32::try_from);
    size.ok()
        .filter(|size| *size <= MAX_PAGE)
        .ok_or_else(|| Failure::new(Code::Invalid, format!("{name} must be from 0 to {MAX_PAGE}")))
}

fn cursor(text: Option<String>) -> Result<Option<Cursor>, Failure> {
    text.map(|text| text.parse().map_err(Failure::from)).transpose()
}

#[cfg(test)]
mod tests {
    use comanda_schemas::{OrderId, Timestamp};

    use super::*;

    fn parse(
        first: Option<i32>,
        after: Option<&str>,
        last: Option<i32>,
        before: Option<&str>,
    ) -> Result<Page, Code> {
        let (after, before) = (after.map(str::to_owned), before.map(str::to_owned));
        PageRequest { first, after, last, before }.parse().map_err(|failure| failure.code)
    }

    #[test]
    fn a_page_is_asked_for_from_one_end() {
        let cursor = Cursor { placed_at: Timestamp::from_millis(5), id: OrderId::derive("c", "k") };
        let text = cursor.to_string();
        let forward = |first, after| Ok(Page::Forward { first, after });
        let backward = |last, before| Ok(Page::Backward { last, before });
        assert_eq!(parse(None, None, None, None), forward(20, None));
        assert_eq!(parse(Some(100), Some(&text), None, None), forward(100, Some(cursor)));
        assert_eq!(parse(Some(0), None, None, None), forward(0, None));
        assert_eq!(parse(None, Some(&text), None, None), forward(20, Some(cursor)));
        assert_eq!(parse(None, None, Some(3), None), backward(3, None));
        assert_eq!(parse(None, None, Some(3), Some(&text)), backward(3, Some(cursor)));
        assert_eq!(parse(None, None, None, Some(&text)), backward(20, Some(cursor)));
        let nonsense = [
            parse(Some(1), None, Some(1), None),
            parse(Some(101), None, None, None),
            parse(Some(-1), None, None, None),
            parse(None, None, Some(101), None),
            parse(Some(1), Some("x"), None, None),
            parse(Some(1), None, None, Some(&text)),
            parse(None, Some(&text), Some(1), None),
            parse(None, Some(&text), None, Some(&text)),
        ];
        for (n, refused) in nonsense.into_iter().enumerate() {
            assert_eq!(refused, Err(Code::Invalid), "{n}");
        }
    }
}
