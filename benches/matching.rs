//! Nanoseconds of a first match, bytes and microseconds of a rule, by kind of rule and number of rules:
//! `cargo bench --bench matching [-- <name of a workload> ...]`. Answers are asserted before they are timed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use turnout::error::ReadError;
use turnout::message::path::{FieldId, FieldTable};
use turnout::message::tree::ValueMessage;
use turnout::message::value::{Key, Text, Value};
use turnout::message::{Fields, Read};
use turnout::rules::limits::Limits;
use turnout::rules::program::{Program, RuleSource};

/// Counts the bytes that are held, as they were asked for.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// Safety: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Entries = Vec<(&'static str, Value<'static>)>;

/// Rules by number, and a message that rule `n` of `count` matches.
struct Workload {
    name: &'static str,
    most: usize,
    rule: fn(usize, usize) -> RuleSource,
    message: fn(usize, usize) -> Entries,
}

/// Borrowed, as text of a message is; patterns make it their own.
fn text(text: impl Into<String>) -> Value<'static> {
    Value::text(text.into().leak())
}

fn map(entries: Entries) -> Value<'static> {
    Value::map(entries.into_iter().map(|(key, value)| (Key::Text(Text::Borrowed(key)), value)).collect())
}

fn operator(name: &'static str, argument: Value<'static>) -> Value<'static> {
    Value::list(vec![map(vec![(name, argument)])])
}

fn one(value: Value<'static>) -> Value<'static> {
    Value::list(vec![value])
}

fn pattern(n: usize, entries: Entries) -> RuleSource {
    RuleSource { id: format!("rule-{n}"), priority: 0, when: None, matches: Some(map(entries)) }
}

fn cel(n: usize, when: String) -> RuleSource {
    RuleSource { id: format!("rule-{n}"), priority: 0, when: Some(when), matches: None }
}

fn range(low: usize, high: usize) -> Value<'static> {
    let number = |number: usize| Value::Int(number as i64);
    operator("numeric", Value::list(vec![text(">="), number(low), text("<"), number(high)]))
}

/// Four fields that many rules share, as values.
fn common(n: usize) -> [Value<'static>; 4] {
    [
        text(["sms", "push", "mail", "chat"][n % 4]),
        text(format!("intent-{}", n % 7)),
        text(format!("region-{}", n % 5)),
        Value::Int((n % 10) as i64),
    ]
}

fn five(n: usize, selective: &'static str) -> Entries {
    let [channel, intent, region, priority] = common(n);
    let mut entries = vec![("channel", channel), ("intent", intent), ("region", region), ("priority", priority)];
    entries.push((selective, text(format!("tenant-{n}"))));
    entries.sort_by_key(|(key, _)| *key);
    entries
}

fn as_rule(entries: Entries) -> Entries {
    entries.into_iter().map(|(key, value)| (key, one(value))).collect()
}

