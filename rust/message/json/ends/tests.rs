use proptest::prelude::*;

use super::super::text;
use super::block::tests::{WAYS, Way, run_in};
use super::*;

/// The texts of `bytes` from `start` on, stepped over one after the other, until one is no JSON: where they close.
fn stepped(bytes: &[u8], start: usize) -> (Vec<usize>, bool) {
    let mut found = Vec::new();
    let mut at = start;
    while let Some(before) = bytes[at..].iter().position(|&byte| byte == b'"') {
        let Ok((close, _)) = text::close(bytes, at + before) else { return (found, false) };
        found.push(close);
        at = close + 1;
    }
    (found, true)
}

/// The same, found ahead in `way`, and which of them might have escapes; `None` if the processor does not have it.
fn ahead(way: Way, bytes: &[u8], start: usize) -> Option<(Vec<(usize, bool)>, Ahead)> {
    let mut ahead = Ahead::from(start);
    let mut found = Vec::new();
    while ahead.end < bytes.len() {
        let mut done = None;
        ahead.advance_by(bytes, |window| done = run_in(way, window));
        done?;
        for place in &ahead.places[..ahead.count] {
            found.push((ahead.start + usize::from(*place), ahead.escapes));
        }
    }
    Some((found, ahead))
}

fn check(bytes: &[u8], start: usize) {
    let (expected, fine) = stepped(bytes, start);
    for &way in WAYS {
        let Some((found, ahead)) = ahead(way, bytes, start) else { continue };
        let places: Vec<usize> = found.iter().map(|&(place, _)| place).collect();
        // Behind a text that is no JSON nothing is asked.
        assert_eq!(places.get(..expected.len()), Some(&*expected), "{way:?} {start} {}", bytes.escape_ascii());
        if fine {
            assert_eq!(places.len(), expected.len(), "{way:?} {start} {}", bytes.escape_ascii());
            assert!(!ahead.state.wrong, "{way:?} {start} {}", bytes.escape_ascii());
            assert_eq!(ahead.ascii(), bytes.is_ascii());
        } else {
            // Text without an end is found by its having none, whatever else by its being wrong.
            assert!(ahead.state.wrong || ahead.state.within != 0, "{way:?} {start} {}", bytes.escape_ascii());
        }
        let mut opening = start;
        for (close, escapes) in found.into_iter().take(expected.len()) {
            assert!(escapes || !bytes[opening..close].contains(&b'\\'), "{way:?} {start} {}", bytes.escape_ascii());
            opening = close + 1;
        }
    }
}

/// Lengths around the borders of blocks and windows.
fn lengths() -> impl Iterator<Item = usize> {
    [0, BLOCK, 2 * BLOCK, 3 * BLOCK, WINDOW, WINDOW + BLOCK, 2 * WINDOW]
        .into_iter()
        .flat_map(|border| border.saturating_sub(3)..border + 4)
}

#[test]
fn a_text_is_found_at_each_place_around_a_border() {
    for length in lengths() {
        for inside in ["", "x", "\\\"", "\\\\", "\\\\\\\"", "\\u00e9", "é"] {
            for start in [0, 1, 7, 63] {
                let text = format!("{}{}\"{inside}\",\"\"", " ".repeat(start), " ".repeat(length));
                check(text.as_bytes(), start);
                let text = format!("{}\"{}{inside}\",\"y\"  ", " ".repeat(start), "x".repeat(length));
                check(text.as_bytes(), start);
                let text = format!("{}\"{inside}{}\",\"y\"  ", " ".repeat(start), "x".repeat(length));
                check(text.as_bytes(), start);
            }
        }
    }
}

#[test]
fn what_is_no_text_is_found_around_a_border() {
    for length in lengths() {
        for wrong in ["\\", "\\x\"", "\\u12\"", "\\u12g4\"", "\\ud83\"", "\n\"", "\u{0}\"", "", "\\\"", "\\u"] {
            check(format!("\"\",\"{}{wrong}", "x".repeat(length)).as_bytes(), 0);
        }
    }
}

#[test]
fn rows_of_backslashes_of_any_length_begin_at_any_place() {
    for before in 0..BLOCK {
        for row in 0..2 * BLOCK + 3 {
            let text = format!("\"{}{}\",\"a\\n\"", "x".repeat(before), "\\".repeat(row));
            check(text.as_bytes(), 0);
        }
    }
}

#[test]
fn blocks_full_of_quotes_are_noted_to_the_last() {
    for quotes in [0, 2, 62, 64, 66, WINDOW, WINDOW + 2, 3 * WINDOW] {
        for start in [0, 1, 2] {
            check(format!("{}{}", " ".repeat(start), "\"".repeat(quotes)).as_bytes(), start);
        }
    }
}

#[test]
fn a_control_character_outside_of_text_is_white_space_or_the_scanners_concern() {
    let text = format!("{{\n\t\"a\":\r\n\"{}\"\n}}", "x".repeat(BLOCK));
    check(text.as_bytes(), 0);
}

proptest! {
    #[test]
    fn texts_end_where_stepping_over_them_ends(
        pieces in prop::collection::vec("[a-z:,{ ]{0,70}|\"[a-zé]{0,70}\"|\"(\\\\\\\\|\\\\\"|\\\\n|\\\\u00e9|[a-z]){0,40}\"|\"\"|[\n\t ]{0,9}|\"[a-z]{0,70}(\n|\\\\x|\\\\ug)", 0..60),
        start in 0..130_usize,
    ) {
        // A backslash outside of text is for the scanner to refuse, which it does before it comes to what follows.
        check(format!("{}{}", " ".repeat(start), pieces.concat()).as_bytes(), start);
    }
}
