//! Where order events go.

use std::sync::Arc;

use comanda_producer::{Error, Producer, Receipt};
use comanda_schemas::{OrderEvent, TraceContext};

/// Where order events go.
#[derive(Clone)]
pub enum Publisher {
    /// To Kafka.
    Kafka(Producer),
    /// To a function that answers in Kafka's place, for those who measure or test the gateway
    /// alone. No setting leads here.
    Instead(Arc<StandIn>),
}

type StandIn = dyn Fn(&OrderEvent) -> Result<Receipt, Error> + Send + Sync;

impl Publisher {
    /// Whether what is stored can be read again.
    pub(crate) fn has_log(&self) -> bool {
        matches!(self, Self::Kafka(_))
    }

    /// Stores one event, as [`Producer::publish`] does.
    pub(crate) async fn publish(
        &self,
        event: &OrderEvent,
        trace: &TraceContext,
    ) -> Result<Receipt, Error> {
        match self {
            Self::Kafka(producer) => producer.publish(event, trace).await,
            Self::Instead(answer) => answer(event),
        }
    }

    /// Stores several events, as [`Producer::publish_all`] does.
    pub(crate) async fn publish_all(
        &self,
        events: &[(&OrderEvent, TraceContext)],
    ) -> Vec<Result<Receipt, Error>> {
        match self {
            Self::Kafka(producer) => producer.publish_all(events).await,
            Self::Instead(answer) => events.iter().map(|(event, _)| answer(event)).collect(),
        }
    }
}

impl From<Producer> for Publisher {
    fn from(producer: Producer) -> Self {
        Self::Kafka(producer)
    }
}
