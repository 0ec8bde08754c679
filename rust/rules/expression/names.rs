//! What to say about names that are not known, and about tokens that do not fit.

use super::functions::SIGNATURES;
use super::lexer::{Kind, Token, error_at};
use crate::error::ConditionError;
use crate::rules::text::nearest;

/// Identifiers that CEL reserves; they may name fields and methods, not variables.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The macros that are called on a list or map.
pub(super) const MACROS: [&str; 9] =
    ["all", "exists", "exists_one", "existsOne", "filter", "map", "transformList", "transformMap", "has"];

/// The names of types, which are values.
pub(super) const TYPES: [&str; 12] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
];

/// Whether CEL reserves the identifier.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// What other languages call literals and operators.
const WORDS: &[(&str, &str)] = &[
    ("not", "`!`"),
    ("True", "`true`"),
    ("TRUE", "`true`"),
    ("False", "`false`"),
    ("FALSE", "`false`"),
    ("None", "`null`"),
    ("NULL", "`null`"),
    ("nil", "`null`"),
    ("undefined", "has(message.field) to test whether a field is there"),
];

/// What other languages call functions.
const CALLS: &[(&str, &str)] = &[
    ("not", "`!`"),
    ("len", "`size`"),
    ("length", "`size`"),
    ("count", "`size`"),
    ("any", "`exists`"),
    ("some", "`exists`"),
    ("every", "`all`"),
    ("includes", "`contains`, or `in` for lists"),
    ("match", "`matches`"),
    ("test", "`matches`"),
    ("str", "`string`"),
    ("float", "`double`"),
    ("get", "message.field, after has(message.field) &&"),
    ("exist", "has(message.field)"),
    ("defined", "has(message.field)"),
];

/// A sentence with the nearest of `known`, or what another language's name is here; empty if nothing is near.
fn suggestion<'k>(name: &str, elsewhere: &[(&str, &str)], known: impl Iterator<Item = &'k str>) -> String {
    if let Some((_, here)) = elsewhere.iter().find(|(elsewhere, _)| *elsewhere == name) {
        return format!(": write {here}.");
    }
    let known: Vec<_> = known.collect();
    match nearest(name, &known) {
        Some(candidate) => format!(": did you mean `{candidate}`?"),
        None => ".".to_owned(),
    }
}

/// The start of a name, for a message of bounded length.
fn short(name: &str) -> String {
    let mut short: String = name.chars().take(64).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    short
}

/// An identifier that is neither a variable nor a type.
pub(super) fn unknown_variable(name: &str, roots: &[&str], scope: &[&str]) -> String {
    if is_reserved(name) {
        return format!("`{name}` is a reserved word: a field of that name is written message.{name}");
    }
    let known = || roots.iter().chain(scope).copied();
    let advice = suggestion(name, WORDS, known().chain(["true", "false", "null"]).chain(TYPES));
    let advice = match (advice == ".", roots.first()) {
        (true, Some(root)) => format!(": text belongs between quotes, a field is written {root}.{}.", short(name)),
        _ => advice,
    };
    let known: Vec<_> = known().collect();
    format!("unknown variable `{}`{advice} Known: {}", short(name), known.join(", "))
}

/// A call `name(…)` of no function.
pub(super) fn unknown_function(name: &str) -> String {
    if SIGNATURES.iter().any(|signature| signature.name == name) || MACROS.contains(&name) {
        return format!("`{name}` is a method: write value.{name}(…)");
    }
    let known = || SIGNATURES.iter().filter(|signature| signature.as_function).map(|signature| signature.name);
    let advice = suggestion(name, CALLS, SIGNATURES.iter().map(|signature| signature.name).chain(MACROS));
    format!("unknown function `{}`{advice} Known: has, {}", short(name), known().collect::<Vec<_>>().join(", "))
}

/// A call `value.name(…)` of no method.
pub(super) fn unknown_method(name: &str) -> String {
    if SIGNATURES.iter().any(|signature| signature.name == name) || name == "has" {
        return format!("`{name}` is no method: write {name}(value)");
    }
    let methods = || SIGNATURES.iter().filter(|signature| signature.as_method).map(|signature| signature.name);
    let known = || MACROS.into_iter().filter(|name| *name != "has").chain(methods());
    let advice = suggestion(name, CALLS, known());
    format!("unknown method `{}`{advice} Known: {}", short(name), known().collect::<Vec<_>>().join(", "))
}

/// The token where `wanted` should stand.
pub(super) fn unexpected(source: &str, token: Token, wanted: &str) -> ConditionError {
    let text = token.span.of(source);
    let problem = match (token.kind, text.to_ascii_lowercase().as_str()) {
        (Kind::End, _) => format!("the condition ends where {wanted} should stand"),
        (Kind::Identifier, "and") => format!("`{text}` is no operator: write `&&`"),
        (Kind::Identifier, "or") => format!("`{text}` is no operator: write `||`"),
        (Kind::Identifier, "not") => format!("`{text}` is no operator: write `!(a in b)` for `a not in b`"),
        (Kind::Identifier, "is") => format!("`{text}` is no operator: write `==`"),
        (Kind::Identifier, "contains" | "matches" | "startswith" | "endswith" | "like") => {
            format!("`{text}` is no operator: write value.contains(\"…\"), .startsWith, .endsWith or .matches")
        }
        (Kind::Double, digits) if digits.starts_with('.') => {
            format!("an element of a list is selected with brackets: [{}]", short(&digits[1..]))
        }
        (Kind::OpenBrace, _) => "a `{` cannot stand here: a map is a value of its own, as in {\"key\": 1}".to_owned(),
        _ => format!("{wanted} should stand where `{}` is", short(text)),
    };
    error_at(source, token.span.start as usize, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let table = [
            ("mesage", "did you mean `message`?"),
            ("Message", "did you mean `message`?"),
            ("strng", "did you mean `string`?"),
            ("channel", "written message.channel"),
            ("None", "write `null`"),
            ("for", "reserved"),
        ];
        for (name, advice) in table {
            let problem = unknown_variable(name, &["message", "live"], &[]);
            assert!(problem.contains(advice), "{name}: {problem}");
        }
        assert!(unknown_method("startswith").contains("did you mean `startsWith`?"));
        assert!(unknown_method("int").contains("write int(value)"));
        assert!(unknown_function("len").contains("write `size`"));
        assert!(unknown_function("startsWith").contains("write value.startsWith(…)"));
        assert!(unknown_variable(&"x".repeat(100_000), &["message"], &[]).len() < 300);
    }
}
