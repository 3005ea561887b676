//! Documents, operations, selections and fragments (specification §2.3 to §2.8).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, FragmentDefinition, FragmentSpread,
    InlineFragment, OperationDefinition, OperationType, Selection, SelectionSet, TypeCondition,
};
use async_graphql::{Name, Pos, Positioned};

use super::lexer::{Lexer, Token};
use super::{Error, Parsed};
use crate::failure::Code;

/// Reads a document by recursive descent. Each level of recursion has consumed a bracket, so the
/// lexer bounds it.
pub(super) struct Parser<'t> {
    lexer: Lexer<'t>,
    /// The token that comes next, and where it begins.
    token: Token<'t>,
    pos: Pos,
}

type Operations = HashMap<Name, Positioned<OperationDefinition>>;
type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

impl<'t> Parser<'t> {
    pub fn new(text: &'t str, max_tokens: usize) -> Result<Self, Error> {
        let mut lexer = Lexer::new(text, max_tokens);
        let (token, pos) = lexer.next()?;
        Ok(Self { lexer, token, pos })
    }

    /// §2.3
    pub fn document(mut self) -> Result<Parsed, Error> {
        let (mut anonymous, mut named) = (None, Operations::new());
        let mut fragments = Fragments::new();
        while self.token != Token::End {
            let pos = self.pos;
            let is_described = self.description()?;
            match self.token {
                Token::Punctuator(b'{') if !is_described => {
                    let operation = self.operation(OperationType::Query)?;
                    lone(&anonymous, &named, pos)?;
                    anonymous = Some(Positioned::new(operation, pos));
                }
                Token::Name("fragment") => self.fragment(pos, &mut fragments)?,
                Token::Name(word) => {
                    let ty = match word {
                        "query" => OperationType::Query,
                        "mutation" => OperationType::Mutation,
                        "subscription" => OperationType::Subscription,
                        _ => return self.expected("an operation or a fragment"),
                    };
                    self.take()?;
                    let name = match self.token {
                        Token::Name(_) => Some(self.name()?.node),
                        _ => None,
                    };
                    let operation = Positioned::new(self.operation(ty)?, pos);
                    match name {
                        None => {
                            lone(&anonymous, &named, pos)?;
                            anonymous = Some(operation);
                        }
                        Some(_) if anonymous.is_some() => return Err(several_operations(pos)),
                        Some(name) => insert(&mut named, "operation", name, operation)?,
                    }
                }
                _ => return self.expected("an operation or a fragment"),
            }
        }
        let operations = match anonymous {
            Some(operation) => DocumentOperations::Single(operation),
            None if named.is_empty() => return self.expected("an operation"),
            None => DocumentOperations::Multiple(named),
        };
        let document = ExecutableDocument { operations, fragments };
        Ok(Parsed { document, tokens: self.lexer.tokens() })
    }

    /// The description that operations, fragments and variables may have; whether there is one.
    pub(super) fn description(&mut self) -> Result<bool, Error> {
        let is_there = matches!(self.token, Token::Text(_));
        if is_there {
            self.take()?;
        }
        Ok(is_there)
    }

    /// What follows the type and name of an operation (§2.4).
    fn operation(&mut self, ty: OperationType) -> Result<OperationDefinition, Error> {
        let variable_definitions = if self.is_at(b'(') {
            self.list(b'(', b')', "a variable", |parser, _| parser.variable_definition())?
        } else {
            Vec::new()
        };
        let directives = self.directives(false)?;
        let selection_set = self.selection_set()?;
        Ok(OperationDefinition { ty, variable_definitions, directives, selection_set })
    }

    /// §2.9: `fragment F on T @d { … }`
    fn fragment(&mut self, pos: Pos, fragments: &mut Fragments) -> Result<(), Error> {
        self.take()?;
        if self.token == Token::Name("on") {
            return self.expected("the name of a fragment");
        }
        let name = self.name()?.node;
        if self.token != Token::Name("on") {
            return self.expected("on");
        }
        let type_condition = self.type_condition()?;
        let directives = self.directives(false)?;
        let selection_set = self.selection_set()?;
        let fragment = FragmentDefinition { type_condition, directives, selection_set };
        insert(fragments, "fragment", name, Positioned::new(fragment, pos))
    }

    fn type_condition(&mut self) -> Result<Positioned<TypeCondition>, Error> {
        let pos = self.take()?;
        Ok(Positioned::new(TypeCondition { on: self.name()? }, pos))
    }

