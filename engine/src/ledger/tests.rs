use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn begin(ledger: &mut Ledger<i64>, offset: i64) -> u64 {
    match ledger.begin(0, offset, 10, Instant::now()) {
        Begun::New { epoch, .. } => epoch,
        other => panic!("offset {offset} is {other:?}"),
    }
}

/// Commits what is finished; the results, and where a successor would start.
fn commit(ledger: &mut Ledger<i64>, max: usize) -> (Vec<i64>, Option<(i64, Spans)>) {
    let Some(batch) = ledger.take(max) else { return (Vec::new(), None) };
    ledger.committed(&batch, |_| {});
    let stands = batch.commits.last().map(|commit| {
        (commit.next, Spans::decode(commit.next, &commit.metadata).expect("our own metadata"))
    });
    let results = batch.commits.iter().flat_map(|commit| commit.results.iter().map(|(_, r)| *r));
    (results.collect(), stands)
}

#[test]
fn a_slow_record_holds_the_offset_and_nobody_else() {
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, Spans::default(), Suspects::default());
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
    let epoch = ledger.assign(0, Spans::default(), Suspects::default());
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
    let epoch = successor.assign(0, above, Suspects::default());
    let begun: Vec<i64> = (next..6)
        .filter(|o| matches!(successor.begin(0, *o, 1, Instant::now()), Begun::New { .. }))
        .collect();
    assert_eq!(begun, [0, 3, 4]);
    // What it inherited is still told while the lowest record is unfinished.
    successor.finish(0, epoch, 3, Some(3));
    let (_, stands) = commit(&mut successor, 9);
    let (next, above) = stands.unwrap();
    assert_eq!(next, 0);
    assert!((1..6).all(|o| above.contains(o) == (o != 4)));
}

#[test]
fn the_first_records_that_were_there_before_are_suspect() {
    let mut inherited = Spans::default();
    inherited.push(1, 2);
    let mut ledger: Ledger<i64> = Ledger::new();
    let mut suspects = |below, left| -> Vec<i64> {
        ledger.assign(0, inherited.clone(), Suspects { below, left });
        let mut begun = |o: &i64| ledger.begin(0, *o, 1, Instant::now());
        (0..9).filter(|o| matches!(begun(o), Begun::New { suspect: true, .. })).collect()
    };
    assert_eq!(suspects(5, 9), [0, 2, 3, 4], "not what is finished, nor what came later");
    assert_eq!(suspects(9, 3), [0, 2, 3], "as many as one can have in hand");
    assert!(suspects(0, 9).is_empty());
}

#[test]
fn what_is_inherited_and_not_read_yet_is_not_forgotten() {
    let mut inherited = Spans::default();
    inherited.push(2, 4);
    inherited.push(7, 9);
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, inherited, Suspects::default());
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
    let old = ledger.assign(0, Spans::default(), Suspects::default());
    begin(&mut ledger, 5);
    assert_eq!(ledger.begin(0, 5, 1, Instant::now()), Begun::Known);
    assert_eq!(ledger.begin(1, 5, 1, Instant::now()), Begun::Known);
    let new = ledger.assign(0, Spans::default(), Suspects::default());
    begin(&mut ledger, 5);
    assert!(!ledger.finish(0, old, 5, Some(5)));
    assert!(ledger.take(9).is_none());
    assert!(ledger.finish(0, new, 5, Some(5)));
    assert_eq!((ledger.records(), ledger.finished()), (1, 1));
    ledger.forget(0);
    assert_eq!((ledger.records(), ledger.finished(), ledger.bytes()), (0, 0, 0));
}

#[test]
fn metadata_that_would_not_fit_waits_for_the_slow_records() {
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, Spans::default(), Suspects::default());
    for offset in 0..40_000 {
        begin(&mut ledger, offset);
    }
    // Every second one: more spans than 4,096 bytes can tell.
    for offset in (1..40_000).step_by(2) {
        ledger.finish(0, epoch, offset, Some(offset));
    }
    assert!(ledger.take(41_000).is_none());
    ledger.finish(0, epoch, 0, Some(0));
    let batch = ledger.take(41_000).unwrap();
    assert_eq!(batch.commits[0].results, [(0, 0), (1, 1)]);
    assert_eq!((batch.commits[0].next, batch.commits[0].metadata.as_str()), (2, ""));
}

