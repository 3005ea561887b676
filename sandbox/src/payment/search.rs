//! Stripe's search language, as far as payments by their metadata and status need it.

use super::refusal::Refusal;

/// A field and the value it must have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Clause {
    Metadata { name: String, value: String },
    Status(String),
}

/// Clauses that must all hold: `metadata['name']:'value' AND status:'succeeded'`.
pub(super) fn parse(query: &str) -> Result<Vec<Clause>, Refusal> {
    let mut rest = query.trim();
    let mut clauses = Vec::new();
    loop {
        let (clause, after) = clause(rest).ok_or_else(|| refusal(query))?;
        clauses.push(clause);
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(clauses);
        }
        let (word, after) = rest.split_once(' ').ok_or_else(|| refusal(query))?;
        if !word.eq_ignore_ascii_case("and") {
            return Err(refusal(query));
        }
        rest = after.trim_start();
    }
}

fn clause(text: &str) -> Option<(Clause, &str)> {
    if let Some(rest) = text.strip_prefix("metadata[") {
        let (name, rest) = quoted(rest)?;
        let (value, rest) = quoted(rest.strip_prefix("]:")?)?;
        return Some((Clause::Metadata { name, value }, rest));
    }
    let (value, rest) = quoted(text.strip_prefix("status:")?)?;
    Some((Clause::Status(value), rest))
}

/// A string in single or double quotes, in which a backslash takes the next character as it is.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next().filter(|(_, c)| matches!(c, '\'' | '"'))?;
    let mut value = String::new();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.push(characters.next()?.1),
            _ if c == quote => return Some((value, &text[at + 1..])),
            _ => value.push(c),
        }
    }
    None
}

fn refusal(query: &str) -> Refusal {
    let message = format!(
        "Not understood: {query}. This provider knows metadata['…']:'…' and status:'…', joined \
         by AND"
    );
    Refusal::parameter("parameter_invalid", "query", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_read_with_either_quote() {
        let parsed = parse(
            r#"metadata['order_id']:'a\'b' AND metadata["version"]:"2" and status:'succeeded'"#,
        );
        let metadata =
            |name: &str, value: &str| Clause::Metadata { name: name.into(), value: value.into() };
        let expected = [
            metadata("order_id", "a'b"),
            metadata("version", "2"),
            Clause::Status("succeeded".into()),
        ];
        assert_eq!(parsed.unwrap(), expected);
    }

    #[test]
    fn what_is_not_understood_is_refused_rather_than_ignored() {
        let bad = [
            "",
            "amount:5",
            "status:'a' OR status:'b'",
            "status:'a' AND",
            "status:'a",
            "metadata['a':'b'",
            "status:'a'status:'b'",
        ];
        for query in bad {
            assert!(parse(query).is_err(), "{query}");
        }
    }
}
