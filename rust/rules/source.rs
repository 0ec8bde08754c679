//! The source of a test, as `explain` shows it: the text that was written.
//!
//! Field, test and constants nearly always tell what was written, letter for letter. So the text is written anew when
//! it is asked for, and kept with the predicate only where that would give another: other blanks, computed constants.
//! A rule takes half the memory for it.

use std::fmt::{self, Write};
use std::sync::Arc;

use super::condition::{Asked, Bounds, Comparison, Predicate, Test};
use crate::message::path::{FieldTable, Path};
use crate::message::render::{Compact, write_escaped, write_text, write_value};
use crate::message::value::Value;

/// The quotes of a text in CEL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quote {
    /// `'`
    Single,
    /// `"`
    Double,
}

/// Who speaks: a pattern, whose lists stand for their elements, or CEL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notation {
    /// As [`Predicate::elements`].
    pub(super) elements: bool,
    /// As [`Predicate::asked`].
    pub(super) asked: Asked,
}

/// What of the source of a test need be kept, and the quotes that give back the rest.
pub(super) fn kept(source: &str, path: &Path, test: &Test, notation: Notation) -> (Option<Arc<str>>, Quote) {
    for quote in [Quote::Double, Quote::Single] {
        let mut rest = Rest(source);
        if write_test(&mut rest, path, test, notation, quote).is_ok() && rest.0.is_empty() {
            return (None, quote);
        }
    }
    (Some(source.into()), Quote::Double)
}

impl Predicate {
    /// The source of the test; `table` is the table that it was compiled with.
    pub fn source(&self, table: &FieldTable) -> Arc<str> {
        if let Some(source) = &self.source {
            return Arc::clone(source);
        }
        let notation = Notation { elements: self.elements, asked: self.asked };
        let mut text = String::new();
        match write_test(&mut text, table.path(self.field), &self.test, notation, self.quote) {
            Ok(()) => text.into(),
            // Only what can be written is not kept.
            Err(fmt::Error) => self.test.describe(self.asked).into(),
        }
    }
}

/// What is left of a text that is compared with what is written.
struct Rest<'s>(&'s str);

impl Write for Rest<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Writes the test in the plainest way; an error if it has none, or `out` does not take it.
fn write_test<W: Write>(out: &mut W, path: &Path, test: &Test, notation: Notation, quote: Quote) -> fmt::Result {
    if notation.elements { pattern(out, test, notation.asked) } else { cel(out, path, test, quote) }
}

fn cel<W: Write>(out: &mut W, path: &Path, test: &Test, quote: Quote) -> fmt::Result {
    if let Test::Present = test {
        out.write_str("has(")?;
        write_path(out, path)?;
        return out.write_str(")");
    }
    write_path(out, path)?;
    match test {
        Test::IsTrue => Ok(()),
        Test::Equals(value) => {
            out.write_str(" == ")?;
            constant(out, value, quote)
        }
        Test::OneOf(values) => {
            out.write_str(" in [")?;
            for (position, value) in values.iter().enumerate() {
                out.write_str(if position == 0 { "" } else { ", " })?;
                constant(out, value, quote)?;
            }
            out.write_str("]")
        }
        Test::Compares(comparison, value) => compared(out, *comparison, value, quote),
        Test::Between(bounds) => {
            compared(out, bounds.above(), &bounds.lower, quote)?;
            out.write_str(" && ")?;
            write_path(out, path)?;
            compared(out, bounds.below(), &bounds.upper, quote)
        }
        Test::Prefix { text, ignore_case: false } => method(out, ".startsWith(", text, quote),
        Test::Suffix { text, ignore_case: false } => method(out, ".endsWith(", text, quote),
        Test::Contains(text) => method(out, ".contains(", text, quote),
        Test::Matches(regex) => method(out, ".matches(", regex.as_str(), quote),
        _ => Err(fmt::Error),
    }
}

fn write_path<W: Write>(out: &mut W, path: &Path) -> fmt::Result {
    out.write_str(&path.root)?;
    for key in &path.segments {
        out.write_str(".")?;
        out.write_str(key)?;
    }
    Ok(())
}

