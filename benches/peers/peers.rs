//! The matcher beside other crates on the same work: `make bench-peers`. Answers are asserted equal before they are timed.
//!
//! - a-tree takes conjunctions of equalities and ranges and finds all that match, so it is compared with all matches.
//!   Its events are made before they are timed, as fields are read before ours are.
//! - aho-corasick and regex alone are the floor of text: they find the literal or the expression, and no rule.

#[path = "../workloads.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod workloads;

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use a_tree::{ATree, AttributeDefinition, Event};
use aho_corasick::AhoCorasick;
use regex::RegexSet;
use turnout::message::value::Value;
use turnout::rules::limits::Limits;
use turnout::rules::program::{Program, RuleSource};
use workloads::{Entries, Known, WORKLOADS, Workload, map};

type Failing<T> = Result<T, Box<dyn Error>>;

const MESSAGES: usize = 64;
const ROUNDS: usize = 15;

/// Ns of one step: the fastest of some rounds through all items.
fn fastest<T>(items: &[T], mut step: impl FnMut(&T)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        items.iter().for_each(&mut step);
        best = best.min(began.elapsed().as_secs_f64() * 1e9 / items.len() as f64);
    }
    best
}

fn numbers(count: usize) -> impl Iterator<Item = usize> {
    (0..MESSAGES).map(move |n| n * 7919 % count)
}

fn row(workload: &str, count: usize, peer: &str, ours: f64, theirs: f64) {
    println!("| {workload} | {count} | {peer} | {ours:.0} | {theirs:.0} | {:.3} |", ours / theirs);
}

fn check(said: &[usize], known: usize, who: &str) -> Failing<()> {
    if said == [known] { Ok(()) } else { Err(format!("{who}: rule {known} should match, and {said:?} do").into()) }
}

/// Our time to find all rules that match, which must be the one the message was made for.
fn ours(workload: &Workload, count: usize) -> Failing<f64> {
    let sources: Vec<RuleSource> = (0..count).map(|n| (workload.rule)(n, count)).collect();
    let program = Program::build(sources, &["message"], Limits::default()).map_err(|errors| errors[0].to_string())?;
    let values: Vec<Value<'static>> = numbers(count).map(|n| map((workload.message)(n, count))).collect();
    let messages: Vec<Known<'_>> = values.iter().map(|value| Known::new(&program, value)).collect();
    for (message, n) in messages.iter().zip(numbers(count)) {
        check(&program.all(message)?, n, workload.name)?;
    }
    Ok(fastest(&messages, |message| {
        black_box(program.all(black_box(message)).ok());
    }))
}

/// A conjunction in the language of a-tree: the equalities of the message, but for `total`, which is a range.
fn expression(entries: &Entries, total: (usize, usize)) -> String {
    let tests = entries.iter().map(|(name, value)| match value {
        Value::Int(_) if *name == "total" => format!("total >= {} and total < {}", total.0, total.1),
        Value::Int(number) => format!("{name} = {number}"),
        Value::Text(text) => format!("{name} = '{}'", text.as_str()),
        _ => String::new(),
    });
    tests.collect::<Vec<_>>().join(" and ")
}

fn definition((name, value): &(&'static str, Value<'static>)) -> AttributeDefinition {
    if matches!(value, Value::Int(_)) { AttributeDefinition::integer(name) } else { AttributeDefinition::string(name) }
}

fn event(tree: &ATree<usize>, entries: &Entries) -> Failing<Event> {
    let mut builder = tree.make_event();
    for (name, value) in entries {
        match value {
            Value::Int(number) => builder.with_integer(name, *number),
            Value::Text(text) => builder.with_string(name, text.as_str()),
            _ => Ok(()),
        }
        .map_err(|error| format!("{error:?}"))?;
    }
    Ok(builder.build().map_err(|error| format!("{error:?}"))?)
}

