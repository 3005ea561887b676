//! The engine of comanda's processors: [`comanda_engine`], with comanda's topics, its events in Avro
//! and its headers.
//!
//! - `processor`: what a processor of events is
//! - `avro`: the codec between it and the engine's bytes

mod avro;
mod processor;
#[cfg(test)]
mod tests;

use comanda_engine::Topology;
pub use comanda_engine::{
    Connect, Error, Handle, HandlerError, MAX_MESSAGE_BYTES, Options, Standstill, metrics,
};
use comanda_schemas::{Encoder, Event, KafkaOptions, Registry, TopicNames};
use tokio_util::sync::CancellationToken;

pub use self::avro::AvroProcessor;
pub use self::processor::{Input, Outcome, Processor};

/// What the names of the engines' metrics begin with.
pub const METRICS_PREFIX: &str = "comanda_engine";

/// Runs one processor over its topic.
pub struct Engine<P: Processor>(comanda_engine::Engine<AvroProcessor<P>>);

impl<P: Processor> Engine<P> {
    /// An engine; nothing is connected yet.
    pub fn new(
        options: Options,
        kafka: KafkaOptions,
        names: &TopicNames,
        registry: Registry,
        (results, notes): (Encoder<P::Out>, Encoder<P::Note>),
        processor: P,
    ) -> Result<Self, Error> {
        let topology = Topology {
            name: P::STAGE.as_str(),
            metrics_prefix: METRICS_PREFIX,
            group: names.group(P::STAGE),
            input: names.name(P::STAGE.input()),
            dead_letters: names.dead_letters(P::STAGE),
            breaker_advice: "`comanda dlq list` tells why they failed; after the repair `comanda \
                             dlq redrive` puts them back. "
                .to_owned(),
        };
        let processor = AvroProcessor {
            processor,
            registry,
            results,
            notes,
            output_topic: names.name(P::STAGE.output()).into(),
            note_topic: names.name(P::Note::TOPIC).into(),
        };
        let connect = Connect::per_role(move |role| kafka.client_config(role));
        comanda_engine::Engine::new(options, connect, topology, processor).map(Self)
    }

    /// A view that outlives the call to [`Engine::run_until_stopped`].
    pub fn handle(&self) -> Handle {
        self.0.handle()
    }

    /// As [`comanda_engine::Engine::run_until_stopped`].
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), Error> {
        self.0.run_until_stopped(shutdown).await
    }
}
