//! What a document comes to when its fragments are spread out.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

use super::{Limits, exceeded};
use crate::failure::{Code, Failure};

/// Refuses a document that, with every fragment spread out, is beyond the limits, or whose
/// fragments spread themselves. The number of its fields otherwise.
pub(super) fn check(document: &ExecutableDocument, limits: &Limits) -> Result<usize, Failure> {
    let within = |what: &str, size: usize, max: usize| {
        if size <= max { Ok(()) } else { Err(exceeded(format!("the document has {what} {max}"))) }
    };
    let operations = document.operations.iter().len();
    within("more operations than", operations, limits.operations)?;
    // What comes after this recurses as deep.
    let max_nesting = limits.depth * 2 + 1;
    let mut sizes = Sizes { document, fragments: HashMap::new(), nesting: 0, max_nesting };
    let mut total = Size::default();
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let size = sizes.of(&operation.selection_set.node)?;
        within("an operation with more fields at its root than", size.roots, limits.root_fields)?;
        total.add(size);
        total.directives += operation.directives.len();
        let variables = operation.variable_definitions.iter();
        total.directives += variables.map(|v| v.node.directives.len()).sum::<usize>();
    }
    // The validator visits fragments that are not used as well.
    for name in document.fragments.keys() {
        if !sizes.fragments.contains_key(name.as_str()) {
            total.add(sizes.of_fragment(name.as_str())?);
        }
    }
    within("fields deeper than", total.depth, limits.depth)?;
    within("fields and fragments deeper than", total.nesting, max_nesting)?;
    within("more fields than", total.fields, limits.fields)?;
    within("more aliases than", total.aliases, limits.aliases)?;
    within("more directives than", total.directives, limits.directives)?;
    Ok(total.fields)
}

/// What a selection comes to when its fragments are spread out.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    fields: usize,
    /// Fields that are in no other field of the selection.
    roots: usize,
    depth: usize,
    /// Selections within each other, those of fragments included.
    nesting: usize,
    aliases: usize,
    directives: usize,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.fields = self.fields.saturating_add(other.fields);
        self.roots = self.roots.saturating_add(other.roots);
        self.depth = self.depth.max(other.depth);
        self.nesting = self.nesting.max(other.nesting);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
    }
}

struct Sizes<'a> {
    document: &'a ExecutableDocument,
    /// Those that are known; `None` while a fragment is being looked into.
    fragments: HashMap<&'a str, Option<Size>>,
    /// Selections that are being looked into, each within the one before it.
    nesting: usize,
    max_nesting: usize,
}

