//! The events of one order, each once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use comanda_schemas::{NotificationEvent, Order, OrderId, Timestamp};
use uuid::Uuid;

use crate::fold::place;
use crate::step::Step;
use crate::{AnyEvent, StoredEvent};

/// The events of one order, each once: its first record.
pub(crate) struct Facts<'a>(HashMap<Uuid, &'a StoredEvent>);

impl<'a> Facts<'a> {
    pub fn new(facts: &'a [StoredEvent]) -> Self {
        let mut first: HashMap<Uuid, &StoredEvent> = HashMap::with_capacity(facts.len());
        for fact in facts {
            match first.entry(fact.event.event_id()) {
                Entry::Occupied(mut seen) if place(&fact.at) < place(&seen.get().at) => {
                    seen.insert(fact);
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(new) => {
                    new.insert(fact);
                }
            }
        }
        Self(first)
    }

    /// What the fold needs; the id of a content is that of the event that carries it.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.0.iter().filter_map(|(id, fact)| Step::new(&fact.at, &fact.event, *id))
    }

    pub fn order_id(&self) -> Option<OrderId> {
        self.0.values().next().map(|fact| fact.event.order_id())
    }

    /// When the last of them happened.
    pub fn updated_at(&self) -> Option<Timestamp> {
        self.0.values().map(|fact| fact.event.occurred_at()).max()
    }

    /// What the order contained by the event `id`.
    pub fn content(&self, id: Uuid) -> Option<&'a Order> {
        self.0.get(&id).and_then(|fact| fact.event.content())
    }

    /// All of them, oldest first, each thing after its cause.
    pub fn in_time(&self) -> Vec<&'a StoredEvent> {
        let mut facts: Vec<_> = self.0.values().copied().collect();
        facts.sort_by_key(|fact| in_time(fact));
        facts
    }

    /// The messages, oldest first.
    pub fn notifications(&self) -> impl Iterator<Item = &'a NotificationEvent> {
        self.in_time().into_iter().filter_map(|fact| match &fact.event {
            AnyEvent::Notification(event) => Some(event),
            AnyEvent::Order(_) | AnyEvent::Payment(_) | AnyEvent::Report(_) => None,
        })
    }

    /// The version that the payment event `id` is about.
    pub fn version_of_payment(&self, id: Uuid) -> Option<i32> {
        match &self.0.get(&id)?.event {
            AnyEvent::Payment(event) => Some(event.version),
            AnyEvent::Order(_) | AnyEvent::Notification(_) | AnyEvent::Report(_) => None,
        }
    }
}

/// What events are sorted by: time, cause before effect, place in the log. A page of a timeline is
/// sorted by the same in SQL.
pub(crate) fn in_time(fact: &StoredEvent) -> (Timestamp, u8, (i32, i64), Uuid) {
    let rank = match fact.event {
        AnyEvent::Order(_) => 0,
        AnyEvent::Report(_) => 1,
        AnyEvent::Payment(_) => 2,
        AnyEvent::Notification(_) => 3,
    };
    (fact.event.occurred_at(), rank, place(&fact.at), fact.event.event_id())
}
