//! The decision cache over compiled rules, without a router: what is asked, what is remembered, what is counted.

use std::cell::Cell;

use crate::cache::{Bounds, Cache, Caching};
use crate::error::ReadError;
use crate::message::json::JsonMessage;
use crate::rules::limits::Limits;
use crate::rules::program::{Program, RuleSource};

const BOUNDS: Bounds = Bounds { entries: 4_096, bytes: 1 << 20 };

thread_local! {
    static TIME: Cell<u64> = const { Cell::new(0) };
}

/// Time stands still but for what `find` takes.
fn clock() -> u64 {
    TIME.get()
}

fn program() -> Program {
    let rule = |id: &str, when: &str| RuleSource {
        id: id.to_owned(),
        priority: 0,
        when: Some(when.to_owned()),
        matches: None,
    };
    let rules = vec![rule("seven", "message.a == 7"), rule("long", "message.t.size() > 5000"), rule("b", "message.b")];
    Program::build(rules, &["message"], Limits::default()).unwrap()
}

struct Asked {
    program: Program,
    cache: Cache,
    matches: Cell<u64>,
    cost: u64,
}

impl Asked {
    fn new(caching: Caching, cost: u64) -> Self {
        let program = program();
        let cache = Cache::new(caching, program.fields(), program.fields().paths().len()).unwrap();
        Self { program, cache, matches: Cell::new(0), cost }
    }

    fn first(&self, text: &str) -> Result<Option<usize>, ReadError> {
        let message = JsonMessage::parse(text.as_bytes(), self.program.paths()).unwrap();
        let answer = self.cache.first(&message, clock(), |fields| {
            self.matches.set(self.matches.get() + 1);
            TIME.set(TIME.get() + self.cost);
            self.program.first(fields)
        })?;
        assert_eq!(answer, self.program.first(&message).unwrap(), "{text}");
        Ok(answer)
    }
}

#[test]
fn an_answer_is_found_once_and_remembered() {
    let asked = Asked::new(Caching::On(BOUNDS), 1);
    for (text, matches) in [
        (r#"{"a":7}"#, 1),
        (r#"{"a":7}"#, 1),
        (r#"{"a":7,"z":"no rule names it"}"#, 1),
        (r#"{"a":8}"#, 2),
        (r#"{"z":1,"a":8}"#, 2),
        (r#"{"a":7.0}"#, 3),
        (r#"{"a":null}"#, 4),
        (r#"{"b":true}"#, 5),
        (r#"{"b":true}"#, 5),
    ] {
        asked.first(text).unwrap();
        assert_eq!(asked.matches.get(), matches, "{text}");
    }
    let report = asked.cache.report();
    assert_eq!((report.hits, report.misses, report.bypassed, report.entries), (4, 5, 0, 5));
    assert!(report.on && report.bytes > 0);
}

#[test]
fn what_cannot_be_read_or_is_too_long_is_matched_anew_each_time() {
    let asked = Asked::new(Caching::On(BOUNDS), 1);
    let long = format!(r#"{{"t":"{}"}}"#, "x".repeat(6_000));
    let unread = r#"{"a":7,"b":99999999999999999999}"#;
    for round in 1..=3 {
        assert_eq!(asked.first(&long).unwrap(), Some(1));
        assert_eq!(asked.first(unread).unwrap(), Some(0), "the rule does not come to it");
        assert_eq!(asked.matches.get(), 2 * round);
    }
    assert!(asked.first_error(r#"{"b":99999999999999999999}"#));
    assert!(asked.first_error(r#"{"b":99999999999999999999}"#));
    let report = asked.cache.report();
    assert_eq!((report.hits, report.misses, report.bypassed, report.entries), (0, 0, 8, 0));
}

impl Asked {
    /// Whether the message cannot be matched.
    fn first_error(&self, text: &str) -> bool {
        let message = JsonMessage::parse(text.as_bytes(), self.program.paths()).unwrap();
        self.cache.first(&message, clock(), |fields| self.program.first(fields)).is_err()
    }
}

#[test]
fn an_error_of_matching_is_not_remembered() {
    let asked = Asked::new(Caching::On(BOUNDS), 1);
    let message = JsonMessage::parse(br#"{"a":7}"#, asked.program.paths()).unwrap();
    assert_eq!(asked.cache.first(&message, 0, |_| Err::<Option<usize>, _>("no")), Err("no"));
    assert_eq!(asked.cache.report().entries, 0);
    assert_eq!(asked.first(r#"{"a":7}"#).unwrap(), Some(0));
}

#[test]
fn auto_comes_into_use_where_matching_is_dear_and_rests_where_it_is_free() {
    for (cost, on) in [(1_000, true), (0, false)] {
        TIME.set(1_000_000_000);
        let asked = Asked::new(Caching::Auto(BOUNDS, clock), cost);
        for number in 0..20_000 {
            asked.first(&format!(r#"{{"a":{}}}"#, number % 50)).unwrap();
        }
        let report = asked.cache.report();
        assert_eq!(report.on, on, "{}", report.reason);
        if on {
            assert!(report.hits > 15_000, "{report:?}");
            assert!(asked.matches.get() < 2_000, "{}", asked.matches.get());
        } else {
            assert_eq!((report.hits, report.entries), (0, 0), "nothing is remembered while lookups are weighed");
            assert_eq!(report.misses, 128, "and none is looked up while the cache rests");
        }
    }
}

#[test]
fn threads_that_share_a_cache_get_the_answers_of_the_rules() {
    let asked = program();
    // Too small for all, so that entries come and go.
    let bounds = Bounds { entries: 64, bytes: 1 << 16 };
    let cache = Cache::new(Caching::On(bounds), asked.fields(), asked.fields().paths().len()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (program, cache) = (&asked, &cache);
            scope.spawn(move || {
                let mut dice = fastrand::Rng::with_seed(thread);
                for _ in 0..5_000 {
                    let text = format!(r#"{{"a":{},"b":{}}}"#, dice.u8(..100), dice.bool());
                    let message = JsonMessage::parse(text.as_bytes(), program.paths()).unwrap();
                    let found = cache.first(&message, 0, |fields| program.first(fields)).unwrap();
                    assert_eq!(found, program.first(&message).unwrap(), "{text}");
                }
            });
        }
    });
    let report = cache.report();
    assert_eq!(report.hits + report.misses, 20_000);
    assert!(report.entries <= 64 && report.bytes <= 1 << 16);
}
