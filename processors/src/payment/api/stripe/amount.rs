//! Amounts as the provider counts them.
//!
//! Events count in the minor units of ISO 4217. Stripe does so too, with exceptions that are a
//! hundredfold off when they are overlooked; see "Minor units" and "Special cases" on
//! <https://docs.stripe.com/currencies>.

use comanda_schemas::Currency;

/// Without decimals in ISO 4217; the provider still takes them with two.
const WITH_TWO_DECIMALS: [&str; 2] = ["ISK", "UGX"];
/// With two decimals in ISO 4217 (of which one is in use, fifths); the provider takes none.
const WITHOUT_DECIMALS: [&str; 1] = ["MGA"];
/// With three decimals, of which the provider takes the last as zero alone.
const WITH_THREE_DECIMALS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];
const HUNDRED: i64 = 100;

/// An amount in minor units as the provider counts it; `None` when it can't be expressed.
pub(super) fn to_provider(minor: i64, currency: Currency) -> Option<i64> {
    let code = currency.code();
    if WITH_TWO_DECIMALS.contains(&code) {
        minor.checked_mul(HUNDRED)
    } else if WITHOUT_DECIMALS.contains(&code) {
        (minor % HUNDRED == 0).then_some(minor / HUNDRED)
    } else if WITH_THREE_DECIMALS.contains(&code) {
        (minor % 10 == 0).then_some(minor)
    } else {
        Some(minor)
    }
}

/// The reverse of [`to_provider`].
pub(super) fn from_provider(amount: i64, currency: Currency) -> Option<i64> {
    let code = currency.code();
    if WITH_TWO_DECIMALS.contains(&code) {
        (amount % HUNDRED == 0).then_some(amount / HUNDRED)
    } else if WITHOUT_DECIMALS.contains(&code) {
        amount.checked_mul(HUNDRED)
    } else {
        Some(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to(code: &str, minor: i64) -> Option<i64> {
        to_provider(minor, Currency::parse(code).unwrap())
    }

    #[test]
    fn minor_units_are_sent_as_they_are() {
        assert_eq!(to("EUR", 1250), Some(1250));
        assert_eq!(to("JPY", 500), Some(500));
        assert_eq!(to("KWD", 5120), Some(5120));
    }

    #[test]
    fn exceptions_are_converted() {
        assert_eq!(to("ISK", 5), Some(500));
        assert_eq!(to("UGX", 5), Some(500));
        assert_eq!(to("MGA", 500), Some(5));
    }

    #[test]
    fn what_the_provider_can_not_express_is_none() {
        assert_eq!(to("MGA", 520), None);
        assert_eq!((to("KWD", 5123), to("TND", 1), to("BHD", 10)), (None, None, Some(10)));
        assert_eq!(to("ISK", i64::MAX), None);
    }

    proptest! {
        #[test]
        fn an_amount_survives_the_way_there_and_back(
            minor in 0i64..=i64::MAX / HUNDRED,
            code in prop::sample::select(vec!["EUR", "JPY", "KWD", "ISK", "UGX", "MGA"]),
        ) {
            let currency = Currency::parse(code).unwrap();
            if let Some(amount) = to_provider(minor, currency) {
                prop_assert_eq!(from_provider(amount, currency), Some(minor));
            }
        }
    }
}