    /// §2.5
    fn selection_set(&mut self) -> Result<Positioned<SelectionSet>, Error> {
        let pos = self.pos;
        let items = self.list(b'{', b'}', "a field or a fragment", |parser, pos| {
            let selection = match parser.token {
                Token::Spread => parser.spread(pos)?,
                _ => Selection::Field(Positioned::new(parser.field()?, pos)),
            };
            Ok(Positioned::new(selection, pos))
        })?;
        Ok(Positioned::new(SelectionSet { items }, pos))
    }

    /// §2.6
    fn field(&mut self) -> Result<Field, Error> {
        let first = self.name()?;
        let (alias, name) = if self.is_at(b':') {
            self.take()?;
            (Some(first), self.name()?)
        } else {
            (None, first)
        };
        let arguments = self.arguments(false)?;
        let directives = self.directives(false)?;
        let selection_set =
            if self.is_at(b'{') { self.selection_set()? } else { Positioned::default() };
        Ok(Field { alias, name, arguments, directives, selection_set })
    }

    /// What begins with `...` (§2.8).
    fn spread(&mut self, pos: Pos) -> Result<Selection, Error> {
        self.take()?;
        let type_condition = match self.token {
            Token::Name("on") => Some(self.type_condition()?),
            Token::Name(_) => {
                let fragment_name = self.name()?;
                let directives = self.directives(false)?;
                let spread = FragmentSpread { fragment_name, directives };
                return Ok(Selection::FragmentSpread(Positioned::new(spread, pos)));
            }
            _ => None,
        };
        let directives = self.directives(false)?;
        let selection_set = self.selection_set()?;
        let inline = InlineFragment { type_condition, directives, selection_set };
        Ok(Selection::InlineFragment(Positioned::new(inline, pos)))
    }

    pub(super) fn name(&mut self) -> Result<Positioned<Name>, Error> {
        let Token::Name(name) = self.token else { return self.expected("a name") };
        Ok(Positioned::new(Name::new(name), self.take()?))
    }

    /// One or more items between brackets. Each is read by `item`, which is told where it begins.
    pub(super) fn list<T>(
        &mut self,
        open: u8,
        close: u8,
        what: &str,
        mut item: impl FnMut(&mut Self, Pos) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        if !self.is_at(open) {
            return self.expected(&format!("\"{}\"", char::from(open)));
        }
        self.take()?;
        let mut items = Vec::new();
        while !self.is_at(close) {
            items.push(item(self, self.pos)?);
        }
        if items.is_empty() {
            return self.expected(what);
        }
        self.take()?;
        Ok(items)
    }

    pub(super) fn token(&self) -> &Token<'t> {
        &self.token
    }

    pub(super) fn pos(&self) -> Pos {
        self.pos
    }

    /// Whether this punctuator comes next.
    pub(super) fn is_at(&self, punctuator: u8) -> bool {
        self.token == Token::Punctuator(punctuator)
    }

    /// Goes on to the token after the next one; where the next one began.
    pub(super) fn take(&mut self) -> Result<Pos, Error> {
        let (token, pos) = self.lexer.next()?;
        self.token = token;
        Ok(std::mem::replace(&mut self.pos, pos))
    }

    /// Takes this punctuator, which has to come next.
    pub(super) fn punctuator(&mut self, punctuator: u8) -> Result<Pos, Error> {
        if self.is_at(punctuator) {
            return self.take();
        }
        self.expected(&format!("\"{}\"", char::from(punctuator)))
    }

    pub(super) fn expected<T>(&self, expected: &str) -> Result<T, Error> {
        Err(Error::expected(expected, self.pos))
    }
}

/// Refuses an operation without a name beside others (§5.2.3.1).
fn lone<T>(anonymous: &Option<T>, named: &Operations, pos: Pos) -> Result<(), Error> {
    if anonymous.is_some() || !named.is_empty() {
        return Err(several_operations(pos));
    }
    Ok(())
}

fn several_operations(pos: Pos) -> Error {
    let message = "an operation without a name has to be the only one of its document";
    Error::new(Code::ValidationFailed, message.to_owned(), pos)
}

/// Adds a definition of a name of its own (§5.2.2.1, §5.5.1.1).
fn insert<T>(
    all: &mut HashMap<Name, Positioned<T>>,
    what: &str,
    name: Name,
    definition: Positioned<T>,
) -> Result<(), Error> {
    match all.entry(name) {
        Entry::Vacant(free) => {
            free.insert(definition);
            Ok(())
        }
        Entry::Occupied(taken) => {
            let message = format!("{what} {} is defined twice", taken.key());
            Err(Error::new(Code::ValidationFailed, message, definition.pos))
        }
    }
}
