//! Watching orders.

use async_graphql::{ComplexObject, Context, ID, SimpleObject, Subscription as GraphQl};
use futures_util::{Stream, StreamExt};

use super::outputs::OrderEventType;
use super::scalars::DateTime;
use super::{Asker, House, Order};
use crate::auth::Principal;
use crate::failure::{Code, Failure};
use crate::updates::{Cursor, Update, Watch};

/// The root of subscriptions.
pub(crate) struct Subscription;

/// Something that happened to an order.
#[derive(SimpleObject)]
#[graphql(complex, serial)]
pub(crate) struct OrderUpdate {
    /// Where to go on after this update: give it as `after` of a later subscription.
    cursor: String,
    /// What happened.
    r#type: OrderEventType,
    /// When it happened.
    at: DateTime,
    /// The order it happened to.
    order_id: ID,
    /// The event that tells of it, a UUID.
    event_id: ID,
    #[graphql(skip)]
    update: Update,
}

#[ComplexObject]
impl OrderUpdate {
    /// The order as it stands after the event, or later; null where the order store has not come
    /// that far in time.
    async fn order(&self, context: &Context<'_>) -> Option<Order> {
        let house = House::of(context);
        house.wait_until_passed(std::slice::from_ref(&self.update.passed)).await.ok()?;
        let state = house.store.state(self.update.order_id).await.ok()??;
        Order::single(&house.store, state)
    }
}

/// Watching orders.
#[GraphQl]
impl Subscription {
    /// What happens to one order, or, without `orderId`, to all that the caller may see.
    ///
    /// With `after`, it begins with what happened since. Without, it begins with the state of the
    /// order where one is named, and with what happens from now on where none is.
    async fn order_updates<'c>(
        &self,
        context: &Context<'c>,
        #[graphql(desc = "The order to watch.")] order_id: Option<ID>,
        #[graphql(desc = "Cursor of the last update that was received.")] after: Option<String>,
    ) -> Result<impl Stream<Item = Result<OrderUpdate, Failure>> + use<'c>, Failure> {
        let principal = Asker::of(context).principal()?.clone();
        let after = after.as_deref().map(Cursor::parse).transpose()?;
        // Boxed: async-graphql keeps the room that the start takes as long as the subscription.
        let updates = Box::pin(watch(House::of(context), principal, order_id, after)).await?;
        Ok(updates.map(|update| update.map(OrderUpdate::from)))
    }
}

/// Begins to watch, where the principal may.
async fn watch(
    house: &House,
    principal: Principal,
    order_id: Option<ID>,
    after: Option<Cursor>,
) -> Result<impl Stream<Item = Result<Update, Failure>> + Send + use<>, Failure> {
    let watch = match order_id {
        None => Watch::All(principal),
        Some(id) => {
            let id = id.parse().map_err(|_| no_such_order())?;
            // One that was placed a moment ago may not have reached the store. Nobody else waits
            // for it: that would tell that it exists.
            if let Some(placed) = house.placing.recent_receipt(id, &principal) {
                house.wait_until_passed(&[placed.passed()]).await?;
            }
            house.order(&principal, id).await?.ok_or_else(no_such_order)?;
            Watch::Order(id, principal)
        }
    };
    house.updates.watch(watch, after).await
}

fn no_such_order() -> Failure {
    Failure::new(Code::NotFound, "there is no such order, or none that the caller may see")
}

impl From<Update> for OrderUpdate {
    fn from(update: Update) -> Self {
        Self {
            cursor: update.cursor.to_string(),
            r#type: update.kind.into(),
            at: update.at.into(),
            order_id: update.order_id.to_string().into(),
            event_id: update.event_id.to_string().into(),
            update,
        }
    }
}
