//! What differs between payment providers: how a charge, a look-up and a refund are asked for, and
//! what the answers mean.
//!
//! A provider is an [`Api`]. When something is asked, how often and what follows from the answer is
//! the same for all and lives elsewhere.

mod failure;
mod stripe;

use std::fmt;

use async_trait::async_trait;
use comanda_schemas::{Currency, OrderEvent, OrderId};
use serde::Deserialize;
use uuid::Uuid;

use super::Options;
use crate::provider::Error;
pub(super) use failure::Failure;

/// A payment provider that comanda can charge through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// <https://stripe.com>; base URL `https://api.stripe.com`.
    Stripe,
    /// `comanda sandbox payment`, which speaks Stripe's API and takes nobody's money.
    Sandbox,
}

impl Provider {
    /// Name in settings, payment events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Stripe => "stripe",
            Provider::Sandbox => "sandbox",
        }
    }

    pub(super) fn api(self, options: &Options) -> Result<Box<dyn Api>, Error> {
        match self {
            Provider::Stripe | Provider::Sandbox => Ok(Box::new(stripe::Stripe::new(options)?)),
        }
    }
}

/// One provider's API.
///
/// Each call is one request and never repeats itself. The money that an order event moves carries
/// the order's id and version, so that it can be found by them. `key` numbers the idempotency keys
/// of one order event, from 1: the same event and number give the same request under the same key,
/// in every process and at all times.
#[async_trait]
pub(super) trait Api: fmt::Debug + Send + Sync {
    /// Whether a charge can be of so much, in minor units.
    fn can_charge(&self, minor: i64, currency: Currency) -> bool;

    /// Charges the event's version of its order.
    async fn charge(&self, event: &OrderEvent, key: u32) -> Result<Standing, Failure>;

    /// Where the payment of one version of an order stands.
    async fn look_up(&self, order_id: OrderId, version: i32) -> Result<Standing, Failure>;

    /// Where the payments of all versions of an order stand, for the one who asks as `version`.
    async fn look_up_order(&self, order_id: OrderId, version: i32) -> Result<Found, Failure>;

    /// Gives the whole of `charge` back, as `event` asks; one that was given back before is a
    /// success. `is_only` says that the order has no other.
    async fn refund(
        &self,
        event: &OrderEvent,
        charge: &Charge,
        is_only: bool,
        key: u32,
    ) -> Result<(), Failure>;
}

/// Where a payment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// The money is taken.
    Charged(Charge),
    /// The provider has not decided yet, or says something that this build does not know.
    Undecided,
    /// Tried and refused.
    Declined { code: String, payment_id: String },
    /// There is none, or one that was never tried.
    Nothing,
}

/// Money taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Charge {
    pub payment_id: String,
    /// Version of the order that was charged; `None` where the provider does not say.
    pub version: Option<i32>,
    /// [`comanda_schemas::Order::terms`] of what was charged; `None` where the provider does not
    /// say.
    pub terms: Option<Uuid>,
    /// How much, in minor units; `None` where the provider's figure is not understood.
    pub amount: Option<(i64, Currency)>,
}

/// What a look-up found of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the payment of the version stands that was asked about.
    pub own: Standing,
    /// Where the payments of all versions stand together; the charge of the version that was asked
    /// about comes first where there are several.
    pub order: Standing,
    /// All charges of the order, that of the version that was asked about first.
    pub charges: Vec<Charge>,
}

impl Found {
    /// Of the payments of the version that is asked about, and of all others.
    pub fn of(own: impl Iterator<Item = Standing>, others: impl Iterator<Item = Standing>) -> Self {
        let mut charges = Vec::new();
        let mut note = |standing: &Standing| {
            if let Standing::Charged(charge) = standing {
                charges.push(charge.clone());
            }
        };
        let own = own.inspect(&mut note).fold(Standing::Nothing, Standing::or);
        let order = others.inspect(&mut note).fold(own.clone(), Standing::or);
        Self { own, order, charges }
    }
}

impl Standing {
    /// Of two payments of the same order, where the order stands.
    pub fn or(self, other: Standing) -> Standing {
        if other.weight() > self.weight() { other } else { self }
    }

    fn weight(&self) -> u8 {
        match self {
            Standing::Nothing => 0,
            Standing::Declined { .. } => 1,
            Standing::Undecided => 2,
            Standing::Charged(_) => 3,
        }
    }
}
