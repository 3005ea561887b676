use comanda_schemas::Timestamp;

use super::*;
use crate::failure::{Code, Failure};

fn recent(max: usize) -> Arc<Recent> {
    Arc::new(Recent::new(max, Duration::from_secs(3600)))
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
    leader.finish(Ok(known(7)));
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
    leader.finish(Ok(known(7)));
    assert!(matches!(recent.enter(id(1), &print("b")), Entered::Conflict));
    assert!(matches!(recent.enter(id(2), &print("b")), Entered::First(_)));
}

#[tokio::test]
async fn a_failure_is_told_to_those_who_wait_and_then_forgotten() {
    let recent = recent(10);
    let leader = first(recent.enter(id(1), &print("a")));
    let Entered::Waiting(waiting) = recent.enter(id(1), &print("a")) else { panic!("no wait") };
    let failure = Refused::Failed(Failure::new(Code::Overloaded, "full"));
    leader.finish(Err(failure.clone()));
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
    first(recent.enter(id(1), &print("a"))).finish(Ok(known(1)));
    first(recent.enter(id(2), &print("a"))).finish(Ok(known(2)));
    assert!(matches!(recent.enter(id(3), &print("a")), Entered::Full));
    recent.sweep(|at| at.offset < 1);
    assert!(matches!(recent.enter(id(3), &print("a")), Entered::Full));
    recent.sweep(|at| at.offset <= 1);
    assert!(recent.stored(id(1)).is_none() && recent.stored(id(2)).is_some());
    drop(first(recent.enter(id(3), &print("a"))));
}

#[test]
fn what_is_on_its_way_is_never_swept() {
    let recent = recent(2);
    let leader = first(recent.enter(id(1), &print("a")));
    recent.sweep(|_| true);
    assert!(matches!(recent.enter(id(1), &print("a")), Entered::Waiting(_)));
    leader.finish(Ok(known(1)));
    recent.sweep(|_| true);
    assert!(recent.is_empty());
}

#[test]
fn age_ends_what_the_store_never_passes() {
    let recent = Arc::new(Recent::new(10, Duration::ZERO));
    first(recent.enter(id(1), &print("a"))).finish(Ok(known(1)));
    recent.sweep(|_| false);
    assert!(recent.is_empty());
}

#[test]
fn a_placement_that_failed_and_came_again_is_not_swept_in_its_old_place() {
    let recent = recent(10);
    let failed = Err(Refused::Failed(Failure::new(Code::Overloaded, "full")));
    first(recent.enter(id(1), &print("a"))).finish(failed);
    first(recent.enter(id(1), &print("a"))).finish(Ok(known(1)));
    recent.sweep(|_| false);
    assert!(recent.stored(id(1)).is_some());
}
