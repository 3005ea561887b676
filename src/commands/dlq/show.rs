//! `comanda dlq show`.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use anyhow::{Result, bail};
use comanda_schemas::headers::RawHeaders;
use comanda_schemas::scan::From;
use comanda_schemas::{ReadError, Registry, RegistryError, Stage, Timestamp, headers};
use rdkafka::Message;
use rdkafka::message::OwnedMessage;

use super::Desk;
use super::letter::{Found, Position, printable};
use super::survey::{Done, Survey};
use crate::cli::dlq::DlqShowArgs;
use crate::output;

/// Bytes of the value that are dumped.
const DUMP_BYTES: usize = 2048;
/// Characters of a header's value.
const HEADER_CHARS: usize = 2000;

/// Prints the record at a position; an error when there is none.
pub fn run(desk: &Desk, args: &DlqShowArgs) -> Result<()> {
    let stage = Stage::from(args.stage);
    let topic = desk.names.dead_letters(stage);
    let mut found: Option<OwnedMessage> = None;
    desk.walk(&topic, From::Beginning, |record| {
        let here = Position { partition: record.partition(), offset: record.offset() };
        if here == args.letter {
            found = Some(record.detach());
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let Some(record) = found else {
        bail!("there is no record {} in {topic}; `comanda dlq list` lists them", args.letter);
    };
    let survey = Survey::of(desk, stage, From::Beginning)?;
    output::print(&head(&record, survey.redriven.get(&args.letter)))?;
    let Some(payload) = record.payload() else {
        say!("\nno value");
        return Ok(());
    };
    say!("\nvalue, {} bytes", payload.len());
    output::print(&dump(payload, DUMP_BYTES))?;
    say!("\n{}", decoded(desk, payload)?);
    Ok(())
}

fn head(record: &OwnedMessage, done: Option<&Done>) -> String {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), Timestamp::to_rfc3339);
    let stored_at = record.timestamp().to_millis().map(Timestamp::from_millis);
    let state = match (Found::read(record), done) {
        (Found::Letter(_), None) => "not redriven".to_owned(),
        (Found::Letter(_), Some(Done { at, to })) => {
            format!("at {} to {} {}@{}", time(*at), to.topic, to.partition, to.offset)
        }
        (Found::Note(note), _) => {
            format!("this is the note that {}@{} was", record.partition(), note.letter_offset)
        }
        (Found::Foreign, _) => "not a dead letter that comanda wrote".to_owned(),
    };
    let key = record.key().map_or_else(|| "-".to_owned(), |key| printable(key, HEADER_CHARS));
    let mut text = format!(
        "topic      {}\nposition   {}@{}\nstored at  {}\nredriven   {state}\nkey        {key}\n\nheaders\n",
        record.topic(),
        record.partition(),
        record.offset(),
        time(stored_at),
    );
    for (name, value) in record.headers().into_iter().flat_map(RawHeaders::raw) {
        let value = value.map_or_else(|| "-".to_owned(), header_value);
        let _ = writeln!(text, "  {:<28}  {value}", printable(name, 100));
    }
    text
}

/// Text as it is, other bytes in hex.
fn header_value(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(char::is_control) => printable(value, HEADER_CHARS),
        _ => value.iter().take(HEADER_CHARS / 2).fold("0x".to_owned(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
    }
}

/// Offset, 16 bytes in hex, the same in ASCII; `limit` bytes at the most.
fn dump(bytes: &[u8], limit: usize) -> String {
    let mut text = String::new();
    for (row, bytes) in bytes[..bytes.len().min(limit)].chunks(16).enumerate() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let ascii = |b: &u8| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' };
        let ascii: String = bytes.iter().map(ascii).collect();
        let _ = writeln!(text, "  {:06x}  {hex:<48} {ascii}", row * 16);
    }
    if bytes.len() > limit {
        let _ = writeln!(text, "  … {} more bytes", bytes.len() - limit);
    }
    text
}

/// The event as JSON, or why it is none.
fn decoded(desk: &Desk, payload: &[u8]) -> Result<String> {
    let registry = Registry::new(&desk.settings.registry)?;
    Ok(match desk.runtime.block_on(registry.read_json(payload)) {
        Ok(event) => format!("event\n{event:#}"),
        Err(error @ ReadError::Decode(_))
        | Err(error @ ReadError::Registry(RegistryError::NotFound { .. })) => {
            format!("no event: {}", headers::error_chain(&error))
        }
        Err(error) => format!("not decoded: {}", headers::error_chain(&error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dump_is_bounded_and_shows_bytes_and_text() {
        let bytes: Vec<u8> = (0x3c..0x3c + 20).collect();
        assert_eq!(
            dump(&bytes, 18),
            "  000000  3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b  <=>?@ABCDEFGHIJK\n  \
             000010  4c 4d                                            LM\n  … 2 more bytes\n"
        );
        assert_eq!(dump(b"", 18), "");
        assert!(dump(b"\x00\x7f\xff", 18).ends_with(" ...\n"));
    }

    #[test]
    fn header_values_that_are_no_text_are_shown_in_hex() {
        assert_eq!(header_value(b"2026"), "2026");
        assert_eq!(header_value(b"\xff\x00"), "0xff00");
        assert_eq!(header_value(b"\x1b[2J"), "0x1b5b324a");
    }
}
