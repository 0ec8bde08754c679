//! Which rules match a message: the first, or all.
//!
//! Rules are tried in the order of [`Program::rules`], but only those that the index of their segment finds, or all of
//! a small segment; for a first match, the first of a segment before anything is looked up. Each field is read from the message at most once a call, and only if the index looks it up or some
//! candidate comes to it. Up to 32 fields nothing is allocated for a first match.
//!
//! # Errors
//! The answer is that of trying every rule in order, whatever the index finds: a rule cannot be decided if what cannot
//! be read, or takes too many steps, leaves its condition open ([`Condition::holds`]), and the first rule that matches
//! or cannot be decided ends the search. A rule that another of its parts rules out raises nothing, wherever that part
//! stands. Where a field that the index looks up cannot be read, all rules of the segment are tried.
//!
//! Cost: lookups for each field that some rule is filed under, then each candidate's condition until the best is
//! found; for all matches, the candidates are sorted, and nothing else.
//!
//! [`Condition::holds`]: super::condition::Condition::holds

use std::sync::Arc;

use super::cached::with_cache;
use super::condition::{Cause, Undecided};
use super::program::{Program, Rank, Rule};
use crate::error::ReadError;
use crate::message::Fields;

/// A message that cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// A field holds no value of the message model.
    #[error("{}{error}", prefix(rule.as_deref()))]
    Read {
        /// The rule that came upon it; `None` where no rule but the router itself reads the field.
        rule: Option<Arc<str>>,
        /// The field, and what is wrong with it.
        error: ReadError,
    },
    /// An expression took more steps than the limit.
    #[error("rule {rule:?}: {problem}")]
    Steps {
        /// The rule's id.
        rule: Arc<str>,
        /// The limit, by name.
        problem: String,
    },
}

impl MatchError {
    fn in_rule(rule: &str, cause: Undecided) -> Self {
        let rule = Arc::from(rule);
        match cause.into_cause() {
            Cause::Read(error) => MatchError::Read { rule: Some(rule), error },
            Cause::Steps(problem) => MatchError::Steps { rule, problem },
        }
    }
}

impl From<ReadError> for MatchError {
    fn from(error: ReadError) -> Self {
        MatchError::Read { rule: None, error }
    }
}

fn prefix(rule: Option<&str>) -> String {
    rule.map_or_else(String::new, |rule| format!("rule {rule:?}: "))
}

