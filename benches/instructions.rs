//! The hot paths, one after the other, for `benches/instructions.py` to count their instructions under callgrind.
//!
//! Every case is run twice: to warm up, and inside [`measured`], which is all that callgrind counts. Rules, messages and
//! seeds are fixed. For each case one line is printed: its name, a tab, and how many times its step was taken.

mod workloads;

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use turnout::balance::hash::xxh64;
use turnout::balance::{Choice, PolicyKind};
use turnout::batch::{self, lines};
use turnout::cache::Caching;
use turnout::message::json::{Check, JsonMessage};
use turnout::message::tree::ValueMessage;
use turnout::message::value::Value;
use turnout::pool::{FailoverSpec, MemberSpec, Outcome, Pool, PoolSpec, Registry, Request};
use turnout::router::{DefaultRoute, Mode, RouterSpec, RuleSpec, Snapshot, Stage};
use turnout::rules::limits::Limits;
use turnout::rules::program::{Program, RuleSource};
use workloads::{Known, WORKLOADS, Workload, map};

type Outcomes = Result<(), Box<dyn Error>>;

const FIRST_MATCH: [&str; 4] = ["five equalities, selective last", "prefix", "range, disjoint", "mix of kinds"];
/// No more, for callgrind builds them some fifty times as slowly.
const RULES: [usize; 3] = [10, 1_000, 10_000];
const MESSAGES: usize = 64;
/// `instructions.py` compares the two.
const DESTINATIONS: [usize; 2] = [10, 1_000];
const NOW: u64 = 1_000_000_000;

/// What callgrind counts, found by its name in the table of symbols; hence neither inlined nor generic.
#[inline(never)]
fn measured(steps: &mut dyn FnMut()) {
    steps();
}

/// Takes `step` for every item, uncounted and then counted.
fn case<T>(name: &str, items: &[T], mut step: impl FnMut(&T)) {
    items.iter().for_each(&mut step);
    measured(&mut || items.iter().for_each(&mut step));
    println!("{name}\t{}", items.len());
}

fn workload(name: &str) -> Result<&'static Workload, String> {
    WORKLOADS.iter().find(|workload| workload.name == name).ok_or_else(|| format!("there is no workload {name:?}"))
}

fn program(workload: &Workload, count: usize) -> Result<Program, Box<dyn Error>> {
    let sources: Vec<RuleSource> = (0..count).map(|n| (workload.rule)(n, count)).collect();
    Program::build(sources, &["message"], Limits::default()).map_err(|errors| errors[0].to_string().into())
}

/// Numbers of rules in no order of memory.
fn numbers(count: usize) -> impl Iterator<Item = usize> {
    (0..MESSAGES).map(move |n| n * 7919 % count)
}

fn expect(found: Option<usize>, n: usize, name: &str) -> Outcomes {
    if found == Some(n) { Ok(()) } else { Err(format!("{name}: rule {n} should match, and {found:?} does").into()) }
}

/// First match where the fields are known already, so that matching is counted and not reading.
fn first_match(workload: &Workload, count: usize) -> Outcomes {
    let name = workload.name;
    let program = program(workload, count)?;
    let values: Vec<Value<'static>> = numbers(count).map(|n| map((workload.message)(n, count))).collect();
    let messages: Vec<Known<'_>> = values.iter().map(|value| Known::new(&program, value)).collect();
    for (message, n) in messages.iter().zip(numbers(count)) {
        expect(program.first(message)?, n, name)?;
    }
    case(&format!("first match, {name}, {count} rules"), &messages, |message| {
        black_box(program.first(black_box(message)).ok());
    });
    Ok(())
}