#[test]
fn metadata_that_would_not_fit_in_any_way_is_never_sent() {
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, Spans::default(), Suspects::default());
    // Between them are offsets without a record, such as a transaction leaves.
    for offset in (0..40_000).step_by(2) {
        begin(&mut ledger, offset);
    }
    ledger.finish(0, epoch, 0, Some(0));
    assert!(ledger.take(9).is_none());
    for offset in (2..40_000).step_by(2) {
        ledger.finish(0, epoch, offset, Some(offset));
    }
    assert_eq!(ledger.take(41_000).unwrap().records, 20_000);
}

#[test]
fn an_aborted_batch_is_taken_again_with_what_finished_since() {
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, Spans::default(), Suspects::default());
    for offset in 0..3 {
        begin(&mut ledger, offset);
    }
    ledger.finish(0, epoch, 1, Some(1));
    let batch = ledger.take(9).unwrap();
    assert_eq!((ledger.finished(), ledger.uncommitted(0), ledger.records()), (0, 1, 3));
    ledger.finish(0, epoch, 0, Some(0));
    ledger.put_back(batch);
    assert_eq!((ledger.finished(), ledger.uncommitted(0)), (2, 2));
    assert_eq!(commit(&mut ledger, 9).0, [0, 1]);
    assert_eq!((ledger.uncommitted(0), ledger.records()), (0, 1));
}

#[test]
fn a_batch_that_outlives_its_assignment_changes_nothing() {
    for commits in [true, false] {
        let mut ledger = Ledger::new();
        let epoch = ledger.assign(0, Spans::default(), Suspects::default());
        begin(&mut ledger, 5);
        ledger.finish(0, epoch, 5, Some(5));
        let batch = ledger.take(9).unwrap();
        ledger.assign(0, Spans::default(), Suspects::default());
        begin(&mut ledger, 5);
        if commits {
            ledger.committed(&batch, |_| panic!("of another assignment"));
        } else {
            ledger.put_back(batch);
        }
        let counts = (ledger.records(), ledger.finished(), ledger.uncommitted(0), ledger.bytes());
        assert_eq!(counts, (1, 0, 0, 10));
    }
}

#[test]
fn what_a_lost_transaction_committed_is_dropped_and_the_rest_is_kept() {
    let mut ledger = Ledger::new();
    let epoch = ledger.assign(0, Spans::default(), Suspects::default());
    for offset in 0..5 {
        begin(&mut ledger, offset);
    }
    for offset in [0, 2, 3] {
        ledger.finish(0, epoch, offset, Some(offset));
    }
    let batch = ledger.take(2).unwrap();
    ledger.put_back(batch);
    let mut above = Spans::default();
    above.push(2, 3);
    ledger.reconcile(0, 1, &above);
    assert_eq!((ledger.records(), ledger.finished()), (3, 1));
    assert_eq!(commit(&mut ledger, 9).0, [3]);
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
        let mut epoch = ledger.assign(0, Spans::default(), Suspects::default());
        let mut open: BTreeSet<i64> = BTreeSet::new();
        let read = |ledger: &mut Ledger<i64>, open: &mut BTreeSet<i64>, from: i64| {
            for offset in from..60 {
                if let Begun::New { .. } = ledger.begin(0, offset, 1, Instant::now()) {
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
                epoch = ledger.assign(0, stands.1.clone(), Suspects::default());
                open.clear();
                read(&mut ledger, &mut open, stands.0);
            }
        }
        log.sort_unstable();
        prop_assert_eq!(log, (0..60).collect::<Vec<_>>());
        prop_assert_eq!(ledger.records(), 0);
    }
}
