//! CEL text into tokens. One pass, no allocation; every error says what to write instead.

use crate::error::{ConditionError, Place};

/// Where something stands in the source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// The first byte.
    pub(super) start: u32,
    /// The byte after the last.
    pub(super) end: u32,
}

impl Span {
    /// From the start of this to the end of `other`.
    pub(super) fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end }
    }

    /// The source text that stands here.
    pub(super) fn of(self, source: &str) -> &str {
        source.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// What a token is; its text is the source at its [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Identifier,
    /// A field's name between backticks.
    Quoted,
    /// Decimal or hexadecimal, without a sign.
    Int,
    /// As `Int`, with the suffix `u`.
    Uint,
    Double,
    /// With its prefixes and quotes.
    Text,
    /// With its prefixes and quotes.
    Bytes,
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Not,
    Question,
    Colon,
    Dot,
    Comma,
    OpenParenthesis,
    CloseParenthesis,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    End,
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// The tokens of a source, one at a time. Copying it is how the parser looks ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

/// An error in `source` at the byte `offset`.
pub(super) fn error_at(source: &str, offset: usize, problem: impl Into<String>) -> ConditionError {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &source[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let place = Place::Text {
        offset,
        line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    };
    ConditionError { problem: problem.into(), place }
}

/// What a name is made of, by byte.
static WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};

impl<'s> Lexer<'s> {
    /// The tokens of `source`, which is shorter than 2^32 bytes.
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    /// The next token; [`Kind::End`] again and again at the end.
    pub(super) fn next(&mut self) -> Result<Token, ConditionError> {
        self.skip_blanks();
        let start = self.at;
        let kind = match self.peek(0) {
            None => Kind::End,
            Some(first) => self.token(first)?,
        };
        Ok(Token { kind, span: Span { start: start as u32, end: self.at as u32 } })
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.as_bytes().get(self.at + ahead).copied()
    }

    fn fail<T>(&self, offset: usize, problem: impl Into<String>) -> Result<T, ConditionError> {
        Err(error_at(self.source, offset, problem))
    }

    fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => self.at += 1,
                b'/' if self.peek(1) == Some(b'/') => {
                    let rest = &self.source[self.at..];
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                _ => break,
            }
        }
    }

    /// Takes `width` bytes as a token of this kind.
    fn take(&mut self, width: usize, kind: Kind) -> Result<Kind, ConditionError> {
        self.at += width;
        Ok(kind)
    }

    fn token(&mut self, first: u8) -> Result<Kind, ConditionError> {
        let second = self.peek(1);
        match first {
            b'"' | b'\'' => self.quoted(0, false, Kind::Text),
            b'0'..=b'9' => self.number(),
            b'.' if second.is_some_and(|byte| byte.is_ascii_digit()) => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(),
            b'`' => self.backticks(),
            b'|' if second == Some(b'|') => self.take(2, Kind::Or),
            b'&' if second == Some(b'&') => self.take(2, Kind::And),
            b'=' if second == Some(b'=') => match self.peek(2) {
                Some(b'=') => self.fail(self.at, "there is no operator `===`: write `==`"),
                _ => self.take(2, Kind::Equal),
            },
            b'!' if second == Some(b'=') => match self.peek(2) {
                Some(b'=') => self.fail(self.at, "there is no operator `!==`: write `!=`"),
                _ => self.take(2, Kind::NotEqual),
            },
            b'<' if second == Some(b'=') => self.take(2, Kind::LessOrEqual),
            b'<' if second == Some(b'>') => self.fail(self.at, "there is no operator `<>`: write `!=`"),
            b'>' if second == Some(b'=') => self.take(2, Kind::GreaterOrEqual),
            b'<' => self.take(1, Kind::Less),
            b'>' => self.take(1, Kind::Greater),
            b'+' => self.take(1, Kind::Plus),
            b'-' => self.take(1, Kind::Minus),
            b'*' if second == Some(b'*') => self.fail(self.at, "there is no operator `**`: multiply with `*`"),
            b'*' => self.take(1, Kind::Star),
            b'/' => self.take(1, Kind::Slash),
            b'%' => self.take(1, Kind::Percent),
            b'!' => self.take(1, Kind::Not),
            b'?' => self.take(1, Kind::Question),
            b':' => self.take(1, Kind::Colon),
            b'.' => self.take(1, Kind::Dot),
            b',' => self.take(1, Kind::Comma),
            b'(' => self.take(1, Kind::OpenParenthesis),
            b')' => self.take(1, Kind::CloseParenthesis),
            b'[' => self.take(1, Kind::OpenBracket),
            b']' => self.take(1, Kind::CloseBracket),
            b'{' => self.take(1, Kind::OpenBrace),
            b'}' => self.take(1, Kind::CloseBrace),
            _ => self.stray(),
        }
    }

    fn stray(&self) -> Result<Kind, ConditionError> {
        let rest = &self.source[self.at..];
        let character = rest.chars().next().unwrap_or_default();
        let advice = match character {
            '=' if rest.starts_with("=~") => "there is no operator `=~`: write `field.matches(\"…\")`".to_owned(),
            '=' => "a single `=` compares nothing: write `==`".to_owned(),
            '&' => "a single `&` is no operator: write `&&`".to_owned(),
            '|' => "a single `|` is no operator: write `||`".to_owned(),
            '“' | '”' | '„' | '‘' | '’' => {
                format!("the typographic quote `{character}`: write a straight quote, `\"` or `'`")
            }
            ';' => "a condition is one expression: leave the `;` out, and join conditions with `&&`".to_owned(),
            '~' | '^' => format!("there is no operator `{character}` in a condition"),
            '#' => "a comment in a condition starts with `//`".to_owned(),
            '$' | '@' => format!("the character `{character}`: write the field as `message.name`"),
            _ => format!("the character {character:?} has no meaning here: text belongs between quotes"),
        };
        self.fail(self.at, advice)
    }

    /// An identifier, a keyword, or a literal with prefixes (`r""`, `b""`, `br""`).
    fn word(&mut self) -> Result<Kind, ConditionError> {
        let start = self.at;
        let rest = &self.source.as_bytes()[start..];
        let width = rest.iter().position(|&byte| !WORD[usize::from(byte)]).unwrap_or(rest.len());
        if width <= 2 && matches!(rest.get(width), Some(b'"' | b'\'')) {
            match &rest[..width] {
                b"r" | b"R" => return self.quoted(width, true, Kind::Text),
                b"b" | b"B" => return self.quoted(width, false, Kind::Bytes),
                b"br" | b"bR" | b"Br" | b"BR" => return self.quoted(width, true, Kind::Bytes),
                _ => {}
            }
        }
        self.at += width;
        Ok(if matches!(rest, [b'i', b'n', ..]) && width == 2 { Kind::In } else { Kind::Identifier })
    }

    fn backticks(&mut self) -> Result<Kind, ConditionError> {
        let start = self.at;
        let rest = &self.source[start + 1..];
        let Some(width) = rest.find('`') else {
            return self.fail(start, "the name is not closed: write a backtick after it");
        };
        let name = &rest[..width];
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b' ');
        if name.is_empty() || !name.bytes().all(allowed) {
            let advice = "a name between backticks holds letters, digits and `_ . - /`: write [\"…\"] for others";
            return self.fail(start, advice);
        }
        self.at = start + width + 2;
        Ok(Kind::Quoted)
    }

    fn number(&mut self) -> Result<Kind, ConditionError> {
        let start = self.at;
        let mut kind = Kind::Int;
        if self.peek(0) == Some(b'0') && matches!(self.peek(1), Some(b'x' | b'X')) {
            self.at += 2;
            if self.digits(u8::is_ascii_hexdigit) == 0 {
                return self.fail(start, "`0x` needs hexadecimal digits after it, as in 0xff");
            }
        } else {
            self.digits(u8::is_ascii_digit);
            if self.peek(0) == Some(b'.') && self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) {
                self.at += 1;
                self.digits(u8::is_ascii_digit);
                kind = Kind::Double;
            }
            if matches!(self.peek(0), Some(b'e' | b'E')) {
                let signed = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
                if self.peek(1 + signed).is_some_and(|byte| byte.is_ascii_digit()) {
                    self.at += 1 + signed;
                    self.digits(u8::is_ascii_digit);
                    kind = Kind::Double;
                }
            }
        }
        if kind == Kind::Int && matches!(self.peek(0), Some(b'u' | b'U')) {
            self.at += 1;
            kind = Kind::Uint;
        }
        if self.peek(0).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return self.bad_suffix(start);
        }
        Ok(kind)
    }

    fn digits(&mut self, digit: impl Fn(&u8) -> bool) -> usize {
        let width = self.source.as_bytes()[self.at..].iter().take_while(|byte| digit(byte)).count();
        self.at += width;
        width
    }

    fn bad_suffix(&self, start: usize) -> Result<Kind, ConditionError> {
        let rest = &self.source[start..];
        let width = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')).count();
        let written = &rest[..width];
        let unit = written.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let advice = match unit {
            "h" | "m" | "s" | "ms" | "us" | "ns" => format!("a span of time is written duration(\"{written}\")"),
            _ if unit.starts_with('_') => "digits are not grouped: leave the `_` out".to_owned(),
            _ => format!("{written:?} is no number: text belongs between quotes"),
        };
        self.fail(start, advice)
    }

    /// A literal between quotes, after `prefix` bytes of prefixes. Checks only that it ends.
    fn quoted(&mut self, prefix: usize, raw: bool, kind: Kind) -> Result<Kind, ConditionError> {
        let start = self.at;
        let bytes = self.source.as_bytes();
        let quote = bytes[start + prefix];
        let open = start + prefix + 1;
        let triple = bytes.get(open) == Some(&quote) && bytes.get(open + 1) == Some(&quote);
        let mut at = if triple { open + 2 } else { open };
        while let Some(&byte) = bytes.get(at) {
            if byte == quote && (!triple || (bytes.get(at + 1) == Some(&quote) && bytes.get(at + 2) == Some(&quote))) {
                self.at = at + if triple { 3 } else { 1 };
                return Ok(kind);
            }
            match byte {
                b'\\' if !raw => at += 2,
                b'\n' | b'\r' if !triple => break,
                _ => at += 1,
            }
        }
        let end = if triple { 3 } else { 1 };
        let quotes = &self.source[open - 1..open - 1 + end];
        self.fail(start, format!("the text that starts here is not closed: write {quotes} at its end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<Kind> {
        let mut lexer = Lexer::new(source);
        std::iter::from_fn(|| Some(lexer.next().unwrap().kind)).take_while(|kind| *kind != Kind::End).collect()
    }

    #[test]
    fn tokens_are_those_of_the_specification() {
        let table: [(&str, &[Kind]); 12] = [
            ("a.b", &[Kind::Identifier, Kind::Dot, Kind::Identifier]),
            ("1.5 .5 1e3 1.5E-3", &[Kind::Double; 4]),
            ("1 0xFf 007", &[Kind::Int; 3]),
            ("1u 0xFFU", &[Kind::Uint; 2]),
            ("'a' \"\" '''it's''' \"\"\"a\nb\"\"\" r'\\' R\"x\"", &[Kind::Text; 6]),
            ("b'a' B\"\" br'\\' bR\"x\"", &[Kind::Bytes; 4]),
            ("br b r in2", &[Kind::Identifier; 4]),
            ("a in b", &[Kind::Identifier, Kind::In, Kind::Identifier]),
            ("1 // one\n+ 2", &[Kind::Int, Kind::Plus, Kind::Int]),
            (
                "<= < >= > == != !",
                &[
                    Kind::LessOrEqual,
                    Kind::Less,
                    Kind::GreaterOrEqual,
                    Kind::Greater,
                    Kind::Equal,
                    Kind::NotEqual,
                    Kind::Not,
                ],
            ),
            ("`content-type`", &[Kind::Quoted]),
            (" // nothing", &[]),
        ];
        for (source, expected) in table {
            assert_eq!(kinds(source), expected, "{source}");
        }
    }

    #[test]
    fn errors_stand_where_the_mistake_is_and_say_what_to_write() {
        let table = [
            ("a = 1", 2, 1, 3, "write `==`"),
            ("a & b", 2, 1, 3, "write `&&`"),
            ("a\n| b", 2, 2, 1, "write `||`"),
            ("a === b", 2, 1, 3, "write `==`"),
            ("a <> b", 2, 1, 3, "write `!=`"),
            ("'é' =~ b", 5, 1, 5, "matches"),
            ("a == “b”", 5, 1, 6, "straight quote"),
            ("x > 5m", 4, 1, 5, "duration(\"5m\")"),
            ("x > 1_000", 4, 1, 5, "leave the `_` out"),
            ("'abc", 0, 1, 1, "write ' at its end"),
            ("'a\nb'", 0, 1, 1, "write ' at its end"),
            ("r\"\"\"a\"\"", 0, 1, 1, "write \"\"\" at its end"),
            ("0x", 0, 1, 1, "hexadecimal"),
            ("a # b", 2, 1, 3, "`//`"),
            ("a.`b", 2, 1, 3, "backtick"),
        ];
        for (source, offset, line, column, advice) in table {
            let mut lexer = Lexer::new(source);
            let error = loop {
                match lexer.next() {
                    Ok(token) => assert_ne!(token.kind, Kind::End, "{source}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.place, Place::Text { offset, line, column }, "{source}");
            assert!(error.problem.contains(advice), "{source}: {}", error.problem);
        }
    }
}
