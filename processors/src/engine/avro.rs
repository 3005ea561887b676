//! The codec above the engine's bytes: events of comanda in the Confluent wire format, with
//! CloudEvents headers and a trace; and a [`Processor`] of them as the engine sees it.

use std::sync::Arc;
use std::time::Duration;

use comanda_engine::{DeadLetter, DecodeError, Headers, Output, Record};
use comanda_schemas::headers::EventHeaders;
use comanda_schemas::{
    Encoder, Event, ReadError, Redrive, Registry, RegistryError, Source, Timestamp, TraceContext,
    headers,
};
use rdkafka::message::Headers as _;
use tracing::error;

use super::{HandlerError, Input, Outcome, Processor};

/// A processor of events, for an engine of bytes.
pub struct AvroProcessor<P: Processor> {
    pub(super) processor: P,
    pub(super) registry: Registry,
    pub(super) results: Encoder<P::Out>,
    pub(super) notes: Encoder<P::Note>,
    /// Full name of the topic of the results.
    pub(super) output_topic: Arc<str>,
    /// Full name of the topic of the notes.
    pub(super) note_topic: Arc<str>,
}

impl<P: Processor> AvroProcessor<P> {
    fn result(&self, event: &P::Out, trace: &TraceContext) -> Result<Output, HandlerError> {
        encode(&self.results, &self.output_topic, event, P::STAGE.ce_source(), trace)
    }

    fn note(&self, note: &P::Note, trace: &TraceContext) -> Option<Output> {
        let encoded = encode(&self.notes, &self.note_topic, note, P::STAGE.ce_source(), trace);
        encoded.inspect_err(|error| log_unwritten(P::STAGE.as_str(), error, "note")).ok()
    }
}

impl<P: Processor> comanda_engine::Processor for AvroProcessor<P> {
    type Event = Input<P::In>;

    async fn decode(&self, record: &Record, _attempt: u32) -> Result<Self::Event, DecodeError> {
        let event = self.registry.read(record.value().unwrap_or_default()).await;
        let event = event.map_err(|error| {
            let told = HandlerError::new("decode", &error);
            match error {
                ReadError::Decode(_) => DecodeError::Permanent(told),
                ReadError::Registry(
                    RegistryError::Unavailable { .. } | RegistryError::Refused { .. },
                ) => DecodeError::Transient(told),
                ReadError::Registry(
                    RegistryError::NotFound { .. } | RegistryError::Incompatible { .. },
                ) => DecodeError::Doubtful(told),
            }
        })?;
        let source = Source {
            topic: record.topic().to_owned(),
            partition: record.partition(),
            offset: record.offset(),
        };
        Ok(Input {
            event,
            source,
            attempt: 1,
            failing_for: Duration::ZERO,
            is_held: false,
            trace: TraceContext::continue_text(record.header("traceparent")),
            earlier: Vec::new(),
            is_redriven: redriven_from(record).is_some(),
            is_suspect: false,
        })
    }

    fn history_from(&self, input: &Self::Event, record: &Record) -> Option<i64> {
        P::looks_back(&input.event, redriven_from(record))
    }

    fn on_assigned(&self, _partitions: &[i32]) {
        self.processor.takes_over();
    }

    fn wake_early<'s>(
        &'s self,
        held: &Self::Event,
    ) -> impl Future<Output = ()> + Send + use<'s, P> {
        let held = held.event.clone();
        async move { self.processor.news(&held).await }
    }

    async fn handle(
        &self,
        input: &mut comanda_engine::Input<'_, Self::Event>,
    ) -> comanda_engine::Outcome {
        let own = &mut input.event;
        own.attempt = input.attempt;
        own.failing_for = input.failing_for;
        own.is_held = input.is_held;
        own.is_suspect = input.is_suspect;
        own.earlier.extend(input.earlier.drain(..).map(|earlier| earlier.event));
        let trace = own.trace;
        match self.processor.handle(own).await {
            Outcome::Emit(event) => match self.result(&event, &trace) {
                Ok(result) => comanda_engine::Outcome::Emit(vec![result]),
                Err(error) => comanda_engine::Outcome::DeadLetter { error, outputs: Vec::new() },
            },
            Outcome::Skip => comanda_engine::Outcome::Skip,
            Outcome::Retry { after, error } => comanda_engine::Outcome::Retry { after, error },
            Outcome::Wait { after, error } => comanda_engine::Outcome::Wait { after, error },
            Outcome::Hold { after, error, note } => {
                let note = note.and_then(|note| self.note(&note, &trace));
                comanda_engine::Outcome::Hold { after, error, note }
            }
            Outcome::DeadLetter { error, result } => {
                let result = result.and_then(|event| {
                    let encoded = self.result(&event, &trace);
                    encoded
                        .inspect_err(|error| log_unwritten(P::STAGE.as_str(), error, "result"))
                        .ok()
                });
                comanda_engine::Outcome::DeadLetter { error, outputs: result.into_iter().collect() }
            }
        }
    }

    fn is_own_fault(&self, error: &HandlerError) -> bool {
        !P::is_neighbours_fault(error)
    }

    fn dead_letter_headers(&self, letter: &DeadLetter<'_>) -> Headers {
        let record = letter.record;
        let own = headers::DeadLetter {
            topic: record.topic(),
            partition: record.partition(),
            offset: record.offset(),
            timestamp: record.timestamp_millis().map(Timestamp::from_millis),
            group: letter.group,
            error_kind: letter.error.kind,
            error_chain: &letter.error.chain,
            attempts: letter.attempts,
            first_failed_at: letter.first_failed_at.into(),
        };
        let mut all = record.headers();
        for header in own.headers(None).iter() {
            all.push_optional(header.key, header.value);
        }
        all
    }
}

/// The offset at which a redriven record was first consumed.
fn redriven_from(record: &Record) -> Option<i64> {
    record.header(Redrive::FIRST_OFFSET).and_then(|offset| offset.parse().ok())
}

fn log_unwritten(stage: &'static str, error: &HandlerError, what: &'static str) {
    error!(stage, what, error = error.chain, "event can't be encoded and is not written");
}

/// An event as it is written to `topic`.
fn encode<E: Event>(
    encoder: &Encoder<E>,
    topic: &Arc<str>,
    event: &E,
    source: &'static str,
    trace: &TraceContext,
) -> Result<Output, HandlerError> {
    let value = encoder.encode(event).map_err(|error| HandlerError::new("encode", &error))?;
    let mut headers = Headers::with_capacity(8, 384);
    EventHeaders::new(event, source, trace).for_each(|name, value| {
        headers.push(name, value.as_bytes());
    });
    let key = Some(event.order_id().to_string().into_bytes());
    Ok(Output { topic: topic.clone(), key, value: Some(value), headers })
}
