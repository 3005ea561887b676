use comanda_schemas::Source;

use super::super::letter::tests::letter;
use super::super::survey::Done;
use super::*;

fn all() -> Selection {
    Selection {
        kind: None,
        from: From::Beginning,
        letters: Vec::new(),
        old: false,
        out_of_order: false,
    }
}

fn plan(ready: Vec<Letter>) -> Plan {
    Plan { stage: Stage::Payment, ready, refused: vec![], done: 0, beyond: 0, missing: vec![] }
}

fn ready(plan: &Plan) -> Vec<String> {
    plan.ready.iter().map(|letter| letter.at.to_string()).collect()
}

/// The letter of a record that first stood at `first` and was redriven to `origin`.
fn again(at: &str, key: &str, first: i64, origin: i64) -> Letter {
    let redrive = Some(letter("0@0", key, first).next_redrive("dlq"));
    Letter { redrive, ..letter(at, key, origin) }
}

#[test]
fn kind_and_position_select() {
    let panic = Letter { kind: "panic".into(), ..letter("1@4", "k", 1) };
    let kind = Selection { kind: Some("panic".into()), ..all() };
    assert!(kind.takes(&panic) && !kind.takes(&letter("1@4", "k", 1)));
    let named = Selection { letters: vec!["1@4".parse().unwrap()], ..all() };
    assert!(named.takes(&panic) && !named.takes(&letter("4@1", "k", 1)));
    let both = Selection { letters: named.letters, ..kind };
    assert!(both.takes(&panic) && !both.takes(&letter("1@4", "k", 1)));
}

#[test]
fn a_letter_is_taken_once_and_only_while_its_keys_live() {
    let (mut survey, now) = (Survey::default(), Timestamp::from_millis(1_795_484_800_000));
    let before = |age: Duration| {
        let time =
            Timestamp::from_micros(now.as_micros() - i64::try_from(age.as_micros()).unwrap());
        let fresh = letter("0@0", "k", 0);
        Letter { timestamp: Some(time), first_failed_at: now, ..fresh }
    };
    let (young, old) = (before(KEY_LIFE), before(KEY_LIFE + Duration::from_secs(1)));
    let mut plan = plan(vec![]);
    plan.take(young.clone(), &survey, &all(), now);
    assert_eq!((plan.ready.len(), plan.refused.len()), (1, 0));
    plan.take(old.clone(), &survey, &all(), now);
    assert!(matches!(plan.refused[..], [(_, Refusal::Old(Stage::Payment, _))]));
    plan.take(old.clone(), &survey, &Selection { old: true, ..all() }, now);
    assert_eq!(plan.ready.len(), 2);
    let to = Source { topic: "orders".into(), partition: 0, offset: 9 };
    survey.redriven.insert(young.at, Done { at: None, to });
    plan.take(young, &survey, &all(), now);
    plan.take(old, &survey, &all(), now);
    assert_eq!((plan.ready.len(), plan.refused.len(), plan.done), (2, 1, 2));
}

#[test]
fn letters_of_one_order_keep_the_order_of_its_events() {
    let mut in_order = plan(vec![letter("2@1", "a", 5), letter("2@2", "a", 6)]);
    in_order.put_off();
    assert_eq!(ready(&in_order), ["2@1", "2@2"]);
    // 5 was redriven to 10 alone and died again: its letter stands behind that of 6.
    let mut turned = plan(vec![
        letter("2@2", "a", 6),
        letter("2@3", "b", 7),
        again("2@4", "a", 5, 10),
        letter("2@5", "a", 11),
    ]);
    turned.put_off();
    assert_eq!(ready(&turned), ["2@3", "2@4"]);
    let first = "2@4".parse().unwrap();
    let behind = |at: &str| (at.parse().unwrap(), Refusal::Behind(first));
    assert_eq!(turned.refused, [behind("2@2"), behind("2@5")]);
}

#[test]
fn an_event_does_not_follow_a_later_one_of_its_order() {
    let letters = [letter("0@0", "a", 5), letter("0@1", "b", 6), again("0@2", "c", 7, 20)];
    let mut later = Later::of(&letters);
    let first_at = |offset| again("0@9", "a", offset, 0).redrive.unwrap();
    later.note(0, Some(b"a"), 4, None);
    later.note(0, Some(b"a"), 5, None);
    later.note(1, Some(b"a"), 9, None);
    later.note(0, None, 9, None);
    // An earlier event of `a`, redriven before, is no later one.
    later.note(0, Some(b"a"), 30, Some(&first_at(3)));
    assert_eq!(later.than(&letters[0]), None);
    later.note(0, Some(b"a"), 31, Some(&first_at(8)));
    assert_eq!(later.than(&letters[0]), Some(31));
    later.note(0, Some(b"b"), 7, None);
    assert_eq!(later.than(&letters[1]), Some(7));
    // Between its first record and the redriven one.
    later.note(0, Some(b"c"), 12, None);
    assert_eq!(later.than(&letters[2]), Some(12));
    let without_key = Letter { key: None, ..letter("0@0", "a", 5) };
    assert_eq!(later.than(&without_key), None);
}

#[test]
fn the_search_for_later_events_begins_at_the_oldest_first_record() {
    let (old, new) = (again("0@1", "a", 5, 90), letter("0@0", "b", 6));
    let oldest = old.first_timestamp().unwrap();
    assert_eq!(begin(&[new.clone(), old]), From::Time(oldest.as_millis()));
    let timeless = Letter { timestamp: None, ..new.clone() };
    assert_eq!(begin(&[new, timeless]), From::Beginning);
}