fn beside_a_tree(workload: &Workload, count: usize, total: fn(usize) -> (usize, usize)) -> Failing<()> {
    let definitions: Vec<AttributeDefinition> = (workload.message)(0, count).iter().map(definition).collect();
    let mut tree = ATree::<usize>::new(&definitions).map_err(|error| format!("{error:?}"))?;
    for n in 0..count {
        let text = expression(&(workload.message)(n, count), total(n));
        tree.insert(&n, &text).map_err(|error| format!("{text}: {error:?}"))?;
    }
    let events: Vec<Event> =
        numbers(count).map(|n| event(&tree, &(workload.message)(n, count))).collect::<Failing<_>>()?;
    for (event, n) in events.iter().zip(numbers(count)) {
        let report = tree.search(event).map_err(|error| format!("{error:?}"))?;
        check(&report.matches().iter().map(|n| **n).collect::<Vec<_>>(), n, "a-tree")?;
    }
    let theirs = fastest(&events, |event| {
        black_box(tree.search(black_box(event)).ok());
    });
    row(workload.name, count, "a-tree, all matches", ours(workload, count)?, theirs);
    Ok(())
}

/// The texts that the messages of a workload have in `field`.
fn texts(workload: &Workload, count: usize, field: &str) -> Vec<String> {
    let entries = numbers(count).flat_map(|n| (workload.message)(n, count));
    let values = entries.filter(|(name, _)| *name == field).map(|(_, value)| value);
    values
        .filter_map(|value| if let Value::Text(text) = value { Some(text.as_str().to_owned()) } else { None })
        .collect()
}

fn beside_aho_corasick(workload: &Workload, count: usize) -> Failing<()> {
    let automaton = AhoCorasick::new((0..count).map(|n| format!("keyword{}x", n * 7919 % 1_000_003)))?;
    let texts = texts(workload, count, "text");
    for (text, n) in texts.iter().zip(numbers(count)) {
        let found = automaton.find_overlapping_iter(text).map(|found| found.pattern().as_usize());
        check(&found.collect::<Vec<_>>(), n, "aho-corasick")?;
    }
    let theirs = fastest(&texts, |text| {
        black_box(automaton.find_overlapping_iter(black_box(text)).count());
    });
    row(workload.name, count, "aho-corasick alone", ours(workload, count)?, theirs);
    Ok(())
}

fn beside_regex(workload: &Workload, count: usize) -> Failing<()> {
    let set = regex::RegexSetBuilder::new((0..count).map(|n| format!("^/v[0-9]+/item-{n}-[a-z]+$")))
        .size_limit(1 << 30)
        .build()?;
    let texts = texts(workload, count, "path");
    for (text, n) in texts.iter().zip(numbers(count)) {
        check(&RegexSet::matches(&set, text).into_iter().collect::<Vec<_>>(), n, "RegexSet")?;
    }
    let theirs = fastest(&texts, |text| {
        black_box(set.matches(black_box(text)).matched_any());
    });
    row(workload.name, count, "regex::RegexSet alone", ours(workload, count)?, theirs);
    Ok(())
}

fn main() -> Failing<()> {
    let workload = |name: &str| WORKLOADS.iter().find(|workload| workload.name == name).ok_or("no such workload");
    println!("| all matches | rules | peer | turnout, ns | peer, ns | ratio |\n|---|---:|---|---:|---:|---:|");
    for count in [10, 1_000, 10_000] {
        beside_a_tree(workload("five equalities, selective first")?, count, |_| (0, 0))?;
        beside_a_tree(workload("five equalities, selective last")?, count, |_| (0, 0))?;
        beside_a_tree(workload("range, disjoint")?, count, |n| (10 * n, 10 * n + 10))?;
        beside_aho_corasick(workload("keyword in 1 kB")?, count)?;
    }
    for count in [10, 100, 1_000] {
        beside_regex(workload("regex")?, count)?;
    }
    Ok(())
}
