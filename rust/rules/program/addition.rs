//! Rules on their way into a program: each is compiled when it comes, and all are filed together at the end.
//!
//! Predicates that are the same are kept once. Memory: the compiled rules, 12 to 20 bytes a rule to find ids, and what
//! finds equal predicates, both of which are gone before the rules are filed.

use std::sync::Arc;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::{MOST_RULES, Program, Rule, RuleSource, first};
use crate::error::{ConditionError, Place, RuleError};
use crate::message::path::FieldTable;
use crate::rules::condition::Condition;
use crate::rules::expression::Operands;
use crate::rules::intern::Interner;
use crate::rules::limits::Limits;
use crate::rules::pattern;
use crate::rules::segment::{Ids, hash_of};

/// Rules on their way into a program: compiled, and not yet filed.
pub struct Addition {
    before: Program,
    fields: FieldTable,
    added: Vec<Rule>,
    ids: Ids,
    /// Of their ids: looked at before the rules, which lie far apart in memory.
    hashes: Vec<u32>,
    compiler: Compiler,
    errors: Vec<RuleError>,
    /// The next rule's number.
    next: u64,
    /// So many rules may be added.
    room: usize,
}

impl Addition {
    pub(super) fn new(program: &Program) -> Self {
        let inner = &program.inner;
        Self {
            before: program.clone(),
            fields: (*inner.fields).clone(),
            added: Vec::new(),
            ids: Ids::default(),
            hashes: Vec::new(),
            compiler: Compiler::default(),
            errors: Vec::new(),
            next: inner.sequence,
            room: inner.limits.rules.min(MOST_RULES).saturating_sub(program.len()),
        }
    }

    /// Compiles these rules after those before them.
    pub fn extend(&mut self, sources: impl IntoIterator<Item = RuleSource>) {
        for source in sources {
            self.add(source);
        }
    }

    fn add(&mut self, source: RuleSource) {
        let inner = &self.before.inner;
        let condition = match self.compiler.compile(&source, &inner.roots, &mut self.fields, &inner.limits) {
            Ok(condition) => condition,
            Err(found) => {
                self.errors.extend(found.into_iter().map(|error| error.in_rule(&source.id)));
                return;
            }
        };
        let hash = hash_of(&source.id);
        let is_it = |order: usize| self.hashes[order] == hash && *self.added[order].id == *source.id;
        let problem = if self.before.number(&source.id).is_some() || self.ids.find(hash, is_it).is_some() {
            "another rule has this id; ids are unique".to_owned()
        } else if self.added.len() >= self.room {
            format!("more than {} rules (`rules`)", inner.limits.rules.min(MOST_RULES))
        } else {
            let id = SmolStr::from(source.id);
            self.added.push(Rule { id, priority: source.priority, sequence: self.next, condition });
            self.hashes.push(hash);
            self.ids.add(&self.hashes);
            self.next += 1;
            return;
        };
        self.errors.push(RuleError { rule: source.id, problem, place: Place::Rule });
    }

    /// The program that has these rules too.
    ///
    /// # Errors
    /// All that is wrong with all of them, in their order.
    pub fn finish(self) -> Result<Program, Vec<RuleError>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        // What follows takes memory of its own.
        drop((self.ids, self.hashes, self.compiler));
        let mut inner = (*self.before.inner).clone();
        inner.sequence = self.next;
        if !self.added.is_empty() {
            inner.push(self.added, &self.fields);
        }
        inner.set_fields(self.fields);
        Ok(Program { inner: Arc::new(inner) })
    }
}

/// Compiles rules one after another; what they have in common is kept once.
#[derive(Default)]
struct Compiler {
    interner: Interner,
    operands: Operands,
}

impl Compiler {
    fn compile(
        &mut self,
        source: &RuleSource,
        roots: &[Arc<str>],
        fields: &mut FieldTable,
        limits: &Limits,
    ) -> Result<Condition, Vec<ConditionError>> {
        let mut parts = Vec::new();
        let mut errors = Vec::new();
        // The pattern first: its predicates are the cheaper ones.
        if let Some(matches) = &source.matches {
            match pattern::compile(matches, first(roots), fields, limits) {
                Ok(condition) => parts.push(condition),
                Err(error) => errors.push(error),
            }
        }
        if let Some(when) = &source.when {
            let roots: SmallVec<[&str; 4]> = roots.iter().map(|root| &**root).collect();
            match self.operands.compile(when, &roots, fields, limits, &mut self.interner) {
                Ok(condition) => parts.push(condition),
                Err(error) => errors.push(error),
            }
        }
        if parts.is_empty() && errors.is_empty() {
            let problem = "no condition; write `when` (CEL) or `match` (a pattern)".to_owned();
            errors.push(ConditionError { problem, place: Place::Rule });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut condition = Condition::all(parts);
        self.interner.intern(&mut condition);
        Ok(condition)
    }
}
