//! Placing and changing orders.

use async_graphql::{Context, Object, SimpleObject};
use metrics::counter;

use super::Order;
use super::change::{self, CancelOrderPayload, RetryPaymentPayload, UpdateOrderPayload};
use super::inputs::{CancelOrderInput, PlaceOrderInput, RetryPaymentInput, UpdateOrderInput};
use super::outputs::Receipt;
use super::{Asker, House};
use crate::auth::Principal;
use crate::failure::{Code, Failure};
use crate::input::{Ask, ErrorCode, PlaceOrder, UserError};
use crate::metrics::PLACEMENTS_TOTAL;
use crate::place::{Placed, Refused, lost};

/// The root of mutations.
pub(crate) struct Mutation;

/// What became of an order that was to be placed.
#[derive(SimpleObject)]
#[graphql(serial)]
pub(crate) struct PlaceOrderPayload {
    /// The order; null where it was not placed.
    pub order: Option<Order>,
    /// Where the event is stored that placed it.
    pub receipt: Option<Receipt>,
    /// What keeps it from being placed; empty where it was.
    pub errors: Vec<UserError>,
}

/// The same, before anything is made of it that nobody may ask for.
pub(crate) enum Payload {
    Placed(Placed),
    Refused(Vec<UserError>),
}

/// Placing and changing orders. What is answered with a receipt is stored.
#[Object]
impl Mutation {
    /// Places an order. What is wrong with the order comes back as `errors`; where the system
    /// fails, that is a GraphQL error with `extensions.code` and `extensions.retriable`.
    async fn place_order(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The order.")] input: PlaceOrderInput,
    ) -> Result<PlaceOrderPayload, Failure> {
        let payload = place_order(House::of(context), Asker::of(context), input).await?;
        Ok(payload.into())
    }

    /// Places many orders, each with its own outcome, in the order of the inputs. Failures of the
    /// system are among the `errors` of those they befell.
    #[graphql(complexity = "child_complexity + 1")]
    async fn place_orders(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The orders, 100 at most where the gateway is not set up otherwise.")]
        inputs: Vec<PlaceOrderInput>,
    ) -> Result<Vec<PlaceOrderPayload>, Failure> {
        let payloads = place_orders(House::of(context), Asker::of(context), inputs).await?;
        Ok(payloads.into_iter().map(PlaceOrderPayload::from).collect())
    }

    /// Changes an order. Before a charge, lines, payment method, contact and note can change, and
    /// the order is charged as it is then; an order whose payment failed is charged again. After the
    /// charge only contact and note can. Where a change meets another one or the charge on its way,
    /// the topic's order decides: one that came too late shows in the timeline as CHANGE_REJECTED.
    async fn update_order(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The change.")] input: UpdateOrderInput,
    ) -> Result<UpdateOrderPayload, Failure> {
        let (asker, house) = (Asker::of(context), House::of(context));
        let ask = Ask::update(input, &["input"], house.limits.max_lines);
        Ok(change::change(house, asker, "update", ask).await?.into())
    }

    /// Cancels an order. What was charged is given back; what was not is not charged any more.
    async fn cancel_order(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The cancellation.")] input: CancelOrderInput,
    ) -> Result<CancelOrderPayload, Failure> {
        let (asker, house) = (Asker::of(context), House::of(context));
        let ask = Ask::cancel(input, &["input"]);
        Ok(change::change(house, asker, "cancel", ask).await?.into())
    }

    /// Tries a payment that failed once more, with another payment method where one is given.
    async fn retry_payment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The order, and how to pay.")] input: RetryPaymentInput,
    ) -> Result<RetryPaymentPayload, Failure> {
        let (asker, house) = (Asker::of(context), House::of(context));
        let ask = Ask::retry(input, &["input"]);
        Ok(change::change(house, asker, "retry", ask).await?.into())
    }
}

