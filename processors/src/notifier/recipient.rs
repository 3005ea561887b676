//! The one address a mail goes to.

use super::text::is_hidden;

/// Longest address and longest part before the `@`, in bytes (RFC 5321 §4.5.3.1).
const MAX_ADDRESS: usize = 254;
const MAX_LOCAL: usize = 64;

/// Exactly one address, in the form that the mail provider can't take for anything else: no name,
/// no list, no quoting, no comment, no line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipient(String);

impl Recipient {
    /// `None` for what is not one plain address.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let fits = text.len() <= MAX_ADDRESS && (1..=MAX_LOCAL).contains(&local.len());
        let dotted = |part: &str| part.split('.').all(|label| !label.is_empty());
        let in_local = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        let in_domain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.');
        let well_formed = fits
            && dotted(local)
            && dotted(domain)
            && domain.contains('.')
            && local.chars().all(in_local)
            && domain.chars().all(in_domain)
            && !text.chars().any(is_hidden);
        well_formed.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_addresses_are_taken_as_they_are() {
        for text in [
            "ana@example.com",
            "a.b+tag@sub.example.co",
            "o'brien@example.com",
            "jürgen@bücher.example",
            "x@xn--bcher-kva.example",
        ] {
            assert_eq!(Recipient::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn whatever_could_be_more_than_one_address_is_refused() {
        for text in [
            "",
            "ana",
            "@example.com",
            "ana@",
            "ana@localhost",
            "ana@example..com",
            ".ana@example.com",
            "ana@example.com,evil@e.invalid",
            "ana@example.com;evil@e.invalid",
            "ana@example.com evil@e.invalid",
            "ana@example.com\r\nBcc: evil@e.invalid",
            "Ana <ana@example.com>",
            "\"ana\"@example.com",
            "ana@[127.0.0.1]",
            "ana(comment)@example.com",
            "ana@exa\u{202E}mple.com",
            "ana\u{200B}@example.com",
            "ana@evil@example.com",
        ] {
            assert_eq!(Recipient::parse(text), None, "{text:?}");
        }
        assert_eq!(Recipient::parse(&format!("{}@example.com", "a".repeat(65))), None);
        assert_eq!(Recipient::parse(&format!("a@{}.com", "b".repeat(250))), None);
    }
}
