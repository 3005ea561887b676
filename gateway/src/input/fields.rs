//! Checks of single fields. None of the messages repeats what it is about.

use email_address::{EmailAddress, Options};

use super::errors::{ErrorCode, Problems};

const MAX_NAME: usize = 200;
const MAX_TEXT: usize = 1_000;
const MAX_KEY: usize = 255;
/// RFC 5321 §4.5.3.1.3: 256 with the angle brackets around it.
const MAX_EMAIL: usize = 254;
/// Digits of a payment card's number (ISO/IEC 7812-1 and those in use).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Text on one line for people: any script, no control characters.
pub(super) fn name(problems: &mut Problems<'_>, path: &[&str], text: &str) {
    if text.trim().is_empty() {
        problems.add(ErrorCode::Required, path, "must not be empty");
    }
    length(problems, path, text, MAX_NAME);
    if text.chars().any(char::is_control) {
        problems.add(ErrorCode::InvalidFormat, path, "must not have control characters");
    }
}

/// Text on several lines.
pub(super) fn text(problems: &mut Problems<'_>, path: &[&str], text: &str) {
    length(problems, path, text, MAX_TEXT);
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        let message = "must not have control characters other than line feeds and tabs";
        problems.add(ErrorCode::InvalidFormat, path, message);
    }
}

/// A code or id: at least one character, none of them invisible.
pub(super) fn visible(problems: &mut Problems<'_>, path: &[&str], text: &str, max: usize) {
    if text.is_empty() {
        problems.add(ErrorCode::Required, path, "must not be empty");
    }
    length(problems, path, text, max);
    if text.chars().any(is_invisible) {
        let message = "must not have spaces, control or other invisible characters";
        problems.add(ErrorCode::InvalidFormat, path, message);
    }
}

pub(super) fn idempotency_key(problems: &mut Problems<'_>, key: &str) {
    let path = &["idempotencyKey"];
    if key.is_empty() {
        problems.add(ErrorCode::Required, path, "must not be empty where it is given");
    }
    length(problems, path, key, MAX_KEY);
    if key.chars().any(char::is_control) {
        problems.add(ErrorCode::InvalidFormat, path, "must not have control characters");
    }
}

/// An address that every mail provider takes and none can read as two.
pub(super) fn email(problems: &mut Problems<'_>, path: &[&str], text: &str) {
    if text.is_empty() {
        return problems.add(ErrorCode::Required, path, "must not be empty");
    }
    if text.len() > MAX_EMAIL {
        return length(problems, path, text, MAX_EMAIL);
    }
    let options =
        Options::default().with_required_tld().without_domain_literal().without_display_text();
    // Quoted local parts are legal and could hold a comma or a line's end.
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    if !plain || EmailAddress::parse_with_options(text, options).is_err() {
        let message = "not an e-mail address as name@example.com, in ASCII and without quotes";
        problems.add(ErrorCode::InvalidFormat, path, message);
    }
}

pub(super) fn payment_method(problems: &mut Problems<'_>, token: &str) {
    let path = &["paymentMethod"];
    if is_card_number(token) {
        let message = "a card number must never be sent here; send the payment provider's token";
        return problems.add(ErrorCode::CardNumber, path, message);
    }
    if token.is_empty() {
        problems.add(ErrorCode::Required, path, "must not be empty");
    }
    length(problems, path, token, MAX_KEY);
    let is_token = |c: char| c.is_ascii_alphanumeric() || "_-.:/+=~".contains(c);
    if !token.chars().all(is_token) {
        let message = "a token has letters, digits and _ - . : / + = ~ only";
        problems.add(ErrorCode::InvalidFormat, path, message);
    }
}

/// `max` counts characters, not bytes.
fn length(problems: &mut Problems<'_>, path: &[&str], text: &str, max: usize) {
    if text.len() > max && text.chars().count() > max {
        problems.add(ErrorCode::TooLong, path, format!("must have at most {max} characters"));
    }
}

/// Digits as people write them down from a card, with the right check digit (Luhn, ISO/IEC
/// 7812-1 annex B).
pub(super) fn is_card_number(text: &str) -> bool {
    let is_gap = |c: char| c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '.');
    let mut digits = Vec::with_capacity(*CARD_DIGITS.end());
    for c in text.chars().filter(|c| !is_gap(*c)) {
        match c.to_digit(10) {
            Some(digit) if digits.len() < *CARD_DIGITS.end() => digits.push(digit),
            _ => return false,
        }
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(n, digit)| match (n % 2, *digit) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    CARD_DIGITS.contains(&digits.len()) && sum.is_multiple_of(10)
}

/// Whitespace, control characters, and the format characters that hide or turn text around.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}
