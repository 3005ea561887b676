//! Whether an order event counts, going by what the log has before it.

use comanda_schemas::{OrderEvent, OrderEventType, Race, Rejection};

use crate::Input;

/// From where on the log has to be known, for an event to be judged.
///
/// A change names what its writer knew. A new order comes first, unless it is a dead letter that
/// was put back: then its changes may have been handled meanwhile. A cancellation always counts.
pub(super) fn looks_back(event: &OrderEvent, redriven_from: Option<i64>) -> Option<i64> {
    match event.r#type {
        OrderEventType::Placed => redriven_from,
        OrderEventType::Updated => [event.seen_offset, redriven_from].into_iter().flatten().min(),
        OrderEventType::Cancelled | OrderEventType::Unknown => None,
    }
}

/// Why the event does not count; `None` where it does, as a cancellation always does.
///
/// An event that was in the log before is judged, and so ends, as it was then; but a redriven one
/// was not handled then, and what was handled since has overtaken it.
pub(super) fn rejection(input: &Input<OrderEvent>) -> Option<Rejection> {
    let own = &input.event;
    match own.r#type {
        OrderEventType::Placed | OrderEventType::Updated => {}
        OrderEventType::Cancelled | OrderEventType::Unknown => return None,
    }
    let mut race = Race::default();
    let mut log = input.earlier.iter();
    for earlier in log.by_ref().take_while(|earlier| earlier.event_id != own.event_id) {
        race.enter(earlier);
    }
    if let Some(Err(rejection)) = race.enter(own) {
        return Some(rejection);
    }
    let since =
        log.find(|later| race.enter(later) == Some(Ok(()))).filter(|_| input.is_redriven)?;
    Some(match since.r#type {
        OrderEventType::Cancelled => Rejection::OrderCancelled,
        OrderEventType::Placed | OrderEventType::Updated | OrderEventType::Unknown => {
            Rejection::Overtaken
        }
    })
}
