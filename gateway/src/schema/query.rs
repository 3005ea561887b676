//! Reading orders.

use async_graphql::{Context, ID, Object};
use comanda_store::Filter;

use super::connection::{OrderConnection, PageRequest};
use super::inputs::OrderFilter;
use super::{Asker, House, Order};
use crate::auth::Principal;
use crate::failure::Failure;

/// The root of queries.
pub(crate) struct Query;

/// Reading orders, as the order store has them: a moment behind what is stored on Kafka. A receipt
/// makes up for that.
#[Object]
impl Query {
    /// One order; null where there is none that the caller may see.
    async fn order(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The order's id.")] id: ID,
        #[graphql(
            desc = "Token of a receipt: waits until the order store has seen the event. Error \
                    RECEIPT_TIMEOUT where that takes too long."
        )]
        receipt: Option<String>,
    ) -> Option<Result<Order, Failure>> {
        let order = async {
            let (asker, house) = (Asker::of(context), House::of(context));
            asker.principal()?;
            if let Some(token) = receipt {
                house.wait_for(&token).await?;
            }
            // What is no id is the id of no order.
            let Ok(id) = id.parse() else { return Ok(None) };
            house.order(asker.reader(&house.rates).await?, id).await
        };
        let store = &House::of(context).store;
        let found = order.await.map(|found| found.and_then(|state| Order::single(store, state)));
        found.transpose()
    }

    /// Orders, newest first. Give `first` (and `after`) or `last` (and `before`), not both.
    #[graphql(complexity = "PageRequest::size(first, last) * child_complexity")]
    async fn orders(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many from the newest on: 0 to 100. 20 where neither is given.")]
        first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many up to the oldest: 0 to 100.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which orders.")] filter: Option<OrderFilter>,
    ) -> Result<OrderConnection, Failure> {
        let principal = Asker::of(context).principal()?;
        let page = PageRequest { first, after, last, before }.parse()?;
        let filter = filter.unwrap_or_default();
        filter.check()?;
        let house = House::of(context);
        Asker::of(context).reader(&house.rates).await?;
        OrderConnection::read(&house.store, visible(principal, filter), page).await
    }
}

/// The filter narrowed to what `principal` may see; `None` where that is nothing.
fn visible(principal: &Principal, filter: OrderFilter) -> Option<Filter> {
    let asked = filter.customer_id.map(|id| id.0);
    let customer_id = match (principal, asked) {
        (Principal::Operator, asked) => asked,
        (Principal::Customer(own), None) => Some(own.to_string()),
        (Principal::Customer(own), Some(asked)) => Some(asked).filter(|id| **id == **own),
    };
    if matches!(principal, Principal::Customer(_)) && customer_id.is_none() {
        return None;
    }
    Some(Filter {
        customer_id,
        statuses: filter.status.unwrap_or_default().into_iter().map(Into::into).collect(),
        payment_statuses: filter
            .payment_status
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect(),
        payment_id: filter.payment_id,
        text: filter.text,
        updated_after: filter.updated_after.map(|time| time.0),
        updated_before: filter.updated_before.map(|time| time.0),
        placed_after: filter.placed_after.map(|time| time.0),
        placed_before: filter.placed_before.map(|time| time.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customers_filter_never_reaches_others() {
        let ana = Principal::Customer("ana".into());
        let asking = |id: Option<&str>| OrderFilter {
            customer_id: id.map(|id| ID(id.into())),
            ..OrderFilter::default()
        };
        let seen = |principal, id| visible(principal, asking(id)).map(|f| f.customer_id);
        assert_eq!(seen(&ana, None), Some(Some("ana".into())));
        assert_eq!(seen(&ana, Some("ana")), Some(Some("ana".into())));
        assert_eq!(seen(&ana, Some("bob")), None);
        assert_eq!(seen(&Principal::Operator, None), Some(None));
        assert_eq!(seen(&Principal::Operator, Some("bob")), Some(Some("bob".into())));
    }
}
