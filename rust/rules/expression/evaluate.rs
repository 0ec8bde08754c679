//! Evaluating an expression: a walk over its tree, at most as deep as the tree is high.
//!
//! Errors are values here as CEL means them: `&&`, `||`, `all` and `exists` absorb a [`Failure`] where another
//! operand decides, whatever the order. A message that cannot be read, and steps that run out, end everything.
//!
//! Each node takes a step, each element of a comprehension takes one more, and work on long text, lists and
//! maps takes steps in proportion; so both time and memory are bounded by [`Limits::steps`].
//!
//! [`Limits::steps`]: crate::rules::limits::Limits::steps

use std::ops::ControlFlow;

use regex::Regex;
use smallvec::SmallVec;

use super::ast::{Arithmetic, Comprehension, ComprehensionKind, Kind, Node};
use super::error::{EvaluationError, Failure};
use super::functions::{Function, get, pattern};
use super::operators::{Steps, index, map_of, negate, no_overload, select};
use crate::message::path::FieldId;
use crate::message::value::{Text, Value};
use crate::message::{Fields, Read};

type Evaluated<'e> = Result<Value<'e>, EvaluationError>;

/// One evaluation.
pub(super) struct Evaluation<'f, 'e, 'm> {
    fields: &'f dyn Fields<'m>,
    /// The variables of the comprehensions around the node, outermost first.
    locals: SmallVec<[Value<'e>; 4]>,
    steps: Steps,
    regex_bytes: usize,
    /// The last pattern that was not constant: it is mostly the same for every element.
    pattern: Option<(Text<'e>, Regex)>,
    /// Lists and maps of the message that a comprehension has asked for.
    kept: SmallVec<[(FieldId, Value<'e>); 1]>,
}

impl<'f, 'e, 'm: 'e> Evaluation<'f, 'e, 'm> {
    pub(super) fn new(fields: &'f dyn Fields<'m>, steps: usize, regex_bytes: usize) -> Self {
        Self { fields, locals: SmallVec::new(), steps: Steps(steps), regex_bytes, pattern: None, kept: SmallVec::new() }
    }

    /// The node's value.
    pub(super) fn value(&mut self, node: &'e Node) -> Evaluated<'e> {
        self.steps.pay(1)?;
        match &node.kind {
            Kind::Constant(value) => Ok(borrowed(value)),
            Kind::Field(field) => self.field(*field),
            Kind::HasField(field) => match self.fields.read(*field)? {
                Read::Value(_) => Ok(Value::Bool(true)),
                Read::Absent => Ok(Value::Bool(false)),
                Read::Broken | Read::InList { .. } => Err(Failure::NoSuchField.into()),
            },
            Kind::Local(slot) => Ok(self.locals.get(usize::from(*slot)).cloned().ok_or(Failure::Undeclared)?),
            Kind::Undeclared(arguments) => self.undeclared(arguments),
            Kind::Select(operand, name) => Ok(select(&self.value(operand)?, name.as_str())?),
            Kind::Has(operand, name) => self.has(operand, name.as_str()),
            Kind::Index(pair) => Ok(index(&self.value(&pair.0)?, &self.value(&pair.1)?)?),
            Kind::Not(operand) => Ok(Value::Bool(!bool_of("!", &self.value(operand)?)?)),
            Kind::Negate(operand) => Ok(negate(&self.value(operand)?)?),
            Kind::All(operands) => self.all_or_any(operands, false),
            Kind::Any(operands) => self.all_or_any(operands, true),
            Kind::Conditional(arms, otherwise) => self.conditional(arms, otherwise),
            Kind::Relation(relation, pair) => {
                let (left, right) = (self.value(&pair.0)?, self.value(&pair.1)?);
                relation.holds(&left, &right, &mut self.steps).map(Value::Bool)
            }
            Kind::Arithmetic(first, rest) => self.arithmetic(first, rest),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Call(function, arguments) => self.call(*function, arguments),
            Kind::Matches(operand, regex) => self.matches(operand, regex),
            Kind::InZone(getter, operand, zone) => Ok(Value::Int(get(*getter, &self.value(operand)?, zone)?)),
            Kind::Comprehension(comprehension) => {
                let outer = self.locals.len();
                let result = self.comprehension(comprehension);
                self.locals.truncate(outer);
                result
            }
        }
    }

    // The arms of `value` are functions of their own, so that its frame, which recurs, stays small.

    #[inline(never)]
    fn undeclared(&mut self, arguments: &'e [Node]) -> Evaluated<'e> {
        for argument in arguments {
            self.value(argument)?;
        }
        Err(Failure::Undeclared.into())
    }

    #[inline(never)]
    fn has(&mut self, operand: &'e Node, name: &str) -> Evaluated<'e> {
        match self.value(operand)? {
            Value::Map(map) => Ok(Value::Bool(map.get_str(name).is_some())),
            other => Err(Failure::NoOverload { operation: "has", left: other.type_name(), right: "" }.into()),
        }
    }

    /// `||` if `decisive` is true, `&&` if it is false: the bool that decides alone.
    #[inline(never)]
    fn all_or_any(&mut self, operands: &'e [Node], decisive: bool) -> Evaluated<'e> {
        let mut absorbed = None;
        for operand in operands {
            let result = self.value(operand);
            match absorb(if decisive { "||" } else { "&&" }, result, &mut absorbed)? {
                Some(value) if value == decisive => return Ok(Value::Bool(decisive)),
                _ => {}
            }
        }
        absorbed.map_or(Ok(Value::Bool(!decisive)), |failure| Err(failure.into()))
    }

    #[inline(never)]
    fn conditional(&mut self, arms: &'e [(Node, Node)], otherwise: &'e Node) -> Evaluated<'e> {
        for (condition, value) in arms {
            if bool_of("? :", &self.value(condition)?)? {
                return self.value(value);
            }
        }
        self.value(otherwise)
    }

    #[inline(never)]
    fn arithmetic(&mut self, first: &'e Node, rest: &'e [(Arithmetic, Node)]) -> Evaluated<'e> {
        let mut result = self.value(first)?;
        for (operator, operand) in rest {
            let right = self.value(operand)?;
            result = operator.apply(&result, &right, &mut self.steps)?;
        }
        Ok(result)
    }

    #[inline(never)]
    fn list(&mut self, items: &'e [Node]) -> Evaluated<'e> {
        let items: Result<Vec<_>, _> = items.iter().map(|item| self.value(item)).collect();
        Ok(Value::List(items?.into()))
    }

    #[inline(never)]
    fn map(&mut self, entries: &'e [(Node, Node)]) -> Evaluated<'e> {
        let entries: Result<Vec<_>, EvaluationError> =
            entries.iter().map(|(key, value)| Ok((self.value(key)?, self.value(value)?))).collect();
        Ok(map_of(entries?)?)
    }

    #[inline(never)]
    fn call(&mut self, function: Function, arguments: &'e [Node]) -> Evaluated<'e> {
        let arguments: Result<SmallVec<[_; 2]>, _> = arguments.iter().map(|argument| self.value(argument)).collect();
        match (function, arguments?.as_slice()) {
            (Function::Matches, [Value::Text(text), Value::Text(wanted)]) => self.matches_computed(text, wanted),
            (_, arguments) => function.call(arguments, &mut self.steps),
        }
    }

    /// `matches` with a pattern that is not constant.
    fn matches_computed(&mut self, text: &Text<'e>, wanted: &Text<'e>) -> Evaluated<'e> {
        let text = text.as_str();
        self.steps.pay_bytes(text.len() + wanted.as_str().len())?;
        if let Some((_, regex)) = self.pattern.as_ref().filter(|(known, _)| known == wanted) {
            return Ok(Value::Bool(regex.is_match(text)));
        }
        self.steps.pay(self.regex_bytes / 256)?; // compiling takes time in proportion to the compiled size
        let regex = pattern(wanted.as_str(), self.regex_bytes);
        let regex = regex.map_err(|_| Failure::Invalid("regular expression"))?;
        let found = regex.is_match(text);
        self.pattern = Some((wanted.clone(), regex));
        Ok(Value::Bool(found))
    }

    #[inline(never)]
    fn matches(&mut self, operand: &'e Node, regex: &Regex) -> Evaluated<'e> {
        let value = self.value(operand)?;
        let Some(text) = value.as_str() else { return Err(no_overload("matches", &value, &Value::text("")).into()) };
        self.steps.pay_bytes(text.len())?;
        Ok(Value::Bool(regex.is_match(text)))
    }

    /// The value at `field`. Lists and maps are kept while a comprehension runs, which asks for each element.
    fn field(&mut self, field: FieldId) -> Evaluated<'e> {
        if let Some((_, value)) = self.kept.iter().find(|(kept, _)| *kept == field) {
            return Ok(value.clone());
        }
        match self.fields.read(field)? {
            Read::Value(value) => {
                if !self.locals.is_empty() && matches!(value, Value::List(_) | Value::Map(_)) {
                    self.kept.push((field, value.clone()));
                }
                Ok(value)
            }
            Read::Absent | Read::Broken | Read::InList { .. } => Err(Failure::NoSuchField.into()),
        }
    }

    /// Runs `each` on every element of a comprehension's range, with its variables set, until it says stop.
    fn for_each(
        &mut self,
        comprehension: &'e Comprehension,
        mut each: impl FnMut(&mut Self) -> Result<ControlFlow<()>, EvaluationError>,
    ) -> Result<(), EvaluationError> {
        let range = self.value(&comprehension.range)?;
        let outer = self.locals.len();
        let mut step = |run: &mut Self, first: Value<'e>, second: Value<'e>| {
            run.steps.pay(1)?;
            run.locals.truncate(outer);
            run.locals.push(first);
            if comprehension.two {
                run.locals.push(second);
            }
            each(run)
        };
        match &range {
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    let (first, second) = match comprehension.two {
                        true => (Value::Int(i64::try_from(at).map_err(|_| Failure::Overflow)?), item.clone()),
                        false => (item.clone(), Value::Null),
                    };
                    if step(self, first, second)?.is_break() {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in map.entries() {
                    if step(self, key.to_value(), value.clone())?.is_break() {
                        break;
                    }
                }
            }
            other => {
                let failure = Failure::NoOverload { operation: "comprehension", left: other.type_name(), right: "" };
                return Err(failure.into());
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn comprehension(&mut self, comprehension: &'e Comprehension) -> Evaluated<'e> {
        match comprehension.kind {
            ComprehensionKind::All => self.quantifier(comprehension, false),
            ComprehensionKind::Exists => self.quantifier(comprehension, true),
            ComprehensionKind::ExistsOne => self.exists_one(comprehension),
            ComprehensionKind::Filter => self.filter(comprehension),
            ComprehensionKind::ToList => self.mapped_list(comprehension),
            ComprehensionKind::ToMap => self.mapped_map(comprehension),
        }
    }

    /// `exists` if `decisive` is true, `all` if it is false.
    fn quantifier(&mut self, comprehension: &'e Comprehension, decisive: bool) -> Evaluated<'e> {
        let (mut absorbed, mut decided) = (None, false);
        self.for_each(comprehension, |run| {
            let result = run.value(&comprehension.body);
            decided = absorb(if decisive { "exists" } else { "all" }, result, &mut absorbed)? == Some(decisive);
            Ok(if decided { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        match absorbed {
            _ if decided => Ok(Value::Bool(decisive)),
            Some(failure) => Err(failure.into()),
            None => Ok(Value::Bool(!decisive)),
        }
    }

    fn exists_one(&mut self, comprehension: &'e Comprehension) -> Evaluated<'e> {
        let mut found = 0_usize;
        self.for_each(comprehension, |run| {
            found += usize::from(bool_of("exists_one", &run.value(&comprehension.body)?)?);
            Ok(ControlFlow::Continue(())) // to the end: an error in any element is an error
        })?;
        Ok(Value::Bool(found == 1))
    }

    fn filter(&mut self, comprehension: &'e Comprehension) -> Evaluated<'e> {
        let slot = self.locals.len();
        let mut kept = Vec::new();
        self.for_each(comprehension, |run| {
            if bool_of("filter", &run.value(&comprehension.body)?)? {
                kept.extend(run.locals.get(slot).cloned());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Value::List(kept.into()))
    }

    /// Whether the comprehension's filter lets the current element through.
    fn passes(&mut self, comprehension: &'e Comprehension) -> Result<bool, EvaluationError> {
        match &comprehension.filter {
            Some(filter) => Ok(bool_of("filter", &self.value(filter)?)?),
            None => Ok(true),
        }
    }

    fn mapped_list(&mut self, comprehension: &'e Comprehension) -> Evaluated<'e> {
        let mut made = Vec::new();
        self.for_each(comprehension, |run| {
            if run.passes(comprehension)? {
                made.push(run.value(&comprehension.body)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Value::List(made.into()))
    }

    fn mapped_map(&mut self, comprehension: &'e Comprehension) -> Evaluated<'e> {
        let slot = self.locals.len();
        let mut made = Vec::new();
        self.for_each(comprehension, |run| {
            if run.passes(comprehension)? {
                let value = run.value(&comprehension.body)?;
                made.extend(run.locals.get(slot).cloned().map(|key| (key, value)));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(map_of(made)?)
    }
}

/// A constant as the expression's own: text is borrowed from it, containers are shared with it.
fn borrowed<'e>(value: &'e Value<'static>) -> Value<'e> {
    match value {
        Value::Text(text) => Value::text(text.as_str()),
        other => other.clone(),
    }
}

fn bool_of(operation: &'static str, value: &Value<'_>) -> Result<bool, Failure> {
    match value {
        Value::Bool(value) => Ok(*value),
        other => Err(Failure::NoOverload { operation, left: other.type_name(), right: "" }),
    }
}

/// The operand's bool, or `None` after keeping its failure in `absorbed` if that is the first.
fn absorb(
    operation: &'static str,
    result: Evaluated<'_>,
    absorbed: &mut Option<Failure>,
) -> Result<Option<bool>, EvaluationError> {
    let failure = match result {
        Ok(value) => match bool_of(operation, &value) {
            Ok(value) => return Ok(Some(value)),
            Err(failure) => failure,
        },
        Err(EvaluationError::Failed(failure)) => failure,
        Err(other) => return Err(other),
    };
    absorbed.get_or_insert(failure);
    Ok(None)
}