/// Messages of 454 bytes or one or two more, of which five fields are named by a rule.
fn raw(n: usize) -> String {
    let channel = ["sms", "push", "mail", "chat"][n % 4];
    let filler = "where is my parcel, it should have come on monday and nobody answers the telephone ";
    let before = format!(
        r#"{{"id":"{n:032x}","channel":"{channel}","headers":{{"trace":"{n:016x}","hops":2}},"intent":"intent-{}""#,
        n % 7
    );
    let after = format!(
        r#","items":[{{"sku":"A{n:03}-7","price":12.5}},{{"sku":"B-7","price":-1e3}}],"priority":{},"seen":[true,null],"#,
        n % 10
    );
    let end = format!(r#""region":"region-{}","zone":"tenant-{n}"}}"#, n % 5);
    let missing = 454_usize.saturating_sub(before.len() + after.len() + end.len() + r#""note":"","#.len());
    let note: String = filler.chars().cycle().take(missing).collect();
    format!(r#"{before}{after}"note":"{note}",{end}"#)
}

/// First match of raw JSON: a message, and a line of a batch.
fn first_json(count: usize) -> Outcomes {
    let program = program(workload("five equalities, selective last")?, count)?;
    let texts: Vec<String> = numbers(count).map(raw).collect();
    for (text, n) in texts.iter().zip(numbers(count)) {
        expect(program.first(&JsonMessage::parse(text.as_bytes(), program.paths())?)?, n, text)?;
    }
    case(&format!("first_json of 454 B, {count} rules"), &texts, |text| {
        if let Ok(message) = JsonMessage::parse(black_box(text.as_bytes()), program.paths()) {
            black_box(program.first(&message).ok());
        }
    });
    let all = texts.join("\n");
    let lines = lines::of(all.as_bytes());
    case(&format!("line of a batch, 454 B, {count} rules"), &lines, |line| {
        black_box(batch::first(&program, black_box(line), Check::Grammar).ok());
    });
    Ok(())
}

fn pool_spec(policy: Choice, count: usize) -> PoolSpec {
    let members = (0..count).map(|n| {
        let mut member = MemberSpec::new(format!("destination-{n}"));
        member.weight = 1 + n as u32 % 3;
        member
    });
    PoolSpec {
        id: "pool".into(),
        policy,
        members: members.collect(),
        failover: FailoverSpec::default(),
        bounded_load: None,
        dynamic_adjustment: false,
    }
}

/// From a message to a rule's route, and to a destination of its pool.
fn resolve(count: usize) -> Outcomes {
    let workload = workload("five equalities, selective last")?;
    let rules = (0..count).map(|n| RuleSpec {
        source: (workload.rule)(n, count),
        pools: vec!["pool".to_owned()],
        mode: Mode::First,
    });
    let spec = RouterSpec {
        stages: vec![Stage::ContentBased],
        rules: rules.collect(),
        urgent: None,
        default: DefaultRoute::None,
        pools: vec![pool_spec(Choice::default(), DESTINATIONS[0])],
        keys: HashMap::new(),
        admin: Vec::new(),
        limits: Limits::default(),
        caching: Caching::Off,
    };
    let snapshot = Snapshot::build(spec, &Registry::new(), None, NOW)?;
    snapshot.publish(None, NOW);
    let fields = snapshot.program().fields();
    let messages: Vec<ValueMessage<'_, '_>> =
        numbers(count).map(|n| ValueMessage::new(fields, "message", map((workload.message)(n, count)))).collect();
    for (message, n) in messages.iter().zip(numbers(count)) {
        expect(snapshot.program().first(message)?, n, "resolve")?;
    }
    case(&format!("Snapshot::resolve, {count} rules"), &messages, |message| {
        black_box(snapshot.resolve(black_box(message), 0, NOW).ok());
    });
    Ok(())
}

/// To decide, and to hold and end, by every policy; by key where the policy goes by keys. By a view that is kept, as
/// Python's `Pool` does; with one policy also by the pool's own, as a router does.
fn pools(count: usize) -> Outcomes {
    let steps: Vec<(u64, u64)> = (0..1_000).map(|n| (NOW + n * 1_000, xxh64(&n.to_le_bytes()))).collect();
    let auto = [(Choice::Auto { keyed: false }, "auto"), (Choice::Auto { keyed: true }, "auto by key")];
    for (policy, name) in PolicyKind::ALL.map(|kind| (Choice::Fixed(kind), kind.as_str())).into_iter().chain(auto) {
        let registry = Registry::new();
        let pool = Arc::new(Pool::build(pool_spec(policy, count), &registry, 1, NOW)?);
        registry.publish([&pool]);
        let request = |key: u64| Request { key: Some(key).filter(|_| policy.uses_key()), ..Request::default() };
        let mut random = fastrand::Rng::with_seed(7);
        let seen = pool.seen().ok_or("a pool has a view")?;
        case(&format!("Pool::select_by, {name}, {count} destinations"), &steps, |&(now, key)| {
            black_box(pool.select_by(&seen, &request(key), now, &mut random));
        });
        case(&format!("Pool::acquire_by and success, {name}, {count} destinations"), &steps, |&(now, key)| {
            if let Some(lease) = pool.acquire_by(&seen, &request(key), now, &mut random) {
                black_box(lease.finish(Outcome::Success, now + 500));
            }
        });
        if policy == Choice::Fixed(PolicyKind::RoundRobin) {
            case(&format!("Pool::select, {name}, {count} destinations"), &steps, |&(now, key)| {
                black_box(pool.select(&request(key), now, &mut random).ok());
            });
        }
    }
    Ok(())
}

fn main() -> Outcomes {
    for name in FIRST_MATCH {
        let workload = workload(name)?;
        for count in RULES.into_iter().filter(|&count| count <= workload.most) {
            first_match(workload, count)?;
        }
    }
    first_json(10)?;
    first_json(10_000)?;
    resolve(10)?;
    resolve(10_000)?;
    DESTINATIONS.into_iter().try_for_each(pools)
}
