//! Newline-delimited JSON, cut into lines.

/// One raw message, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'m> {
    /// The message, without the line's end.
    pub bytes: &'m [u8],
    /// Lines before it in the text it was cut from, blank ones included.
    pub before: usize,
}

/// The lines of `raw` that are not blank.
///
/// Lines end with LF or CR LF, the last one also without. A line of nothing but spaces, tabs and carriage returns is
/// blank: it is no message and has no answer. A line feed inside a JSON string is written `\n`, so it ends no line.
/// Cost: one pass at the speed of memory.
pub fn of(raw: &[u8]) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (before, end) in memchr::memchr_iter(b'\n', raw).chain([raw.len()]).enumerate() {
        let bytes = &raw[start..end];
        start = end + 1;
        if !bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            lines.push(Line { bytes, before });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_skipped_and_still_counted() {
        let table: [(&str, &[(&str, usize)]); 8] = [
            ("", &[]),
            ("\n", &[]),
            (" \t\r\n\n  ", &[]),
            ("a", &[("a", 0)]),
            ("a\n", &[("a", 0)]),
            ("a\r\nb", &[("a\r", 0), ("b", 1)]),
            ("\n\na\n \nb\n\n", &[("a", 2), ("b", 4)]),
            (" a \n", &[(" a ", 0)]),
        ];
        for (raw, expected) in table {
            let expected: Vec<_> =
                expected.iter().map(|&(text, before)| Line { bytes: text.as_bytes(), before }).collect();
            assert_eq!(of(raw.as_bytes()), expected, "{raw:?}");
        }
    }
}
