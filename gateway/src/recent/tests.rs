use comanda_schemas::Timestamp;
use comanda_store::Recorded;

use super::*;
use crate::failure::{Code, Failure};

fn recent(max: usize) -> Arc<Recent> {
    Arc::new(Recent::new(max, 1_000, Duration::from_secs(3600)))
}

fn id(n: usize) -> OrderId {
    OrderId::derive("c", &n.to_string())
}

fn print(text: &str) -> Arc<str> {
    text.into()
}

fn known(offset: i64) -> Known {
    let timestamp = Timestamp::from_millis(0);
    let at = Recorded { topic: "orders".into(), partition: 0, offset, timestamp };
    Known::again(timestamp, at, "c")
}

fn placed(offset: i64) -> Ending {
    Ending::Decided(Stored { fingerprint: print("a"), known: known(offset) })
}

fn unknown() -> Ending {
    Ending::Unknown(Refused::Failed(Failure::new(Code::OutcomeUnknown, "no answer")))
}

fn seen(offset: i64) -> Sighting {
    let (partition, timestamp) = (0, Timestamp::from_millis(0));
    Sighting {
        partition,
        offset,
        timestamp,
        value: offset.to_string().as_bytes().into(),
        _room: None,
    }
}

fn first(entered: Entered) -> First {
    match entered {
        Entered::First(first) => first,
        _ => panic!("it should have been the first"),
    }
}

#[tokio::test]
async fn the_second_waits_for_the_first_and_gets_its_outcome() {
    let recent = recent(10);
    let leader = first(recent.enter(id(1), &print("a")));
    let Entered::Waiting(waiting) = recent.enter(id(1), &print("a")) else { panic!("no wait") };
    let waiting = tokio::spawn(waiting);
    let _ = leader.finish(placed(7));
    assert_eq!(waiting.await.unwrap().unwrap().at.offset, 7);
    let Entered::Known(again) = recent.enter(id(1), &print("a")) else { panic!("forgotten") };
    assert_eq!(again.at.offset, 7);
    assert_eq!(recent.stored(id(1)).unwrap().at.offset, 7);
}

#[test]
fn the_same_key_with_other_content_is_a_conflict_on_its_way_and_after() {
    let recent = recent(10);
    let leader = first(recent.enter(id(1), &print("a")));
    assert!(matches!(recent.enter(id(1), &print("b")), Entered::Conflict));
    let _ = leader.finish(placed(7));
    assert!(matches!(recent.enter(id(1), &print("b")), Entered::Conflict));
    assert!(matches!(recent.enter(id(2), &print("b")), Entered::First(_)));
}

#[tokio::test]
async fn a_failure_is_told_to_those_who_wait_and_then_forgotten() {
    let recent = recent(10);
    let leader = first(recent.enter(id(1), &print("a")));
    let Entered::Waiting(waiting) = recent.enter(id(1), &print("a")) else { panic!("no wait") };
    let failure = Refused::Failed(Failure::new(Code::Overloaded, "full"));
    let _ = leader.finish(Ending::Failed(failure.clone()));
    assert_eq!(waiting.await.unwrap_err(), failure);
    drop(first(recent.enter(id(1), &print("b"))));
}

#[tokio::test]
async fn those_who_wait_for_one_that_vanishes_learn_that_nobody_knows() {
    let recent = recent(10);
    let leader = first(recent.enter(id(1), &print("a")));
    let Entered::Waiting(waiting) = recent.enter(id(1), &print("a")) else { panic!("no wait") };
    drop(leader);
    assert_eq!(waiting.await.unwrap_err(), lost());
    drop(first(recent.enter(id(1), &print("a"))));
}

#[test]
fn it_is_full_until_the_store_has_passed_the_oldest() {
    let recent = recent(2);
    let _ = first(recent.enter(id(1), &print("a"))).finish(placed(1));
    let _ = first(recent.enter(id(2), &print("a"))).finish(placed(2));
    assert!(matches!(recent.enter(id(3), &print("a")), Entered::Full));
    recent.sweep(|_, offset| offset < 1);
    assert!(matches!(recent.enter(id(3), &print("a")), Entered::Full));
    recent.sweep(|_, offset| offset <= 1);
    assert!(recent.stored(id(1)).is_none() && recent.stored(id(2)).is_some());
    drop(first(recent.enter(id(3), &print("a"))));
}

#[test]
fn what_is_on_its_way_is_never_swept() {
    let recent = recent(2);
    let leader = first(recent.enter(id(1), &print("a")));
    recent.sweep(|_, _| true);
    assert!(matches!(recent.enter(id(1), &print("a")), Entered::Waiting(_)));
    let _ = leader.finish(placed(1));
    recent.sweep(|_, _| true);
    assert!(recent.is_empty());
}

#[test]
fn age_ends_what_the_store_never_passes() {
    let recent = Arc::new(Recent::new(10, 1_000, Duration::ZERO));
    let _ = first(recent.enter(id(1), &print("a"))).finish(placed(1));
    recent.sweep(|_, _| false);
    assert!(recent.is_empty());
}

#[test]
fn a_placement_that_failed_and_came_again_is_not_swept_in_its_old_place() {
    let recent = recent(10);
    let failed = Ending::Failed(Refused::Failed(Failure::new(Code::Overloaded, "full")));
    let _ = first(recent.enter(id(1), &print("a"))).finish(failed);
    let _ = first(recent.enter(id(1), &print("a"))).finish(placed(1));
    recent.sweep(|_, _| false);
    assert!(recent.stored(id(1)).is_some());
}

