//! Proving or disproving the promises from the topics alone.
//!
//! Every record of the orders topic must have exactly one result, every result exactly one
//! notification, or a dead letter in its place; the results of one order must stand in the order
//! of what caused them. What caused what is told by the `source` in each event. A redriven record
//! is a record like any other, with a result of its own; the one that it was stays accounted for by
//! its dead letter.

mod follow;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use comanda_schemas::{NotificationEventType, OrderId, PaymentEventType, Source};
use serde::Serialize;

pub use follow::{Follower, Update};

/// Something that stands in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A record of the orders topic.
    Order {
        /// Where it stands.
        at: Source,
        /// Its key; `None` when that is no order id.
        order_id: Option<OrderId>,
    },
    /// A record of the payments topic; not decoded ones stand under `Order` of the next stage.
    Result {
        /// Where it stands.
        at: Source,
        /// What it is the result of.
        of: Source,
        /// The order.
        order_id: OrderId,
        /// The result.
        kind: PaymentEventType,
        /// Whether it is a dead letter of the notifier, put back: the same result once more, to
        /// be told to the customer in the place of the first.
        redriven: bool,
    },
    /// A record of the notifications topic.
    Notification {
        /// What it tells of.
        of: Source,
        /// The order.
        order_id: OrderId,
        /// What became of it.
        kind: NotificationEventType,
    },
    /// A record of a dead-letter topic.
    DeadLetter {
        /// The record it was.
        of: Source,
    },
    /// A record of one of the topics but the orders that does not decode.
    Unreadable {
        /// Where it stands.
        at: Source,
    },
}

/// All that is known so far.
#[derive(Debug, Default)]
pub struct Audit {
    orders: HashMap<Source, Option<OrderId>>,
    results: HashMap<Source, Vec<Outcome>>,
    notifications: HashMap<Source, Vec<NotificationEventType>>,
    dead: HashSet<Source>,
    unreadable: u64,
    last: HashMap<OrderId, i64>,
    out_of_order: Vec<OrderId>,
    first_result: HashMap<OrderId, Instant>,
}

#[derive(Debug)]
struct Outcome {
    at: Source,
    kind: PaymentEventType,
    redriven: bool,
}

/// The verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records of the orders topic.
    pub order_events: u64,
    /// Results of those records, doubled ones included, redriven ones not.
    pub results: u64,
    /// Notifications of those results, doubled ones included.
    pub notifications: u64,
    /// Order events with neither a result nor a dead letter.
    pub lost: u64,
    /// Results and notifications beyond the one that each cause may have.
    pub duplicated: u64,
    /// Results that stand before the result of an earlier event of their order.
    pub out_of_order: u64,
    /// Results with neither a notification nor a dead letter.
    pub unnotified: u64,
    /// Dead letters of those records.
    pub dead_letters: u64,
    /// Records of the topics, but the orders, that do not decode.
    pub unreadable: u64,
    /// Results by type.
    #[serde(skip)]
    pub by_type: BTreeMap<&'static str, u64>,
    /// Notifications that were sent.
    #[serde(skip)]
    pub sent: u64,
}

impl Report {
    /// Whether the promises hold.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.out_of_order + self.unnotified + self.unreadable == 0
    }
}

impl Audit {
    /// Takes note of a fact, seen at `seen`. Facts of one partition come in log order.
    pub fn add(&mut self, fact: Fact, seen: Instant) {
        match fact {
            Fact::Order { at, order_id } => {
                self.orders.insert(at, order_id);
            }
            Fact::Result { at, of, order_id, kind, redriven } => {
                let last = self.last.entry(order_id).or_insert(of.offset);
                // The first one stands where the order of results put it.
                if of.offset < *last && !redriven {
                    self.out_of_order.push(order_id);
                }
                *last = of.offset.max(*last);
                self.first_result.entry(order_id).or_insert(seen);
                self.results.entry(of).or_default().push(Outcome { at, kind, redriven });
            }
            Fact::Notification { of, order_id: _, kind } => {
                self.notifications.entry(of).or_default().push(kind);
            }
            Fact::DeadLetter { of } => {
                self.dead.insert(of);
            }
            Fact::Unreadable { .. } => self.unreadable += 1,
        }
    }

    /// When the first result of an order was seen.
    pub fn first_result(&self, order_id: OrderId) -> Option<Instant> {
        self.first_result.get(&order_id).copied()
    }

    /// The verdict on all order events, or on those of the orders in `only`. Results whose order
    /// event is not known, because it is older than the audit, are left out.
    pub fn report(&self, only: Option<&HashSet<OrderId>>) -> Report {
        let mut report = Report::default();
        let wanted = |id: &Option<OrderId>| {
            only.is_none_or(|only| id.as_ref().is_some_and(|id| only.contains(id)))
        };
        for (at, _) in self.orders.iter().filter(|(_, id)| wanted(id)) {
            report.order_events += 1;
            let dead = self.dead.contains(at);
            report.dead_letters += u64::from(dead);
            match self.results.get(at) {
                None => report.lost += u64::from(!dead),
                Some(outcomes) => self.add_results(outcomes, &mut report),
            }
        }
        let wanted = |id: &&OrderId| only.is_none_or(|only| only.contains(id));
        report.out_of_order = self.out_of_order.iter().filter(wanted).count() as u64;
        report.unreadable = self.unreadable;
        report
    }

    fn add_results(&self, outcomes: &[Outcome], report: &mut Report) {
        let written = outcomes.iter().filter(|outcome| !outcome.redriven);
        let count = written.clone().count() as u64;
        report.results += count;
        report.duplicated += count.saturating_sub(1);
        for outcome in written {
            *report.by_type.entry(outcome.kind.as_str()).or_default() += 1;
        }
        for outcome in outcomes {
            let dead = self.dead.contains(&outcome.at);
            report.dead_letters += u64::from(dead);
            match self.notifications.get(&outcome.at) {
                None => report.unnotified += u64::from(!dead),
                Some(sent) => {
                    report.notifications += sent.len() as u64;
                    report.duplicated += sent.len() as u64 - 1;
                    let kinds = sent.iter().filter(|k| **k == NotificationEventType::Sent);
                    report.sent += kinds.count() as u64;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
