//! A sample of what messages say, by which witnesses are chosen anew when layers are merged.
//!
//! Rules alone do not tell which values messages have: a value that few rules share is a poor witness if every message
//! has it. So of one message in [`GAP`] the values of its fields are kept, as hashes and as places on an axis, never
//! the values themselves. The last [`MESSAGES`] count, so the sample follows the traffic. No answer depends on it.
//!
//! Cost: a message that is not kept costs a load and a store. At most [`MESSAGES`] x [`FIELDS`] x [`LEAVES`] values of
//! 40 bytes are held; mostly a hundredth of that. Nobody waits: a message that finds the sample in use is not kept.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::index::{Axis, Way, hash, place};
use crate::message::Fields;
use crate::message::path::{FieldId, FieldTable, Path};
use crate::message::value::Value;

/// One message in so many is kept.
const GAP: u32 = 1024;

/// Until there are [`MESSAGES`], one in so many is.
const FIRST_GAP: u32 = 64;

/// So many messages are kept.
const MESSAGES: usize = 128;

/// Fewer messages than this say nothing.
const ENOUGH: usize = 32;

/// Of a message, so many fields are kept.
const FIELDS: usize = 32;

/// Of a field that is a list, so many elements are.
const LEAVES: usize = 8;

/// Messages seen lately, shared by the programs that come of one another.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Messages to pass over before the next is kept.
    left: AtomicU32,
    kept: Mutex<VecDeque<Box<[Seen]>>>,
}

/// One value of one field of a message.
#[derive(Debug)]
struct Seen {
    path: Arc<Path>,
    hash: u64,
    place: Option<(Axis, f64)>,
}

impl Traffic {
    /// Whether one of the next `count` messages is to be kept. Relaxed: threads that count at once keep a few more or
    /// fewer, and nothing else is ordered by it.
    #[inline]
    pub(super) fn due(&self, count: u32) -> bool {
        match self.left.load(Ordering::Relaxed).checked_sub(count) {
            Some(left) => {
                self.left.store(left, Ordering::Relaxed);
                false
            }
            None => true,
        }
    }

    /// Passes over as many messages as can be.
    pub(super) fn rest(&self) {
        self.left.store(GAP, Ordering::Relaxed);
    }

    /// Keeps the values of those of the fields that are below `root`.
    pub(super) fn keep<'m>(&self, message: &dyn Fields<'m>, fields: &FieldTable, root: &str) {
        let mut seen = Vec::new();
        let known = fields.paths().iter().enumerate().filter(|(_, path)| *path.root == *root).take(FIELDS);
        for (number, path) in known {
            let before = seen.len();
            let way = Way::new(FieldId::new(number), fields);
            let read = way.each_leaf(message, fields, &mut |value| {
                if seen.len() - before < LEAVES {
                    seen.push(Seen { path: Arc::clone(path), hash: hash(value), place: place(value) });
                }
            });
            if read.is_err() {
                // Nobody asked for this field: whoever does is told.
                seen.truncate(before);
            }
        }
        let Ok(mut kept) = self.kept.try_lock() else { return };
        if kept.len() == MESSAGES {
            kept.pop_front();
        }
        kept.push_back(seen.into());
        let gap = if kept.len() < MESSAGES { FIRST_GAP } else { GAP };
        self.left.store(gap - 1, Ordering::Relaxed);
    }

    /// How many messages have what; `None` if too few are known.
    pub(super) fn shares(&self, fields: &FieldTable) -> Option<Shares> {
        let kept = self.kept.lock().ok()?;
        if kept.len() < ENOUGH {
            return None;
        }
        let mut values: HashMap<(FieldId, u64), u32> = HashMap::new();
        let mut places: HashMap<FieldId, Vec<(Axis, f64)>> = HashMap::new();
        for message in &*kept {
            for (at, seen) in message.iter().enumerate() {
                let Some(field) = fields.find(&seen.path) else { continue };
                // Of elements that are equal, one counts.
                if !message[..at].iter().any(|other| other.hash == seen.hash && other.path == seen.path) {
                    *values.entry((field, seen.hash)).or_default() += 1;
                    places.entry(field).or_default().extend(seen.place);
                }
            }
        }
        Some(Shares { messages: kept.len() as f64, values, places })
    }
}

/// The sample, counted.
#[derive(Debug)]
pub(super) struct Shares {
    messages: f64,
    values: HashMap<(FieldId, u64), u32>,
    places: HashMap<FieldId, Vec<(Axis, f64)>>,
}

impl Shares {
    /// The share of messages, 0..1, whose field has the value.
    pub(super) fn of_value(&self, field: FieldId, value: &Value<'_>) -> f64 {
        self.values.get(&(field, hash(value))).map_or(0.0, |&count| f64::from(count) / self.messages)
    }

    /// The share of messages, 0..1, whose field lies within the bounds.
    pub(super) fn of_range(&self, field: FieldId, axis: Axis, low: f64, high: f64) -> f64 {
        let places = self.places.get(&field).map_or(&[][..], |places| places);
        let within = places.iter().filter(|(other, place)| *other == axis && low <= *place && *place <= high);
        (within.count() as f64 / self.messages).min(1.0)
    }
}

#[cfg(test)]
mod tests;