#[test]
fn a_key_whose_outcome_is_unknown_belongs_to_what_was_asked_for() {
    let recent = recent(10);
    assert!(first(recent.enter(id(1), &print("a"))).finish(unknown()).is_err());
    assert!(matches!(recent.enter(id(1), &print("b")), Entered::Conflict));
    // The same request tries again, and what fails then takes no doubt away.
    let failed = Refused::Failed(Failure::new(Code::BrokerUnavailable, "away"));
    assert!(first(recent.enter(id(1), &print("a"))).finish(Ending::Failed(failed)).is_err());
    assert!(matches!(recent.enter(id(1), &print("b")), Entered::Conflict));
    drop(first(recent.enter(id(1), &print("a"))));
}

#[test]
fn a_record_in_the_log_decides_what_was_in_doubt() {
    let recent = recent(10);
    assert!(first(recent.enter(id(1), &print("a"))).finish(unknown()).is_err());
    recent.saw(id(1), seen(7));
    let again = first(recent.enter(id(1), &print("b")));
    assert_eq!(again.sighting().unwrap().offset, 7);
    let found = placed(7);
    assert_eq!(again.finish(found).unwrap_err(), Refused::Conflict);
    let Entered::Known(known) = recent.enter(id(1), &print("a")) else { panic!("forgotten") };
    assert_eq!(known.at.offset, 7);
}

#[test]
fn the_first_record_in_the_log_counts_whoever_placed_it() {
    let recent = recent(10);
    let own = first(recent.enter(id(1), &print("a")));
    assert!(own.sighting().is_none());
    for offset in [8, 7, 9] {
        recent.saw(id(1), seen(offset));
    }
    let sighting = own.sighting().unwrap();
    assert_eq!(sighting.offset, 7);
    own.dismiss(&seen(9));
    assert!(own.sighting().is_some());
    own.dismiss(&sighting);
    assert!(own.sighting().is_none());
    assert!(own.finish(placed(3)).is_ok());
    recent.saw(id(1), seen(10));
    assert!(matches!(recent.enter(id(1), &print("b")), Entered::Conflict));
}

#[test]
fn an_order_that_only_the_log_tells_of_is_open_to_every_request() {
    let recent = recent(10);
    recent.saw(id(1), seen(7));
    let failed = Refused::Failed(Failure::new(Code::StoreUnavailable, "away"));
    assert!(first(recent.enter(id(1), &print("a"))).finish(Ending::Failed(failed)).is_err());
    assert_eq!(first(recent.enter(id(1), &print("b"))).sighting().unwrap().offset, 7);
    recent.sweep(|_, offset| offset < 7);
    assert!(!recent.is_empty());
    recent.sweep(|_, offset| offset <= 7);
    assert!(recent.is_empty());
}

#[test]
fn one_that_is_stored_and_not_decided_is_not_published_again() {
    let recent = recent(10);
    let refused = Refused::Failed(Failure::new(Code::OutcomeUnknown, "not decided"));
    let undecided = Ending::Undecided(Stored { fingerprint: print("a"), known: known(7) }, refused);
    assert!(first(recent.enter(id(1), &print("a"))).finish(undecided).is_err());
    let again = first(recent.enter(id(1), &print("b")));
    let stored = again.stored().unwrap();
    assert_eq!((&*stored.fingerprint, stored.known.at.offset), ("a", 7));
    assert!(again.finish(Ending::Decided(stored)).is_err());
    assert!(matches!(recent.enter(id(1), &print("a")), Entered::Known(_)));
}

#[test]
fn what_is_in_doubt_holds_up_nobody_and_ends_with_its_age() {
    let recent = recent(2);
    for n in 1..=2 {
        assert!(first(recent.enter(id(n), &print("a"))).finish(unknown()).is_err());
    }
    assert!(matches!(recent.enter(id(3), &print("a")), Entered::Full));
    recent.sweep(|_, _| false);
    assert!(first(recent.enter(id(3), &print("a"))).finish(placed(1)).is_ok());
    recent.sweep(|_, _| true);
    assert!(recent.stored(id(3)).is_none());
    assert!(matches!(recent.enter(id(2), &print("b")), Entered::Conflict), "remembered");
    let short = Arc::new(Recent::new(10, 1_000, Duration::ZERO));
    assert!(first(short.enter(id(1), &print("a"))).finish(unknown()).is_err());
    short.sweep(|_, _| false);
    assert!(short.is_empty());
}

#[test]
fn what_the_log_shows_is_bounded_by_bytes_too() {
    let recent = recent(10_000);
    let large = |offset| Sighting { value: vec![0; 300].into(), ..seen(offset) };
    for n in 0..100 {
        recent.saw(id(n), large(n as i64));
        assert!(recent.bytes.load(Ordering::Relaxed) <= 1_000);
    }
    assert_eq!(recent.table().entries.len(), 3);
    recent.sweep(|_, offset| offset < 1);
    recent.saw(id(200), large(200));
    assert_eq!(recent.table().entries.len(), 3, "there was room again");
    // One that a request of this gateway has to know of is always taken.
    let leader = first(recent.enter(id(300), &print("a")));
    recent.saw(id(300), large(300));
    assert!(leader.sighting().is_some());
    drop(leader.finish(placed(300)));
    recent.sweep(|_, _| true);
    assert_eq!((recent.table().entries.len(), recent.bytes.load(Ordering::Relaxed)), (0, 0));
}
