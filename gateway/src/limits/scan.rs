//! How long and how nested a document is, before it is parsed.

use super::exceeded;
use crate::failure::Failure;

/// Brackets within brackets, of any kind, that a document may have.
pub(crate) const MAX_NESTING: usize = 50;

/// Refuses a document with more than `max_tokens` tokens, or brackets deeper than
/// [`MAX_NESTING`]; the number of its tokens otherwise. It need not be GraphQL.
pub(super) fn scan(document: &str, max_tokens: usize) -> Result<usize, Failure> {
    let mut rest = document.as_bytes();
    let (mut tokens, mut nesting) = (0, 0usize);
    while let Some(&byte) = rest.first() {
        let length = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => {
                rest = &rest[1..];
                continue;
            }
            b'#' => {
                rest = &rest[length_while(rest, |b| b != b'\n' && b != b'\r')..];
                continue;
            }
            b'"' => string_length(rest),
            b'{' | b'[' | b'(' => {
                nesting += 1;
                1
            }
            b'}' | b']' | b')' => {
                nesting = nesting.saturating_sub(1);
                1
            }
            b if is_word(b) => length_while(rest, is_word),
            _ => 1,
        };
        rest = &rest[length..];
        tokens += 1;
        if nesting > MAX_NESTING {
            let message = format!("the document is nested deeper than {MAX_NESTING} brackets");
            return Err(exceeded(message));
        }
        if tokens > max_tokens {
            return Err(exceeded(format!("the document has more than {max_tokens} tokens")));
        }
    }
    Ok(tokens)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn length_while(bytes: &[u8], holds: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|b| !holds(*b)).unwrap_or(bytes.len())
}

/// Length of the string that begins here, quotes included; of what is left where it never ends.
fn string_length(bytes: &[u8]) -> usize {
    let (quotes, escape): (&[u8], &[u8]) =
        if bytes.starts_with(b"\"\"\"") { (b"\"\"\"", b"\\\"\"\"") } else { (b"\"", b"\\") };
    let mut at = quotes.len();
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(escape) {
            at += escape.len().max(2);
        } else if rest.starts_with(quotes) {
            return at + quotes.len();
        } else if quotes.len() == 1 && matches!(rest[0], b'\n' | b'\r') {
            break;
        } else {
            at += 1;
        }
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use proptest::prelude::*;

    use super::*;

    fn tokens(document: &str) -> usize {
        scan(document, 1000).unwrap()
    }

    #[test]
    fn tokens_are_counted_as_graphql_has_them() {
        assert_eq!(tokens(""), 0);
        assert_eq!(tokens("{ a, b # { comment } \n c }"), 5);
        assert_eq!(tokens(r#"{a(b:"{ \" {{{",c:-1.5)}"#), 14);
        assert_eq!(tokens("{a(b:\"\"\"{ \" \\\"\"\" {\"\"\")}"), 8);
        assert_eq!(tokens("\"never ends {{{"), 1);
        assert_eq!(tokens("\"ends with the line\n{"), 2);
        assert!(scan("{ a }", 3).is_ok() && scan("{ a }", 2).is_err());
    }

    #[test]
    fn brackets_of_all_kinds_count_as_nesting_but_not_in_strings() {
        let nested = |depth: usize| format!("{}a{}", "{a(b:[".repeat(depth), "])}".repeat(depth));
        assert!(scan(&nested(MAX_NESTING / 3), 10_000).is_ok());
        assert!(scan(&nested(MAX_NESTING / 3 + 1), 10_000).is_err());
        assert!(scan(&"{".repeat(1_000_000), usize::MAX).is_err());
        assert!(scan(&format!("{{a(b:\"{}\")}}", "{".repeat(1000)), 10_000).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_scan_panic(document in ".*") {
            let _ = scan(&document, 100);
        }

        /// What the scan lets through, the parser survives.
        #[test]
        fn no_nesting_makes_the_parser_overflow(
            pieces in prop::collection::vec(prop::sample::select(vec!["{a", "(a:", "[", "{a:"]), 1..60)
        ) {
            let document = pieces.concat();
            if scan(&document, 10_000).is_ok() {
                let _ = parse_query(&document);
            }
        }
    }
}
