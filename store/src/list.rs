//! What a list of orders is asked by and gives.

use std::fmt;
use std::str::FromStr;

use comanda_schemas::{OrderId, Timestamp};

use crate::{Error, OrderState, OrderStatus, PaymentStatus};

/// Most orders on one page, and most events in one answer; a request for more gets this many.
pub const MAX_PAGE: u32 = 1000;

/// Most orders that one page looks through, and that are counted.
///
/// A page of what one customer has, or of one state, is read as it is. Where further conditions have
/// to be checked order by order, so many are checked, and the page ends.
pub const MAX_SEARCH: u32 = 2_000;

/// Which orders; every condition that is given has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this customer.
    pub customer_id: Option<String>,
    /// Only those with one of these states; any where empty.
    pub statuses: Vec<OrderStatus>,
    /// Only those whose payment has one of these states; any where empty.
    pub payment_statuses: Vec<PaymentStatus>,
    /// Only those with this payment of the provider's.
    pub payment_id: Option<String>,
    /// Only those in whose contact or note this text stands, in capitals or not.
    pub text: Option<String>,
    /// Only those to which something happened at this time or later.
    pub updated_after: Option<Timestamp>,
    /// Only those to which nothing happened at this time or later.
    pub updated_before: Option<Timestamp>,
    /// Only those placed at this time or later.
    pub placed_after: Option<Timestamp>,
    /// Only those placed earlier than this time.
    pub placed_before: Option<Timestamp>,
}

/// A place in the list of all orders, which runs from the newest to the oldest.
///
/// Its text form is for handing out and taking back; nobody else should read anything into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// When the order at this place was placed.
    pub placed_at: Timestamp,
    /// The order at this place.
    pub id: OrderId,
}

/// First character of a cursor's text: the form that follows.
const CURSOR_VERSION: &str = "1";
/// Digits of the time in a cursor's text.
const TIME_DIGITS: usize = 16;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.placed_at.as_micros();
        write!(f, "{CURSOR_VERSION}{time:0TIME_DIGITS$x}{}", self.id.as_uuid().simple())
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (time, id) = text.strip_prefix(CURSOR_VERSION)?.split_at_checked(TIME_DIGITS)?;
            let time = u64::from_str_radix(time, 16).ok()?;
            let placed_at = Timestamp::from_micros(time.cast_signed());
            let cursor = Self { placed_at, id: id.parse().ok()? };
            // One place has one text: no capitals, no signs, no other notation of the id.
            (cursor.to_string() == text).then_some(cursor)
        };
        parse().ok_or(Error::Cursor)
    }
}

/// Which part of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// From the newer to the older.
    Forward {
        /// How many, at most [`MAX_PAGE`].
        first: u32,
        /// Only what follows this place.
        after: Option<Cursor>,
    },
    /// The other end: the last ones before a place.
    Backward {
        /// How many, at most [`MAX_PAGE`].
        last: u32,
        /// Only what precedes this place.
        before: Option<Cursor>,
    },
}

/// One page of orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The orders, newest first whichever way the page was asked for.
    pub orders: Vec<OrderState>,
    /// Whether older orders follow, or may follow where `edge` says so.
    pub has_next: bool,
    /// Whether newer orders precede, or may precede where `edge` says so.
    pub has_previous: bool,
    /// Where the search for more ended, where it ended before the page was full: at [`MAX_SEARCH`]
    /// orders. The next page goes on from there.
    pub edge: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order_id() -> OrderId {
        OrderId::derive("c-1", "k-1")
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_text_form(micros: i64) {
            let cursor = Cursor { placed_at: Timestamp::from_micros(micros), id: order_id() };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }

        #[test]
        fn any_other_text_is_refused_without_a_panic(text in ".*") {
            prop_assert!(matches!(text.parse::<Cursor>(), Err(Error::Cursor)));
        }
    }

    #[test]
    fn a_cursor_in_another_notation_is_refused() {
        let good = Cursor { placed_at: Timestamp::from_micros(0xabc), id: order_id() }.to_string();
        assert!(good.parse::<Cursor>().is_ok());
        for bad in [
            good.to_uppercase(),
            good.replacen('1', "2", 1),
            good.replacen("10", "1+", 1),
            format!("{good}0"),
            good[..good.len() - 1].to_owned(),
            format!("1{:016x}{}", 0xabc, order_id()),
        ] {
            assert!(matches!(bad.parse::<Cursor>(), Err(Error::Cursor)), "{bad}");
        }
    }
}
