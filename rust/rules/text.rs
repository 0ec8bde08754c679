//! Text tests that allocate nothing: comparison without regard to case, and wildcards.
//!
//! Two texts are equal but for case where the characters' lower-case mappings (`char::to_lowercase`, Unicode's
//! unconditional mappings) are the same sequence. That covers all alphabets and needs no language: `É` equals `é`,
//! `Σ` equals `σ`. It is not full case folding: `ß` does not equal `ss`, nor final `ς` the `σ` inside a word.
//! ASCII text takes a byte-wise way with the same answer. All functions are linear in the text.

use smol_str::SmolStr;

/// The lower-case form that the other functions take as their second argument.
pub(crate) fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Whether `text` equals `folded` but for case.
pub(crate) fn equals_folded(text: &str, folded: &str) -> bool {
    if text.is_ascii() {
        return text.eq_ignore_ascii_case(folded);
    }
    text.chars().flat_map(char::to_lowercase).eq(folded.chars())
}

/// Whether `text` starts with `folded` but for case.
pub(crate) fn starts_with_folded(text: &str, folded: &str) -> bool {
    if let Some(start) = text.as_bytes().get(..folded.len())
        && start.is_ascii()
        && folded.is_ascii()
    {
        return start.eq_ignore_ascii_case(folded.as_bytes());
    }
    let mut lower = text.chars().flat_map(char::to_lowercase);
    folded.chars().all(|wanted| lower.next() == Some(wanted))
}

/// Whether `text` ends with `folded` but for case.
pub(crate) fn ends_with_folded(text: &str, folded: &str) -> bool {
    let bytes = text.as_bytes();
    if let Some(end) = bytes.len().checked_sub(folded.len()).and_then(|from| bytes.get(from..))
        && end.is_ascii()
        && folded.is_ascii()
    {
        return end.eq_ignore_ascii_case(folded.as_bytes());
    }
    let mut lower = text.chars().rev().flat_map(|character| character.to_lowercase().rev());
    folded.chars().rev().all(|wanted| lower.next() == Some(wanted))
}

/// Whether the wildcard matches the whole of `text`: `literals` stand in it in order, the first at the start, the
/// last at the end, anything between them.
///
/// The leftmost place for each literal leaves the most room for the rest, so nothing is tried twice: linear time.
pub(crate) fn wildcard(literals: &[SmolStr], text: &str) -> bool {
    let [first, middle @ .., last] = literals else {
        // Fewer than two literals: no `*` at all.
        return literals.first().is_some_and(|only| *only == text);
    };
    let Some(rest) = text.strip_prefix(first.as_str()) else { return false };
    let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
    for literal in middle {
        let Some(found) = rest.find(literal.as_str()) else { return false };
        rest = &rest[found + literal.len()..];
    }
    true
}

/// The known word nearest to `word`, if one is near enough to be a slip of the pen: at most two edits
/// (insert, delete, replace, swap neighbours), and less than half of the word.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).take(64).collect();
    known
        .iter()
        .map(|&candidate| (edits(&word, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|&(distance, _)| distance <= 2 && distance * 2 < word.len().max(3))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: Levenshtein's, and swapping two neighbours counts one.
fn edits(left: &[char], right: &[char]) -> usize {
    let width = right.len() + 1;
    let mut rows: Vec<usize> = (0..width).collect();
    for (i, a) in left.iter().enumerate() {
        rows.push(i + 1);
        for (j, b) in right.iter().enumerate() {
            let at = |row: usize, column: usize| rows[row * width + column];
            let mut cost = (at(i, j) + usize::from(a != b)).min(at(i, j + 1) + 1).min(at(i + 1, j) + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                cost = cost.min(at(i - 1, j - 1) + 1);
            }
            rows.push(cost);
        }
    }
    rows.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_ignored_in_every_alphabet() {
        let table = [
            ("", "", true),
            ("SMS", "sms", true),
            ("sms", "sms", true),
            ("sm", "sms", false),
            ("ÉCOLE", "école", true),
            ("ΟΔΟΣ", "οδοσ", true),
            ("Straße", "strasse", false),
            ("\u{212A}elvin", "kelvin", true), // the Kelvin sign's lower case is k
        ];
        for (text, folded, expected) in table {
            assert_eq!(equals_folded(text, folded), expected, "{text} equals {folded}");
        }
    }

    #[test]
    fn prefix_and_suffix_ignore_case() {
        let table = [
            ("EventBus", "eventb", true, false),
            ("EventBus", "bus", false, true),
            ("ÉcolÉ", "é", true, true),
            ("\u{212A}m\u{212A}", "k", true, true),
            ("İ", "i\u{307}", true, true),
            ("İ", "i", true, false),
            ("", "", true, true),
            ("", "a", false, false),
            ("日本", "日", true, false),
        ];
        for (text, folded, starts, ends) in table {
            assert_eq!(starts_with_folded(text, folded), starts, "{text} starts with {folded}");
            assert_eq!(ends_with_folded(text, folded), ends, "{text} ends with {folded}");
        }
    }

    #[test]
    fn a_wildcard_matches_the_whole_text() {
        let table: [(&[&str], &str, bool); 12] = [
            (&["abc"], "abc", true),
            (&["abc"], "abcd", false),
            (&[""], "", true),
            (&["", ""], "", true),
            (&["", ""], "anything", true),
            (&["a", "a"], "a", false),
            (&["a", "a"], "aa", true),
            (&["ab", "bc"], "abc", false),
            (&["/api/", "/users/", ""], "/api/v2/users/7", true),
            (&["/api/", "/users/", ""], "/api/users/7", false),
            (&["", "x", "x", ""], "axbx", true),
            (&["", "aab", "b"], "aaabb", true),
        ];
        for (literals, text, expected) in table {
            let literals: Vec<SmolStr> = literals.iter().map(|&literal| literal.into()).collect();
            assert_eq!(wildcard(&literals, text), expected, "{literals:?} on {text}");
        }
    }

    #[test]
    fn the_nearest_word_is_suggested_only_if_it_is_near() {
        let known = ["prefix", "suffix", "anything-but", "cidr"];
        for (word, expected) in
            [("prefx", Some("prefix")), ("Cdir", Some("cidr")), ("anything_but", Some("anything-but")), ("zebra", None)]
        {
            assert_eq!(nearest(word, &known), expected, "{word}");
        }
    }
}
