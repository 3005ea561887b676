//! Stripe: PaymentIntents, created and confirmed in one call, their search by metadata, and refunds.
//!
//! - `answer`: what its answers mean
//! - `amount`: its units
//!
//! Sources: "PaymentIntents", "Search" and "Refunds" in Stripe's API reference
//! (<https://docs.stripe.com/api>).

mod amount;
mod answer;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use comanda_schemas::{Currency, OrderEvent, OrderId};
use reqwest::{Method, RequestBuilder, Url};

use super::{Api, Charge, Failure, Found, Standing};
use crate::payment::Options;
use crate::provider::{self, Auth, Endpoint, Http, code_of};
use amount::{from_provider, to_provider};
use answer::{Intent, IntentStatus, Refund, RefundStatus, SearchResult, classify, parse};

/// The API's version that the wire types are written after.
const API_VERSION: &str = "2025-09-30.clover";
/// How far Stripe's search may run behind where nothing is wrong with it, in milliseconds
/// (<https://docs.stripe.com/search#data-freshness>).
const SEARCH_LAG_MS: u64 = 60_000;
/// Payments of one order that a look-up asks for: the most that the provider gives at once.
const SEARCH_LIMIT: &str = "100";

/// A client of Stripe, or of whoever speaks its API.
#[derive(Debug)]
pub(super) struct Stripe(Http);

impl Stripe {
    pub fn new(options: &Options) -> Result<Self, provider::Error> {
        if is_stripes(&options.provider_url) && options.search_lag_ms < SEARCH_LAG_MS {
            return Err(provider::Error::Setting {
                provider: options.provider.name().to_owned(),
                setting: "search_lag_ms",
                problem: "must be at least 60000 at Stripe, whose search runs up to a minute behind",
            });
        }
        Ok(Self(Http::new(&Endpoint {
            provider: options.provider.name(),
            url: &options.provider_url,
            auth: Auth::Bearer(&options.secret_key),
            connect_timeout: Duration::from_millis(options.connect_timeout_ms),
            request_timeout: Duration::from_millis(options.request_timeout_ms),
        })?))
    }

    /// The body of a success, or what the answer or its absence means.
    async fn call(&self, name: &'static str, request: RequestBuilder) -> Result<Bytes, Failure> {
        classify(self.0.send(name, request).await)
    }

    fn post(&self, path: &str, key: &str) -> RequestBuilder {
        self.request(Method::POST, path, &[]).header("Idempotency-Key", key)
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        self.0.request(method, path, query).header("Stripe-Version", API_VERSION)
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

/// Whether a URL leads to Stripe itself.
fn is_stripes(url: &str) -> bool {
    let url = Url::parse(url).ok();
    url.as_ref().and_then(Url::host_str).is_some_and(|host| host.ends_with(".stripe.com"))
}

#[async_trait]
impl Api for Stripe {
    fn can_charge(&self, minor: i64, currency: Currency) -> bool {
        to_provider(minor, currency).is_some_and(|amount| amount > 0)
    }

    async fn charge(&self, event: &OrderEvent, key: u32) -> Result<Standing, Failure> {
        let order = &event.order;
        let amount = to_provider(order.total_minor, order.currency)
            .ok_or_else(|| Failure::Invalid("amount_not_chargeable".into()))?;
        let order_id = event.order_id.to_string();
        let version = event.version.to_string();
        let key = numbered(&format!("{order_id}:{version}"), key);
        // Nothing that differs from try to try may go into the request: it is compared with the
        // first one of the same key.
        let request = self.post("v1/payment_intents", &key).form(&[
            ("amount", amount.to_string().as_str()),
            ("currency", &order.currency.code().to_ascii_lowercase()),
            ("payment_method", &order.payment_method),
            ("confirm", "true"),
            // Nobody is there to be sent to a bank's page.
            ("automatic_payment_methods[enabled]", "true"),
            ("automatic_payment_methods[allow_redirects]", "never"),
            ("description", &format!("Order {order_id}")),
            ("metadata[order_id]", &order_id),
            ("metadata[version]", &version),
            ("metadata[terms]", &order.terms().to_string()),
        ]);
        let body = self.call("charge", request).await?;
        Ok(parse::<Intent>(&body)?.tried())
    }

    async fn look_up(&self, order_id: OrderId, version: i32) -> Result<Standing, Failure> {
        let query =
            format!("metadata['order_id']:'{order_id}' AND metadata['version']:'{version}'");
        let found = self.search(order_id, &query).await?;
        let of_version = found.into_iter().filter(|i| i.version() == Some(version));
        Ok(of_version.map(Intent::found).fold(Standing::Nothing, Standing::or))
    }

    async fn look_up_order(&self, order_id: OrderId, version: i32) -> Result<Found, Failure> {
        let found = self.search(order_id, &format!("metadata['order_id']:'{order_id}'")).await?;
        let (own, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|intent| intent.version() == Some(version));
        Ok(Found::of(own.into_iter().map(Intent::found), others.into_iter().map(Intent::found)))
    }

    async fn refund(
        &self,
        event: &OrderEvent,
        charge: &Charge,
        is_only: bool,
        key: u32,
    ) -> Result<(), Failure> {
        let order_id = event.order_id.to_string();
        let version = event.version.to_string();
        let mut base = format!("{order_id}:{version}:refund");
        if !is_only {
            base = format!("{base}:{}", charge.payment_id);
        }
        let key = numbered(&base, key);
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
}

/// The idempotency key with this number: the first is `base` itself, those that replace a burnt
/// one have their number behind it, so that every processor tries the same keys in the same order.
fn numbered(base: &str, number: u32) -> String {
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
