//! What the mutations that change orders answer.

use async_graphql::SimpleObject;
use metrics::counter;

use super::Order;
use super::outputs::Receipt;
use super::{Asker, House};
use crate::change::{Changed, Refused};
use crate::failure::Failure;
use crate::input::{Ask, UserError};
use crate::metrics::CHANGES_TOTAL;

/// Declares a payload, so that each mutation has a type of its own.
macro_rules! payload {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(SimpleObject)]
        #[graphql(serial)]
        pub(crate) struct $name {
            /// The order after it; where it was refused, as it stands, and null where there is none
            /// that the caller may see.
            order: Option<Order>,
            /// Where the event is stored that tells of it.
            receipt: Option<Receipt>,
            /// What keeps it from being done; empty where it was.
            errors: Vec<UserError>,
        }

        impl From<Answer> for $name {
            fn from(Answer { order, receipt, errors }: Answer) -> Self {
                Self { order, receipt, errors }
            }
        }
    };
}

payload!(
    /// What became of a change.
    UpdateOrderPayload
);
payload!(
    /// What became of a cancellation.
    CancelOrderPayload
);
payload!(
    /// What became of another try at a payment.
    RetryPaymentPayload
);

/// What every payload has.
pub(super) struct Answer {
    order: Option<Order>,
    receipt: Option<Receipt>,
    errors: Vec<UserError>,
}

/// Has a change made that was parsed.
pub(super) async fn change(
    house: &House,
    asker: &Asker,
    change: &'static str,
    ask: Result<Ask, Vec<UserError>>,
) -> Result<Answer, Failure> {
    let principal = asker.principal()?;
    house.rates.orders(principal, &asker.prepaid, 1)?;
    let ask = match ask {
        Ok(ask) => ask,
        Err(errors) => {
            counter!(CHANGES_TOTAL, "change" => change, "outcome" => "invalid").increment(1);
            return Ok(Answer { order: None, receipt: None, errors });
        }
    };
    if let Some(token) = &ask.receipt {
        house.wait_for(token).await?;
    }
    match house.changing.change(principal, ask, asker.trace.child()).await {
        Ok(Changed { order, receipt }) => {
            let receipt = Some(Receipt(receipt.into()));
            Ok(Answer { order: Some(order.into()), receipt, errors: Vec::new() })
        }
        Err(Refused::Wrong(errors, order)) => {
            let order = order.map(|order| Order::from(*order));
            Ok(Answer { order, receipt: None, errors })
        }
        Err(Refused::Failed(failure)) => Err(failure),
    }
}
