//! What became of the dead letters of a stage.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use anyhow::Result;
use comanda_schemas::scan::From;
use comanda_schemas::{Source, Stage, Timestamp};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

use super::Desk;
use super::letter::{Found, Letter, Position};

/// A letter was redriven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// When.
    pub at: Option<Timestamp>,
    /// Where its record stands now.
    pub to: Source,
}

/// What one reading of a dead-letter topic tells of all letters in it.
#[derive(Debug, Default)]
pub struct Survey {
    /// The letters that were redriven.
    pub redriven: HashMap<Position, Done>,
    /// The records that became letters: partition and offset in the stage's input.
    pub dead: HashSet<(i32, i64)>,
    /// Records that neither are letters nor tell of one.
    pub foreign: u64,
}

impl Survey {
    /// Reads the dead letters of `stage` from `from` on. Notes stand behind their letters, so
    /// what is told of letters from there on is complete.
    pub fn of(desk: &Desk, stage: Stage, from: From) -> Result<Self> {
        let (mut survey, input) = (Self::default(), desk.names.name(stage.input()));
        desk.walk(&desk.names.dead_letters(stage), from, |record| {
            survey.add(Found::read(record), record.partition(), at(record), &input);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(survey)
    }

    fn add(&mut self, found: Found, partition: i32, at: Option<Timestamp>, input: &str) {
        match found {
            Found::Note(note) => {
                let letter = Position { partition, offset: note.letter_offset };
                self.redriven.insert(letter, Done { at, to: note.to });
            }
            Found::Letter(letter) if letter.origin.topic == input => {
                self.dead.insert((letter.origin.partition, letter.origin.offset));
            }
            Found::Letter(_) | Found::Foreign => self.foreign += 1,
        }
    }
}

/// Hands each letter of `stage` from `from` on to `each`, with its record. Letters that come from
/// another topic than the stage reads are none of ours.
pub fn letters(
    desk: &Desk,
    stage: Stage,
    from: From,
    mut each: impl FnMut(Letter, &BorrowedMessage<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let input = desk.names.name(stage.input());
    desk.walk(&desk.names.dead_letters(stage), from, |record| match Found::read(record) {
        Found::Letter(letter) if letter.origin.topic == input => each(letter, record),
        Found::Letter(_) | Found::Note(_) | Found::Foreign => Ok(ControlFlow::Continue(())),
    })
}

fn at(record: &BorrowedMessage<'_>) -> Option<Timestamp> {
    record.timestamp().to_millis().map(Timestamp::from_millis)
}
