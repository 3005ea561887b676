//! Arguments, values, types and directives (specification §2.7 and §2.10 to §2.13).

use async_graphql::indexmap::IndexMap;
use async_graphql::indexmap::map::Entry;
use async_graphql::parser::types::{BaseType, Directive, Type, VariableDefinition};
use async_graphql::{Name, Positioned};
use async_graphql_value::{ConstValue, Value};
use serde_json::Number;

use super::lexer::Token;
use super::parser::Parser;
use super::{Error, MAX_ARGUMENTS};
use crate::failure::Code;

/// Arguments by their names.
type Arguments = Vec<(Positioned<Name>, Positioned<Value>)>;

impl Parser<'_> {
    /// §2.11
    pub(super) fn variable_definition(&mut self) -> Result<Positioned<VariableDefinition>, Error> {
        self.description()?;
        let pos = self.punctuator(b'$')?;
        let name = self.name()?;
        self.punctuator(b':')?;
        let at = self.pos();
        let var_type = Positioned::new(self.type_reference()?, at);
        let default_value = if self.is_at(b'=') {
            self.take()?;
            Some(self.constant()?)
        } else {
            None
        };
        let directives = self.directives(true)?;
        let definition = VariableDefinition { name, var_type, directives, default_value };
        Ok(Positioned::new(definition, pos))
    }

    /// §2.12
    fn type_reference(&mut self) -> Result<Type, Error> {
        let base = if self.is_at(b'[') {
            self.take()?;
            let inner = self.type_reference()?;
            self.punctuator(b']')?;
            BaseType::List(Box::new(inner))
        } else {
            BaseType::Named(self.name()?.node)
        };
        let nullable = !self.is_at(b'!');
        if !nullable {
            self.take()?;
        }
        Ok(Type { base, nullable })
    }

    /// §2.13
    pub(super) fn directives(
        &mut self,
        is_const: bool,
    ) -> Result<Vec<Positioned<Directive>>, Error> {
        let mut directives = Vec::new();
        while self.is_at(b'@') {
            let pos = self.take()?;
            let (name, arguments) = (self.name()?, self.arguments(is_const)?);
            directives.push(Positioned::new(Directive { name, arguments }, pos));
        }
        Ok(directives)
    }

    /// §2.7
    pub(super) fn arguments(&mut self, is_const: bool) -> Result<Arguments, Error> {
        if !self.is_at(b'(') {
            return Ok(Vec::new());
        }
        let mut count = 0;
        self.list(b'(', b')', "an argument", |parser, pos| {
            count += 1;
            if count > MAX_ARGUMENTS {
                let message =
                    format!("the document has more than {MAX_ARGUMENTS} arguments at once");
                return Err(Error::new(Code::LimitExceeded, message, pos));
            }
            let name = parser.name()?;
            parser.punctuator(b':')?;
            let at = parser.pos();
            Ok((name, Positioned::new(parser.value(is_const)?, at)))
        })
    }

    fn constant(&mut self) -> Result<Positioned<ConstValue>, Error> {
        let pos = self.pos();
        match self.value(true)?.into_const() {
            Some(value) => Ok(Positioned::new(value, pos)),
            None => Err(Error::expected("a value without variables", pos)),
        }
    }

    /// §2.10. A constant has no variables.
    fn value(&mut self, is_const: bool) -> Result<Value, Error> {
        let value = match self.token() {
            Token::Punctuator(b'$') if !is_const => {
                self.take()?;
                return Ok(Value::Variable(self.name()?.node));
            }
            Token::Punctuator(b'[') => return self.list_value(is_const),
            Token::Punctuator(b'{') => return self.object(is_const),
            Token::Number(text) => match number(text) {
                Some(number) => Value::Number(number),
                None => return self.expected("a number that is not too large"),
            },
            Token::Text(text) => Value::String(text.clone().into_owned()),
            Token::Name("true") => Value::Boolean(true),
            Token::Name("false") => Value::Boolean(false),
            Token::Name("null") => Value::Null,
            Token::Name(symbol) => Value::Enum(Name::new(symbol)),
            _ if is_const => return self.expected("a value without variables"),
            _ => return self.expected("a value"),
        };
        self.take()?;
        Ok(value)
    }

    fn list_value(&mut self, is_const: bool) -> Result<Value, Error> {
        self.take()?;
        let mut items = Vec::new();
        while !self.is_at(b']') {
            items.push(self.value(is_const)?);
        }
        self.take()?;
        Ok(Value::List(items))
    }

    fn object(&mut self, is_const: bool) -> Result<Value, Error> {
        self.take()?;
        let mut fields = IndexMap::new();
        while !self.is_at(b'}') {
            let name = self.name()?;
            self.punctuator(b':')?;
            let value = self.value(is_const)?;
            match fields.entry(name.node) {
                Entry::Vacant(free) => free.insert(value),
                Entry::Occupied(taken) => {
                    let message = format!("input field {} is there twice", taken.key());
                    return Err(Error::new(Code::ValidationFailed, message, name.pos));
                }
            };
        }
        self.take()?;
        Ok(Value::Object(fields))
    }
}

fn number(text: &str) -> Option<Number> {
    // JSON has a float for it; GraphQL has an integer.
    if text == "-0" { Some(Number::from(0)) } else { text.parse().ok() }
}
