//! Raw JSON bytes as a message, without building it.
//!
//! One pass checks the whole text and notes where the fields that rules name start ([`Paths`]); a field is converted
//! when it is read, its text borrowed from the bytes unless it has escapes. Fields that no rule names cost a scan, which
//! finds the ends of texts 64 bytes at a time, with SIMD: `ends.rs` tells how.
//!
//! - The whole message is checked against the grammar, also behind the last field that is named: half a message is
//!   never routed. `NaN` and `Infinity` are not JSON. Nesting is limited to
//!   [`MAX_DEPTH`](super::value::MAX_DEPTH) levels.
//! - A key that comes twice: the last one counts, with all that is below it. [`Check::Strict`] refuses it.
//! - Half of a surrogate pair: reading such a text is a [`ReadError`], other fields are not touched by it, and a key
//!   with it is no rule's. [`Check::Strict`] refuses it, wherever it stands.
//! - An integer beyond 64 bits and a number beyond the range of a double are JSON but no values: reading such a field
//!   is a [`ReadError`], other fields are not touched by it.
//!
//! Cost: linear in the bytes, one pass, and one more for UTF-8 if there is anything but ASCII; four bytes for each node
//! of the tree, allocated if there are more than 16; a kilobyte of the stack. [`Check::Strict`] remembers the keys of the
//! objects that are open: expected O(1) a key, memory for objects of more than eight keys.

mod block;
mod ends;
mod keys;
mod number;
mod paths;
mod problem;
mod scan;
mod text;

use smallvec::SmallVec;

use ends::{Ahead, Ends};
use keys::{AnyKeys, Keys, Seen};
use paths::Node;
pub use paths::Paths;
use scan::{Fault, Scanner};

use super::objects::{Listed, Objects};
use super::path::FieldId;
use super::value::Value;
use super::{Fields, Read};
use crate::error::ReadError;

/// What of a message is checked, besides that it is UTF-8 and keeps to the grammar of RFC 8259.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Nothing more: of a key that comes twice the last one counts.
    #[default]
    Grammar,
    /// All that I-JSON (RFC 7493) demands: no object has a key twice, no text half of a surrogate pair.
    Strict,
}

/// Bytes that are no JSON message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column} (byte {offset} of the message): {problem}")]
pub struct JsonError {
    /// Byte offset, from 0.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
}

impl JsonError {
    fn new(bytes: &[u8], offset: usize, problem: impl Into<String>) -> Self {
        let before = &bytes[..offset.min(bytes.len())];
        let line = before.split(|&byte| byte == b'\n').count();
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        Self { offset, line, column, problem: problem.into() }
    }

    fn of(bytes: &[u8], fault: &Fault) -> Self {
        Self::new(bytes, fault.offset, fault.problem.to_string())
    }
}

/// A checked JSON text, and where in it the fields of [`Paths`] start.
#[derive(Debug, Clone)]
pub struct JsonMessage<'m> {
    bytes: &'m [u8],
    paths: &'m Paths,
    /// For each node 1 + the offset of its value; 0: not there.
    starts: SmallVec<[u32; FEW]>,
}

/// Of so many nodes the starts need no memory of their own.
const FEW: usize = 16;

impl<'m> JsonMessage<'m> {
    /// As [`JsonMessage::checked`], with [`Check::Grammar`].
    ///
    /// # Errors
    /// As there.
    pub fn parse(bytes: &'m [u8], paths: &'m Paths) -> Result<Self, JsonError> {
        Self::checked(bytes, paths, Check::Grammar)
    }

    /// Checks `bytes` and finds the fields of `paths`.
    ///
    /// # Errors
    /// [`JsonError`] if the bytes are not one JSON value in UTF-8, do not pass `check`, or are 4 GiB or more.
    pub fn checked(bytes: &'m [u8], paths: &'m Paths, check: Check) -> Result<Self, JsonError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(JsonError::new(bytes, 0, "a message of 4 GiB or more"));
        }
        let mut starts = SmallVec::new();
        starts.resize(paths.nodes(), 0);
        match check {
            Check::Grammar => walk_all(&mut Scanner::<_, AnyKeys>::ahead(bytes, 0), paths, &mut starts)?,
            Check::Strict => walk_all(&mut Scanner::<_, Seen<'_>>::ahead(bytes, 0), paths, &mut starts)?,
        }
        Ok(Self { bytes, paths, starts })
    }

    /// Whether the text is an object, as a message is.
    pub fn is_object(&self) -> bool {
        {
            let part = self.part();
            part.start(0).is_some_and(|start| part.first_byte(start) == b'{')
        }
    }

    fn part(&self) -> Part<'_, 'm> {
        Part { bytes: self.bytes, paths: self.paths, top: 0, starts: &self.starts }
    }
}

/// A part of a checked text: all of it, or an object of a list.
struct Part<'a, 'm> {
    bytes: &'m [u8],
    paths: &'m Paths,
    /// The node that the part stands at, the first of `starts`.
    top: Node,
    starts: &'a [u32],
}

