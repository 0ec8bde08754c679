//! Budgets checked while a rule is compiled, each cheap to check. Errors name the limit.

/// What a rule set may cost. The defaults suit rules written by people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Rules in a set.
    pub rules: usize,
    /// Bytes of a `when` text, or of a pattern written as compact JSON.
    pub source_bytes: usize,
    /// Levels of nesting, of operators, parentheses, lists and maps.
    pub nesting: usize,
    /// Nodes of an expression or values in a pattern.
    pub nodes: usize,
    /// Texts, numbers and other constants in an expression or a pattern: what a rule may put into an index.
    pub literals: usize,
    /// Bytes of one compiled regular expression (`regex::RegexBuilder::size_limit`).
    pub regex_bytes: usize,
    /// Steps that evaluating one expression may take; a comprehension takes some for each element.
    pub steps: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rules: 2_000_000,
            source_bytes: 256 * 1024,
            nesting: 64,
            nodes: 50_000,
            literals: 25_000,
            regex_bytes: 1 << 20,
            steps: 1_000_000,
        }
    }
}
