//! `comanda dlq list`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::Result;
use comanda_schemas::{Stage, Timestamp};
use serde_json::{Value, json};

use super::letter::{Letter, printable, span};
use super::survey::{Done, Survey, letters};
use super::{Desk, stages};
use crate::cli::dlq::DlqListArgs;
use crate::{output, points};

/// Characters of an error in a line.
const ERROR_CHARS: usize = 100;

/// Prints the letters, and on standard error how many there are of each kind.
pub fn run(desk: &Desk, args: &DlqListArgs) -> Result<()> {
    let now = Timestamp::now();
    let from = points::parse(&args.from, now)?;
    let mut tally = Tally::default();
    for stage in stages(args.stage) {
        let survey = Survey::of(desk, stage, from)?;
        tally.foreign += survey.foreign;
        let mut is_read = true;
        letters(desk, stage, from, |letter, _| {
            if args.kind.as_ref().is_some_and(|kind| *kind != letter.kind) {
                return Ok(ControlFlow::Continue(()));
            }
            let done = survey.redriven.get(&letter.at);
            tally.add(stage, &letter, done);
            if done.is_some() && !args.all {
                return Ok(ControlFlow::Continue(()));
            }
            let line = match args.json {
                true => as_json(stage, &letter, done).to_string(),
                false => as_text(stage, &letter, done, now),
            };
            is_read = output::line(line)?;
            Ok(match is_read {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        if !is_read {
            return Ok(());
        }
        let topic = desk.names.dead_letters(stage);
        if desk.is_hidden(&topic)? {
            note!("a transaction is open in {topic}: what stands behind it is not listed yet");
        }
    }
    output::to_stderr(&tally.text(args.all));
    Ok(())
}

fn as_text(stage: Stage, letter: &Letter, done: Option<&Done>, now: Timestamp) -> String {
    let age = letter.stored_at.map_or_else(|| "-".to_owned(), |at| span(now.since(at)));
    let origin = format!(
        "{} {}@{}",
        printable(letter.origin.topic.as_bytes(), 249),
        letter.origin.partition,
        letter.origin.offset
    );
    let attempts = match letter.attempts {
        1 => "1 attempt".to_owned(),
        n => format!("{n} attempts"),
    };
    let mut line = format!(
        "{:<8} {:>8}  {age:>4}  {origin:<20}  {:<36}  {:<24}  {attempts}  {}",
        stage.as_str(),
        letter.at.to_string(),
        letter.key_text(),
        printable(letter.kind.as_bytes(), 40),
        printable(letter.chain.as_bytes(), ERROR_CHARS),
    );
    if let Some(Done { to, .. }) = done {
        line.push_str(&format!("  (redriven to {} {}@{})", to.topic, to.partition, to.offset));
    }
    line
}

fn as_json(stage: Stage, letter: &Letter, done: Option<&Done>) -> Value {
    let time = |at: Option<Timestamp>| at.map(Timestamp::to_rfc3339);
    json!({
        "stage": stage.as_str(),
        "partition": letter.at.partition,
        "offset": letter.at.offset,
        "stored_at": time(letter.stored_at),
        "origin": letter.origin,
        "order_id": letter.key.as_deref().map(String::from_utf8_lossy),
        "kind": letter.kind,
        "error": letter.chain,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at.to_rfc3339(),
        "redrives": letter.redrive.as_ref().map_or(0, |redrive| redrive.count),
        "redriven": done.map(|done| json!({ "at": time(done.at), "to": done.to })),
    })
}

/// How many there are.
#[derive(Debug, Default)]
struct Tally {
    kinds: BTreeMap<(&'static str, String), u64>,
    redriven: u64,
    foreign: u64,
}

impl Tally {
    fn add(&mut self, stage: Stage, letter: &Letter, done: Option<&Done>) {
        match done {
            Some(_) => self.redriven += 1,
            None => {
                let kind = printable(letter.kind.as_bytes(), 40);
                *self.kinds.entry((stage.as_str(), kind)).or_default() += 1;
            }
        }
    }

    fn text(&self, all: bool) -> String {
        let total: u64 = self.kinds.values().sum();
        let mut text = match total {
            0 => "no dead letters".to_owned(),
            1 => "1 dead letter".to_owned(),
            n => format!("{n} dead letters"),
        };
        let kinds =
            self.kinds.iter().map(|((stage, kind), count)| format!("{stage} {kind} {count}"));
        let kinds: Vec<_> = kinds.collect();
        if !kinds.is_empty() {
            text.push_str(&format!(": {}", kinds.join(", ")));
        }
        if self.redriven > 0 {
            let hint = if all { "" } else { " (--all lists them)" };
            text.push_str(&format!("; {} redriven already{hint}", self.redriven));
        }
        if self.foreign > 0 {
            text.push_str(&format!("; {} other records, not written by comanda", self.foreign));
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use comanda_schemas::Source;

    use super::super::letter::tests::letter;
    use super::*;

    #[test]
    fn a_line_tells_what_and_where_from_and_why() {
        let letter = Letter { attempts: 3, ..letter("3@17", "order-1", 5) };
        let now = Timestamp::from_millis(1_795_484_800_005 + 180_000);
        let line = as_text(Stage::Payment, &letter, None, now);
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[..7], ["payment", "3@17", "3m", "orders", "0@5", "order-1", "decode"]);
        assert_eq!(words[7..], ["3", "attempts", "not", "an", "event"]);
        let value = as_json(Stage::Payment, &letter, None);
        assert_eq!((&value["partition"], &value["offset"]), (&json!(3), &json!(17)));
        assert_eq!(value["origin"], json!({ "topic": "orders", "partition": 0, "offset": 5 }));
        assert_eq!(value["order_id"], "order-1");
        assert_eq!(value["redriven"], Value::Null);
    }

    #[test]
    fn the_tally_counts_open_letters_by_kind() {
        let mut tally = Tally::default();
        assert_eq!(tally.text(false), "no dead letters\n");
        let to = Source { topic: "orders".into(), partition: 0, offset: 9 };
        tally.add(Stage::Payment, &letter("0@0", "k", 1), None);
        tally.add(Stage::Payment, &letter("0@1", "k", 2), None);
        tally.add(Stage::Notifier, &letter("0@1", "k", 2), Some(&Done { at: None, to }));
        assert_eq!(
            tally.text(false),
            "2 dead letters: payment decode 2; 1 redriven already (--all lists them)\n"
        );
    }
}