fn compared<W: Write>(out: &mut W, comparison: Comparison, value: &Value<'_>, quote: Quote) -> fmt::Result {
    out.write_str(" ")?;
    out.write_str(comparison.sign())?;
    out.write_str(" ")?;
    constant(out, value, quote)
}

fn method<W: Write>(out: &mut W, name: &str, text: &str, quote: Quote) -> fmt::Result {
    out.write_str(name)?;
    quoted(out, text, quote)?;
    out.write_str(")")
}

fn constant<W: Write>(out: &mut W, value: &Value<'_>, quote: Quote) -> fmt::Result {
    match value {
        Value::Text(text) => quoted(out, text.as_str(), quote),
        Value::Uint(number) => write!(out, "{number}u"),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Double(_) => write_value(value, out),
        _ => Err(fmt::Error),
    }
}

/// A text as it is; one that would need an escape is not what was written.
fn quoted<W: Write>(out: &mut W, text: &str, quote: Quote) -> fmt::Result {
    let quote = match quote {
        Quote::Single => "'",
        Quote::Double => "\"",
    };
    out.write_str(quote)?;
    out.write_str(text)?;
    out.write_str(quote)
}

/// Compact JSON, as a pattern's values and operators are shown.
fn pattern<W: Write>(out: &mut W, test: &Test, asked: Asked) -> fmt::Result {
    match test {
        Test::Equals(value) => write_value(value, out),
        Test::OneOf(values) => list(out, values),
        Test::Compares(comparison, value) => {
            write!(out, "{{\"numeric\":[\"{}\",{}]}}", comparison.sign(), Compact(value))
        }
        Test::Between(bounds) => {
            let Bounds { lower, upper, .. } = &**bounds;
            let (above, below) = (bounds.above().sign(), bounds.below().sign());
            write!(out, "{{\"numeric\":[\"{above}\",{},\"{below}\",{}]}}", Compact(lower), Compact(upper))
        }
        Test::Prefix { text, ignore_case } => affix(out, "prefix", text, *ignore_case),
        Test::Suffix { text, ignore_case } => affix(out, "suffix", text, *ignore_case),
        Test::EqualsIgnoreCase(text) => operator(out, "equals-ignore-case", text),
        Test::Wildcard(literals) => {
            out.write_str("{\"wildcard\":\"")?;
            for (position, literal) in literals.iter().enumerate() {
                out.write_str(if position == 0 { "" } else { "*" })?;
                if literal.contains(['*', '\\']) {
                    write_escaped(&literal.replace('\\', r"\\").replace('*', r"\*"), out)?;
                } else {
                    write_escaped(literal, out)?;
                }
            }
            out.write_str("\"}")
        }
        Test::Cidr(network) => write!(out, "{{\"cidr\":\"{network}\"}}"),
        Test::Present => write!(out, "{{\"exists\":{}}}", asked == Asked::True),
        Test::AnythingBut(tests) => match &**tests {
            [Test::OneOf(values)] => {
                out.write_str("{\"anything-but\":")?;
                list(out, values)?;
                out.write_str("}")
            }
            [Test::Equals(value)] => write!(out, "{{\"anything-but\":{}}}", Compact(value)),
            _ => Err(fmt::Error),
        },
        Test::Contains(_) | Test::Matches(_) | Test::IsTrue => Err(fmt::Error),
    }
}

fn list<W: Write>(out: &mut W, values: &[Value<'_>]) -> fmt::Result {
    for (position, value) in values.iter().enumerate() {
        out.write_str(if position == 0 { "[" } else { "," })?;
        write_value(value, out)?;
    }
    out.write_str(if values.is_empty() { "[]" } else { "]" })
}

fn operator<W: Write>(out: &mut W, name: &str, text: &str) -> fmt::Result {
    write!(out, "{{\"{name}\":")?;
    write_text(text, out)?;
    out.write_str("}")
}

fn affix<W: Write>(out: &mut W, name: &str, text: &str, ignore_case: bool) -> fmt::Result {
    if !ignore_case {
        return operator(out, name, text);
    }
    write!(out, "{{\"{name}\":")?;
    operator(out, "equals-ignore-case", text)?;
    out.write_str("}")
}
