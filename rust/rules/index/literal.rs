//! The texts that a regular expression cannot match without.

use std::cmp::Reverse;

use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};
use regex_syntax::hir::{Class, Hir, HirKind};

/// More alternatives are no help: each costs a key.
const MOST: usize = 64;

/// Classes of so many characters are taken as alternatives.
const MOST_OF_CLASS: usize = 4;

/// Texts of which at least one, none of them empty, stands in every text that the expression matches; of several such
/// sets, the one whose shortest text is longest. `None` if there is none.
pub(super) fn required(pattern: &str) -> Option<Vec<Vec<u8>>> {
    let hir = regex_syntax::parse(pattern).ok()?;
    [inner(&hir), affix(&hir, ExtractKind::Prefix), affix(&hir, ExtractKind::Suffix)]
        .into_iter()
        .flatten()
        .max_by_key(|set| (shortest(set), Reverse(set.len())))
}

fn shortest(set: &[Vec<u8>]) -> usize {
    set.iter().map(Vec::len).min().unwrap_or(0)
}

/// What every match starts or ends with, as the regex crate itself extracts it.
fn affix(hir: &Hir, kind: ExtractKind) -> Option<Vec<Vec<u8>>> {
    let mut extractor = Extractor::new();
    extractor.kind(kind).limit_total(MOST).limit_literal_len(32);
    let found: Seq = extractor.extract(hir);
    let set: Vec<Vec<u8>> = found.literals()?.iter().map(|literal| literal.as_bytes().to_vec()).collect();
    usable(set)
}

/// What stands in every match, read off the tree.
fn inner(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => usable(vec![literal.0.to_vec()]),
        HirKind::Class(Class::Unicode(class)) => {
            let characters = class.iter().flat_map(|range| range.start()..=range.end());
            let set: Vec<Vec<u8>> = characters.take(MOST_OF_CLASS + 1).map(|c| c.to_string().into_bytes()).collect();
            if set.len() > MOST_OF_CLASS { None } else { usable(set) }
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => inner(&repetition.sub),
        HirKind::Capture(capture) => inner(&capture.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(inner).max_by_key(|set| shortest(set)),
        HirKind::Alternation(parts) => {
            let mut union = Vec::new();
            for part in parts {
                union.extend(inner(part)?);
            }
            usable(union)
        }
        _ => None,
    }
}

fn usable(set: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    // No alternative at all: the expression matches nothing, which is not worth a case of its own.
    (!set.is_empty() && set.len() <= MOST && shortest(&set) > 0).then_some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_match_cannot_do_without_is_found() {
        let table: [(&str, Option<&[&str]>); 12] = [
            ("refund", Some(&["refund"])),
            ("^a.*refund[0-9]+$", Some(&["refund"])),
            ("(cat|horse)s?", Some(&["cat", "horse"])),
            ("(cat|.*)s", Some(&["s"])),
            ("x*", None),
            (".*", None),
            ("[a-z]+", None),
            ("(?:abc)+d?", Some(&["abc"])),
            ("(?:abc)*", None),
            ("", None),
            ("^$", None),
            (r"\d+", None),
        ];
        for (pattern, expected) in table {
            let found = required(pattern);
            let found: Option<Vec<String>> =
                found.map(|set| set.into_iter().map(|text| String::from_utf8(text).unwrap()).collect());
            let expected = expected.map(|set| set.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn letters_of_either_case_are_alternatives() {
        let set = required("(?i)ref").unwrap();
        for text in ["ref", "REF", "rEf"] {
            assert!(set.iter().any(|part| part == text.as_bytes()), "{set:?}");
        }
    }
}
