use super::*;
use crate::error::Place;
use crate::message::json;
use crate::message::tree::ValueMessage;

fn compile_text(pattern: &str, limits: &Limits) -> Result<(Condition, FieldTable), ConditionError> {
    let mut table = FieldTable::default();
    let pattern = json::value(pattern.as_bytes()).unwrap().into_owned();
    compile(&pattern, "message", &mut table, limits).map(|condition| (condition, table))
}

fn matches(pattern: &str, message: &str) -> bool {
    let (condition, table) =
        compile_text(pattern, &Limits::default()).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let value = json::value(message.as_bytes()).unwrap();
    let built = condition.holds(&ValueMessage::new(&table, "message", value), &table).unwrap();
    let tree = json::Paths::new(&table, "message");
    let raw = json::JsonMessage::parse(message.as_bytes(), &tree).unwrap();
    assert_eq!(condition.holds(&raw, &table).unwrap(), built, "{pattern} on {message}, raw and built");
    built
}

/// Rows of a field's patterns, values that match, and values that do not.
fn check(rows: &[(&str, &[&str], &[&str])]) {
    for (patterns, yes, no) in rows {
        let pattern = format!("{{\"f\": {patterns}}}");
        for (values, expected) in [(yes, true), (no, false)] {
            for value in *values {
                let message = if *value == "missing" { "{}".to_owned() } else { format!("{{\"f\": {value}}}") };
                assert_eq!(matches(&pattern, &message), expected, "{pattern} on {message}");
            }
        }
    }
}

