//! Avro in the Confluent wire format: a zero byte, the schema id (4 bytes, big-endian), the datum.
//!
//! Events go through serde straight to bytes and back, without an intermediate `Value`.
//! Reading always uses the schema that wrote the record, so a record of any registered version
//! decodes; what this build does not know is skipped, what the writer did not know is defaulted.

use std::io;
use std::marker::PhantomData;
use std::sync::{LazyLock, Once};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Event, Topic};

/// First byte of the wire format.
const MAGIC: u8 = 0;
/// Bytes before the datum.
const PREFIX_LEN: usize = 5;
/// No string or array of an event is larger; a length beyond it in a record is garbage, and must
/// not become an allocation. Above Kafka's default record limit of 1 MB.
const MAX_ALLOCATION: usize = 8 << 20;

/// Why a record could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("event does not fit its schema")]
pub struct EncodeError(#[source] Box<apache_avro::Error>);

/// Why bytes could not be decoded. None of these gets better by trying again.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the prefix, or another first byte.
    #[error("not in the Confluent wire format: {0}")]
    Framing(&'static str),
    /// The datum does not follow the schema that its id names, or is not an event of this topic.
    #[error("datum of schema {schema_id} does not decode")]
    Datum {
        /// Id in the record's prefix.
        schema_id: u32,
        /// What the decoder met.
        #[source]
        source: Box<apache_avro::Error>,
    },
    /// The schema that the id names is not one of Avro.
    #[error("schema {schema_id} is no Avro schema")]
    Schema {
        /// Id in the record's prefix.
        schema_id: u32,
        /// What the parser met.
        #[source]
        source: Box<apache_avro::Error>,
    },
    /// Bytes were left over after the datum.
    #[error("{extra} bytes after the datum of schema {schema_id}")]
    Trailing {
        /// Id in the record's prefix.
        schema_id: u32,
        /// How many bytes were left.
        extra: usize,
    },
}

/// The schema of a topic's values, parsed once for the life of the process.
pub fn schema(topic: Topic) -> &'static Schema {
    fn parse(topic: Topic) -> Schema {
        Schema::parse_str(topic.schema_json()).expect("bundled schemas parse; a test reads each")
    }
    static ORDERS: LazyLock<Schema> = LazyLock::new(|| parse(Topic::Orders));
    static PAYMENTS: LazyLock<Schema> = LazyLock::new(|| parse(Topic::Payments));
    static NOTIFICATIONS: LazyLock<Schema> = LazyLock::new(|| parse(Topic::Notifications));
    static REPORTS: LazyLock<Schema> = LazyLock::new(|| parse(Topic::PaymentReports));
    match topic {
        Topic::Orders => &ORDERS,
        Topic::Payments => &PAYMENTS,
        Topic::Notifications => &NOTIFICATIONS,
        Topic::PaymentReports => &REPORTS,
    }
}

/// Encodes events of one type under one schema id.
pub struct Encoder<E> {
    writer: GenericDatumWriter<'static>,
    prefix: [u8; PREFIX_LEN],
    event: PhantomData<fn(&E)>,
}

impl<E: Event> Encoder<E> {
    /// An encoder whose records name `schema_id`, the registry's id of the bundled schema.
    pub fn new(schema_id: u32) -> Self {
        let writer = GenericDatumWriter::builder(schema(E::TOPIC))
            .human_readable(true)
            .build()
            .expect("bundled schemas resolve; a test encodes each");
        let [a, b, c, d] = schema_id.to_be_bytes();
        Self { writer, prefix: [MAGIC, a, b, c, d], event: PhantomData }
    }

    /// The record value for `event`.
    pub fn encode(&self, event: &E) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&self.prefix);
        write(&self.writer, &mut bytes, event)?;
        Ok(bytes)
    }
}

fn write<E: Serialize>(
    writer: &GenericDatumWriter<'static>,
    bytes: &mut Vec<u8>,
    event: &E,
) -> Result<(), EncodeError> {
    writer.write_ser(bytes, event).map_err(|e| EncodeError(Box::new(e)))?;
    Ok(())
}

/// Splits a record value into schema id and datum.
pub fn split(value: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    match value {
        [MAGIC, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        [MAGIC, ..] => Err(DecodeError::Framing("shorter than 5 bytes")),
        [] => Err(DecodeError::Framing("no value")),
        _ => Err(DecodeError::Framing("the first byte is not 0")),
    }
}

/// Decodes the data that one registered schema wrote.
pub struct WriterSchema {
    id: u32,
    reader: GenericDatumReader<'static>,
}

impl WriterSchema {
    /// From the registry's text of the schema.
    ///
    /// The parsed schema lives as long as the process: there are only as many as versions were
    /// ever registered, and the reader borrows it.
    pub fn parse(id: u32, json: &str) -> Result<Self, Box<apache_avro::Error>> {
        Self::parse_with_references(id, json, &[])
    }

    /// As [`WriterSchema::parse`], for a schema that names types of other schemas: their texts,
    /// each after those that it refers to itself.
    pub fn parse_with_references(
        id: u32,
        json: &str,
        references: &[String],
    ) -> Result<Self, Box<apache_avro::Error>> {
        static LIMIT: Once = Once::new();
        LIMIT.call_once(|| {
            apache_avro::util::max_allocation_bytes(MAX_ALLOCATION);
        });
        let (schema, references) = Schema::parse_str_with_list(json, references)?;
        let schema: &'static Schema = Box::leak(Box::new(schema));
        let references: &'static [Schema] = Box::leak(references.into_boxed_slice());
        let schemata = references.iter().chain([schema]).collect();
        let reader = GenericDatumReader::builder(schema).writer_schemata(schemata)?;
        Ok(Self { id, reader: reader.human_readable(true).build()? })
    }

    /// Decodes one datum into JSON, whatever its schema. Off the hot path.
    pub fn decode_json(&self, mut datum: &[u8]) -> Result<serde_json::Value, DecodeError> {
        let schema_id = self.id;
        let failed = |source| DecodeError::Datum { schema_id, source: Box::new(source) };
        let value = self.reader.read_value(&mut datum).map_err(failed)?;
        let json = serde_json::Value::try_from(value).map_err(failed)?;
        match datum.len() {
            0 => Ok(json),
            extra => Err(DecodeError::Trailing { schema_id, extra }),
        }
    }

    /// Decodes one datum, the part after the prefix.
    pub fn decode<T: DeserializeOwned>(&self, mut datum: &[u8]) -> Result<T, DecodeError> {
        let schema_id = self.id;
        let from: &mut &[u8] = &mut datum;
        let value = self
            .reader
            .read_deser(&mut io::Read::by_ref(from))
            .map_err(|source| DecodeError::Datum { schema_id, source: Box::new(source) })?;
        match datum.len() {
            0 => Ok(value),
            extra => Err(DecodeError::Trailing { schema_id, extra }),
        }
    }
}
