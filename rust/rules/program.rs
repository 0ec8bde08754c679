//! A compiled rule set: rules in the order in which they are tried.
//!
//! A program never changes; adding or removing rules makes another one, which shares the rules they have in common.
//! Readers of the old one are not disturbed. Field numbers given out once stay valid in all that come after.
//!
//! Cost: cloning is one pointer. Building compiles each rule once. Adding and removing copies a few pointers for each
//! rule and field, so many rules are best added in one go by [`Program::with_rules`].

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::condition::Condition;
use super::limits::Limits;
use super::{expression, pattern};
use crate::error::{ConditionError, Place, RuleError};
use crate::message::json::Paths;
use crate::message::path::FieldTable;
use crate::message::value::Value;

/// A rule as it is written.
#[derive(Debug, Clone)]
pub struct RuleSource {
    /// Its name, unique in the set.
    pub id: String,
    /// Higher priorities are tried first.
    pub priority: i64,
    /// A CEL condition.
    pub when: Option<String>,
    /// A pattern. Where there is a `when` too, both must hold.
    pub matches: Option<Value<'static>>,
}

/// A compiled rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, unique in the program.
    pub id: Arc<str>,
    /// Higher priorities are tried first.
    pub priority: i64,
    /// Grows with every rule ever added: of equal priorities, the rule added first is tried first.
    pub sequence: u64,
    /// What must hold.
    pub condition: Condition,
}

impl Rule {
    /// Ascending in the order in which rules are tried. No two rules are equal.
    fn rank(&self) -> (Reverse<i64>, u64) {
        (Reverse(self.priority), self.sequence)
    }
}

/// A compiled rule set. Cheap to clone; safe to share between threads.
#[derive(Debug, Clone)]
pub struct Program {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    /// In the order in which they are tried.
    rules: Vec<Arc<Rule>>,
    ids: HashMap<Arc<str>, (Reverse<i64>, u64)>,
    fields: Arc<FieldTable>,
    paths: Arc<Paths>,
    roots: Arc<[Arc<str>]>,
    limits: Limits,
    /// The next rule's number.
    sequence: u64,
}

impl Program {
    /// Compiles a rule set.
    ///
    /// `roots` are the variables that conditions may name, such as `message` and `live`; patterns are about the first.
    ///
    /// # Errors
    /// All that is wrong with all rules, in their order.
    pub fn build(sources: Vec<RuleSource>, roots: &[&str], limits: Limits) -> Result<Self, Vec<RuleError>> {
        Self::build_on(FieldTable::default(), sources, roots, limits)
    }

    /// As [`Program::build`], its field numbers going on from those in `fields`, which messages are asked for besides.
    ///
    /// # Errors
    /// As [`Program::build`].
    pub fn build_on(
        fields: FieldTable,
        sources: Vec<RuleSource>,
        roots: &[&str],
        limits: Limits,
    ) -> Result<Self, Vec<RuleError>> {
        let roots: Arc<[Arc<str>]> = roots.iter().map(|&root| root.into()).collect();
        let inner = Inner {
            rules: Vec::new(),
            ids: HashMap::new(),
            paths: Arc::new(Paths::new(&fields, first(&roots))),
            fields: Arc::new(fields),
            roots,
            limits,
            sequence: 0,
        };
        Self { inner: Arc::new(inner) }.with_rules(sources)
    }

    /// This program and one more rule.
    ///
    /// # Errors
    /// What is wrong with the rule; this program is untouched.
    pub fn with_rule(&self, source: RuleSource) -> Result<Self, RuleError> {
        let id = source.id.clone();
        self.with_rules(vec![source]).map_err(|errors| {
            // One rule has at least one error, but a type that says so is not worth having.
            let unknown = RuleError { rule: id, problem: "the rule cannot be compiled".to_owned(), place: Place::Rule };
            errors.into_iter().next().unwrap_or(unknown)
        })
    }

