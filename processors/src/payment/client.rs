//! The calls to the payment provider: PaymentIntents, search and refunds as Stripe has them.

use std::time::Duration;

use bytes::Bytes;
use comanda_schemas::{Currency, OrderEvent, OrderId};
use reqwest::{Method, RequestBuilder};
use uuid::Uuid;

use super::Options;
use super::amount::from_provider;
use super::answer::{
    Failure, Intent, IntentStatus, Refund, RefundStatus, SearchResult, classify, parse,
};
use super::circuit::Circuit;
use crate::provider::{self, Auth, Endpoint, Http, code_of};

/// The API's version that the wire types are written after.
const API_VERSION: &str = "2025-09-30.clover";
/// Payments of one order that a look-up asks for: the most that the provider gives at once.
const SEARCH_LIMIT: &str = "100";

/// A client of the payment provider.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    pub circuit: Circuit,
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
    /// Where the payments of all versions stand together.
    pub order: Standing,
}

impl Client {
    pub fn new(options: &Options) -> Result<Self, provider::Error> {
        let http = Http::new(&Endpoint {
            provider: &options.provider,
            url: &options.provider_url,
            auth: Auth::Bearer(&options.secret_key),
            connect_timeout: Duration::from_millis(options.connect_timeout_ms),
            request_timeout: Duration::from_millis(options.request_timeout_ms),
        })?;
        let pause = Duration::from_millis(options.circuit_pause_ms);
        let circuit = Circuit::new(&options.provider, options.circuit_failures, pause);
        Ok(Self { http, circuit })
    }

    /// The body of a success, or what the answer or its absence means.
    async fn call(&self, name: &'static str, request: RequestBuilder) -> Result<Bytes, Failure> {
        let answer = classify(self.http.send(name, request).await);
        match &answer {
            Err(Failure::NotSent(_) | Failure::TimedOut | Failure::Open(_)) => {
                self.circuit.failed();
            }
            _ => self.circuit.answered(),
        }
        answer
    }

    /// Creates the payment of one version of an order and confirms it at once. `amount` is in the
    /// provider's units. Nothing that differs from try to try may go into the request: the
    /// provider compares it with the first one of the same key. `number` tells which key, from 1:
    /// see [`key`].
    pub async fn charge(
        &self,
        event: &OrderEvent,
        amount: i64,
        number: u32,
    ) -> Result<Standing, Failure> {
        let order_id = event.order_id.to_string();
        let version = event.version.to_string();
        let key = key(&format!("{order_id}:{version}"), number);
        let request = self.post("v1/payment_intents", &key).form(&[
            ("amount", amount.to_string().as_str()),
            ("currency", &event.order.currency.code().to_ascii_lowercase()),
            ("payment_method", &event.order.payment_method),
            ("confirm", "true"),
            // Nobody is there to be sent to a bank's page.
            ("automatic_payment_methods[enabled]", "true"),
            ("automatic_payment_methods[allow_redirects]", "never"),
            ("description", &format!("Order {order_id}")),
            ("metadata[order_id]", &order_id),
            ("metadata[version]", &version),
            ("metadata[terms]", &event.order.terms().to_string()),
        ]);
        let body = self.call("charge", request).await?;
        Ok(parse::<Intent>(&body)?.tried())
    }

    /// Where the payment of one version of an order stands.
    pub async fn look_up(&self, order_id: OrderId, version: i32) -> Result<Standing, Failure> {
        let query =
            format!("metadata['order_id']:'{order_id}' AND metadata['version']:'{version}'");
        let found = self.search(order_id, &query).await?;
        let of_version = found.into_iter().filter(|i| i.version() == Some(version));
        Ok(of_version.map(Intent::found).fold(Standing::Nothing, Standing::or))
    }

    /// Where the payments of an order stand; the charge of `version` comes first where there are
    /// several.
    pub async fn look_up_order(&self, order_id: OrderId, version: i32) -> Result<Found, Failure> {
        let found = self.search(order_id, &format!("metadata['order_id']:'{order_id}'")).await?;
        let (own, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|intent| intent.version() == Some(version));
        let own = own.into_iter().map(Intent::found).fold(Standing::Nothing, Standing::or);
        let order = others.into_iter().map(Intent::found).fold(own.clone(), Standing::or);
        Ok(Found { own, order })
    }

