//! `Check::Strict`: what it refuses besides, and that it refuses nothing else.

use serde_json::value::RawValue;

use super::by_serde::each_key_once;
use super::*;

/// What strict parsing says: nothing, or the byte and what is wrong there.
fn strict(text: &[u8]) -> Result<(), (usize, String)> {
    let tree = Paths::new(&table(&["message.a", "message.a.b", "message.list"]), "message");
    let parsed = JsonMessage::checked(text, &tree, Check::Strict);
    parsed.map(drop).map_err(|error| (error.offset, error.problem))
}

#[test]
fn a_key_that_comes_twice_is_refused_at_any_depth() {
    for (text, offset) in [
        (r#"{"x":1,"x":1}"#, 7),
        (r#"{"a":1,"a":2}"#, 7),
        (r#"{"a":1,"\u0061":2}"#, 7),
        (r#"{"a":{"b":1,"b":2}}"#, 12),
        (r#"{"a":{"c":{"z":1, "z":2}}}"#, 18),
        (r#"{"other":[[{"z":1,"z":2}]]}"#, 18),
        (r#"{"list":[{"z":1},{"z":{"y":0},"z":2}]}"#, 30),
        (r#"{"":1,"":2}"#, 6),
        (r#"{"é":1,"\u00e9":2}"#, 8),
        (r#"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"9":1}"#, 55),
        (r#"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"1":1}"#, 55),
        (r#"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"8":1}"#, 49),
    ] {
        let (found, problem) = strict(text.as_bytes()).unwrap_err();
        assert_eq!(found, offset, "{text}: {problem}");
        assert_eq!(problem, "a key that its object has already; send each key once");
    }
}

#[test]
fn the_same_key_in_two_objects_is_none_that_comes_twice() {
    for text in [r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#, r#"[{"a":1},{"a":1}]"#, r#"{"A":1,"a":1,"a ":1}"#] {
        assert_eq!(strict(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn half_of_a_surrogate_pair_is_refused_wherever_it_stands() {
    for (text, offset) in [
        (r#"{"a":"\ud83d"}"#, 5),
        (r#"{"x":["y",{"z":"\ude00 tail"}]}"#, 15),
        (r#"{"x":"\ud83d\u0041"}"#, 5),
        (r#"{"\udc00":1}"#, 1),
        (r#""\ud83dx""#, 0),
    ] {
        let (found, problem) = strict(text.as_bytes()).unwrap_err();
        assert_eq!((found, problem), (offset, problem::Problem::HalfPair.to_string()), "{text}");
    }
    for length in [100, 1_000, 2_000, 10_000] {
        let text = format!("{{\"x\":\"\\ud83d{}\"}}", "x".repeat(length));
        assert_eq!(strict(text.as_bytes()), Err((5, problem::Problem::HalfPair.to_string())), "{length}");
    }
    assert_eq!(strict(r#"{"a":"\ud83d\ude00","\ud83d\ude00":1}"#.as_bytes()), Ok(()));
}

#[test]
fn what_the_grammar_refuses_is_refused_with_the_same_words() {
    let tree = Paths::new(&FieldTable::default(), "message");
    for text in
        [&b"{\"x\":1"[..], b"{\"x\":1} 2", b"{\"x\":01}", b"{\"x\":NaN}", b"{\"x\":\"\xff\"}", b"{\"x\":\"\x01\"}", b""]
    {
        let lenient = JsonMessage::parse(text, &tree).unwrap_err();
        assert_eq!(strict(text), Err((lenient.offset, lenient.problem)));
    }
}

#[test]
fn numbers_that_are_no_values_are_left_to_their_readers() {
    let text = r#"{"x":18446744073709551616,"y":1e999,"a":1}"#;
    assert_eq!(strict(text.as_bytes()), Ok(()));
}

proptest! {
    #[test]
    fn what_serde_json_takes_with_each_key_once_is_taken_and_nothing_else(
        text in any_json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{},:\"\\\\0-9a-fu. \u{1f}é-]{0,2}|\\\\ud83d"), 0..3),
    ) {
        let mut text = text;
        for (at, change) in &changes {
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            let at = places[at.index(places.len())];
            let length = text[at..].chars().next().map_or(0, char::len_utf8);
            text.replace_range(at..at + length, change);
            prop_assume!(!text.is_empty());
        }
        let theirs = serde_json::from_str::<&RawValue>(&text).is_ok_and(each_key_once);
        prop_assert_eq!(strict(text.as_bytes()).is_ok(), theirs, "{}: {:?}", text, strict(text.as_bytes()));
    }
}
