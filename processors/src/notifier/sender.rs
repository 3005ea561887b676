//! Who a mail is from, and where answers go: an address with or without a name.

use std::fmt;

use super::recipient::Recipient;
use super::text::is_hidden;

/// Longest name, in characters.
const MAX_NAME: usize = 100;

/// A sender: `orders@example.com`, `Trattoria <orders@example.com>`, `"Ana, chef" <ana@…>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sender {
    name: Option<String>,
    address: Recipient,
}

impl Sender {
    /// `None` for what is not one address, or has a name that is not one visible line.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let Some(rest) = text.strip_suffix('>') else {
            return Some(Self { name: None, address: Recipient::parse(text)? });
        };
        let (name, address) = rest.rsplit_once('<')?;
        let name = unquoted(name.trim())?;
        let hidden = |c: char| c.is_control() || is_hidden(c);
        if name.contains(hidden) || name.chars().count() > MAX_NAME {
            return None;
        }
        let address = Recipient::parse(address)?;
        Some(Self { name: Some(name).filter(|name| !name.is_empty()), address })
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn address(&self) -> &str {
        self.address.as_str()
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        self.address().split_once('@').map_or("", |(_, domain)| domain)
    }
}

/// A name without the quotes that it may stand in; `None` where they don't match, or where a
/// character that needs them stands without.
fn unquoted(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else {
        let plain = !text.contains(['"', '<', '>', '\\']);
        return plain.then(|| text.to_owned());
    };
    let mut name = String::new();
    let mut chars = rest.strip_suffix('"')?.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => name.push(chars.next()?),
            c => name.push(c),
        }
    }
    Some(name)
}

/// As a header has it, the name quoted where it needs that (RFC 5322 §3.2.4). Providers encode
/// what is not ASCII.
impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(name) = &self.name else { return f.write_str(self.address()) };
        if name.contains(|c: char| "()<>[]:;@\\,.\"".contains(c)) {
            let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
            return write!(f, "\"{escaped}\" <{}>", self.address());
        }
        write!(f, "{name} <{}>", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_an_address_with_or_without_a_name() {
        for (text, name, shown) in [
            ("a@b.example", None, "a@b.example"),
            ("<a@b.example>", None, "a@b.example"),
            ("Da Enzo <a@b.example>", Some("Da Enzo"), "Da Enzo <a@b.example>"),
            ("Café <a@b.example>", Some("Café"), "Café <a@b.example>"),
            ("Enzo, chef <a@b.example>", Some("Enzo, chef"), "\"Enzo, chef\" <a@b.example>"),
            (
                r#""Enzo \"il\" capo" <a@b.example>"#,
                Some("Enzo \"il\" capo"),
                r#""Enzo \"il\" capo" <a@b.example>"#,
            ),
            ("a@c.example <a@b.example>", Some("a@c.example"), "\"a@c.example\" <a@b.example>"),
        ] {
            let sender = Sender::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((sender.name(), sender.address()), (name, "a@b.example"), "{text}");
            assert_eq!(sender.to_string(), shown);
            assert_eq!(Sender::parse(shown), Some(sender), "read again");
        }
        assert_eq!(Sender::parse("x <a@b.example>").unwrap().domain(), "b.example");
    }

    #[test]
    fn whatever_could_be_more_than_one_sender_or_line_is_refused() {
        for text in [
            "",
            "Enzo",
            "Enzo <>",
            "a@b.example, c@d.example",
            "x <a@b.example>, y <c@d.example>",
            "x\r\nBcc: evil@e.invalid <a@b.example>",
            "x\u{202E} <a@b.example>",
            "\"x <a@b.example>",
            "\"x\" y\" <a@b.example>",
            "\"x\\\" <a@b.example>",
            "a@b.example <c@d.example> <a@b.example>",
        ] {
            assert_eq!(Sender::parse(text), None, "{text:?}");
        }
    }
}
