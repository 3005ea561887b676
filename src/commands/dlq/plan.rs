//! Which letters to redrive, and why not the others.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Result;
use comanda_processors::payment::KEY_LIFE;
use comanda_schemas::scan::From;
use comanda_schemas::{Redrive, Stage, Timestamp};
use rdkafka::Message;

use super::Desk;
use super::letter::{Letter, Position, span};
use super::survey::{Survey, letters};

/// Letters of a stage that one run takes at the most; what is beyond needs another.
const MAX_LETTERS: usize = 100_000;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Kind of error; any where there is none.
    pub kind: Option<String>,
    /// Where to begin.
    pub from: From,
    /// These letters alone, unless empty.
    pub letters: Vec<Position>,
    /// Take letters older than the providers' idempotency keys.
    pub old: bool,
    /// Take letters of orders that have later events.
    pub out_of_order: bool,
}

impl Selection {
    fn takes(&self, letter: &Letter) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == letter.kind)
            && (self.letters.is_empty() || self.letters.contains(&letter.at))
    }
}

/// Why a letter that was asked for is not redriven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The provider may have forgotten the idempotency key of its calls.
    Old(Stage, Duration),
    /// A later event of its order stands in the topic, at this offset.
    Overtaken(i64),
    /// A letter with an earlier event of its order stands behind it and has to go first.
    Behind(Position),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Old(stage, age) => {
                let life = span(KEY_LIFE);
                write!(
                    f,
                    "its calls are {} old, idempotency keys are good for {life}; ",
                    span(*age)
                )?;
                f.write_str(match stage {
                    Stage::Payment => {
                        "--force takes it: for events that old the payment processor looks at the \
                         provider before it charges"
                    }
                    Stage::Notifier => {
                        "--force takes it: should a mail have gone out unnoticed, it goes out again"
                    }
                })
            }
            Self::Overtaken(offset) => write!(
                f,
                "its order has a later event (offset {offset}), which this one must not follow; \
                 --out-of-order takes it nevertheless"
            ),
            Self::Behind(first) => write!(
                f,
                "{first} has an earlier event of its order and goes first; repeat the command"
            ),
        }
    }
}

/// What a redrive of a stage would do.
#[derive(Debug)]
pub struct Plan {
    /// The stage.
    pub stage: Stage,
    /// Letters to redrive.
    pub ready: Vec<Letter>,
    /// Letters that are not, each with the reason.
    pub refused: Vec<(Position, Refusal)>,
    /// Letters that were redriven before.
    pub done: u64,
    /// Letters beyond what one run takes.
    pub beyond: u64,
    /// Positions asked for at which there is no letter.
    pub missing: Vec<Position>,
}

impl Plan {
    /// Reads the stage's dead letters and, where an order may have later events, its input.
    pub fn make(desk: &Desk, stage: Stage, selection: &Selection) -> Result<Self> {
        desk.settle(&desk.names.dead_letters(stage))?;
        let survey = Survey::of(desk, stage, From::Beginning)?;
        let now = Timestamp::now();
        let mut plan = Self {
            stage,
            ready: Vec::new(),
            refused: Vec::new(),
            done: 0,
            beyond: 0,
            missing: selection.letters.clone(),
        };
        letters(desk, stage, selection.from, |letter, _| {
            if selection.takes(&letter) {
                plan.missing.retain(|at| *at != letter.at);
                plan.take(letter, &survey, selection, now);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if !selection.out_of_order && !plan.ready.is_empty() {
            let mut later = Later::of(&plan.ready);
            let input = desk.names.name(stage.input());
            desk.walk(&input, begin(&plan.ready), |record| {
                let redrive = record.headers().and_then(Redrive::read);
                if !survey.dead.contains(&(record.partition(), record.offset())) {
                    later.note(record.partition(), record.key(), record.offset(), redrive.as_ref());
                }
                Ok(ControlFlow::Continue(()))
            })?;
            plan.refuse(|letter| later.than(letter).map(Refusal::Overtaken));
        }
        plan.put_off();
        Ok(plan)
    }

    fn take(&mut self, letter: Letter, survey: &Survey, selection: &Selection, now: Timestamp) {
        let age = letter.key_age(now);
        if survey.redriven.contains_key(&letter.at) {
            self.done += 1;
        } else if age > KEY_LIFE && !selection.old {
            self.refused.push((letter.at, Refusal::Old(self.stage, age)));
        } else if self.ready.len() < MAX_LETTERS {
            self.ready.push(letter);
        } else {
            self.beyond += 1;
        }
    }

    /// Letters are redriven in the order in which they stand. That is the order of their events,
    /// except where an earlier event was redriven alone and died again.
    fn put_off(&mut self) {
        let mut keys: BTreeMap<(i32, &[u8]), Vec<&Letter>> = BTreeMap::new();
        for letter in &self.ready {
            if let Some(key) = &letter.key {
                keys.entry((letter.origin.partition, key)).or_default().push(letter);
            }
        }
        let mut behind = HashMap::new();
        for letters in keys.values_mut() {
            letters.sort_by_key(|letter| letter.first_offset());
            let mut letters = letters.iter().map(|letter| letter.at);
            let Some(mut last) = letters.next() else { continue };
            for at in letters.by_ref() {
                if at.partition != last.partition || at < last {
                    behind.insert(at, last);
                    break;
                }
                last = at;
            }
            // What comes after a letter that waits, waits for the same.
            behind.extend(letters.map(|at| (at, last)));
        }
        self.refuse(|letter| behind.get(&letter.at).copied().map(Refusal::Behind));
    }

    fn refuse(&mut self, why: impl Fn(&Letter) -> Option<Refusal>) {
        let refused = &mut self.refused;
        self.ready.retain(|letter| {
            let why = why(letter);
            refused.extend(why.clone().map(|why| (letter.at, why)));
            why.is_none()
        });
    }
}

/// A point in the stage's input at or before the first record of each letter: a topic is searched
/// for the first record that is not older, which can't stand behind the record itself.
fn begin(letters: &[Letter]) -> From {
    let times: Option<Vec<Timestamp>> = letters.iter().map(Letter::first_timestamp).collect();
    times
        .and_then(|times| times.into_iter().min())
        .map_or(From::Beginning, |oldest| From::Time(oldest.as_millis()))
}

/// The latest handled event of each order that has a letter.
#[derive(Debug)]
struct Later {
    /// By partition and key: offset of its first record, and offset in the log.
    latest: HashMap<(i32, Vec<u8>), (i64, i64)>,
}

impl Later {
    fn of(letters: &[Letter]) -> Self {
        let keys = letters.iter().filter_map(|l| Some((l.origin.partition, l.key.clone()?)));
        Self { latest: keys.map(|key| (key, (-1, -1))).collect() }
    }

    /// Takes note of a record that is not itself a dead letter. A redriven one counts as the
    /// record it first was.
    fn note(&mut self, partition: i32, key: Option<&[u8]>, offset: i64, redrive: Option<&Redrive>) {
        let Some(key) = key else { return };
        let Some(latest) = self.latest.get_mut(&(partition, key.to_vec())) else { return };
        let first = redrive.map_or(offset, |redrive| redrive.first_offset);
        *latest = (*latest).max((first, offset));
    }

    /// Offset of an event of the letter's order that came after the letter's.
    fn than(&self, letter: &Letter) -> Option<i64> {
        let key = (letter.origin.partition, letter.key.clone()?);
        let (first, offset) = self.latest.get(&key)?;
        (*first > letter.first_offset()).then_some(*offset)
    }
}

#[cfg(test)]
mod tests;
