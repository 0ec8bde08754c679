//! Random rules in both notations, with predicates of every kind, and messages that they are likely to match.

use proptest::prelude::*;

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            "a",
            "A",
            "ab",
            "abc",
            "Abc",
            "sms",
            "SMS",
            "push",
            "/api/v1/users/7/",
            "/api/v1/users/77/x",
            "refund",
            "please refund me",
            "Élan",
            "élan",
            "ÉLAN",
            "\u{212A}elvin",
            "kelvin",
            "10.0.0.1",
            "10.1.2.3",
            "192.168.0.7",
            "::1",
            "2001:db8::1",
            "1",
            "true",
            "日本語",
            "aaaaaaaaaaaa",
        ])
        .prop_map(str::to_owned),
        "[abAB]{0,6}",
    ]
}

fn scalars() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => texts().prop_map(|text| serde_json::to_string(&text).unwrap()),
        4 => (-3_i32..12).prop_map(|number| number.to_string()),
        2 => (-6_i32..24).prop_map(|number| format!("{:.1}", f64::from(number) / 2.0)),
        1 => prop::sample::select(vec!["null", "true", "false", "-0.0", "9223372036854775807", "9223372036854775808"])
            .prop_map(str::to_owned),
    ]
}

fn quoted() -> impl Strategy<Value = String> {
    texts().prop_map(|text| serde_json::to_string(&text).unwrap())
}

fn operators() -> BoxedStrategy<String> {
    let filled = || texts().prop_filter("not empty", |text| !text.is_empty());
    let wild = prop::collection::vec(texts(), 1..4).prop_map(|parts| {
        let text = parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("*");
        format!("{{\"wildcard\":{}}}", serde_json::to_string(&text).unwrap())
    });
    let network =
        prop::sample::select(vec!["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "10.0.0.1/32", "::/0", "2001:db8::/32"]);
    prop_oneof![
        6 => scalars(),
        1 => quoted().prop_map(|text| format!("{{\"prefix\":{text}}}")),
        1 => quoted().prop_map(|text| format!("{{\"suffix\":{text}}}")),
        1 => quoted().prop_map(|text| format!("{{\"prefix\":{{\"equals-ignore-case\":{text}}}}}")),
        1 => quoted().prop_map(|text| format!("{{\"suffix\":{{\"equals-ignore-case\":{text}}}}}")),
        1 => quoted().prop_map(|text| format!("{{\"equals-ignore-case\":{text}}}")),
        2 => wild,
        1 => filled().prop_map(|text| format!("{{\"anything-but\":{}}}", serde_json::to_string(&text).unwrap())),
        1 => any::<bool>().prop_map(|there| format!("{{\"exists\":{there}}}")),
        1 => network.prop_map(|network| format!("{{\"cidr\":\"{network}\"}}")),
        2 => (prop::sample::select(vec!["<", "<=", ">", ">=", "="]), -3_i32..12)
            .prop_map(|(sign, number)| format!("{{\"numeric\":[\"{sign}\",{number}]}}")),
        2 => (-3_i32..12, 1_i32..6)
            .prop_map(|(low, width)| format!("{{\"numeric\":[\">=\",{low},\"<\",{}]}}", low + width)),
    ]
    .boxed()
}

const FIELDS: [&str; 4] = ["a", "b", "c", "d"];

fn entries() -> BoxedStrategy<String> {
    (
        prop::sample::subsequence(FIELDS.to_vec(), 1..=4),
        prop::collection::vec(prop::collection::vec(operators(), 1..3), 4),
    )
        .prop_map(|(fields, tests)| {
            let entries: Vec<String> =
                fields.iter().zip(tests).map(|(field, tests)| format!("\"{field}\":[{}]", tests.join(","))).collect();
            entries.join(",")
        })
        .boxed()
}

fn patterns() -> BoxedStrategy<String> {
    prop_oneof![
        4 => entries().prop_map(|entries| format!("{{{entries}}}")),
        1 => (entries(), entries()).prop_map(|(outer, inner)| format!("{{{outer},\"items\":{{{inner}}}}}")),
        1 => entries().prop_map(|inner| format!("{{\"items\":{{\"below\":{{{inner}}}}}}}")),
        1 => (entries(), entries()).prop_map(|(one, other)| format!("{{\"$or\":[{{{one}}},{{\"items\":{{{other}}}}}]}}")),
    ]
    .boxed()
}

fn cel_leaves() -> BoxedStrategy<String> {
    let field = || {
        prop_oneof![
            4 => prop::sample::select(FIELDS.to_vec()).prop_map(|field| format!("message.{field}")),
            1 => prop::sample::select(FIELDS.to_vec()).prop_map(|field| format!("message.items.{field}")),
        ]
    };
    let number = prop::sample::select(vec!["1", "2u", "3.5", "7", "-1", "0.0", "-0.0", "9223372036854775807"]);
    let sign = || prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let regex = prop::sample::select(vec!["ref.nd", "^a+$", "(abc|sms)", "(?i)push", "users/[0-9]+", ".*", "^$", "b|"]);
    let time = prop::sample::select(vec!["2020-01-01T00:00:00Z", "2021-06-01T00:00:00Z"]);
    let function = prop::sample::select(vec!["startsWith", "endsWith", "contains"]);
    prop_oneof![
        4 => (field(), quoted()).prop_map(|(field, text)| format!("{field} == {text}")),
        3 => (field(), sign(), number).prop_map(|(field, sign, number)| format!("{field} {sign} {number}")),
        1 => (field(), prop::collection::vec(scalars(), 0..4)).prop_map(|(field, list)| {
            let list: Vec<String> = list.into_iter().map(|item| item.replace("9223372036854775808", "1u")).collect();
            format!("{field} in [{}]", list.join(", "))
        }),
        2 => (field(), function, quoted()).prop_map(|(field, function, text)| format!("{field}.{function}({text})")),
        1 => (field(), regex).prop_map(|(field, regex)| format!("{field}.matches({regex:?})")),
        1 => (field(), sign(), time).prop_map(|(field, sign, time)| format!("{field} {sign} timestamp({time:?})")),
        1 => field().prop_map(|field| format!("has({field})")),
        1 => field(),
        1 => field().prop_map(|field| format!("size({field}) > 2")),
        1 => field().prop_map(|field| format!("{field} == [1, 2]")),
        1 => (field(), -3_i32..9, 1_i32..5)
            .prop_map(|(field, low, width)| format!("{field} >= {low} && {field} < {}", low + width)),
    ]
    .boxed()
}

fn expressions() -> BoxedStrategy<String> {
    cel_leaves()
        .prop_recursive(3, 8, 3, |inner| {
            prop_oneof![
                2 => prop::collection::vec(inner.clone(), 2..4)
                    .prop_map(|parts| format!("({})", parts.join(" && "))),
                1 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" || "))),
                1 => inner.clone().prop_map(|part| format!("!({part})")),
                1 => (inner.clone(), inner.clone(), inner).prop_map(|(c, a, b)| format!("({c} ? {a} : {b})")),
            ]
        })
        .boxed()
}

