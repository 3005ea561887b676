//! The closed list of topics and what they are called on a given cluster.

use serde::{Deserialize, Serialize};

/// A topic that carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// [`crate::OrderEvent`]s, written by the gateway and `comanda produce`.
    Orders,
    /// [`crate::PaymentEvent`]s, written by the payment processor.
    Payments,
    /// [`crate::NotificationEvent`]s, written by the notifier.
    Notifications,
    /// [`crate::PaymentReport`]s, written by the payment processor, the gateway's webhook and
    /// `comanda payments resolve`.
    PaymentReports,
}

impl Topic {
    /// Every topic: the pipeline's, upstream first, then what stands beside it.
    pub const ALL: [Topic; 4] =
        [Topic::Orders, Topic::Payments, Topic::Notifications, Topic::PaymentReports];

    /// Name in groups, whatever the topic is called on the cluster.
    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Orders => "orders",
            Topic::Payments => "payments",
            Topic::Notifications => "notifications",
            Topic::PaymentReports => "payment-reports",
        }
    }

    /// The schema of the topic's values, the source of truth.
    pub fn schema_json(self) -> &'static str {
        match self {
            Topic::Orders => include_str!("../avro/order_event.avsc"),
            Topic::Payments => include_str!("../avro/payment_event.avsc"),
            Topic::Notifications => include_str!("../avro/notification_event.avsc"),
            Topic::PaymentReports => include_str!("../avro/payment_report.avsc"),
        }
    }
}

/// A processor that reads one topic and can leave dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// orders → payments.
    Payment,
    /// payments → notifications.
    Notifier,
}

impl Stage {
    /// Every stage, upstream first.
    pub const ALL: [Stage; 2] = [Stage::Payment, Stage::Notifier];

    /// Name in topics, groups, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Payment => "payment",
            Stage::Notifier => "notifier",
        }
    }

    /// Source of its events (`ce_source`).
    pub fn ce_source(self) -> &'static str {
        match self {
            Stage::Payment => "/comanda/payment",
            Stage::Notifier => "/comanda/notifier",
        }
    }

    /// The topic it reads.
    pub fn input(self) -> Topic {
        match self {
            Stage::Payment => Topic::Orders,
            Stage::Notifier => Topic::Payments,
        }
    }

    /// The topic it writes.
    pub fn output(self) -> Topic {
        match self {
            Stage::Payment => Topic::Payments,
            Stage::Notifier => Topic::Notifications,
        }
    }
}

/// Names of the topics on the cluster at hand.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TopicNames {
    /// Put before each name, and before group and transactional ids; may be empty.
    pub prefix: String,
    /// Name of [`Topic::Orders`], without the prefix.
    pub orders: String,
    /// Name of [`Topic::Payments`], without the prefix.
    pub payments: String,
    /// Name of [`Topic::Notifications`], without the prefix.
    pub notifications: String,
    /// Name of [`Topic::PaymentReports`], without the prefix.
    pub payment_reports: String,
}

impl TopicNames {
    /// Full name of a topic.
    pub fn name(&self, topic: Topic) -> String {
        let name = match topic {
            Topic::Orders => &self.orders,
            Topic::Payments => &self.payments,
            Topic::Notifications => &self.notifications,
            Topic::PaymentReports => &self.payment_reports,
        };
        format!("{}{name}", self.prefix)
    }

    /// Full name of the dead-letter topic of a stage: `<input>.<stage>.dlq`.
    pub fn dead_letters(&self, stage: Stage) -> String {
        format!("{}.{}.dlq", self.name(stage.input()), stage.as_str())
    }

    /// Consumer group of a stage.
    pub fn group(&self, stage: Stage) -> String {
        format!("{}comanda-{}", self.prefix, stage.as_str())
    }

    /// Consumer group of the projector's readers of a topic.
    pub fn projector_group(&self, topic: Topic) -> String {
        format!("{}comanda-projector-{}", self.prefix, topic.as_str())
    }

    /// Registry subject of a topic's values (TopicNameStrategy).
    pub fn subject(&self, topic: Topic) -> String {
        format!("{}-value", self.name(topic))
    }

    /// Which topic a full name stands for.
    pub fn topic_of(&self, name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|t| self.name(*t) == name)
    }

    /// Full names of all topics, dead letters included.
    pub fn all(&self) -> Vec<String> {
        let events = Topic::ALL.into_iter().map(|t| self.name(t));
        events.chain(Stage::ALL.into_iter().map(|s| self.dead_letters(s))).collect()
    }
}