impl Program {
    /// The first rule that matches, by number ([`Program::rule`]).
    ///
    /// # Errors
    /// [`MatchError`], if a rule before the first match cannot be decided. Rules after it are not asked.
    pub fn first<'m>(&self, fields: &dyn Fields<'m>) -> Result<Option<usize>, MatchError> {
        self.search(None, fields, &mut |_| {})
    }

    /// The first rule that matches, of those tried after the rule with this number.
    ///
    /// # Errors
    /// As [`Program::first`].
    pub fn first_after<'m>(&self, number: usize, fields: &dyn Fields<'m>) -> Result<Option<usize>, MatchError> {
        let (priority, sequence) = self.rule(number).rank();
        self.search(Some((priority, sequence + 1)), fields, &mut |_| {})
    }

    /// The first rule that matches, of those whose rank is not below `from`. `asking` is called with the number of
    /// every rule whose condition is asked; generic, so that matching without it costs nothing.
    pub(super) fn search<'m>(
        &self,
        from: Option<Rank>,
        fields: &dyn Fields<'m>,
        asking: &mut impl FnMut(usize),
    ) -> Result<Option<usize>, MatchError> {
        with_cache(fields, self.fields().paths().len(), &mut |fields| {
            let mut best: Option<(usize, &Rule, Result<(), Undecided>)> = None;
            for (start, layer) in self.layers() {
                let from = from.map_or(0, |rank| layer.at(rank));
                let until = best.as_ref().map_or(layer.len(), |(_, rule, _)| layer.at(rule.rank()));
                let mut asking = |order| asking(start + order);
                if let Some(found) = layer.first(fields, self.fields(), from, until, &mut asking) {
                    let order = found.order as usize;
                    best = Some((start + order, layer.rule(order), found.outcome));
                }
            }
            match best {
                Some((number, _, Ok(()))) => Ok(Some(number)),
                Some((_, rule, Err(cause))) => Err(MatchError::in_rule(&rule.id, cause)),
                None => Ok(None),
            }
        })
    }

    /// All rules that match, by number, in the order in which they are tried.
    ///
    /// # Errors
    /// [`MatchError`], if a rule cannot be decided.
    pub fn all<'m>(&self, fields: &dyn Fields<'m>) -> Result<Vec<usize>, MatchError> {
        with_cache(fields, self.fields().paths().len(), &mut |fields| {
            let mut found = Vec::new();
            let mut undecided: Option<(&Rule, Undecided)> = None;
            let mut layers = 0;
            for (start, layer) in self.layers() {
                layers += 1;
                let result = layer.all(fields, self.fields(), &mut |order| found.push(start + order as usize));
                if let Err((order, cause)) = result {
                    let rule = layer.rule(order as usize);
                    if undecided.as_ref().is_none_or(|(first, _)| rule.rank() < first.rank()) {
                        undecided = Some((rule, cause));
                    }
                }
            }
            if let Some((rule, cause)) = undecided {
                return Err(MatchError::in_rule(&rule.id, cause));
            }
            if layers > 1 {
                found.sort_by_key(|&number| self.rule(number).rank());
            }
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::message::Read;
    use crate::message::json;
    use crate::message::objects::Listed;
    use crate::message::path::FieldId;
    use crate::message::tree::ValueMessage;
    use crate::rules::limits::Limits;
    use crate::rules::program::RuleSource;

    fn program(rules: &[(&str, i64, &str)]) -> Program {
        let sources = rules
            .iter()
            .map(|(id, priority, pattern)| RuleSource {
                id: (*id).to_owned(),
                priority: *priority,
                when: None,
                matches: Some(json::value(pattern.as_bytes()).unwrap().into_owned()),
            })
            .collect();
        Program::build(sources, &["message"], Limits::default()).unwrap()
    }

    const RULES: [(&str, i64, &str); 4] = [
        ("sms", 1, r#"{"channel":["sms"]}"#),
        ("urgent", 9, r#"{"priority":[{"numeric":[">=",8]}]}"#),
        ("any", 0, r#"{"channel":[{"exists":true}]}"#),
        ("sms too", 1, r#"{"channel":[{"prefix":"s"}]}"#),
    ];

    #[test]
    fn the_first_and_all_matches_come_best_first() {
        let program = program(&RULES);
        for (message, all) in [
            (r#"{"channel":"sms","priority":9}"#, vec!["urgent", "sms", "sms too", "any"]),
            (r#"{"channel":"sms","priority":1}"#, vec!["sms", "sms too", "any"]),
            (r#"{"channel":"sip"}"#, vec!["sms too", "any"]),
            (r#"{"channel":"push"}"#, vec!["any"]),
            ("{}", vec![]),
        ] {
            let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
            let found = program.all(&message).unwrap();
            let ids: Vec<&str> = found.iter().map(|&number| &*program.rule(number).id).collect();
            assert_eq!(ids, all);
            assert_eq!(program.first(&message).unwrap(), found.first().copied());
            // Going on from each match finds all of them.
            let mut again = Vec::new();
            let mut next = program.first(&message).unwrap();
            while let Some(number) = next {
                again.push(number);
                next = program.first_after(number, &message).unwrap();
            }
            assert_eq!(again, found);
        }
    }

    #[test]
    fn the_rule_tried_before_the_index_is_asked_answers_as_all_others_do() {
        let others: Vec<String> = (0..40).map(|n| format!(r#"{{"n":[{n}]}}"#)).collect();
        for (first, second, message, expected) in [
            (r#"{"a":[1]}"#, r#"{"n":[7]}"#, r#"{"a":1,"n":7}"#, Ok(Some(0))),
            (r#"{"a":[1]}"#, r#"{"n":[7]}"#, r#"{"a":2,"n":7}"#, Ok(Some(1))),
            (r#"{"a":[1]}"#, r#"{"a":[2]}"#, r#"{"a":3,"n":7}"#, Ok(Some(9))),
            (r#"{"a":[1]}"#, r#"{"a":[2]}"#, r#"{"a":3}"#, Ok(None)),
            (r#"{"big":[1]}"#, r#"{"n":[7]}"#, r#"{"big":99999999999999999999,"n":7}"#, Err("rule \"r0\"")),
            (r#"{"n":[7]}"#, r#"{"big":[1]}"#, r#"{"big":99999999999999999999,"n":7}"#, Ok(Some(0))),
            (r#"{"n":[8]}"#, r#"{"big":[1]}"#, r#"{"big":99999999999999999999,"n":7}"#, Err("rule \"r1\"")),
        ] {
            let ids: Vec<String> = (0..42).map(|n| format!("r{n}")).collect();
            let patterns = [first, second].into_iter().chain(others.iter().map(String::as_str));
            let rules: Vec<(&str, i64, &str)> =
                ids.iter().zip(patterns).map(|(id, pattern)| (id.as_str(), 0, pattern)).collect();
            let program = program(&rules);
            let message = json::JsonMessage::parse(message.as_bytes(), program.paths()).unwrap();
            match (program.first(&message), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(error), Err(start)) => assert!(error.to_string().starts_with(start), "{error}"),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Counts what is read.
    struct Counted<'a, 'm> {
        inner: ValueMessage<'a, 'm>,
        reads: Vec<Cell<usize>>,
    }

    impl<'m> Fields<'m> for Counted<'_, 'm> {
        fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
            self.reads[field.index()].set(self.reads[field.index()].get() + 1);
            self.inner.read(field)
        }

        fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
            self.inner.objects(field)
        }
    }

    #[test]
    fn a_field_is_read_at_most_once_and_only_if_asked_for() {
        for count in [3, 40] {
            let patterns: Vec<String> =
                (0..count).map(|n| format!("{{\"f{}\":[1],\"z\":[{n}]}}", n % (count - 1))).collect();
            let rules: Vec<(&str, i64, &str)> =
                patterns.iter().map(|pattern| (pattern.as_str(), 0, pattern.as_str())).collect();
            let program = program(&rules);
            let value = json::value(br#"{"f0":1,"f1":1,"z":-1}"#).unwrap();
            let fields = program.fields();
            let message = Counted {
                inner: ValueMessage::new(fields, "message", value),
                reads: fields.paths().iter().map(|_| Cell::new(0)).collect(),
            };
            assert_eq!(program.all(&message).unwrap(), [] as [usize; 0]);
            assert!(message.reads.iter().all(|reads| reads.get() <= 1));
            message.reads.iter().for_each(|reads| reads.set(0));
            assert_eq!(program.first_after(count - 1, &message).unwrap(), None);
            assert!(message.reads.iter().all(|reads| reads.get() == 0), "no rule, no read");
        }
    }

    #[test]
    fn a_program_need_not_outlive_what_a_message_borrows_from() {
        let program = program(&RULES);
        let message = ValueMessage::new(program.fields(), "message", json::value(br#"{"channel":"sms"}"#).unwrap());
        let fields: &dyn Fields<'static> = &message;
        assert_eq!(program.first(fields).unwrap(), Some(1));
        assert_eq!(program.explain(fields, &[]).winner, Some(1));
    }

    #[test]
    fn an_unreadable_field_is_an_error_only_if_a_rule_comes_to_it() {
        let program =
            program(&[("a", 2, r#"{"a":[1]}"#), ("b", 1, r#"{"x":[0],"big":[1]}"#), ("c", 0, r#"{"a":[2]}"#)]);
        let message = |text: &'static str| json::JsonMessage::parse(text.as_bytes(), program.paths()).unwrap();
        const BIG: &str = r#"{"a":2,"x":0,"big":99999999999999999999}"#;
        let error = program.first(&message(BIG)).unwrap_err();
        assert_eq!(error.to_string(), "rule \"b\": field \"message.big\": integer beyond 64 bits; send it as text");
        assert!(program.all(&message(BIG)).is_err());
        let before = message(r#"{"a":1,"x":0,"big":99999999999999999999}"#);
        assert_eq!(program.first(&before).unwrap(), Some(0), "a match before it");
        let aside = message(r#"{"a":2,"x":1,"big":99999999999999999999}"#);
        assert_eq!(program.first(&aside).unwrap(), Some(2), "not needed to decide");
    }
}
