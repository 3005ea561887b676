//! `comanda dlq redrive`.

use std::collections::HashSet;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comanda_schemas::Timestamp;
use rdkafka::Message;
use rdkafka::message::OwnedMessage;

use super::letter::{Letter, Position, printable};
use super::plan::{Plan, Selection};
use super::survey::letters;
use super::writer::Writer;
use super::{Desk, stages};
use crate::cli::dlq::DlqRedriveArgs;
use crate::{output, points, progress};

/// Letters in one transaction, and bytes of their values.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 8 << 20;
/// How often a signal is looked for while nobody answers.
const LOOK: Duration = Duration::from_millis(200);

/// Redrives what was asked for; an error when any of it was not redriven.
pub fn run(desk: &Desk, args: &DlqRedriveArgs) -> Result<()> {
    let selection = Selection {
        kind: args.kind.clone(),
        from: points::parse(&args.from, Timestamp::now())?,
        letters: args.letters.clone(),
        old: args.force,
        out_of_order: args.out_of_order,
    };
    let plans = stages(args.stage)
        .into_iter()
        .map(|stage| Plan::make(desk, stage, &selection))
        .collect::<Result<Vec<_>>>()?;
    if let Some(plan) = plans.iter().find(|plan| !plan.missing.is_empty()) {
        let missing: Vec<_> = plan.missing.iter().map(Position::to_string).collect();
        bail!(
            "there is no such dead letter in {}: {}",
            desk.names.dead_letters(plan.stage),
            missing.join(", ")
        );
    }
    for plan in &plans {
        tell_refused(plan);
    }
    let ready: usize = plans.iter().map(|plan| plan.ready.len()).sum();
    let mut summary = Summary::of(&plans);
    if args.dry_run {
        plans.iter().try_for_each(|plan| tell_ready(desk, plan))?;
        say!("would redrive {}", summary.text(ready as u64));
        return summary.verdict();
    }
    if ready > 0 {
        if !args.yes {
            confirm(desk, ready)?;
        }
        let progress = progress::Goals::new(&["redriven"], ready as u64);
        for plan in plans.iter().filter(|plan| !plan.ready.is_empty()) {
            let written = redrive(desk, plan, &selection, &mut summary, &progress);
            written.with_context(|| {
                format!("{} of {ready} redriven; repeat the command for the rest", summary.redriven)
            })?;
        }
        progress.finish();
    }
    say!("redriven {}", summary.text(summary.redriven));
    summary.verdict()
}

/// Redrives the letters of `first` that still may be, once nobody else can be at it.
fn redrive(
    desk: &Desk,
    first: &Plan,
    selection: &Selection,
    summary: &mut Summary,
    progress: &progress::Goals,
) -> Result<()> {
    let stage = first.stage;
    let writer = Writer::open(desk, stage)?;
    let agreed: HashSet<Position> = first.ready.iter().map(|letter| letter.at).collect();
    let mut plan = Plan::make(desk, stage, selection)?;
    // Letters that came since then were not agreed to.
    plan.ready.retain(|letter| agreed.contains(&letter.at));
    plan.refused.retain(|(at, _)| agreed.contains(at));
    tell_refused(&plan);
    summary.refused += plan.refused.len() as u64;
    summary.done += (agreed.len() - plan.ready.len() - plan.refused.len()) as u64;
    let wanted: HashSet<Position> = plan.ready.iter().map(|letter| letter.at).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let (mut batch, mut bytes, mut left) = (Vec::new(), 0, wanted.len());
    letters(desk, stage, selection.from, |letter, record| {
        if !wanted.contains(&letter.at) {
            return Ok(ControlFlow::Continue(()));
        }
        left -= 1;
        bytes += record.payload().map_or(0, <[u8]>::len);
        batch.push((letter, record.detach()));
        if batch.len() == BATCH || bytes >= BATCH_BYTES || left == 0 {
            write(&writer, &mut batch, summary, progress)?;
            bytes = 0;
            // Between transactions, so that none is cut off.
            desk.go_on()?;
        }
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if left > 0 {
        bail!("{left} letters were gone before they could be redriven: their retention is over");
    }
    Ok(())
}

fn write(
    writer: &Writer,
    batch: &mut Vec<(Letter, OwnedMessage)>,
    summary: &mut Summary,
    progress: &progress::Goals,
) -> Result<()> {
    writer.write(batch)?;
    summary.redriven += batch.len() as u64;
    progress.set(&[summary.redriven]);
    batch.clear();
    Ok(())
}

/// Asks on the terminal; an error unless the answer is yes.
fn confirm(desk: &Desk, letters: usize) -> Result<()> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!("there is no terminal to ask on: add --yes, or --dry-run to see what would be done");
    }
    output::to_stderr(&format!("Put {letters} dead letters back to where they came from? [y/N] "));
    let (sender, answer) = mpsc::channel();
    // A thread of its own, left alone where a signal comes first: nothing can end its reading.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        let _ = sender.send(read.map(|_| line));
    });
    loop {
        match answer.recv_timeout(LOOK) {
            Ok(line) => {
                let line = line.context("reading the answer")?;
                if matches!(line.trim(), "y" | "Y" | "yes") {
                    return Ok(());
                }
                bail!("nothing was redriven");
            }
            Err(RecvTimeoutError::Timeout) => desk.go_on()?,
            Err(RecvTimeoutError::Disconnected) => bail!("no answer"),
        }
    }
}