fn words(keyword: String, bytes: usize) -> String {
    let filler = "the quick brown fox jumps over the lazy dog and runs away from the keywords of the message ";
    let mut all: String = filler.chars().cycle().take(bytes - keyword.len()).collect();
    let middle = all.len() / 2;
    all.insert_str(middle, &keyword);
    all
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "one equality",
        most: 1_000_000,
        rule: |n, _| pattern(n, vec![("tenant", one(text(format!("tenant-{n}"))))]),
        message: |n, _| five(n, "tenant"),
    },
    Workload {
        name: "five equalities, selective first",
        most: 1_000_000,
        rule: |n, _| pattern(n, as_rule(five(n, "a"))),
        message: |n, _| five(n, "a"),
    },
    Workload {
        name: "five equalities, selective last",
        most: 1_000_000,
        rule: |n, _| pattern(n, as_rule(five(n, "zone"))),
        message: |n, _| five(n, "zone"),
    },
    Workload {
        name: "five equalities in CEL",
        most: 1_000_000,
        rule: |n, _| {
            let channel = ["sms", "push", "mail", "chat"][n % 4];
            cel(
                n,
                format!(
                    "message.channel == '{channel}' && message.intent == 'intent-{}' && message.region == 'region-{}' \
                     && message.priority == {} && message.tenant == 'tenant-{n}'",
                    n % 7,
                    n % 5,
                    n % 10
                ),
            )
        },
        message: |n, _| five(n, "tenant"),
    },
    Workload {
        name: "three equalities, all common",
        most: 1_000_000,
        rule: |n, count| {
            let side = (count as f64).cbrt().ceil() as usize;
            let part = |at: usize| one(text(format!("v{}", at % side)));
            pattern(n, vec![("a", part(n)), ("b", part(n / side)), ("c", part(n / side / side))])
        },
        message: |n, count| {
            let side = (count as f64).cbrt().ceil() as usize;
            let part = |at: usize| text(format!("v{}", at % side));
            vec![
                ("a", part(n)),
                ("b", part(n / side)),
                ("c", part(n / side / side)),
                ("d", Value::Null),
                ("e", Value::Null),
            ]
        },
    },
    Workload {
        name: "prefix",
        most: 1_000_000,
        rule: |n, _| pattern(n, vec![("path", operator("prefix", text(format!("/tenants/{n}/"))))]),
        message: |n, _| vec![("path", text(format!("/tenants/{n}/orders/7")))],
    },
    Workload {
        name: "suffix",
        most: 1_000_000,
        rule: |n, _| pattern(n, vec![("path", operator("suffix", text(format!("-{n}.json"))))]),
        message: |n, _| vec![("path", text(format!("orders/2026/export-{n}.json")))],
    },
    Workload {
        name: "ignoring case",
        most: 1_000_000,
        rule: |n, _| pattern(n, vec![("name", operator("equals-ignore-case", text(format!("Tenant-{n}"))))]),
        message: |n, _| vec![("name", text(format!("tENANT-{n}")))],
    },
    Workload {
        name: "keyword in 1 kB",
        most: 100_000,
        rule: |n, _| cel(n, format!("message.text.contains('keyword{}x')", n * 7919 % 1_000_003)),
        message: |n, _| vec![("text", text(words(format!("keyword{}x", n * 7919 % 1_000_003), 1024)))],
    },
    Workload {
        name: "wildcard /api/*/users/n/*",
        most: 1_000_000,
        rule: |n, _| pattern(n, vec![("path", operator("wildcard", text(format!("/api/*/users/{n}/*"))))]),
        message: |n, _| vec![("path", text(format!("/api/v2/users/{n}/orders")))],
    },
    Workload {
        name: "regex",
        most: 10_000,
        rule: |n, _| cel(n, format!("message.path.matches('^/v[0-9]+/item-{n}-[a-z]+$')")),
        message: |n, _| vec![("path", text(format!("/v2/item-{n}-abc")))],
    },
    Workload {
        name: "range, disjoint",
        most: 1_000_000,
        rule: |n, _| pattern(n, vec![("total", range(10 * n, 10 * n + 10))]),
        message: |n, _| vec![("total", Value::Int((10 * n + 5) as i64))],
    },
    Workload {
        name: "range and two common equalities",
        most: 1_000_000,
        rule: |n, _| {
            pattern(
                n,
                vec![
                    ("channel", one(text(["sms", "push", "mail", "chat"][n % 4]))),
                    ("region", one(text(format!("region-{}", n % 5)))),
                    ("total", range(n, n + 10)),
                ],
            )
        },
        message: |n, _| {
            vec![
                ("channel", text(["sms", "push", "mail", "chat"][n % 4])),
                ("region", text(format!("region-{}", n % 5))),
                ("total", Value::Int(n as i64)),
            ]
        },
    },
    Workload {
        name: "network",
        most: 1_000_000,
        rule: |n, _| {
            let network = format!("{}.{}.{}.0/24", 10 + n / 65536, n / 256 % 256, n % 256);
            pattern(n, vec![("address", operator("cidr", text(network)))])
        },
        message: |n, _| vec![("address", text(format!("{}.{}.{}.77", 10 + n / 65536, n / 256 % 256, n % 256)))],
    },
    Workload {
        name: "mix of kinds",
        most: 1_000_000,
        rule: |n, _| {
            let mut entries = match n % 5 {
                0 => vec![("tenant", one(text(format!("tenant-{n}"))))],
                1 => vec![("path", operator("prefix", text(format!("/tenants/{n}/"))))],
                2 => vec![("path", operator("wildcard", text(format!("*/users/{n}/*"))))],
                3 => vec![("total", range(10 * n, 10 * n + 10))],
                _ => vec![("name", operator("suffix", text(format!("-{n}.json"))))],
            };
            entries.push(("channel", one(text(["sms", "push", "mail", "chat"][n % 4]))));
            pattern(n, entries)
        },
        message: |n, _| {
            vec![
                ("tenant", text(format!("tenant-{n}"))),
                ("path", text(format!("/tenants/{n}/users/{n}/x"))),
                ("total", Value::Int((10 * n + 5) as i64)),
                ("name", text(format!("a-{n}.json"))),
                ("channel", text(["sms", "push", "mail", "chat"][n % 4])),
            ]
        },
    },
];