    /// This program and more rules, at the cost of one copy.
    ///
    /// # Errors
    /// All that is wrong with all of the new rules, in their order; this program is untouched.
    pub fn with_rules(&self, sources: Vec<RuleSource>) -> Result<Self, Vec<RuleError>> {
        let mut inner = (*self.inner).clone();
        let mut fields = (*inner.fields).clone();
        let roots: Vec<&str> = self.inner.roots.iter().map(|root| &**root).collect();
        let mut errors = Vec::new();
        for source in sources {
            let condition = match compile(&source, &roots, &mut fields, &inner.limits) {
                Ok(condition) => condition,
                Err(found) => {
                    errors.extend(found.into_iter().map(|error| error.in_rule(&source.id)));
                    continue;
                }
            };
            let problem = if inner.ids.contains_key(&*source.id) {
                "another rule has this id; ids are unique".to_owned()
            } else if inner.rules.len() >= inner.limits.rules {
                format!("more than {} rules (`rules`)", inner.limits.rules)
            } else {
                let id: Arc<str> = source.id.into();
                let rule = Rule { id: Arc::clone(&id), priority: source.priority, sequence: inner.sequence, condition };
                inner.sequence += 1;
                inner.ids.insert(id, rule.rank());
                inner.rules.push(Arc::new(rule));
                continue;
            };
            errors.push(RuleError { rule: source.id, problem, place: Place::Rule });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // Stable, and nearly sorted already: linear in the rules that were there before.
        inner.rules.sort_by_key(|rule| rule.rank());
        if fields.paths().len() > inner.fields.paths().len() {
            inner.paths = Arc::new(Paths::new(&fields, first(&inner.roots)));
            inner.fields = Arc::new(fields);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// This program without the rule; `None` if there is none of that id.
    pub fn without_rule(&self, id: &str) -> Option<Self> {
        let position = self.position(id)?;
        let mut inner = (*self.inner).clone();
        inner.rules.remove(position);
        inner.ids.remove(id);
        Some(Self { inner: Arc::new(inner) })
    }

    /// The rules in the order in which they are tried: by priority, highest first, then by when they were added.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.inner.rules
    }

    /// Where the rule stands in [`Program::rules`]. O(log n).
    pub fn position(&self, id: &str) -> Option<usize> {
        let rank = self.inner.ids.get(id)?;
        self.inner.rules.binary_search_by_key(rank, |rule| rule.rank()).ok()
    }

    /// The fields that the rules name, and those of rules that are gone.
    pub fn fields(&self) -> &FieldTable {
        &self.inner.fields
    }

    /// The fields of the first root as [`crate::message::json::JsonMessage`] wants them.
    pub fn paths(&self) -> &Paths {
        &self.inner.paths
    }

    /// The variables that conditions may name.
    pub fn roots(&self) -> &[Arc<str>] {
        &self.inner.roots
    }

    /// What a rule may cost.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }
}

/// The variable that patterns are about.
fn first(roots: &[Arc<str>]) -> &str {
    roots.first().map_or("message", |root| root)
}

fn compile(
    source: &RuleSource,
    roots: &[&str],
    fields: &mut FieldTable,
    limits: &Limits,
) -> Result<Condition, Vec<ConditionError>> {
    let mut parts = Vec::new();
    let mut errors = Vec::new();
    // The pattern first: its predicates are the cheaper ones.
    if let Some(matches) = &source.matches {
        let root = roots.first().copied().unwrap_or("message");
        match pattern::compile(matches, root, fields, limits) {
            Ok(condition) => parts.push(condition),
            Err(error) => errors.push(error),
        }
    }
    if let Some(when) = &source.when {
        match expression::compile(when, roots, fields, limits) {
            Ok(condition) => parts.push(condition),
            Err(error) => errors.push(error),
        }
    }
    if parts.is_empty() && errors.is_empty() {
        let problem = "no condition; write `when` (CEL) or `match` (a pattern)".to_owned();
        errors.push(ConditionError { problem, place: Place::Rule });
    }
    if errors.is_empty() { Ok(Condition::all(parts)) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::json::JsonMessage;
    use crate::message::path::Path;
    use crate::message::{Fields, Read};

    fn source(id: &str, priority: i64, pattern: &str) -> RuleSource {
        let pattern = crate::message::json::value(pattern.as_bytes()).unwrap().into_owned();
        RuleSource { id: id.to_owned(), priority, when: None, matches: Some(pattern) }
    }

    fn build(sources: Vec<RuleSource>) -> Result<Program, Vec<RuleError>> {
        Program::build(sources, &["message"], Limits::default())
    }

    fn ids(program: &Program) -> Vec<&str> {
        program.rules().iter().map(|rule| &*rule.id).collect()
    }

    #[test]
    fn rules_stand_by_priority_and_ties_by_when_they_were_added() {
        let program = build(vec![
            source("low", -1, r#"{"a":[1]}"#),
            source("first", 5, r#"{"a":[1]}"#),
            source("top", i64::MAX, r#"{"a":[1]}"#),
            source("second", 5, r#"{"a":[1]}"#),
        ])
        .unwrap();
        assert_eq!(ids(&program), ["top", "first", "second", "low"]);
        let program = program.with_rule(source("third", 5, r#"{"b":[1]}"#)).unwrap();
        assert_eq!(ids(&program), ["top", "first", "second", "third", "low"]);
        let program = program.without_rule("first").unwrap().with_rule(source("first", 5, r#"{"a":[1]}"#)).unwrap();
        assert_eq!(ids(&program), ["top", "second", "third", "first", "low"], "added again: now the youngest");
        for (position, id) in ids(&program).into_iter().enumerate() {
            assert_eq!(program.position(id), Some(position));
        }
        assert_eq!(program.position("none"), None);
        assert!(program.without_rule("none").is_none());
    }

    #[test]
    fn a_program_is_untouched_by_those_made_from_it() {
        let old = build(vec![source("a", 0, r#"{"x":[1]}"#)]).unwrap();
        let number = old.fields().paths().len();
        let new = old.with_rule(source("b", 1, r#"{"y":{"z":[1]}}"#)).unwrap();
        assert_eq!((ids(&old), old.fields().paths().len()), (vec!["a"], number));
        assert_eq!(new.fields().paths()[..number], *old.fields().paths(), "numbers given out stay valid");
        let gone = new.without_rule("b").unwrap();
        assert_eq!((ids(&gone), gone.fields().paths()), (vec!["a"], new.fields().paths()));
        assert!(Arc::ptr_eq(&old.rules()[0], &gone.rules()[0]), "rules are shared");
    }

    #[test]
    fn fields_that_were_there_before_keep_their_numbers_and_are_found() {
        let mut fields = FieldTable::default();
        let path = Path { root: "message".into(), segments: Box::new(["priority".into()]) };
        let priority = fields.intern(path.clone());
        let rules = vec![source("a", 0, r#"{"x":[1],"priority":[5]}"#)];
        let program = Program::build_on(fields, rules, &["message"], Limits::default()).unwrap();
        assert_eq!(*program.fields().path(priority), path);
        assert_eq!(program.fields().paths().len(), 2);
        let message = JsonMessage::parse(br#"{"priority":7}"#, program.paths()).unwrap();
        assert!(matches!(message.read(priority), Ok(Read::Value(Value::Int(7)))));
    }

    #[test]
    fn new_fields_are_found_in_raw_messages() {
        let program = build(vec![]).unwrap().with_rule(source("a", 0, r#"{"x":{"y":[1]}}"#)).unwrap();
        let message = JsonMessage::parse(br#"{"x":{"y":1}}"#, program.paths()).unwrap();
        assert_eq!(program.first(&message).unwrap(), Some(0));
    }

    #[test]
    fn all_that_is_wrong_is_reported_at_once() {
        let nothing = RuleSource { id: "empty".to_owned(), priority: 0, when: None, matches: None };
        let errors = build(vec![
            source("a", 0, r#"{"x":"sms"}"#),
            source("b", 0, r#"{"x":[1]}"#),
            nothing,
            source("b", 9, r#"{"x":[2]}"#),
            source("c", 0, r#"{"y":[{"prefx":"a"}]}"#),
        ])
        .unwrap_err();
        let found: Vec<(&str, &str)> =
            errors.iter().map(|error| (&*error.rule, error.problem.split([';', ':']).next().unwrap_or(""))).collect();
        assert_eq!(
            found,
            [
                ("a", "a field's patterns stand in a list"),
                ("empty", "no condition"),
                ("b", "another rule has this id"),
                ("c", "no operator \"prefx\""),
            ]
        );
        assert_eq!(errors[0].place, Place::Pattern(vec!["x".to_owned()]));
    }

    #[test]
    fn where_a_rule_has_a_when_and_a_pattern_both_must_hold() {
        let both = RuleSource { when: Some("message.n > 5".to_owned()), ..source("a", 0, r#"{"c":["sms"]}"#) };
        let program = build(vec![both.clone()]).unwrap();
        for (message, expected) in [
            (r#"{"c":"sms","n":6}"#, Some(0)),
            (r#"{"c":"sms","n":5}"#, None),
            (r#"{"c":"x","n":6}"#, None),
            (r#"{"n":6}"#, None),
        ] {
            let message = JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
            assert_eq!(program.first(&message).unwrap(), expected);
        }
        let wrong = RuleSource { when: Some("message.n >".to_owned()), ..source("a", 0, r#"{"c":"sms"}"#) };
        let errors = build(vec![wrong]).unwrap_err();
        assert!(matches!(errors[0].place, Place::Pattern(_)));
        assert!(matches!(errors[1].place, Place::Text { .. }));
    }

    #[test]
    fn an_id_is_used_once_and_the_limit_on_rules_holds() {
        let limits = Limits { rules: 2, ..Limits::default() };
        let two = vec![source("a", 0, r#"{"x":[1]}"#), source("b", 0, r#"{"x":[1]}"#)];
        let program = Program::build(two, &["message"], limits).unwrap();
        let error = program.with_rule(source("c", 0, r#"{"x":[1]}"#)).unwrap_err();
        assert_eq!((&*error.rule, &*error.problem), ("c", "more than 2 rules (`rules`)"));
        let error = program.with_rule(source("a", 0, r#"{"x":[1]}"#)).unwrap_err();
        assert!(error.problem.starts_with("another rule has this id"), "{error}");
        assert!(program.without_rule("a").unwrap().with_rule(source("c", 0, r#"{"x":[1]}"#)).is_ok());
    }
}
