//! What the topics of comanda contain, and how to write and read it.
//!
//! - events: [`OrderEvent`], [`PaymentEvent`], [`NotificationEvent`], [`PaymentReport`],
//!   after the schemas in `avro/`
//! - [`Race`]: which of the changes of an order count
//! - [`Topic`] and [`Stage`]: the closed list of topics; [`TopicNames`]: what a cluster calls them
//! - [`Encoder`], [`Registry`]: Avro in the Confluent wire format
//! - [`headers`]: CloudEvents, W3C trace context, dead letters; [`Redrive`], [`Redriven`]: what
//!   becomes of those
//! - [`Health`]: what stands still in a part of comanda, for `/readyz`

mod codec;
mod event;
pub mod headers;
mod health;
mod login;
mod race;
mod redrive;
mod registry;
#[cfg(test)]
mod tests;
mod topic;
mod value;

// Until every crate takes them from where they are.
pub use codec::{DecodeError, EncodeError, Encoder, WriterSchema, schema, split};
pub use comanda_kafka::{
    ClientLog, KafkaOptions, TopicId, diagnosis, hear, log_error, log_line, scan,
    send_when_there_is_room, starts, topic_ids,
};
pub use event::{
    Contact, Event, FailureReason, NotificationEvent, NotificationEventType, Order, OrderEvent,
    OrderEventType, OrderLine, Payment, PaymentEvent, PaymentEventType, PaymentOutcome,
    PaymentReport, PaymentReportType, Source,
};
pub use headers::{DeadLetter, TraceContext};
pub use health::{Health, Trouble};
pub use login::url_without_login;
pub use race::{CHARGED_BEFORE, Race, Rejection};
pub use redrive::{Redrive, Redriven};
pub use registry::{ReadError, ReadTries, Registry, RegistryError, RegistryOptions};
pub use topic::{Stage, Topic, TopicNames};
pub use value::{Currency, OrderId, Timestamp};
