//! Receipts as opaque text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comanda_store::{Position, Recorded};

/// First byte of a token: the form that follows.
const FORM: u8 = 1;
/// Kafka's limit for the name of a topic.
const MAX_TOPIC: usize = 249;

/// The record a receipt names, as text that a client hands back to read its own writes.
pub(crate) fn token(at: &Recorded) -> String {
    let mut bytes = vec![FORM];
    push(&mut bytes, at.partition.cast_unsigned().into());
    push(&mut bytes, at.offset.cast_unsigned());
    bytes.extend_from_slice(at.topic.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What the store must have applied before it knows what the receipt tells of; `None` where the
/// text is no token.
pub(crate) fn parse(token: &str) -> Option<Position> {
    // Three bytes in four characters; numbers take up to ten bytes.
    if token.len() > (MAX_TOPIC + 21) * 4 / 3 + 1 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let mut rest = bytes.strip_prefix(&[FORM])?;
    let partition = i32::try_from(take(&mut rest)?).ok()?;
    let offset = i64::try_from(take(&mut rest)?).ok()?;
    let topic = std::str::from_utf8(rest).ok()?.to_owned();
    Some(Position { topic, partition, next_offset: offset.checked_add(1)? })
}

/// Appends a number, seven bits a byte, lowest first.
pub(crate) fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number that [`push`] appended.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(first & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use comanda_schemas::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_its_record(
            topic in "[a-z.]{1,249}",
            partition in 0..i32::MAX,
            offset in 0..i64::MAX,
        ) {
            let timestamp = Timestamp::from_millis(0);
            let at = Recorded { topic: topic.clone(), partition, offset, timestamp };
            let next_offset = offset + 1;
            prop_assert_eq!(parse(&token(&at)), Some(Position { topic, partition, next_offset }));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_-]{0,60}|.*") {
            let _ = parse(&text);
        }

        #[test]
        fn numbers_survive(number: u64) {
            let mut bytes = Vec::new();
            push(&mut bytes, number);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Some(number));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = "A".repeat(10_000);
        for wrong in ["", "AA", "Ag", "!!", "AQ", "Af__________8B", &long] {
            assert_eq!(parse(wrong), None, "{wrong:.20}");
        }
    }
}
