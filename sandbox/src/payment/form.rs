//! Form-encoded bodies, read into what is asked for.

use comanda_schemas::Currency;
use sha2::{Digest, Sha256};

use super::refusal::Refusal;
use super::token::Token;

/// Stripe's limit: eight digits of minor units.
const MAX_AMOUNT: i64 = 99_999_999;
const MAX_METADATA: usize = 50;
const MAX_METADATA_KEY: usize = 40;
const MAX_METADATA_VALUE: usize = 500;

/// Parameters of a payment intent that are taken and make no difference here.
const WITHOUT_EFFECT: [&str; 9] = [
    "automatic_payment_methods",
    "capture_method",
    "customer",
    "description",
    "expand",
    "off_session",
    "payment_method_types",
    "receipt_email",
    "return_url",
];

pub(super) type Metadata = Box<[(Box<str>, Box<str>)]>;

/// A payment intent to create.
#[derive(Debug)]
pub(super) struct NewIntent {
    pub amount: i64,
    pub currency: Currency,
    pub token: Option<&'static Token>,
    pub confirm: bool,
    pub metadata: Metadata,
}

/// A refund to make.
#[derive(Debug)]
pub(super) struct NewRefund {
    pub payment_intent: String,
    /// `None`: what is left.
    pub amount: Option<i64>,
    pub metadata: Metadata,
}

/// A body's pairs, sorted.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub fn new(mut pairs: Vec<(String, String)>) -> Self {
        pairs.sort();
        Self(pairs)
    }

    /// Equal for equal requests to the same path, whatever the order of their parameters.
    pub fn fingerprint(&self, path: &[String]) -> [u8; 16] {
        let mut hash = Sha256::new();
        let pairs = self.0.iter().flat_map(|(key, value)| [key, value]);
        for text in path.iter().chain(pairs) {
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        let digest = hash.finalize();
        std::array::from_fn(|i| digest[i])
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn only(&self, names: &[&str], without_effect: &[&str]) -> Result<(), Refusal> {
        for (key, _) in &self.0 {
            let base = key.split('[').next().unwrap_or(key);
            let known = names.contains(&key.as_str()) || without_effect.contains(&base);
            if !known && base != "metadata" {
                let message = format!("Received unknown parameter: {key}");
                return Err(Refusal::parameter("parameter_unknown", key, message));
            }
        }
        Ok(())
    }

    fn amount(&self) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get("amount") else { return Ok(None) };
        match text.parse() {
            Ok(amount @ 1..=MAX_AMOUNT) => Ok(Some(amount)),
            Ok(1..) => Err(Refusal::parameter(
                "amount_too_large",
                "amount",
                format!("Amount must be no more than {MAX_AMOUNT}"),
            )),
            _ => Err(Refusal::parameter(
                "parameter_invalid_integer",
                "amount",
                format!("Not a positive integer: {text}"),
            )),
        }
    }

    fn metadata(&self) -> Result<Metadata, Refusal> {
        let entries = self.0.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix("metadata[")?.strip_suffix(']')?;
            Some((name, value))
        });
        let metadata: Metadata =
            entries.map(|(name, value)| (name.into(), value.as_str().into())).collect();
        let fits = |(name, value): &(Box<str>, Box<str>)| {
            name.chars().count() <= MAX_METADATA_KEY && value.chars().count() <= MAX_METADATA_VALUE
        };
        if metadata.len() > MAX_METADATA || !metadata.iter().all(fits) {
            let message = format!(
                "At most {MAX_METADATA} keys of {MAX_METADATA_KEY} characters, values of \
                 {MAX_METADATA_VALUE}"
            );
            return Err(Refusal::parameter("parameter_invalid", "metadata", message));
        }
        Ok(metadata)
    }

    pub fn intent(&self) -> Result<NewIntent, Refusal> {
        self.only(&["amount", "currency", "payment_method", "confirm"], &WITHOUT_EFFECT)?;
        let amount = self.amount()?.ok_or_else(|| Refusal::missing("amount"))?;
        let currency = self.get("currency").ok_or_else(|| Refusal::missing("currency"))?;
        let currency = Currency::parse(&currency.to_ascii_uppercase()).ok_or_else(|| {
            let message = format!("Invalid currency: {currency}");
            Refusal::parameter("parameter_invalid", "currency", message)
        })?;
        let token = self.get("payment_method").map(|name| {
            Token::parse(name).ok_or_else(|| {
                let message = format!("No such PaymentMethod: '{name}'");
                Refusal::parameter("resource_missing", "payment_method", message)
            })
        });
        let token = token.transpose()?;
        let confirm = match self.get("confirm") {
            None | Some("false") => false,
            Some("true") if token.is_some() => true,
            Some("true") => return Err(Refusal::missing("payment_method")),
            Some(other) => {
                let message = format!("Invalid boolean: {other}");
                return Err(Refusal::parameter("parameter_invalid", "confirm", message));
            }
        };
        Ok(NewIntent { amount, currency, token, confirm, metadata: self.metadata()? })
    }

    pub fn refund(&self) -> Result<NewRefund, Refusal> {
        self.only(&["payment_intent", "amount", "reason"], &["expand"])?;
        let intent = self.get("payment_intent");
        let payment_intent = intent.ok_or_else(|| Refusal::missing("payment_intent"))?.to_owned();
        Ok(NewRefund { payment_intent, amount: self.amount()?, metadata: self.metadata()? })
    }
}