/// A message whose fields are known already, so that matching is measured and not reading.
struct Known<'m> {
    inner: ValueMessage<'m, 'static>,
    fields: Vec<Read<'static>>,
}

impl<'m> Known<'m> {
    fn new(program: &'m Program, value: &Value<'static>) -> Self {
        let mut numbers = FieldTable::default();
        let inner = ValueMessage::new(program.fields(), "message", value.clone());
        let ids = program.fields().paths().iter().map(|path| numbers.intern((**path).clone()));
        let fields = ids.map(|field| inner.read(field).unwrap_or(Read::Broken)).collect();
        Self { inner, fields }
    }
}

impl Fields<'static> for Known<'_> {
    fn read(&self, field: FieldId) -> Result<Read<'static>, ReadError> {
        Ok(self.fields[field.index()].clone())
    }

    fn read_prefix(&self, field: FieldId, depth: usize) -> Result<Read<'static>, ReadError> {
        self.inner.read_prefix(field, depth)
    }

    fn is_list(&self, field: FieldId) -> bool {
        matches!(self.fields[field.index()], Read::Value(Value::List(_)))
    }
}

fn measure(workload: &Workload, count: usize) -> [f64; 4] {
    let sources: Vec<RuleSource> = (0..count).map(|n| (workload.rule)(n, count)).collect();
    let source_bytes = HELD.load(Ordering::Relaxed);
    let kept = sources.clone();
    let copies = HELD.load(Ordering::Relaxed) - source_bytes;
    let before = HELD.load(Ordering::Relaxed) - copies;
    let began = Instant::now();
    let Ok(program) = Program::build(kept, &["message"], Limits::default()) else {
        return [f64::NAN; 4];
    };
    let build = began.elapsed().as_secs_f64() * 1e6 / count as f64;
    let bytes = (HELD.load(Ordering::Relaxed) as f64 - before as f64) / count as f64;
    // Messages in no order of memory, as many as stay in the cache themselves.
    let numbers: Vec<usize> = (0..256.min(count)).map(|n| n * 7919 % count).collect();
    let values: Vec<Value<'static>> = numbers.iter().map(|&n| map((workload.message)(n, count))).collect();
    let messages: Vec<Known<'_>> = values.iter().map(|value| Known::new(&program, value)).collect();
    for (message, &n) in messages.iter().zip(&numbers) {
        let found = program.first(message).ok().flatten().map(|number| program.rule(number).id.to_string());
        assert_eq!(found, Some(format!("rule-{n}")), "{}", workload.name);
    }
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let rounds = (20_000 / messages.len()).max(1);
        let began = Instant::now();
        for _ in 0..rounds {
            for message in &messages {
                black_box(program.first(black_box(message)).ok());
            }
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e9 / (rounds * messages.len()) as f64);
    }
    // Rules that come and go.
    let changes = 2000.min(count);
    let began = Instant::now();
    let mut changed = program.clone();
    for n in 0..changes {
        let mut source = (workload.rule)(n, count);
        source.id.push_str("-again");
        if let Ok(more) = changed.with_rule(source) {
            changed = more;
        }
        if let Some(less) = changed.without_rule(&format!("rule-{n}")) {
            changed = less;
        }
    }
    let change = began.elapsed().as_secs_f64() * 1e6 / (2 * changes) as f64;
    [best, bytes, build, change]
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let most = std::env::var("MOST").ok().and_then(|most| most.parse().ok()).unwrap_or(1_000_000);
    println!(
        "{:36} {:>9} {:>10} {:>8} {:>9} {:>11}",
        "workload", "rules", "ns/first", "B/rule", "µs/rule", "µs/change"
    );
    for workload in WORKLOADS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| workload.name.contains(wanted.as_str())) {
            continue;
        }
        for count in [10, 1_000, 10_000, 100_000, 1_000_000] {
            if count > workload.most || count > most {
                continue;
            }
            let [first, bytes, build, change] = measure(workload, count);
            println!("{:36} {count:>9} {first:>10.0} {bytes:>8.0} {build:>9.2} {change:>11.2}", workload.name);
        }
    }
}
