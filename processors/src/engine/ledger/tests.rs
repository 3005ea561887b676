use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn begin(ledger: &mut Ledger<i64>, offset: i64) -> u64 {
    match ledger.begin(0, offset, 10) {
        Begun::New(epoch) => epoch,
        other => panic!("offset {offset} is {other:?}"),
    }
}

/// Commits what is ready; the results, and where a successor would start.
fn commit(ledger: &mut Ledger<i64>, max: usize) -> (Vec<i64>, Option<(i64, Spans)>) {
    let ready = ledger.ready(max);
    let results = ledger.results(&ready).copied().collect();
    let mut stands = None;
    for commit in &ready.commits {
        ledger.committed(commit);
        let spans = Spans::decode(commit.next, &commit.metadata).expect("our own metadata");
        stands = Some((commit.next, spans));
    }
    (results, stands)
}

#[test]
fn a_slow_record_holds_the_offset_and_nobody_else() {
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, Spans::default());
    // 5 and 6 belong to no record: a transaction marker, an aborted record.
    for offset in [3, 4, 7, 8] {
        begin(&mut ledger, offset);
    }
    assert!(ledger.finish(0, epoch, 4, Some(4)));
    assert!(ledger.finish(0, epoch, 8, Some(8)));
    let (results, stands) = commit(&mut ledger, 9);
    assert_eq!(results, [4, 8]);
    let (next, above) = stands.unwrap();
    assert_eq!(next, 3);
    assert!(above.contains(4) && !above.contains(7) && above.contains(8) && !above.contains(9));
    assert_eq!(commit(&mut ledger, 9), (vec![], None), "committed twice");
    assert!(ledger.finish(0, epoch, 3, Some(3)));
    let (results, stands) = commit(&mut ledger, 9);
    assert_eq!((results, stands.unwrap().0), (vec![3], 7));
    assert_eq!((ledger.records(), ledger.bytes(), ledger.running(0)), (1, 10, 1));
}

#[test]
fn a_successor_skips_what_was_committed_and_runs_the_rest() {
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, Spans::default());
    for offset in 0..6 {
        begin(&mut ledger, offset);
    }
    for offset in [1, 2, 5] {
        ledger.finish(0, epoch, offset, Some(offset));
    }
    let (_, stands) = commit(&mut ledger, 9);
    let (next, above) = stands.unwrap();
    assert_eq!(next, 0);
    let mut successor: Ledger<i64> = Ledger::new();
    let epoch = successor.assign(0, above);
    let begun: Vec<i64> =
        (next..6).filter(|o| matches!(successor.begin(0, *o, 1), Begun::New(_))).collect();
    assert_eq!(begun, [0, 3, 4]);
    // What it inherited is still told while the lowest record is unfinished.
    successor.finish(0, epoch, 3, Some(3));
    let (_, stands) = commit(&mut successor, 9);
    let (next, above) = stands.unwrap();
    assert_eq!(next, 0);
    assert!((1..6).all(|o| above.contains(o) == (o != 4)));
}

#[test]
fn what_is_inherited_and_not_read_yet_is_not_forgotten() {
    let mut inherited = Spans::default();
    inherited.push(2, 4);
    inherited.push(7, 9);
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, inherited);
    begin(&mut ledger, 0);
    begin(&mut ledger, 1);
    ledger.finish(0, epoch, 1, Some(1));
    let (next, above) = commit(&mut ledger, 9).1.unwrap();
    assert_eq!(next, 0);
    let told: Vec<i64> = (0..12).filter(|o| above.contains(*o)).collect();
    assert_eq!(told, [1, 2, 3, 7, 8]);
    ledger.finish(0, epoch, 0, Some(0));
    let (next, above) = commit(&mut ledger, 9).1.unwrap();
    // 2 and 3 were finished before, so nothing below 4 is left to do.
    assert_eq!(next, 4);
    assert!(above.contains(7) && !above.contains(5));
}

#[test]
fn a_repeated_offset_and_a_late_completion_are_ignored() {
    let mut ledger = Ledger::new();
    let old = ledger.assign(0, Spans::default());
    begin(&mut ledger, 5);
    assert_eq!(ledger.begin(0, 5, 1), Begun::Known);
    assert_eq!(ledger.begin(1, 5, 1), Begun::Known);
    let new = ledger.assign(0, Spans::default());
    begin(&mut ledger, 5);
    assert!(!ledger.finish(0, old, 5, Some(5)));
    assert_eq!(ledger.ready(9), Ready::default());
    assert!(ledger.finish(0, new, 5, Some(5)));
    assert_eq!(ledger.ready(9).records, 1);
    assert_eq!((ledger.records(), ledger.finished()), (1, 1));
    ledger.forget(0);
    assert_eq!((ledger.records(), ledger.finished(), ledger.bytes()), (0, 0, 0));
}

#[test]
fn metadata_that_would_not_fit_waits_for_the_slow_records() {
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, Spans::default());
    for offset in 0..8_000 {
        begin(&mut ledger, offset);
    }
    // Every second one: more spans than 4,096 bytes can tell.
    for offset in (1..8_000).step_by(2) {
        ledger.finish(0, epoch, offset, Some(offset));
    }
    assert_eq!(ledger.ready(9_000), Ready::default());
    ledger.finish(0, epoch, 0, Some(0));
    let ready = ledger.ready(9_000);
    assert_eq!(ready.commits[0].offsets, [0, 1]);
    assert_eq!((ready.commits[0].next, ready.commits[0].metadata.as_str()), (2, ""));
}

proptest! {
    /// Whatever the order of completion, the sizes of commits, and the moments at which the
    /// process dies and a successor goes on: each result is committed exactly once.
    #[test]
    fn each_result_is_committed_once_across_crashes(
        order in Just((0..60i64).collect::<Vec<_>>()).prop_shuffle(),
        steps in proptest::collection::vec((1usize..20, any::<bool>(), any::<bool>()), 1..200),
    ) {
        let mut log = Vec::new();
        let mut stands = (0, Spans::default());
        let mut ledger = Ledger::new();
        let mut epoch = ledger.assign(0, Spans::default());
        let mut open: BTreeSet<i64> = BTreeSet::new();
        let read = |ledger: &mut Ledger<i64>, open: &mut BTreeSet<i64>, from: i64| {
            for offset in from..60 {
                if let Begun::New(_) = ledger.begin(0, offset, 1) {
                    open.insert(offset);
                }
            }
        };
        read(&mut ledger, &mut open, 0);
        let rest = std::iter::repeat_n((60, true, false), 4);
        for (take, commits, crashes) in steps.into_iter().chain(rest) {
            let done: Vec<i64> =
                order.iter().copied().filter(|o| open.contains(o)).take(take).collect();
            for offset in done {
                open.remove(&offset);
                ledger.finish(0, epoch, offset, Some(offset));
            }
            if commits {
                let (results, now) = commit(&mut ledger, take);
                log.extend(results);
                stands = now.unwrap_or(stands);
            }
            if crashes {
                ledger = Ledger::new();
                epoch = ledger.assign(0, stands.1.clone());
                open.clear();
                read(&mut ledger, &mut open, stands.0);
            }
        }
        log.sort_unstable();
        prop_assert_eq!(log, (0..60).collect::<Vec<_>>());
        prop_assert_eq!(ledger.records(), 0);
    }
}
