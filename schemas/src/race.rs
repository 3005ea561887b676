//! Which of the changes of an order count, where several were on their way at one time.
//!
//! The order of the log decides. The gateway gives a change the version after the latest one that
//! it knows; where somebody else was first with that version, the later one was made for an order
//! that is not there any more, and does not count. A cancellation asks for nothing that could be
//! out of date: it always counts, and nothing does after it.

use std::collections::HashSet;

use uuid::Uuid;

use crate::{OrderEvent, OrderEventType};

/// Why a change was not made: `payment.detail` of a `CHANGE_REJECTED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Another event of the order was first with its version.
    VersionTaken,
    /// The order was cancelled before.
    OrderCancelled,
    /// The order was charged before, on other terms.
    AlreadyCharged,
    /// It was a dead letter, and the order has moved on since.
    Overtaken,
}

impl Rejection {
    /// Every value.
    pub const ALL: &[Self] =
        &[Self::VersionTaken, Self::OrderCancelled, Self::AlreadyCharged, Self::Overtaken];

    /// The word that stands in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VersionTaken => "version_taken",
            Self::OrderCancelled => "order_cancelled",
            Self::AlreadyCharged => "already_charged",
            Self::Overtaken => "overtaken",
        }
    }

    /// The value of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rejection| rejection.as_str() == word)
    }
}

/// `payment.detail` of a `SUCCEEDED` for a change that leaves the charge of an earlier version as
/// it is.
pub const CHARGED_BEFORE: &str = "charged_before";

/// The events of one order in the order of the log, as far as it was read.
#[derive(Debug, Clone, Default)]
pub struct Race {
    seen: HashSet<Uuid>,
    version: Option<i32>,
    is_cancelled: bool,
}

impl Race {
    /// Whether the next event of the log counts; `None` where it was in the log before.
    pub fn enter(&mut self, event: &OrderEvent) -> Option<Result<(), Rejection>> {
        self.enter_change(event.event_id, event.r#type, event.version)
    }

    /// As [`Race::enter`], of an event that is known by these alone.
    pub fn enter_change(
        &mut self,
        event_id: Uuid,
        r#type: OrderEventType,
        version: i32,
    ) -> Option<Result<(), Rejection>> {
        if !self.seen.insert(event_id) {
            return None;
        }
        let is_late = self.version.is_some_and(|latest| version <= latest);
        self.version = self.version.max(Some(version));
        Some(match r#type {
            OrderEventType::Cancelled => {
                self.is_cancelled = true;
                Ok(())
            }
            OrderEventType::Placed | OrderEventType::Updated | OrderEventType::Unknown => {
                if self.is_cancelled {
                    Err(Rejection::OrderCancelled)
                } else if is_late {
                    Err(Rejection::VersionTaken)
                } else {
                    Ok(())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::order_event;
    use OrderEventType::*;

    fn event(version: i32, r#type: OrderEventType, note: &str) -> OrderEvent {
        let mut event = order_event();
        event.order.note = Some(note.into());
        let OrderEvent { order_id, order, .. } = &event;
        let event_id = OrderEvent::derive_change_id(*order_id, version, r#type, order, None);
        OrderEvent { event_id, version, r#type, ..event }
    }

    fn entered(events: &[OrderEvent]) -> Vec<Option<Result<(), Rejection>>> {
        let mut race = Race::default();
        events.iter().map(|event| race.enter(event)).collect()
    }

    #[test]
    fn the_first_with_a_version_counts_and_the_next_goes_on_from_it() {
        let [a, b] = ["a", "b"].map(|note| event(2, Updated, note));
        let log = [event(1, Placed, ""), a.clone(), b, a, event(3, Updated, "c")];
        let taken = Some(Err(Rejection::VersionTaken));
        assert_eq!(entered(&log), [Some(Ok(())), Some(Ok(())), taken, None, Some(Ok(()))]);
    }

    #[test]
    fn a_cancellation_counts_whatever_its_version_and_ends_it() {
        let log = [
            event(1, Placed, ""),
            event(2, Updated, "a"),
            event(2, Cancelled, ""),
            event(3, Updated, "b"),
            event(4, Cancelled, ""),
        ];
        let cancelled = Some(Err(Rejection::OrderCancelled));
        assert_eq!(
            entered(&log),
            [Some(Ok(())), Some(Ok(())), Some(Ok(())), cancelled, Some(Ok(()))]
        );
    }

    #[test]
    fn a_log_that_begins_anywhere_takes_its_first_event() {
        assert_eq!(entered(&[event(7, Updated, "a")]), [Some(Ok(()))]);
    }

    #[test]
    fn every_word_is_found() {
        for rejection in Rejection::ALL {
            assert_eq!(Rejection::from_word(rejection.as_str()), Some(*rejection));
        }
        assert_eq!(Rejection::from_word("card_declined"), None);
    }
}
