//! What can be wrong with a text of JSON.

use std::fmt;

/// What is wrong: a byte, where its words would be two words of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    EndsEarly,
    TextAfterEnd,
    TooDeep,
    NoValue,
    NoWord,
    NoKey,
    RepeatedKey,
    NoColon,
    NoNextEntry,
    NoNextElement,
    NoDigit,
    NoClose,
    NoEscape,
    Control,
    HalfPair,
    Beyond64Bits,
    BeyondDouble,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndsEarly => "the message ends too early",
            Self::TextAfterEnd => "text after the end of the message",
            Self::TooDeep => "nested too deeply",
            Self::NoValue => "expected a value",
            Self::NoWord => "expected a value: `true`, `false`, `null`, a number, text, a list or an object",
            Self::NoKey => "expected a key in double quotes",
            Self::RepeatedKey => "a key that its object has already; send each key once",
            Self::NoColon => "expected `:` after the key",
            Self::NoNextEntry => "expected `,` or `}`",
            Self::NoNextElement => "expected `,` or `]`",
            Self::NoDigit => "expected a digit",
            Self::NoClose => "text without a closing quote",
            Self::NoEscape => "an escape that JSON does not have",
            Self::Control => "a control character in text; escape it as `\\u00..`",
            Self::HalfPair => "text with half of a surrogate pair, which is no Unicode; send valid text",
            Self::Beyond64Bits => "integer beyond 64 bits; send it as text",
            Self::BeyondDouble => "number beyond the range of a double; send it as text",
        })
    }
}
