//! The rules and messages that the Rust benchmarks share: rule `n` of a workload, and a message that it alone matches.

use turnout::error::ReadError;
use turnout::message::objects::Listed;
use turnout::message::path::{FieldId, FieldTable};
use turnout::message::tree::ValueMessage;
use turnout::message::value::{Key, Text, Value};
use turnout::message::{Fields, Read};
use turnout::rules::program::{Program, RuleSource};

pub(crate) type Entries = Vec<(&'static str, Value<'static>)>;

/// Rules by number, and a message that rule `n` of `count` matches.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// The most rules it is measured with.
    pub(crate) most: usize,
    pub(crate) rule: fn(usize, usize) -> RuleSource,
    pub(crate) message: fn(usize, usize) -> Entries,
}

/// Borrowed, as text of a message is; patterns make it their own.
fn text(text: impl Into<String>) -> Value<'static> {
    Value::text(text.into().leak())
}

pub(crate) fn map(entries: Entries) -> Value<'static> {
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

pub(crate) const WORKLOADS: &[Workload] = &[
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
pub(crate) struct Known<'m> {
    inner: ValueMessage<'m, 'static>,
    fields: Vec<Read<'static>>,
}

impl<'m> Known<'m> {
    pub(crate) fn new(program: &'m Program, value: &Value<'static>) -> Self {
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

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'static>>, ReadError> {
        self.inner.objects(field)
    }
}