fn tell_refused(plan: &Plan) {
    for (at, why) in &plan.refused {
        note!("{} {at} is not redriven: {why}", plan.stage.as_str());
    }
    if plan.beyond > 0 {
        note!(
            "{}: {} letters are beyond what one run takes; repeat the command, or narrow it",
            plan.stage.as_str(),
            plan.beyond
        );
    }
}

fn tell_ready(desk: &Desk, plan: &Plan) -> Result<()> {
    let input = desk.names.name(plan.stage.input());
    for letter in &plan.ready {
        say!(
            "{} {}  to {input} {}  {}  {}",
            plan.stage.as_str(),
            letter.at,
            letter.origin.partition,
            letter.key_text(),
            printable(letter.kind.as_bytes(), 40),
        );
    }
    Ok(())
}

/// What became of the letters that were asked for.
#[derive(Debug, Default)]
struct Summary {
    redriven: u64,
    refused: u64,
    done: u64,
    beyond: u64,
}

impl Summary {
    fn of(plans: &[Plan]) -> Self {
        Self {
            redriven: 0,
            refused: plans.iter().map(|plan| plan.refused.len() as u64).sum(),
            done: plans.iter().map(|plan| plan.done).sum(),
            beyond: plans.iter().map(|plan| plan.beyond).sum(),
        }
    }

    /// After "redriven": `redriven` and the rest.
    fn text(&self, redriven: u64) -> String {
        let rest =
            [(self.refused, "refused"), (self.done, "redriven before"), (self.beyond, "beyond")];
        let rest = rest.iter().filter(|(count, _)| *count > 0);
        let rest = rest.map(|(count, what)| format!("; {count} {what}"));
        redriven.to_string() + &rest.collect::<String>()
    }

    /// Whether all that was asked for is redriven, now or before.
    fn verdict(&self) -> Result<()> {
        match self.refused + self.beyond {
            0 => Ok(()),
            1 => bail!("1 letter is left, see above"),
            n => bail!("{n} letters are left, see above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_there_is_and_fails_for_what_is_left() {
        let clean = Summary { redriven: 3, done: 2, ..Summary::default() };
        assert_eq!(clean.text(clean.redriven), "3; 2 redriven before");
        assert!(clean.verdict().is_ok());
        let left = Summary { refused: 1, beyond: 4, ..clean };
        assert_eq!(left.text(3), "3; 1 refused; 2 redriven before; 4 beyond");
        assert_eq!(left.verdict().unwrap_err().to_string(), "5 letters are left, see above");
        let nothing = Summary::default();
        assert_eq!(nothing.text(0), "0");
        assert!(nothing.verdict().is_ok());
    }
}
