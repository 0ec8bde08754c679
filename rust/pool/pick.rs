//! What is asked of a pool, and what it answers.

use crate::balance::PolicyKind;

/// What a message asks of a pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// Only destinations with at least this clearance; 0 is public.
    pub classification: u8,
    /// Ids not to use, such as those already tried.
    pub exclude: &'a [&'a str],
    /// The only id to use.
    pub pinned: Option<&'a str>,
    /// The hash of the message's key, for policies by key.
    pub key: Option<u64>,
}

impl Request<'_> {
    #[inline]
    pub(crate) fn excludes(&self, id: &str) -> bool {
        self.exclude.contains(&id)
    }
}

/// Which destination, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// Index of the member, for [`Pool::member`].
    pub member: usize,
    /// Its tier.
    pub tier: u8,
    /// Whether its fitness was ignored because too few are fit.
    pub panic: bool,
    /// Whether it is the trial of a destination on probation.
    pub probe: bool,
    /// Why this one.
    pub reason: Reason,
    /// The probability with which it was drawn of all that the message could have gone to, of any tier, where chance
    /// and weights alone decide (`random`, `weighted_random`, `adaptive`) and it is known exactly.
    pub propensity: Option<f64>,
}

/// Why a destination was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// By the policy, among several.
    Policy(PolicyKind),
    /// The policy goes by key and the message has none: at random, by weight.
    NoKey,
    /// It stands in for another that an operator failed over.
    Operator,
    /// It was the only one fit in its tier.
    OnlyChoice,
    /// The tiers before its own could not carry the message.
    Spilled,
    /// No healthy one of its tier had room.
    Degraded,
    /// Too few are fit, so all are used.
    Panic,
    /// It is on probation, and this is its trial.
    Probe,
    /// The message named it.
    Pinned,
}

impl Reason {
    /// The reason's name; the policy's name where it was the policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy(kind) => kind.as_str(),
            Self::NoKey => "no_key",
            Self::Operator => "operator",
            Self::OnlyChoice => "only_choice",
            Self::Spilled => "spilled",
            Self::Degraded => "degraded",
            Self::Panic => "panic",
            Self::Probe => "probe",
            Self::Pinned => "pinned",
        }
    }
}
