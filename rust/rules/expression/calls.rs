//! The parts of the parser that deal with names: variables, fields and calls.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::ast::{Kind as Tree, Node};
use super::functions::{Function, Signature, named, pattern};
use super::lexer::{Kind, Span};
use super::macros::macro_named;
use super::names;
use super::parser::{Parsed, Parser, Result};
use super::time::Zone;
use crate::message::value::{Text, Value};

/// What a name stands for that is no local variable.
#[derive(Clone, Copy)]
enum Declared<'t> {
    Root(&'t str),
    Type(&'static str),
}

impl<'s, 't> Parser<'s, 't> {
    /// What starts with a name: a literal, a variable, a type or a call, and what follows it.
    ///
    /// After a leading dot (`absolute`) the name is no comprehension's variable.
    pub(super) fn name(&mut self, absolute: bool) -> Result<Parsed> {
        let token = self.advance()?;
        let (name, span) = (token.span.of(self.source), token.span);
        if self.token.kind == Kind::OpenParenthesis {
            let call = if name == "has" { self.has(span)? } else { self.function(name, span)? };
            return self.postfix(call);
        }
        let constant = match name {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            _ => None,
        };
        if let Some(value) = constant {
            let first = self.constant(value, span)?;
            return self.postfix(first);
        }
        let local = self.scope.iter().rposition(|variable| *variable == name).filter(|_| !absolute);
        if let Some(slot) = local.and_then(|slot| u16::try_from(slot).ok()) {
            let first = self.leaf(Tree::Local(slot), span)?;
            return self.postfix(first);
        }
        match self.declared(name)? {
            Some(Declared::Root(root)) => self.chain(root, span),
            Some(Declared::Type(name)) => {
                let first = self.constant(Value::Type(Arc::from(name)), span.to(self.last))?;
                self.postfix(first)
            }
            None if self.checked || names::is_reserved(name) => {
                self.fail(span, names::unknown_variable(name, self.roots, &self.scope))
            }
            None => {
                let first = self.node(Tree::Undeclared(Box::default()), span, 0)?;
                self.postfix(first)
            }
        }
    }

    /// The root or type whose name starts with `name`, the last token taken; takes the rest of it. Both may have
    /// dots in them (`google.protobuf.Timestamp`), and the longest wins.
    fn declared(&mut self, name: &str) -> Result<Option<Declared<'t>>> {
        let roots = self.roots;
        let exactly = |name: &str| {
            let root = roots.iter().find(|root| **root == name).map(|root| Declared::Root(root));
            root.or_else(|| names::TYPES.iter().find(|known| **known == name).map(|known| Declared::Type(known)))
        };
        let mut found = exactly(name);
        // The byte is looked at first: almost every name ends the question there.
        let longer = |known: &&str| known.as_bytes().get(name.len()) == Some(&b'.') && known.starts_with(name);
        if !roots.iter().any(longer) && !names::TYPES.iter().any(longer) {
            return Ok(found);
        }
        let mut written = name.to_owned();
        let (mut lexer, mut token) = (self.lexer, self.token);
        while token.kind == Kind::Dot {
            let next = lexer.next()?;
            token = lexer.next()?;
            if next.kind != Kind::Identifier || token.kind == Kind::OpenParenthesis {
                break;
            }
            written.push('.');
            written.push_str(next.span.of(self.source));
            if let Some(declared) = exactly(&written) {
                found = Some(declared);
                (self.lexer, self.token, self.last) = (lexer, token, next.span);
            }
        }
        Ok(found)
    }

    /// The selections, indexes and method calls after a value.
    pub(super) fn postfix(&mut self, first: Parsed) -> Result<Parsed> {
        let mut parsed = first;
        loop {
            parsed = match self.token.kind {
                Kind::Dot => {
                    self.advance()?;
                    let (name, is_call) = self.selector()?;
                    if is_call { self.method(parsed, &name)? } else { self.select(parsed, &name)? }
                }
                Kind::OpenBracket => {
                    let index = self.bracket()?;
                    self.index(parsed, index)?
                }
                Kind::OpenBrace => return Err(self.unexpected("an operator")),
                _ => return Ok(parsed),
            };
        }
    }

    /// A root and the constant keys after it, which are one field as long as there is nothing else, and what follows.
    fn chain(&mut self, root: &str, start: Span) -> Result<Parsed> {
        let mut keys: SmallVec<[Cow<'s, str>; 4]> = SmallVec::new();
        let mut selected = false;
        loop {
            match self.token.kind {
                Kind::Dot => {
                    self.advance()?;
                    let (name, is_call) = self.selector()?;
                    if is_call {
                        let receiver = self.field(root, &keys, start, selected)?;
                        let result = self.method(receiver, &name)?;
                        return self.postfix(result);
                    }
                    keys.push(name);
                    selected = true;
                }
                Kind::OpenBracket => {
                    let index = self.bracket()?;
                    if let Some(Value::Text(key)) = index.node.kind.constant() {
                        keys.push(Cow::Owned(key.as_str().to_owned()));
                        selected = false;
                        continue;
                    }
                    let operand = self.field(root, &keys, start, selected)?;
                    let result = self.index(operand, index)?;
                    return self.postfix(result);
                }
                Kind::OpenBrace => return Err(self.unexpected("an operator")),
                _ => return self.field(root, &keys, start, selected),
            }
        }
    }

    /// The field along `keys`; `start` is where its root stands.
    fn field(&mut self, root: &str, keys: &[Cow<'s, str>], start: Span, selected: bool) -> Result<Parsed> {
        let span = start.to(self.last);
        self.within_nesting(keys.len(), span)?;
        let field = self.fields.number(root, keys);
        let mut parsed = self.leaf(Tree::Field(field), span)?;
        parsed.selected = selected;
        Ok(parsed)
    }

    /// The name after a dot, and whether it is called.
    fn selector(&mut self) -> Result<(Cow<'s, str>, bool)> {
        self.no_optional()?;
        let token = self.token;
        let text = token.span.of(self.source);
        match token.kind {
            Kind::Quoted => {
                self.advance()?;
                Ok((Cow::Borrowed(&text[1..text.len() - 1]), false))
            }
            Kind::Identifier if !matches!(text, "true" | "false" | "null") => {
                self.advance()?;
                Ok((Cow::Borrowed(text), self.token.kind == Kind::OpenParenthesis))
            }
            Kind::Identifier | Kind::In => {
                self.fail(token.span, format!("`{text}` is a reserved word: select the field with [\"{text}\"]"))
            }
            Kind::Text => self.fail(token.span, format!("a field with such a name is selected with [{text}]")),
            _ => Err(self.unexpected("a field's name")),
        }
    }

    fn select(&mut self, operand: Parsed, name: &str) -> Result<Parsed> {
        let span = operand.node.span.to(self.last);
        let name = Text::Shared(SmolStr::new(name));
        let mut parsed = self.node(Tree::Select(Box::new(operand.node), name), span, operand.height)?;
        parsed.selected = true;
        Ok(parsed)
    }

    /// What stands between brackets, at the open one.
    fn bracket(&mut self) -> Result<Parsed> {
        self.advance()?;
        self.no_optional()?;
        let index = self.expression()?;
        self.expect(Kind::CloseBracket, "`]`")?;
        Ok(index)
    }

    fn index(&mut self, operand: Parsed, index: Parsed) -> Result<Parsed> {
        let (span, height) = (operand.node.span.to(self.last), operand.height.max(index.height));
        self.node(Tree::Index(Box::new((operand.node, index.node))), span, height)
    }

    /// Values up to the closing parenthesis, at the open one.
    fn arguments(&mut self, first: Option<Parsed>) -> Result<(Vec<Node>, usize)> {
        self.advance()?;
        let mut height = first.as_ref().map_or(0, |first| first.height);
        let mut arguments: Vec<_> = first.map(|first| first.node).into_iter().collect();
        if !self.take(Kind::CloseParenthesis)? {
            loop {
                let argument = self.expression()?;
                height = height.max(argument.height);
                arguments.push(argument.node);
                if !self.take(Kind::Comma)? {
                    break;
                }
            }
            self.expect(Kind::CloseParenthesis, "`,` or `)`")?;
        }
        Ok((arguments, height))
    }

    /// `name(…)`, at the open parenthesis.
    fn function(&mut self, name: &str, span: Span) -> Result<Parsed> {
        match named(name) {
            Some(signature) if signature.as_function => {
                let (arguments, height) = self.arguments(None)?;
                self.call(signature, arguments, height, span, span)
            }
            _ if self.checked || names::is_reserved(name) => self.fail(span, names::unknown_function(name)),
            _ => {
                let (arguments, height) = self.arguments(None)?;
                self.node(Tree::Undeclared(arguments.into()), span.to(self.last), height)
            }
        }
    }

    /// `receiver.name(…)`, at the open parenthesis.
    fn method(&mut self, receiver: Parsed, name: &str) -> Result<Parsed> {
        let (at, start) = (self.last, receiver.node.span);
        if let Some(kind) = macro_named(name) {
            return self.comprehension(receiver, name, kind, at);
        }
        match named(name) {
            Some(signature) if signature.as_method => {
                let (arguments, height) = self.arguments(Some(receiver))?;
                self.call(signature, arguments, height, start, at)
            }
            _ if self.checked => self.fail(at, names::unknown_method(name)),
            _ => {
                let (arguments, height) = self.arguments(Some(receiver))?;
                self.node(Tree::Undeclared(arguments.into()), start.to(self.last), height)
            }
        }
    }

    /// A call of a known function; `start` is where it starts, `at` where its name stands.
    fn call(
        &mut self,
        signature: &Signature,
        mut arguments: Vec<Node>,
        height: usize,
        start: Span,
        at: Span,
    ) -> Result<Parsed> {
        let span = start.to(self.last);
        if !signature.arguments.contains(&arguments.len()) {
            if !self.checked {
                return self.node(Tree::Undeclared(arguments.into()), span, height);
            }
            let form = form_of(signature);
            return self
                .fail(at, format!("`{}` is called with {} values: write {form}", signature.name, arguments.len()));
        }
        let function = signature.function;
        if function == Function::Dyn {
            let node = arguments.swap_remove(0); // all types are dynamic here
            return Ok(Parsed { node, height, selected: false });
        }
        let constant = arguments.get(1).and_then(|argument| Some((argument.kind.constant()?.clone(), argument.span)));
        match (function, constant) {
            (Function::Matches, Some((Value::Text(text), at))) => {
                if let Some(regex) = self.constant_pattern(text.as_str(), at)? {
                    let operand = Box::new(arguments.swap_remove(0));
                    return self.node(Tree::Matches(operand, Arc::new(regex)), span, height);
                }
            }
            (Function::Get(getter), Some((Value::Text(text), at))) => match Zone::parse(text.as_str()) {
                Ok(zone) => {
                    let operand = Box::new(arguments.swap_remove(0));
                    return self.node(Tree::InZone(getter, operand, zone), span, height);
                }
                Err(_) if self.checked => {
                    return self.fail(at, "no such time zone: write \"Europe/Berlin\" or \"+01:00\"");
                }
                Err(_) => {}
            },
            (_, Some((value, at))) if self.checked && value.as_str().is_none() => {
                let problem = format!("`{}` takes a string, not {}", signature.name, value.type_name());
                return self.fail(at, problem);
            }
            _ => {}
        }
        self.node(Tree::Call(function, arguments.into()), span, height)
    }

    /// A constant pattern, compiled. `None` if it is invalid and that is to be an error of the evaluation.
    fn constant_pattern(&self, text: &str, at: Span) -> Result<Option<regex::Regex>> {
        let error = match pattern(text, self.limits.regex_bytes) {
            Ok(regex) => return Ok(Some(regex)),
            Err(_) if !self.checked => return Ok(None),
            Err(error) => error,
        };
        let problem = match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("the pattern compiles to more than {limit} bytes, the limit `regex_bytes`: repeat fewer times")
            }
            error => {
                // The crate draws the pattern with a mark below it; the last line says what is wrong.
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                format!("the regular expression is not valid: {reason} (write it raw, as in r\"\\d+\")")
            }
        };
        self.fail(at, problem)
    }
}

/// How a function is written.
fn form_of(signature: &Signature) -> String {
    let name = signature.name;
    match (signature.as_method, signature.function) {
        (true, Function::Get(_)) => format!("value.{name}() or value.{name}(\"Europe/Berlin\")"),
        (true, Function::Size) => "value.size() or size(value)".to_owned(),
        (true, _) => format!("value.{name}(\"text\")"),
        (false, _) => format!("{name}(value)"),
    }
}