impl<'m> Part<'_, 'm> {
    /// Where the value of `node` starts.
    fn start(&self, node: Node) -> Option<usize> {
        self.starts.get(node.checked_sub(self.top)?)?.checked_sub(1).map(|start| start as usize)
    }

    fn first_byte(&self, start: usize) -> u8 {
        self.bytes.get(start).copied().unwrap_or(0)
    }

    fn read_node(&self, node: Node, field: FieldId) -> Result<Read<'m>, ReadError> {
        if let Some(start) = self.start(node) {
            return Scanner::lenient(self.bytes, start)
                .value(self.paths.depth(node))
                .map(Read::Value)
                .map_err(|fault| ReadError { field: self.paths.name(field), problem: fault.problem.to_string() });
        }
        let mut above = node;
        while above != self.top {
            let child = above;
            above = self.paths.parent(above);
            if let Some(start) = self.start(above) {
                return Ok(match self.first_byte(start) {
                    b'{' if child == node => Read::Absent,
                    b'[' => Read::InList { depth: self.paths.depth(above) },
                    _ => Read::Broken,
                });
            }
        }
        Ok(Read::Broken)
    }
}

/// Checks the whole text, noting where the nodes of `paths` start. That it is no UTF-8 is told before all else.
fn walk_all<'m, E: Ends, K: Keys<'m>>(
    scanner: &mut Scanner<'m, E, K>,
    paths: &Paths,
    starts: &mut [u32],
) -> Result<(), JsonError> {
    let walked = walk(scanner, paths, 0, 0, 0, starts).and_then(|()| scanner.end());
    if walked.is_err() || !scanner.ascii() {
        utf8(scanner.bytes())?;
    }
    walked.map_err(|fault| JsonError::of(scanner.bytes(), &fault))
}

/// Steps over the value at `node`, noting where it and the nodes below it start: that of `top` first.
fn walk<'m, E: Ends, K: Keys<'m>>(
    scanner: &mut Scanner<'m, E, K>,
    paths: &Paths,
    top: Node,
    node: Node,
    depth: usize,
    starts: &mut [u32],
) -> Result<(), Fault> {
    let first = scanner.peek();
    // The text is shorter than 4 GiB, so the offset fits.
    starts[node - top] = u32::try_from(scanner.offset() + 1).unwrap_or(0);
    if first != b'{' || paths.is_leaf(node) {
        return scanner.skip(depth);
    }
    scanner.object(depth, |scanner, key| {
        let child = key.meant().and_then(|key| paths.child(node, &key));
        match child {
            Some(child) => {
                if starts[child - top] != 0 {
                    // The key came before; what was found below it does not count.
                    let below = paths.below(child);
                    starts[below.start - top..below.end - top].fill(0);
                }
                walk(scanner, paths, top, child, depth + 1, starts)
            }
            None => scanner.skip(depth + 1),
        }
    })
}

/// The objects of a list: for each, where the nodes below the list start.
struct InJson<'m> {
    bytes: &'m [u8],
    paths: &'m Paths,
    list: Node,
    /// How many nodes there are for each object.
    nodes: usize,
    starts: Vec<u32>,
}

impl<'m> Objects<'m> for InJson<'m> {
    fn len(&self) -> usize {
        self.starts.len() / self.nodes
    }

    fn read(&self, number: usize, field: FieldId) -> Result<Read<'m>, ReadError> {
        let starts = &self.starts[number * self.nodes..][..self.nodes];
        let part = Part { bytes: self.bytes, paths: self.paths, top: self.list, starts };
        match self.paths.node(field) {
            Some(node) => part.read_node(node, field),
            None => Ok(Read::Broken),
        }
    }
}

impl<'m> InJson<'m> {
    /// Goes through the list that starts at the position. Recurses as deep as lists stand in lists, which the check of
    /// the whole message has bounded.
    fn fill(&mut self, scanner: &mut Scanner<'m, Ahead, AnyKeys>, depth: usize) -> Result<(), Fault> {
        scanner.list(depth, |scanner| match scanner.peek() {
            b'{' => {
                let from = self.starts.len();
                self.starts.resize(from + self.nodes, 0);
                walk(scanner, self.paths, self.list, self.list, depth + 1, &mut self.starts[from..])
            }
            b'[' => self.fill(scanner, depth + 1),
            _ => scanner.skip(depth + 1),
        })
    }
}

impl<'m> Fields<'m> for JsonMessage<'m> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        match self.paths.node(field) {
            Some(node) => self.part().read_node(node, field),
            None => Ok(Read::Broken),
        }
    }

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        let part = self.part();
        let start = self.paths.node(field).and_then(|list| Some((list, part.start(list)?)));
        let Some((list, start)) = start.filter(|&(_, start)| part.first_byte(start) == b'[') else { return Ok(None) };
        let nodes = self.paths.below(list).len();
        let mut objects = InJson { bytes: self.bytes, paths: self.paths, list, nodes, starts: Vec::new() };
        objects
            .fill(&mut Scanner::ahead(self.bytes, start), self.paths.depth(list))
            .map_err(|fault| ReadError { field: self.paths.name(field), problem: fault.problem.to_string() })?;
        Ok(Some(Listed::Made(Box::new(objects))))
    }
}

/// Converts a whole JSON text.
///
/// # Errors
/// [`JsonError`] if the bytes are not one JSON value in UTF-8, or hold what is no value of the message model.
pub fn value(bytes: &[u8]) -> Result<Value<'_>, JsonError> {
    utf8(bytes)?;
    let mut scanner = Scanner::lenient(bytes, 0);
    let value = scanner.value(0).map_err(|fault| JsonError::of(bytes, &fault))?;
    scanner.end().map_err(|fault| JsonError::of(bytes, &fault))?;
    Ok(value)
}

fn utf8(bytes: &[u8]) -> Result<(), JsonError> {
    match simdutf8::compat::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(JsonError::new(bytes, error.valid_up_to(), "bytes that are no UTF-8; send JSON in UTF-8")),
    }
}

#[cfg(test)]
mod tests;