/// What `placeOrder` does.
pub(crate) async fn place_order(
    house: &House,
    asker: &Asker,
    input: PlaceOrderInput,
) -> Result<Payload, Failure> {
    let principal = asker.principal()?;
    house.rates.orders(principal, &asker.prepaid, 1)?;
    let at = ["input"];
    let refusal = match check(house, principal, input, &at) {
        Err(refusal) => refusal,
        Ok(wanted) => match house.placing.place(wanted, asker.trace.child()).await {
            Ok(placed) => return Ok(Payload::Placed(placed)),
            Err(refused) => Refusal::of(refused, &at),
        },
    };
    match refusal {
        Refusal::Failed(failure) => Err(failure),
        Refusal::Wrong(errors) => Ok(Payload::Refused(errors)),
    }
}

/// What `placeOrders` does.
pub(crate) async fn place_orders(
    house: &House,
    asker: &Asker,
    inputs: Vec<PlaceOrderInput>,
) -> Result<Vec<Payload>, Failure> {
    let principal = asker.principal()?;
    let max = house.limits.max_batch;
    if inputs.len() > max {
        let message = format!("placeOrders takes at most {max} orders at one time");
        return Err(Failure::new(Code::LimitExceeded, message));
    }
    house.rates.orders(principal, &asker.prepaid, inputs.len())?;
    let (mut wanted, mut payloads) = (Vec::with_capacity(inputs.len()), Vec::new());
    for (n, input) in inputs.into_iter().enumerate() {
        let n = n.to_string();
        let at = ["inputs", n.as_str()];
        payloads.push(match check(house, principal, input, &at) {
            Err(refusal) => Some(refusal.among_many(&at)),
            Ok(good) => {
                wanted.push((good, asker.trace.child()));
                None
            }
        });
    }
    let mut placed = house.placing.place_all(wanted).await.into_iter();
    let payloads = payloads.into_iter().enumerate().map(|(n, refused)| match refused {
        Some(refused) => refused,
        None => match placed.next().unwrap_or_else(|| Err(lost())) {
            Ok(placed) => Payload::Placed(placed),
            Err(refused) => {
                let n = n.to_string();
                let at = ["inputs", n.as_str()];
                Refusal::of(refused, &at).among_many(&at)
            }
        },
    });
    Ok(payloads.collect())
}

/// Why an order was not placed.
enum Refusal {
    /// For reasons of its own.
    Wrong(Vec<UserError>),
    Failed(Failure),
}

/// What is wanted, where nothing is wrong with it and the principal may.
fn check(
    house: &House,
    principal: &Principal,
    input: PlaceOrderInput,
    at: &[&str],
) -> Result<PlaceOrder, Refusal> {
    let refused = |outcome| counter!(PLACEMENTS_TOTAL, "outcome" => outcome).increment(1);
    if !principal.is_allowed(&input.customer_id) {
        refused(Code::Forbidden.as_str());
        let message = "the key or token does not allow orders of this customer";
        return Err(Refusal::Failed(Failure::new(Code::Forbidden, message)));
    }
    PlaceOrder::parse(input, at, house.limits.max_lines).map_err(|errors| {
        refused("invalid");
        Refusal::Wrong(errors)
    })
}

impl Refusal {
    fn of(refused: Refused, at: &[&str]) -> Self {
        match refused {
            Refused::Failed(failure) => Self::Failed(failure),
            Refused::Conflict => {
                let path = [at, &["idempotencyKey"]].concat();
                let message = "another order was placed with this idempotency key";
                Self::Wrong(vec![UserError::new(ErrorCode::IdempotencyConflict, &path, message)])
            }
        }
    }

    /// The payload of the order at `at`, of several.
    fn among_many(self, at: &[&str]) -> Payload {
        Payload::Refused(match self {
            Self::Failed(failure) => vec![UserError::of_failure(failure, at)],
            Self::Wrong(errors) => errors,
        })
    }
}

impl From<Payload> for PlaceOrderPayload {
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Refused(errors) => Self { order: None, receipt: None, errors },
            Payload::Placed(placed) => {
                let receipt = Some(Receipt(placed.receipt.clone()));
                Self { order: Some(placed.view().into()), receipt, errors: Vec::new() }
            }
        }
    }
}
