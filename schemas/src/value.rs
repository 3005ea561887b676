//! The small values that events are made of: ids, time, currency.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// Namespace of derived order ids; generated once for this project.
const ORDER_NAMESPACE: Uuid = Uuid::from_u128(0x2c1d_9a54_0f3b_4a86_b7e2_4d90_61fe_c835);

/// Id of an order; as text, the key of every record about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(Uuid);

impl OrderId {
    /// The id that a customer's idempotency key stands for: UUIDv5 over the customer's and the
    /// key's length-prefixed bytes, so that no two pairs share a name.
    pub fn derive(customer_id: &str, idempotency_key: &str) -> Self {
        let name = format!("{}:{customer_id}{idempotency_key}", customer_id.len());
        Self(Uuid::new_v5(&ORDER_NAMESPACE, name.as_bytes()))
    }

    /// A new id for a request without an idempotency key (UUIDv7: sortable by time).
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }

    /// Whether it stands for an idempotency key, as those of [`OrderId::derive`] do.
    pub fn is_derived(self) -> bool {
        self.0.get_version_num() == 5
    }

    /// The id as UUID.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for OrderId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OrderId {
    type Err = uuid::Error;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}

/// Microseconds since the Unix epoch, UTC (Avro `timestamp-micros`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Timestamp {
    /// The system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From microseconds since the Unix epoch.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the Unix epoch, as Kafka stamps records.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since the Unix epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Time from `earlier` to this; zero when it is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 with microseconds, e.g. `2026-11-24T12:00:00.000001Z`.
    pub fn to_rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .ok()
            .and_then(|t| t.format(&Rfc3339).ok())
            .unwrap_or_else(|| self.0.to_string())
    }

    /// From RFC 3339 text.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// An ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// From the three-letter code in capitals; `None` when ISO 4217 does not know it, or it is
    /// nothing to pay with: metals, funds and test codes have no minor unit.
    pub fn parse(code: &str) -> Option<Self> {
        let currency = iso_currency::Currency::from_code(code)?;
        currency.exponent().is_some().then_some(Self(currency))
    }

    /// The three-letter code.
    pub fn code(&self) -> &'static str {
        self.0.code()
    }

    /// Digits after the decimal point: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn decimals(&self) -> u32 {
        self.0.exponent().unwrap_or(0).into()
    }

    /// An amount in minor units as text with the code, e.g. `12.50 EUR`.
    pub fn format_minor(&self, minor: i64) -> String {
        let decimals = self.decimals();
        if decimals == 0 {
            return format!("{minor} {}", self.code());
        }
        let unit = 10u64.pow(decimals);
        let sign = if minor < 0 { "-" } else { "" };
        let (whole, part) = (minor.unsigned_abs() / unit, minor.unsigned_abs() % unit);
        format!("{sign}{whole}.{part:0width$} {}", self.code(), width = decimals as usize)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Currency;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an ISO 4217 currency code")
            }
            fn visit_str<E: de::Error>(self, code: &str) -> Result<Currency, E> {
                Currency::parse(code)
                    .ok_or_else(|| E::custom(format_args!("unknown currency {code:?}")))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_customer_and_key_give_the_same_order() {
        assert_eq!(OrderId::derive("c-1", "k-1"), OrderId::derive("c-1", "k-1"));
        assert_ne!(OrderId::derive("c-1", "k-1"), OrderId::derive("c-1", "k-2"));
        assert_ne!(OrderId::derive("c-1", "1k"), OrderId::derive("c-11", "k"));
        assert!(OrderId::derive("c-1", "k-1").is_derived() && !OrderId::random().is_derived());
    }

    #[test]
    fn amounts_are_written_with_the_currencys_own_decimals() {
        let text = |code, minor| Currency::parse(code).unwrap().format_minor(minor);
        assert_eq!(text("EUR", 1250), "12.50 EUR");
        assert_eq!(text("EUR", 5), "0.05 EUR");
        assert_eq!(text("EUR", -1250), "-12.50 EUR");
        assert_eq!(text("JPY", 1250), "1250 JPY");
        assert_eq!(text("KWD", 1250), "1.250 KWD");
        assert!(Currency::parse("eur").is_none());
        assert!(Currency::parse("ABC").is_none());
        assert!(Currency::parse("XAU").is_none() && Currency::parse("XXX").is_none());
    }

    #[test]
    fn a_timestamp_survives_its_text_form() {
        let t = Timestamp::from_micros(1_795_484_800_123_456);
        assert_eq!(Timestamp::parse_rfc3339(&t.to_rfc3339()), Some(t));
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(3)).as_millis(), 2);
        assert_eq!(Timestamp::from_millis(3).since(Timestamp::from_millis(5)).as_millis(), 0);
    }
}