    /// Gives a whole charge back; a charge that was given back before is a success. `number` tells
    /// which key, from 1.
    pub async fn refund(
        &self,
        event: &OrderEvent,
        charge: &Charge,
        number: u32,
    ) -> Result<(), Failure> {
        let order_id = event.order_id.to_string();
        let version = event.version.to_string();
        let key = key(&format!("{order_id}:{version}:refund"), number);
        let request = self.post("v1/refunds", &key).form(&[
            ("payment_intent", charge.payment_id.as_str()),
            ("reason", "requested_by_customer"),
            ("metadata[order_id]", &order_id),
            ("metadata[version]", &version),
        ]);
        let body = match self.call("refund", request).await {
            Err(Failure::Invalid(code)) if code == "charge_already_refunded" => return Ok(()),
            answer => answer?,
        };
        match parse::<Refund>(&body)?.status {
            RefundStatus::Succeeded | RefundStatus::Pending | RefundStatus::RequiresAction => {
                Ok(())
            }
            RefundStatus::Failed => Err(Failure::Invalid("refund_failed".into())),
            RefundStatus::Canceled => Err(Failure::Invalid("refund_canceled".into())),
            RefundStatus::Other => Err(Failure::Open("unknown_refund_status".into())),
        }
    }

    fn post(&self, path: &str, key: &str) -> RequestBuilder {
        self.request(Method::POST, path, &[]).header("Idempotency-Key", key)
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        self.http.request(method, path, query).header("Stripe-Version", API_VERSION)
    }

    /// The payments that match. The provider's filter is not relied on: a payment of another order
    /// taken for one of this order would be a lost charge or a wrong refund.
    async fn search(&self, order_id: OrderId, query: &str) -> Result<Vec<Intent>, Failure> {
        let parameters = [("query", query), ("limit", SEARCH_LIMIT)];
        let request = self.request(Method::GET, "v1/payment_intents/search", &parameters);
        let body = self.call("look_up", request).await?;
        let mut found = parse::<SearchResult>(&body)?.data;
        let order_id = order_id.to_string();
        found.retain(|intent| intent.metadata.order_id.as_ref() == Some(&order_id));
        Ok(found)
    }
}

/// The idempotency key with this number: the first is `base` itself, those that replace a burnt
/// one have their number behind it, so that every processor tries the same keys in the same order.
fn key(base: &str, number: u32) -> String {
    if number == 1 { base.to_owned() } else { format!("{base}:{number}") }
}

impl Intent {
    fn version(&self) -> Option<i32> {
        self.metadata.version.as_deref()?.parse().ok()
    }

    /// Where a payment stands that has just been tried.
    fn tried(self) -> Standing {
        match self.status {
            IntentStatus::Succeeded => Standing::Charged(self.charge()),
            IntentStatus::RequiresPaymentMethod => self.declined("requires_payment_method"),
            IntentStatus::RequiresAction | IntentStatus::RequiresConfirmation => {
                self.declined("requires_action")
            }
            IntentStatus::Canceled => self.declined("canceled"),
            IntentStatus::Processing | IntentStatus::RequiresCapture | IntentStatus::Other => {
                Standing::Undecided
            }
        }
    }

    /// Where a payment stands that a look-up found: one that was created and not yet tried is
    /// none, the same request may still charge it.
    fn found(self) -> Standing {
        let untried = self.last_payment_error.is_none();
        match self.status {
            IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation if untried => {
                Standing::Nothing
            }
            _ => self.tried(),
        }
    }

    fn charge(self) -> Charge {
        let version = self.version();
        let terms = self.metadata.terms.as_deref().and_then(|terms| terms.parse().ok());
        let currency = self.currency.and_then(|code| Currency::parse(&code.to_ascii_uppercase()));
        let amount = self.amount.zip(currency).and_then(|(amount, currency)| {
            from_provider(amount, currency).map(|minor| (minor, currency))
        });
        Charge { payment_id: self.id, version, terms, amount }
    }

    fn declined(self, otherwise: &str) -> Standing {
        let reason = self.last_payment_error.as_ref().and_then(|error| error.decline());
        let code = reason.or_else(|| code_of(Some(otherwise))).unwrap_or_default();
        Standing::Declined { code, payment_id: self.id }
    }
}

impl Standing {
    /// Of two payments of the same order, where the order stands.
    fn or(self, other: Standing) -> Standing {
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