/// CEL, pattern and priority of a rule.
pub(super) type Source = (Option<String>, Option<String>, i64);

pub(super) fn sources() -> impl Strategy<Value = Source> {
    let priority = prop_oneof![3 => Just(0_i64), 1 => -2_i64..3];
    prop_oneof![
        4 => patterns().prop_map(|pattern| (None, Some(pattern))),
        4 => expressions().prop_map(|text| (Some(text), None)),
        1 => (expressions(), patterns()).prop_map(|(text, pattern)| (Some(text), Some(pattern))),
    ]
    .prop_flat_map(move |(when, pattern)| (Just(when), Just(pattern), priority.clone()))
}

pub(super) fn messages() -> BoxedStrategy<String> {
    let value = || {
        prop_oneof![
            8 => scalars(),
            1 => Just("99999999999999999999".to_owned()), // cannot be read
            2 => prop::collection::vec(scalars(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            1 => prop::collection::vec(scalars(), 0..3).prop_map(|list| format!("[[{}],1]", list.join(","))),
            1 => Just("{\"a\":1}".to_owned()),
        ]
    };
    let object = move || {
        (prop::sample::subsequence(FIELDS.to_vec(), 0..=4), prop::collection::vec(value(), 4)).prop_map(
            |(fields, values)| {
                let entries: Vec<String> =
                    fields.iter().zip(values).map(|(field, value)| format!("\"{field}\":{value}")).collect();
                entries.join(",")
            },
        )
    };
    let items = prop_oneof![
        Just("null".to_owned()),
        object().prop_map(|entries| format!("{{{entries}}}")),
        prop::collection::vec(object(), 0..4).prop_map(|list| {
            let list: Vec<String> = list.into_iter().map(|entries| format!("{{{entries}}}")).collect();
            format!("[{}]", list.join(","))
        }),
        (object(), object()).prop_map(|(one, other)| format!("[[{{{one}}}],{{\"below\":[{{{other}}},[]]}}]")),
    ];
    (object(), items)
        .prop_map(|(entries, items)| {
            let comma = if entries.is_empty() { "" } else { "," };
            format!("{{{entries}{comma}\"items\":{items}}}")
        })
        .boxed()
}
