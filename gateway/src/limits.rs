//! What a document may cost, decided before anything that could be made slow or deep by it.
//!
//! The parser recurses, and the validator follows a fragment wherever it is spread, so both are
//! only given documents that [`scan`] and [`expansion`] have let through; each is linear in the
//! size of the document.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

use crate::failure::{Code, Failure};

/// Brackets within brackets, of any kind, that a document may have.
pub(crate) const MAX_NESTING: usize = 50;

/// Refuses a document with more than `max_tokens` tokens, or brackets deeper than
/// [`MAX_NESTING`]. It need not be GraphQL otherwise.
pub(crate) fn scan(document: &str, max_tokens: usize) -> Result<(), Failure> {
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
            return Err(Failure::new(Code::LimitExceeded, message));
        }
        if tokens > max_tokens {
            let message = format!("the document has more than {max_tokens} tokens");
            return Err(Failure::new(Code::LimitExceeded, message));
        }
    }
    Ok(())
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

/// Refuses a document whose operations, with every fragment spread out, have more than
/// `max_fields` fields or are deeper than `max_depth`, or whose fragments spread themselves.
pub(crate) fn expansion(
    document: &ExecutableDocument,
    max_fields: usize,
    max_depth: usize,
) -> Result<(), Failure> {
    let mut sizes = Sizes { document, fragments: HashMap::new() };
    let mut fields = 0usize;
    for (_, operation) in document.operations.iter() {
        let size = sizes.of(&operation.node.selection_set.node)?;
        fields = fields.saturating_add(size.fields);
        if size.depth > max_depth {
            let message = format!("the document is deeper than {max_depth} fields");
            return Err(Failure::new(Code::LimitExceeded, message));
        }
    }
    if fields > max_fields {
        let message = format!("the document asks for more than {max_fields} fields");
        return Err(Failure::new(Code::LimitExceeded, message));
    }
    // The validator visits those that are not used as well.
    for name in document.fragments.keys() {
        sizes.of_fragment(name.as_str())?;
    }
    Ok(())
}

/// What a selection comes to when its fragments are spread out.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    fields: usize,
    depth: usize,
}

struct Sizes<'a> {
    document: &'a ExecutableDocument,
    /// Those that are known; `None` while a fragment is being looked into.
    fragments: HashMap<&'a str, Option<Size>>,
}

impl<'a> Sizes<'a> {
    fn of(&mut self, selections: &'a SelectionSet) -> Result<Size, Failure> {
        let mut total = Size::default();
        for selection in &selections.items {
            let size = match &selection.node {
                Selection::Field(field) => {
                    let below = self.of(&field.node.selection_set.node)?;
                    Size { fields: below.fields.saturating_add(1), depth: below.depth + 1 }
                }
                Selection::InlineFragment(inline) => self.of(&inline.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => {
                    self.of_fragment(spread.node.fragment_name.node.as_str())?
                }
            };
            total.fields = total.fields.saturating_add(size.fields);
            total.depth = total.depth.max(size.depth);
        }
        Ok(total)
    }

    fn of_fragment(&mut self, name: &str) -> Result<Size, Failure> {
        // A name that nothing has is for the validator to report.
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
            return Ok(Size::default());
        };
        match self.fragments.insert(name.as_str(), None) {
            Some(Some(size)) => {
                self.fragments.insert(name.as_str(), Some(size));
                Ok(size)
            }
            Some(None) => Err(Failure::new(
                Code::ValidationFailed,
                "a fragment of the document spreads itself",
            )),
            None => {
                let size = self.of(&fragment.node.selection_set.node)?;
                self.fragments.insert(name.as_str(), Some(size));
                Ok(size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use async_graphql::parser::parse_query;
    use proptest::prelude::*;

    use super::*;

    fn tokens(document: &str) -> usize {
        (0..1000).find(|max| scan(document, *max).is_ok()).unwrap()
    }

    #[test]
    fn tokens_are_counted_as_graphql_has_them() {
        assert_eq!(tokens(""), 0);
        assert_eq!(tokens("{ a, b # { comment } \n c }"), 5);
        assert_eq!(tokens(r#"{a(b:"{ \" {{{",c:-1.5)}"#), 14);
        assert_eq!(tokens("{a(b:\"\"\"{ \" \\\"\"\" {\"\"\")}"), 8);
        assert_eq!(tokens("\"never ends {{{"), 1);
        assert_eq!(tokens("\"ends with the line\n{"), 2);
    }

    #[test]
    fn brackets_of_all_kinds_count_as_nesting_but_not_in_strings() {
        let nested = |depth: usize| format!("{}a{}", "{a(b:[".repeat(depth), "])}".repeat(depth));
        assert!(scan(&nested(MAX_NESTING / 3), 10_000).is_ok());
        assert!(scan(&nested(MAX_NESTING / 3 + 1), 10_000).is_err());
        assert!(scan(&"{".repeat(1_000_000), usize::MAX).is_err());
        assert!(scan(&format!("{{a(b:\"{}\")}}", "{".repeat(1000)), 10_000).is_ok());
    }

    fn check(document: &str) -> Result<(), Code> {
        expansion(&parse_query(document).unwrap(), 100, 10).map_err(|failure| failure.code)
    }

    #[test]
    fn fields_and_depth_are_counted_with_fragments_spread_out() {
        let many = |n: usize| (0..n).fold(String::new(), |s, i| s + &format!("f{i}: a "));
        assert_eq!(check(&format!("{{ {} }}", many(100))), Ok(()));
        assert_eq!(check(&format!("{{ {} }}", many(101))), Err(Code::LimitExceeded));
        let deep = |n: usize| format!("{}a{}", "{a".repeat(n), "}".repeat(n));
        assert_eq!(check(&deep(10)), Ok(()));
        assert_eq!(check(&deep(11)), Err(Code::LimitExceeded));
        let spread =
            "{ a { ...f } } fragment f on T { b { c { d { e { f { g { h { i { j } } } } } } } } }";
        assert_eq!(check(spread), Ok(()));
        assert_eq!(check(&spread.replace("j }", "j { k } }")), Err(Code::LimitExceeded));
    }

    #[test]
    fn fragments_that_double_each_other_are_refused_at_once() {
        let mut document = "{ ...f0 }".to_owned();
        for n in 0..1000 {
            let next = n + 1;
            write!(document, " fragment f{n} on T {{ ...f{next} ...f{next} }}").unwrap();
        }
        document += " fragment f1000 on T { a }";
        assert_eq!(check(&document), Err(Code::LimitExceeded));
    }

    #[test]
    fn fragments_that_spread_themselves_are_refused_used_or_not() {
        let cycle = "fragment f on T { ...g } fragment g on T { a { ...f } }";
        assert_eq!(check(&format!("{{ ...f }} {cycle}")), Err(Code::ValidationFailed));
        assert_eq!(check(&format!("{{ a }} {cycle}")), Err(Code::ValidationFailed));
        assert_eq!(check("{ ...nobody }"), Ok(()));
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