#[test]
fn values_match_their_equals() {
    check(&[
        (r#"["a"]"#, &[r#""a""#], &[r#""A""#, r#""ab""#, "1", "null", "missing", r#"{"a":1}"#, r#"{}"#]),
        (r#"["a","b"]"#, &[r#""a""#, r#""b""#], &[r#""c""#, r#""""#]),
        (r#"[""]"#, &[r#""""#], &[r#"" ""#, "null", "missing", "[]", "{}"]),
        ("[300]", &["300", "300.0", "3e2", "3.0E+2"], &[r#""300""#, "301", "true", "300.5"]),
        ("[300.0]", &["300", "3e2"], &["299"]),
        ("[1]", &["1"], &["true"]),
        ("[0]", &["0", "-0", "-0.0"], &["false", "null"]),
        ("[18446744073709551615]", &["18446744073709551615"], &["9223372036854775807"]),
        ("[9007199254740993]", &["9007199254740993"], &["9007199254740992"]),
        ("[true]", &["true"], &["false", "1", r#""true""#]),
        ("[null]", &["null"], &["missing", "false", "0", r#""""#, "[]"]),
        (r#"["a", 5, null, true]"#, &[r#""a""#, "5", "null", "true"], &["6", "false", "missing"]),
        (r#"["10.0.0.1"]"#, &[r#""10.0.0.1""#], &[r#""010.0.0.1""#, r#""::ffff:10.0.0.1""#]),
    ]);
}

#[test]
fn text_operators_match_text_only() {
    check(&[
        (r#"[{"prefix":"ab"}]"#, &[r#""ab""#, r#""abc""#], &[r#""a""#, r#""Abc""#, r#""xab""#, "1", "null", "missing"]),
        (r#"[{"prefix":""}]"#, &[r#""""#, r#""a""#], &["1", "null", "missing"]),
        (r#"[{"suffix":".png"}]"#, &[r#""a.png""#, r#"".png""#], &[r#""a.PNG""#, r#""png""#, "true"]),
        (r#"[{"prefix":{"equals-ignore-case":"EventB"}}]"#, &[r#""eventbridge""#, r#""EVENTBUS""#], &[r#""event""#]),
        (r#"[{"suffix":{"equals-ignore-case":"É"}}]"#, &[r#""CAFÉ""#, r#""café""#], &[r#""cafe""#]),
        (r#"[{"equals-ignore-case":"AlIce"}]"#, &[r#""alice""#, r#""ALICE""#], &[r#""alic""#, r#""alice ""#, "1"]),
        (r#"[{"equals-ignore-case":""}]"#, &[r#""""#], &[r#""a""#]),
        (
            r#"[{"wildcard":"/lib/*.js"}]"#,
            &[r#""/lib/.js""#, r#""/lib/a/b.js""#],
            &[r#""/lib/a.jsx""#, r#""x/lib/a.js""#],
        ),
        (r#"[{"wildcard":"*"}]"#, &[r#""""#, r#""anything""#], &["1", "null", "missing"]),
        (r#"[{"wildcard":"a*b*c"}]"#, &[r#""abc""#, r#""axbxc""#, r#""abbcc""#], &[r#""acb""#, r#""ab""#]),
        (r#"[{"wildcard":"5\\*3\\\\*"}]"#, &[r#""5*3\\""#, r#""5*3\\x""#], &[r#""5x3\\""#, r#""5*3""#]),
        (r#"[{"wildcard":"plain"}]"#, &[r#""plain""#], &[r#""plainly""#]),
        (r#"[{"prefix":"a"}, {"suffix":"z"}, "m", 7]"#, &[r#""ab""#, r#""yz""#, r#""m""#, "7"], &[r#""b""#, "8"]),
    ]);
}

#[test]
fn numbers_are_compared_by_value() {
    check(&[
        (r#"[{"numeric":["=",5]}]"#, &["5", "5.0"], &["6", r#""5""#, "true"]),
        (r#"[{"numeric":["<",5]}]"#, &["4", "-1e300", "4.999"], &["5", r#""4""#, "null", "false", "missing"]),
        (r#"[{"numeric":["<=",5.5]}]"#, &["5", "5.5"], &["6"]),
        (r#"[{"numeric":[">",5]}]"#, &["6", "5.0001", "18446744073709551615"], &["5", "true"]),
        (r#"[{"numeric":[">=",-1]}]"#, &["-1", "0"], &["-1.5"]),
        (r#"[{"numeric":[">",0,"<=",5]}]"#, &["1", "5", "0.1"], &["0", "5.1", "-1", r#""3""#]),
        (r#"[{"numeric":["<",10,">=",5]}]"#, &["5", "9.9"], &["4", "10"]),
        (r#"[{"numeric":[">=",5,"<=",5]}]"#, &["5"], &["4", "6"]),
        (r#"[{"numeric":[">",6000000000]}]"#, &["6000000000.5", "9223372036854775807"], &["6000000000"]),
    ]);
}

#[test]
fn networks_hold_addresses_of_their_family() {
    check(&[
        (
            r#"[{"cidr":"10.0.0.0/24"}]"#,
            &[r#""10.0.0.0""#, r#""10.0.0.255""#],
            &[r#""10.0.1.0""#, r#""::ffff:10.0.0.1""#, r#""10.0.0""#, r#""x""#, "1", "missing"],
        ),
        (r#"[{"cidr":"10.0.0.77/24"}]"#, &[r#""10.0.0.1""#], &[r#""10.0.1.1""#]),
        (r#"[{"cidr":"0.0.0.0/0"}]"#, &[r#""255.1.1.1""#], &[r#""::1""#]),
        (r#"[{"cidr":"2001:db8::/32"}]"#, &[r#""2001:db8:1::5""#, r#""2001:0DB8::""#], &[r#""2001:db9::""#]),
    ]);
}

#[test]
fn anything_but_needs_a_value() {
    check(&[
        (r#"[{"anything-but":"a"}]"#, &[r#""b""#, "5", "null", "true", r#""""#], &[r#""a""#, "missing", "{}", "[]"]),
        (r#"[{"anything-but":["a","b"]}]"#, &[r#""c""#, "1"], &[r#""a""#, r#""b""#]),
        (r#"[{"anything-but":5}]"#, &["6", r#""5""#, "null"], &["5", "5.0"]),
        (r#"[{"anything-but":[5,"a",null,true]}]"#, &["6", r#""b""#, "false"], &["5.0", r#""a""#, "null", "true"]),
        (r#"[{"anything-but":{"prefix":"init"}}]"#, &[r#""running""#, "1", "null"], &[r#""initializing""#, "missing"]),
        (r#"[{"anything-but":{"prefix":["a","b"]}}]"#, &[r#""c""#], &[r#""ab""#, r#""b""#]),
        (r#"[{"anything-but":{"suffix":[".png"]}}]"#, &[r#""a.jpg""#], &[r#""a.png""#]),
        (r#"[{"anything-but":{"prefix":{"equals-ignore-case":"AB"}}}]"#, &[r#""b""#], &[r#""Abc""#]),
        (r#"[{"anything-but":{"equals-ignore-case":["On","off"]}}]"#, &[r#""auto""#], &[r#""ON""#, r#""Off""#]),
        (r#"[{"anything-but":{"wildcard":"*/lib/*"}}]"#, &[r#""/bin/a""#], &[r#""/usr/lib/a""#]),
        (r#"[{"anything-but":"a"}, "a"]"#, &[r#""a""#, r#""b""#], &["missing"]),
    ]);
}

#[test]
fn exists_asks_for_leaves() {
    check(&[
        (
            r#"[{"exists":true}]"#,
            &["1", "null", r#""""#, "false", "[null]", "[[1]]", r#"[{"a":1}, 2]"#],
            &["missing", "{}", r#"{"a":1}"#, "[]", "[[]]", r#"[{"a":1}]"#],
        ),
        (
            r#"[{"exists":false}]"#,
            &["missing", "{}", r#"{"a":1}"#, "[]", r#"[{"a":1}]"#],
            &["1", "null", r#""""#, "[null]"],
        ),
        (r#"[{"exists":false}, "a"]"#, &["missing", r#""a""#], &[r#""b""#]),
    ]);
}

#[test]
fn some_element_of_a_list_must_match() {
    check(&[
        (r#"["a"]"#, &[r#"["b","a"]"#, r#"[["a"]]"#, r#"[{"x":1},"a"]"#], &[r#"["b"]"#, "[]", r#"[{"a":"a"}]"#]),
        (r#"[{"anything-but":"a"}]"#, &[r#"["a","b"]"#], &[r#"["a","a"]"#, "[]"]),
        (r#"[{"numeric":[">",0,"<=",5]}]"#, &["[9,3]"], &["[-1,10]"]),
    ]);
}

#[test]
fn objects_match_key_by_key() {
    let pattern = r#"{"channel": ["sms"], "content": {"total": [{"numeric": [">", 10]}], "lang": ["de", "fr"]}}"#;
    for (message, expected) in [
        (r#"{"channel":"sms","content":{"total":11,"lang":"de","more":1},"x":0}"#, true),
        (r#"{"channel":"sms","content":{"total":11}}"#, false),
        (r#"{"channel":"sms","content":{"total":10,"lang":"de"}}"#, false),
        (r#"{"channel":"push","content":{"total":11,"lang":"de"}}"#, false),
        (r#"{"channel":"sms","content":"text"}"#, false),
        (r#"{"channel":"sms"}"#, false),
        ("{}", false),
    ] {
        assert_eq!(matches(pattern, message), expected, "{message}");
    }
    assert!(matches(r#"{"a.b": [1]}"#, r#"{"a.b": 1}"#));
    assert!(!matches(r#"{"a.b": [1]}"#, r#"{"a": {"b": 1}}"#), "a key with a dot is a key");
    for message in ["{}", r#"{"a":{}}"#, r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":[]}"#] {
        assert!(matches(r#"{"a": {"b": {"c": [{"exists": false}]}}}"#, message), "{message}");
    }
}

#[test]
fn one_element_must_match_all_that_is_said_of_the_list() {
    const STAFF: &str = r#"{"staff":[{"first":"Anna","last":"Smith"},{"first":"Peter","last":"Jones"}]}"#;
    const NESTED: &str = r#"{"staff":[[{"first":"Anna","last":"Smith"}],[{"first":"Peter","last":"Jones"}]]}"#;
    const DEEP: &str =
        r#"{"o":[{"id":1,"items":[{"sku":"a","n":1},{"sku":"b","n":2}]},{"id":2,"items":[{"sku":"a","n":2}]}]}"#;
    for (pattern, message, expected) in [
        (r#"{"staff":{"first":["Anna"]}}"#, STAFF, true),
        (r#"{"staff":{"first":["Anna"],"last":["Smith"]}}"#, STAFF, true),
        (r#"{"staff":{"first":["Anna"],"last":["Jones"]}}"#, STAFF, false),
        (r#"{"staff":{"first":["Anna"],"last":["Smith"]}}"#, NESTED, true),
        (r#"{"staff":{"first":["Anna"],"last":["Jones"]}}"#, NESTED, false),
        (r#"{"staff":{"first":["Peter"],"$or":[{"last":["Smith"]},{"age":[3]}]}}"#, STAFF, false),
        (r#"{"staff":{"first":["Peter"],"$or":[{"last":["Jones"]},{"age":[3]}]}}"#, STAFF, true),
        (r#"{"o":{"id":[1],"items":{"sku":["a"],"n":[1]}}}"#, DEEP, true),
        (r#"{"o":{"id":[2],"items":{"sku":["a"],"n":[1]}}}"#, DEEP, false),
        (r#"{"o":{"id":[1],"items":{"sku":["a"],"n":[2]}}}"#, DEEP, false),
        (r#"{"o":{"items":{"sku":["a"],"n":[2]}}}"#, DEEP, true),
        // Absence is asked of the same element too.
        (r#"{"l":{"a":[1],"b":[{"exists":false}]}}"#, r#"{"l":[{"a":1,"b":2},{"a":2}]}"#, false),
        (r#"{"l":{"a":[1],"b":[{"exists":false}]}}"#, r#"{"l":[{"a":1},{"a":2,"b":2}]}"#, true),
        (r#"{"l":{"b":[{"exists":false}]}}"#, r#"{"l":[{"b":1},{"a":1}]}"#, true),
        (r#"{"l":{"b":[{"exists":false}]}}"#, r#"{"l":[{"b":1}]}"#, false),
        (r#"{"l":{"b":[{"exists":false}]}}"#, r#"{"l":[7,{"b":1}]}"#, false),
        (r#"{"l":{"b":[{"exists":false}]}}"#, r#"{"l":[]}"#, true),
        (r#"{"l":{"b":[{"exists":false}]}}"#, r#"{"l":[[],[]]}"#, true),
        (r#"{"l":{"b":[1]}}"#, r#"{"l":[]}"#, false),
        (r#"{"l":{"b":[1]}}"#, r#"{"l":["x",null,{"b":1}]}"#, true),
        (r#"{"l":{"m":{"b":[{"exists":false}]}}}"#, r#"{"l":[{"m":[]}]}"#, true),
        (r#"{"l":{"b":{"c":[{"exists":false}]}}}"#, r#"{"l":[]}"#, true),
        (r#"{"l":{"b":[1]}}"#, r#"{"l":[{"b":[3,1]}]}"#, true),
    ] {
        assert_eq!(matches(pattern, message), expected, "{pattern} on {message}");
    }
}

#[test]
fn keys_and_or_branches_speak_of_the_same_element() {
    let pattern = r#"{"l":{"a":[1]},"$or":[{"l":{"b":[2]}},{"x":[9]}]}"#;
    for (message, expected) in [
        (r#"{"l":[{"a":1,"b":2}]}"#, true),
        (r#"{"l":[{"a":1,"b":3},{"a":3,"b":2}]}"#, false),
        (r#"{"l":[{"a":1,"b":3}],"x":9}"#, true),
        (r#"{"l":{"a":1,"b":2}}"#, true),
        (r#"{"l":{"a":1},"x":9}"#, true),
        (r#"{"x":9}"#, false),
    ] {
        assert_eq!(matches(pattern, message), expected, "{message}");
    }
    let deep = r#"{"o":{"l":{"a":[1]}},"$or":[{"$or":[{"o":{"l":{"b":[2]}}},{"y":[1]}]},{"x":[9]}]}"#;
    for (message, expected) in [
        (r#"{"o":{"l":[{"a":1,"b":2}]}}"#, true),
        (r#"{"o":{"l":[{"a":1},{"b":2}]}}"#, false),
        (r#"{"o":[{"l":[{"a":1},{"a":1,"b":2}]}]}"#, true),
        (r#"{"o":[{"l":[{"a":1}]},{"l":[{"b":2}]}]}"#, false),
        (r#"{"o":[{"l":[{"a":1}]},{"l":[{"b":2}]}],"y":1}"#, true),
    ] {
        assert_eq!(matches(deep, message), expected, "{message}");
    }
}

#[test]
fn or_is_one_of_its_branches_and_all_keys_beside_it() {
    let pattern =
        r#"{"source":["cw"],"$or":[{"m":["cpu"]},{"t":["x"],"n":["ec2"],"$or":[{"i":[1]},{"j":[2]}]},{"s":["svc"]}]}"#;
    for (message, expected) in [
        (r#"{"source":"cw","m":"cpu"}"#, true),
        (r#"{"source":"cw","t":"x","n":"ec2","j":2}"#, true),
        (r#"{"source":"cw","t":"x","n":"ec2"}"#, false),
        (r#"{"source":"cw","t":"x","i":1}"#, false),
        (r#"{"source":"cw","s":"svc"}"#, true),
        (r#"{"source":"cw"}"#, false),
        (r#"{"source":"s3","m":"cpu"}"#, false),
    ] {
        assert_eq!(matches(pattern, message), expected, "{message}");
    }
    assert!(matches(r#"{"d":{"$or":[{"a":[1]},{"b":[2]}]}}"#, r#"{"d":{"b":2}}"#));
}

#[test]
fn errors_say_where_and_what_to_write() {
    for (pattern, place, problem) in [
        ("[1]", "", "a pattern is an object, such as {\"channel\": [\"sms\"]}, not [1]"),
        ("{}", "", "an empty pattern; name a key"),
        (r#"{"a":{}}"#, "a", "an empty pattern"),
        (r#"{"channel":"sms"}"#, "channel", "a field's patterns stand in a list: write [\"sms\"]"),
        (r#"{"a":{"b":5}}"#, "a.b", "a field's patterns stand in a list: write [5]"),
        (r#"{"a":[]}"#, "a", "an empty list matches nothing"),
        (r#"{"a":["x",["y"]]}"#, "a.1", "a list in a field's list"),
        (r#"{"a":[{"prefx":"x"}]}"#, "a.0.prefx", "no operator \"prefx\"; did you mean \"prefix\"?"),
        (r#"{"a":[{"contains":"x"}]}"#, "a.0.contains", "no operator \"contains\"; write {\"wildcard\": \"*text*\"}"),
        (r#"{"a":[{"zebra":"x"}]}"#, "a.0.zebra", "no operator \"zebra\"; there are prefix, suffix"),
        (r#"{"a":[{"prefix":"x","suffix":"y"}]}"#, "a.0", "one operator to an object"),
        (r#"{"a":[{}]}"#, "a.0", "an empty object; write an operator"),
        (r#"{"a":[{"prefix":5}]}"#, "a.0.prefix", "takes text, not 5"),
        (r#"{"a":[{"prefix":["x"]}]}"#, "a.0.prefix", "takes text, not [\"x\"]"),
        (
            r#"{"a":[{"suffix":{"equals-ignore-cas":"x"}}]}"#,
            "a.0.suffix.equals-ignore-cas",
            "no operator \"equals-ignore-cas\"; did you mean \"equals-ignore-case\"?",
        ),
        (r#"{"a":[{"exists":"yes"}]}"#, "a.0.exists", "takes true or false, not \"yes\""),
        (r#"{"a":[{"wildcard":"a**b"}]}"#, "a.0.wildcard", "`**` means no more than `*`"),
        (r#"{"a":[{"wildcard":"a\\b"}]}"#, "a.0.wildcard", "a backslash stands only before"),
        (r#"{"a":[{"wildcard":"a\\"}]}"#, "a.0.wildcard", "a backslash stands only before"),
        (r#"{"a":[{"cidr":"10.0.0.1"}]}"#, "a.0.cidr", "\"10.0.0.1\" is an address; write the network \"10.0.0.1/32\""),
        (r#"{"a":[{"cidr":"10.0.0.0/33"}]}"#, "a.0.cidr", "\"10.0.0.0/33\" is no network"),
        (r#"{"a":[{"numeric":5}]}"#, "a.0.numeric", "takes a list of a comparison and a number"),
        (r#"{"a":[{"numeric":[]}]}"#, "a.0.numeric", "takes a list of a comparison and a number"),
        (
            r#"{"a":[{"numeric":["=="
 ,5]}]}"#,
            "a.0.numeric.0",
            "write \"=\"",
        ),
        (r#"{"a":[{"numeric":["!=",5]}]}"#, "a.0.numeric.0", "no \"!=\" in `numeric`; write {\"anything-but\": 5}"),
        (r#"{"a":[{"numeric":["<","5"]}]}"#, "a.0.numeric.1", "takes a number, not \"5\""),
        (r#"{"a":[{"numeric":["<",5,">",6]}]}"#, "a.0.numeric", "no number is > 6 and < 5; swap the bounds"),
        (r#"{"a":[{"numeric":[">",5,"<",5]}]}"#, "a.0.numeric", "no number is > 5 and < 5"),
        (r#"{"a":[{"numeric":[">",5,">",6]}]}"#, "a.0.numeric", "a range has a lower bound"),
        (r#"{"a":[{"anything-but":[]}]}"#, "a.0.anything-but", "an empty list excludes nothing"),
        (r#"{"a":[{"anything-but":{"prefix":""}}]}"#, "a.0.anything-but.prefix", "every text has the empty prefix"),
        (
            r#"{"a":[{"anything-but":{"numeric":["=",1]}}]}"#,
            "a.0.anything-but.numeric",
            "no operator \"numeric\"; there are prefix, suffix, equals-ignore-case, wildcard",
        ),
        (
            r#"{"a":[{"anything-but":[{"wildcard":"x*"}]}]}"#,
            "a.0.anything-but.0",
            "operators do not stand in the list: write {\"anything-but\": {\"wildcard\": [...]}}",
        ),
        (
            r#"{"a":{"numeric":[">",5]}}"#,
            "a.numeric",
            "\"numeric\" is an operator; a field's patterns stand in a list: write [{\"numeric\": [\">\",5]}]",
        ),
        (r#"{"a":{"prefix":"x"}}"#, "a.prefix", "\"prefix\" is an operator"),
        (r#"{"a":{"exists":true}}"#, "a.exists", "\"exists\" is an operator"),
        (r#"{"a":{"anything-but":["x"]}}"#, "a.anything-but", "\"anything-but\" is an operator"),
        (r#"{"$or":{"a":[1]}}"#, "$or", "`$or` takes a list of two or more patterns"),
        (r#"{"$or":[{"a":[1]}]}"#, "$or", "`$or` takes a list of two or more patterns"),
        (r#"{"$or":["a","b"]}"#, "$or.0", "`$or` takes patterns, which are objects"),
        (r#"{"$or":[{"a":[1]},{}]}"#, "$or.1", "an empty pattern"),
        (
            r#"{"a":{"$or":[{"x":[1]},{"prefix":["a"]}]}}"#,
            "a.$or.1.prefix",
            "\"prefix\" is an operator, which stands in a field's list",
        ),
    ] {
        let error = compile_text(pattern, &Limits::default()).expect_err(pattern);
        let Place::Pattern(path) = &error.place else { panic!("{pattern}: {:?}", error.place) };
        assert_eq!(path.join("."), place, "{pattern}: {error}");
        assert!(error.problem.starts_with(problem), "{pattern}: {error}");
    }
}

#[test]
fn values_that_json_does_not_have_are_errors() {
    let field = |value: Value<'static>| Value::map(vec![(Key::Text("a".into_text()), Value::list(vec![value]))]);
    for value in [Value::Double(f64::NAN), Value::Double(f64::INFINITY), Value::bytes(*b"x")] {
        let error = compile(&field(value), "message", &mut FieldTable::default(), &Limits::default()).unwrap_err();
        assert_eq!(error.place, Place::Pattern(vec!["a".into(), "0".into()]));
    }
}

trait IntoText {
    fn into_text(self) -> crate::message::value::Text<'static>;
}

impl IntoText for &'static str {
    fn into_text(self) -> crate::message::value::Text<'static> {
        crate::message::value::Text::Borrowed(self)
    }
}

#[test]
fn patterns_beyond_the_limits_are_refused() {
    let deep = format!("{}[1]{}", "{\"a\":".repeat(20), "}".repeat(20));
    for (limits, pattern, name) in [
        (Limits { nesting: 10, ..Limits::default() }, deep.as_str(), "nesting"),
        (Limits { nodes: 3, ..Limits::default() }, r#"{"a":[1,2,3]}"#, "nodes"),
        (Limits { source_bytes: 10, ..Limits::default() }, r#"{"a":["1234567"]}"#, "source_bytes"),
    ] {
        let error = compile_text(pattern, &limits).unwrap_err();
        assert!(error.problem.contains(&format!("`{name}`")), "{error}");
    }
}

#[test]
fn sources_are_compact_json_of_the_operator() {
    let (condition, fields) =
        compile_text(r#"{ "a" : [ "x", "y", { "prefix" : "p" } ] }"#, &Limits::default()).unwrap();
    let Condition::Any(parts) = condition else { panic!("{condition:?}") };
    let sources: Vec<_> = parts
        .iter()
        .map(|part| match part {
            Condition::Predicate(predicate) => predicate.source(&fields),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sources.iter().map(|source| &**source).collect::<Vec<_>>(), [r#"["x","y"]"#, r#"{"prefix":"p"}"#]);
}

#[test]
fn the_source_of_an_operator_is_what_was_written_whether_it_is_kept_or_not() {
    for (operator, kept) in [
        (r#"1.0"#, false),
        (r#"{"prefix":"a\"b\n"}"#, false),
        (r#"{"prefix":{"equals-ignore-case":"ab"}}"#, false),
        (r#"{"prefix":{"equals-ignore-case":"Ab"}}"#, true),
        (r#"{"suffix":"a"}"#, false),
        (r#"{"equals-ignore-case":"ab"}"#, false),
        (r#"{"equals-ignore-case":"aB"}"#, true),
        (r#"{"wildcard":"/a/*/\\*\\\\/*"}"#, false),
        (r#"{"wildcard":"ab"}"#, false),
        (r#"{"numeric":[">",1]}"#, false),
        (r#"{"numeric":["=",1]}"#, true),
        (r#"{"numeric":[">=",1,"<",2.5]}"#, false),
        (r#"{"numeric":["<",2.5,">=",1]}"#, true),
        (r#"{"cidr":"10.0.0.0/8"}"#, false),
        (r#"{"cidr":"10.0.0.1/8"}"#, true),
        (r#"{"exists":true}"#, false),
        (r#"{"exists":false}"#, false),
        (r#"{"anything-but":["x",1]}"#, false),
        (r#"{"anything-but":"x"}"#, false),
        (r#"{"anything-but":["x"]}"#, true),
        (r#"{"anything-but":{"prefix":"x"}}"#, true),
    ] {
        let (condition, fields) = compile_text(&format!("{{\"a\":[{operator}]}}"), &Limits::default()).unwrap();
        let Condition::Predicate(predicate) = condition else { panic!("{operator}: {condition:?}") };
        assert_eq!((&*predicate.source(&fields), predicate.source.is_some()), (operator, kept));
    }
}