impl<'a> Sizes<'a> {
    fn of(&mut self, selections: &'a SelectionSet) -> Result<Size, Failure> {
        if selections.items.is_empty() {
            return Ok(Size::default());
        }
        self.nesting += 1;
        if self.nesting > self.max_nesting {
            let message =
                format!("the document has fields and fragments deeper than {}", self.max_nesting);
            return Err(exceeded(message));
        }
        let mut total = Size::default();
        for selection in &selections.items {
            let mut size = match &selection.node {
                Selection::Field(field) => {
                    let mut size = self.of(&field.node.selection_set.node)?;
                    size.fields = size.fields.saturating_add(1);
                    size.aliases = size.aliases.saturating_add(field.node.alias.iter().len());
                    Size { roots: 1, depth: size.depth + 1, ..size }
                }
                Selection::InlineFragment(inline) => self.of(&inline.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => {
                    self.of_fragment(spread.node.fragment_name.node.as_str())?
                }
            };
            let directives = selection.node.directives().len();
            size.directives = size.directives.saturating_add(directives);
            total.add(size);
        }
        self.nesting -= 1;
        total.nesting += 1;
        Ok(total)
    }

    fn of_fragment(&mut self, name: &str) -> Result<Size, Failure> {
        // A name that nothing has is for the validator to report; looking for it is work, too.
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
            return Ok(Size { fields: 1, ..Size::default() });
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
                let mut size = self.of(&fragment.node.selection_set.node)?;
                size.directives = size.directives.saturating_add(fragment.node.directives.len());
                self.fragments.insert(name.as_str(), Some(size));
                Ok(size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::limits::generous;
    use crate::syntax::parse;

    fn check(document: &str) -> Result<(), Code> {
        let limits = Limits { fields: 100, depth: 10, ..generous() };
        check_with(document, &limits)
    }

    fn check_with(document: &str, limits: &Limits) -> Result<(), Code> {
        let parsed = parse(document, 100_000).unwrap().document;
        super::check(&parsed, limits).map(|_| ()).map_err(|failure| failure.code)
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
    fn fragments_that_double_what_does_not_exist_are_refused_as_well() {
        let mut document = "{ ...f0 }".to_owned();
        for n in 0..25 {
            let next = n + 1;
            write!(document, " fragment f{n} on T {{ ...f{next} ...f{next} }}").unwrap();
        }
        assert_eq!(check(&document), Err(Code::LimitExceeded));
    }

    #[test]
    fn a_long_chain_of_fragments_is_refused() {
        let chain = |n: usize| {
            let links = (0..n).map(|n| format!("fragment f{n} on T {{ ...f{} }} ", n + 1));
            format!("{{ ...f0 }} {} fragment f{n} on T {{ a }}", links.collect::<String>())
        };
        // The operation and n + 1 fragments; twice the depth and one are taken.
        assert_eq!(check(&chain(19)), Ok(()));
        assert_eq!(check(&chain(20)), Err(Code::LimitExceeded));
        assert_eq!(check(&chain(10_000)), Err(Code::LimitExceeded));
    }

    #[test]
    fn fragments_that_are_deep_and_spread_each_other_are_refused() {
        let link = |n: usize, inner: &str| {
            let (open, close) = ("... { ".repeat(5), "} ".repeat(5));
            format!("fragment f{n} on T {{ {open} {inner} {close} }} ")
        };
        let chain = |n: usize| {
            let links = (0..n).map(|n| link(n, &format!("...f{}", n + 1))).collect::<String>();
            format!("{{ ...f0 }} {links} {}", link(n, "a"))
        };
        assert_eq!(check(&chain(2)), Ok(()));
        assert_eq!(check(&chain(3)), Err(Code::LimitExceeded));
        assert_eq!(check(&chain(2_000)), Err(Code::LimitExceeded));
        let unused = chain(3).replacen("...f0", "a", 1);
        assert_eq!(check(&unused), Err(Code::LimitExceeded));
    }

    #[test]
    fn aliases_directives_roots_and_operations_are_counted() {
        let limits =
            Limits { aliases: 2, directives: 2, root_fields: 2, operations: 2, ..generous() };
        let twice = "fragment f on T @d { a: b } ";
        for within in [
            "{ x: a { y: b } }",
            "query @d { a @d { b } }",
            "query($v: Int @d) { a { ... @d { b } } }",
            "{ a { b c d e } f }",
            "query A { a } query B { b }",
            &format!("{twice} {{ a {{ ...f }} b {{ ...f }} }}"),
        ] {
            assert_eq!(check_with(within, &limits), Ok(()), "{within}");
        }
        for beyond in [
            "{ x: a { y: b { z: c } } }",
            "query @d { a @d { b @d } }",
            "query($v: Int @d @d) { a { ... @d { b } } }",
            "{ a b c }",
            "{ a ... { b c } }",
            "{ a ...f } fragment f on T { b c }",
            "query A { a } query B { b } query C { c }",
            &format!("{twice} {{ a {{ ...f }} b {{ ...f @d }} }}"),
            &format!("{twice} {{ a {{ ...f ...f }} b {{ ...f }} }}"),
        ] {
            assert_eq!(check_with(beyond, &limits), Err(Code::LimitExceeded), "{beyond}");
        }
    }

    #[test]
    fn fragments_that_spread_themselves_are_refused_used_or_not() {
        let cycle = "fragment f on T { ...g } fragment g on T { a { ...f } }";
        assert_eq!(check(&format!("{{ ...f }} {cycle}")), Err(Code::ValidationFailed));
        assert_eq!(check(&format!("{{ a }} {cycle}")), Err(Code::ValidationFailed));
        assert_eq!(check("{ ...nobody }"), Ok(()));
    }
}
