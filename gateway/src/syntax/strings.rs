//! The values of strings (specification §2.9.4).

use std::borrow::Cow;

/// What a string should have, and where, in bytes from its beginning.
#[derive(Debug)]
pub(super) struct Wrong {
    pub expected: &'static str,
    pub at: usize,
}

/// The value of the quoted string that `text` begins with, and its length in bytes.
pub(super) fn quoted(text: &str) -> Result<(Cow<'_, str>, usize), Wrong> {
    let mut value = String::new();
    // Up to here it is in `value`.
    let mut taken = 1;
    let mut at = 1;
    let wrong = |expected, at| Err(Wrong { expected, at });
    loop {
        match text.as_bytes().get(at) {
            None | Some(b'\n' | b'\r') => return wrong("the end of the string", at),
            Some(b'"') => break,
            Some(b'\\') => {
                value.push_str(&text[taken..at]);
                let Some((character, length)) = escape(&text.as_bytes()[at..]) else {
                    return wrong("an escape sequence of GraphQL", at);
                };
                value.push(character);
                at += length;
                taken = at;
            }
            Some(_) => at += 1,
        }
    }
    let rest = &text[taken..at];
    let is_plain = taken == 1;
    let value = if is_plain { Cow::Borrowed(rest) } else { Cow::Owned(value + rest) };
    Ok((value, at + 1))
}

/// The character that the escape sequence stands for, and its length in bytes.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let simple = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(bytes),
        _ => return None,
    };
    Some((simple, 2))
}

/// `\u{…}`, `\uXXXX`, or two of the latter that are a surrogate pair.
fn unicode(bytes: &[u8]) -> Option<(char, usize)> {
    if bytes.get(2) == Some(&b'{') {
        let end = bytes[3..].iter().position(|b| !b.is_ascii_hexdigit())? + 3;
        if end == 3 || bytes[end] != b'}' {
            return None;
        }
        return Some((char::from_u32(hex(&bytes[3..end])?)?, end + 1));
    }
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().all(u8::is_ascii_hexdigit).then(|| hex(digits)).flatten()
    };
    match unit(0)? {
        high @ 0xD800..=0xDBFF => {
            let low = unit(6).filter(|low| (0xDC00..=0xDFFF).contains(low))?;
            Some((char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))?, 12))
        }
        scalar => Some((char::from_u32(scalar)?, 6)),
    }
}

/// The number that the digits mean; `None` where it is too large for a character.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, digit| {
        let value = (value << 4) | (*digit as char).to_digit(16)?;
        (value <= 0x10FFFF).then_some(value)
    })
}

const QUOTES: &str = "\"\"\"";

/// The value of the block string that `text` begins with, and its length in bytes.
pub(super) fn block(text: &str) -> Result<(Cow<'_, str>, usize), Wrong> {
    let mut at = QUOTES.len();
    let mut raw = String::new();
    let mut taken = at;
    loop {
        let Some(found) = text[at..].find(QUOTES) else {
            return Err(Wrong { expected: "the end of the block string", at: text.len() });
        };
        at += found;
        // The escape is `\"""`, whatever stands before it.
        if !text[taken..at].ends_with('\\') {
            break;
        }
        raw.push_str(&text[taken..at - 1]);
        raw.push_str(QUOTES);
        at += QUOTES.len();
        taken = at;
    }
    raw.push_str(&text[taken..at]);
    Ok((Cow::Owned(without_indent(&raw)), at + QUOTES.len()))
}

/// `BlockStringValue` of the specification.
fn without_indent(raw: &str) -> String {
    let lines: Vec<&str> = lines(raw).collect();
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let is_blank = |line: &&str| indent(line) == line.len();
    let inner = lines.iter().skip(1).filter(|line| !is_blank(line));
    let common = inner.map(|line| indent(line)).min().unwrap_or(0);
    let Some(begin) = lines.iter().position(|line| !is_blank(line)) else { return String::new() };
    let end = lines.iter().rposition(|line| !is_blank(line)).unwrap_or(begin);
    let mut value = String::with_capacity(raw.len());
    for (n, line) in lines.iter().enumerate().take(end + 1).skip(begin) {
        if n > begin {
            value.push('\n');
        }
        // A blank line may be shorter than the indent.
        value.push_str(if n == 0 { line } else { line.get(common..).unwrap_or_default() });
    }
    value
}

/// The lines of a text (§2.1.2).
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = text.find(['\n', '\r']) else { return rest.take() };
        let length = if text[at..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[at + length..]);
        Some(&text[..at])
    })
}
