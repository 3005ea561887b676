//! From text to tokens (specification §2.1), counted.

use std::borrow::Cow;

use async_graphql::Pos;

use super::{BYTES_PER_TOKEN, Error, MAX_NAME, MAX_NESTING, strings};
use crate::failure::Code;

/// A lexical token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'t> {
    /// One of `! $ & ( ) : = @ [ ] { | }`.
    Punctuator(u8),
    /// `...`
    Spread,
    Name(&'t str),
    Number(&'t str),
    /// The value of a string.
    Text(Cow<'t, str>),
    End,
}

/// What is left of a text, and how much of it was read.
pub(super) struct Lexer<'t> {
    rest: &'t str,
    pos: Pos,
    nesting: usize,
    tokens: usize,
    max_tokens: usize,
}

impl<'t> Lexer<'t> {
    pub fn new(text: &'t str, max_tokens: usize) -> Self {
        Self { rest: text, pos: Pos { line: 1, column: 1 }, nesting: 0, tokens: 0, max_tokens }
    }

    /// Tokens that were read.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The next token, and where it begins.
    pub fn next(&mut self) -> Result<(Token<'t>, Pos), Error> {
        self.skip_ignored();
        let pos = self.pos;
        let Some(&first) = self.rest.as_bytes().first() else { return Ok((Token::End, pos)) };
        let token = match first {
            b'{' | b'[' | b'(' => {
                self.nesting += 1;
                if self.nesting > MAX_NESTING {
                    let message =
                        format!("the document is nested deeper than {MAX_NESTING} brackets");
                    return Err(Error::new(Code::LimitExceeded, message, pos));
                }
                self.punctuator(first)
            }
            b'}' | b']' | b')' => {
                self.nesting = self.nesting.saturating_sub(1);
                self.punctuator(first)
            }
            b'!' | b'$' | b'&' | b':' | b'=' | b'@' | b'|' => self.punctuator(first),
            b'.' if self.rest.starts_with("...") => {
                self.consume(3);
                Token::Spread
            }
            b'"' => self.text()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b if is_name_start(b) => self.name()?,
            _ => return Err(Error::expected("a token of GraphQL", pos)),
        };
        self.tokens += match &token {
            Token::Name(text) | Token::Number(text) => text.len().div_ceil(BYTES_PER_TOKEN),
            _ => 1,
        };
        if self.tokens > self.max_tokens {
            let message = format!("the document has more than {} tokens", self.max_tokens);
            return Err(Error::new(Code::LimitExceeded, message, pos));
        }
        Ok((token, pos))
    }

    /// White space, line terminators, commas, comments and byte order marks.
    fn skip_ignored(&mut self) {
        loop {
            let length = match self.rest.as_bytes() {
                [b' ' | b'\t' | b'\n' | b'\r' | b',', ..] => 1,
                [b'#', ..] => self.length_until(|byte| matches!(byte, b'\n' | b'\r')),
                [0xEF, 0xBB, 0xBF, ..] => 3,
                _ => return,
            };
            self.consume(length);
        }
    }

    fn punctuator(&mut self, byte: u8) -> Token<'t> {
        self.consume(1);
        Token::Punctuator(byte)
    }

    fn name(&mut self) -> Result<Token<'t>, Error> {
        let length = self.length_until(|byte| !is_name_part(byte));
        if length > MAX_NAME {
            let message = format!("the document has a name longer than {MAX_NAME} characters");
            return Err(Error::new(Code::LimitExceeded, message, self.pos));
        }
        Ok(Token::Name(self.consume(length)))
    }

    /// An integer or a float (§2.9.1, §2.9.2). What follows must not look like a part of it.
    fn number(&mut self) -> Result<Token<'t>, Error> {
        let bytes = self.rest.as_bytes();
        let digits = |at: usize| bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let error = || Error::expected("a number", self.pos);
        let mut at = usize::from(bytes[0] == b'-');
        match digits(at) {
            0 => return Err(error()),
            1 => at += 1,
            _ if bytes[at] == b'0' => return Err(error()),
            more => at += more,
        }
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            if fraction == 0 {
                return Err(error());
            }
            at += 1 + fraction;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(at);
            if exponent == 0 {
                return Err(error());
            }
            at += exponent;
        }
        if bytes.get(at).is_some_and(|byte| *byte == b'.' || is_name_start(*byte)) {
            return Err(error());
        }
        Ok(Token::Number(self.consume(at)))
    }

    fn text(&mut self) -> Result<Token<'t>, Error> {
        let found = if self.rest.starts_with("\"\"\"") {
            strings::block(self.rest)
        } else {
            strings::quoted(self.rest)
        };
        match found {
            Ok((value, length)) => {
                self.consume(length);
                Ok(Token::Text(value))
            }
            Err(strings::Wrong { expected, at }) => {
                self.consume(at);
                Err(Error::expected(expected, self.pos))
            }
        }
    }

    fn length_until(&self, ends: impl Fn(u8) -> bool) -> usize {
        self.rest.bytes().position(ends).unwrap_or(self.rest.len())
    }

    /// Goes on behind the next `length` bytes. Lines end as in §2.1.2; columns count characters.
    fn consume(&mut self, length: usize) -> &'t str {
        let bytes = self.rest.as_bytes();
        for (at, byte) in bytes[..length].iter().enumerate() {
            match byte {
                b'\r' if bytes.get(at + 1) == Some(&b'\n') => {}
                b'\n' | b'\r' => self.pos = Pos { line: self.pos.line + 1, column: 1 },
                // A later byte of a character.
                0x80..=0xBF => {}
                _ => self.pos.column += 1,
            }
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_name_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
