//! The part of the parser that deals with macros: `has`, and the comprehensions over lists and maps.
//!
//! A comprehension's variables are slots on the evaluation's stack: the outermost comprehension's is 0.

use super::ast::{Comprehension, ComprehensionKind, Kind as Tree};
use super::lexer::{Kind, Span};
use super::names;
use super::parser::{Parsed, Parser, Result};

impl<'s> Parser<'s, '_> {
    /// `has(…)`, at the open parenthesis.
    pub(super) fn has(&mut self, start: Span) -> Result<Parsed> {
        self.advance()?;
        let argument = self.expression()?;
        self.expect(Kind::CloseParenthesis, "`)`")?;
        let (span, height) = (start.to(self.last), argument.height);
        let kind = match (argument.selected, argument.node.kind) {
            (true, Tree::Field(field)) => Tree::HasField(field),
            (true, Tree::Select(operand, name)) => Tree::Has(operand, name),
            _ => {
                let advice = "has() takes a field selected with a dot, as in has(message.a) or has(message.`a-b`)";
                return self.fail(argument.node.span, advice);
            }
        };
        self.node(kind, span, height)
    }

    /// A macro over `range`, at the open parenthesis; `at` is where its name stands.
    pub(super) fn comprehension(
        &mut self,
        range: Parsed,
        name: &str,
        kind: ComprehensionKind,
        at: Span,
    ) -> Result<Parsed> {
        let start = range.node.span;
        let outer = self.scope.len();
        self.advance()?;
        let first = self.variable(name, at)?;
        let transforms = name.starts_with("transform");
        let may_have_two = !matches!(name, "map" | "filter");
        let two = may_have_two && (transforms || self.is_variable()?);
        self.scope.push(first);
        if two {
            let second = self.variable(name, at)?;
            if second == first {
                return self.fail(self.last, format!("the two variables of `{name}` need different names"));
            }
            self.scope.push(second);
        }
        let mut body = self.expression()?;
        let mut filter = None;
        if matches!(kind, ComprehensionKind::ToList | ComprehensionKind::ToMap) && self.take(Kind::Comma)? {
            let result = self.expression()?;
            filter = Some(std::mem::replace(&mut body, result));
        }
        if !self.take(Kind::CloseParenthesis)? {
            if self.token.kind == Kind::Comma {
                return self.fail(at, macro_form(name));
            }
            return Err(self.unexpected("`)`"));
        }
        self.scope.truncate(outer);
        let height = range.height.max(body.height).max(filter.as_ref().map_or(0, |filter| filter.height));
        let filter = filter.map(|filter| filter.node);
        let comprehension = Comprehension { range: range.node, kind, two, filter, body: body.node };
        self.node(Tree::Comprehension(Box::new(comprehension)), start.to(self.last), height)
    }

    /// Whether a variable's name and a comma come next.
    fn is_variable(&self) -> Result<bool> {
        let mut lexer = self.lexer;
        Ok(self.token.kind == Kind::Identifier && lexer.next()?.kind == Kind::Comma)
    }

    /// A variable of a macro, and the comma after it.
    fn variable(&mut self, name: &str, at: Span) -> Result<&'s str> {
        let token = self.token;
        let variable = token.span.of(self.source);
        if token.kind != Kind::Identifier || !self.is_variable()? {
            return self.fail(at, macro_form(name));
        }
        if names::is_reserved(variable) || matches!(variable, "true" | "false" | "null") {
            return self.fail(token.span, format!("`{variable}` is a reserved word: name the variable otherwise"));
        }
        self.advance()?;
        self.advance()?;
        Ok(variable)
    }
}

/// The comprehension that a method's name stands for.
pub(super) fn macro_named(name: &str) -> Option<ComprehensionKind> {
    Some(match name {
        "all" => ComprehensionKind::All,
        "exists" => ComprehensionKind::Exists,
        "exists_one" | "existsOne" => ComprehensionKind::ExistsOne,
        "filter" => ComprehensionKind::Filter,
        "map" | "transformList" => ComprehensionKind::ToList,
        "transformMap" => ComprehensionKind::ToMap,
        _ => return None,
    })
}

/// How a macro is written.
fn macro_form(name: &str) -> String {
    let form = match name {
        "map" => "list.map(item, item.name) or list.map(item, item.price > 1, item.name)".to_owned(),
        "filter" => "list.filter(item, item.price > 1)".to_owned(),
        "transformList" | "transformMap" => format!("map.{name}(key, value, value + 1)"),
        _ => format!("list.{name}(item, item.price > 1), or map.{name}(key, value, value > 1)"),
    };
    format!("`{name}` takes a variable's name and what is asked of it: write {form}")
}
