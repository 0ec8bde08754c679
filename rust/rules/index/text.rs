//! Starts, ends and parts of texts.
//!
//! - A start or an end is a key for each length that some rule names; at most [`LENGTHS`] of them, longer ones are cut
//!   to the nearest.
//! - A part is filed under its grams of as many bytes as the widest of [`WIDTHS`] that fits: under one, or under two
//!   neighbours, of which one stands at an even place wherever the part does, so that every second place of a text is
//!   enough. A text is walked once for each width in use; a bit set of the field's grams passes over almost all of it
//!   without a look at the table. Source: the q-gram filters of Wu and Manber, "A fast algorithm for multi-pattern
//!   searching" (1994). Unlike an automaton it costs a few bytes for each rule, fits in the cache, and is built as fast
//!   as it is read.

use super::bits::Bits;
use super::table::{Lists, Order, Table, le_word, mix, mix_bytes};

/// So many lengths of starts, and of ends, are looked up in a field.
pub(super) const LENGTHS: usize = 24;

/// Bytes of a gram, descending.
pub(super) const WIDTHS: [usize; 5] = [8, 4, 3, 2, 1];

/// Bits for each gram of a field: one in 250 of the places of a text, or fewer, is looked up in the table in vain.
const BITS: usize = 32;

/// So many grams of a part are considered: a longer part is selective enough by its beginning.
pub(super) const CONSIDERED: usize = 48;

/// Lengths that keys are made of, ascending, without 0.
#[derive(Debug, Default)]
pub(super) struct Lengths(Vec<u32>);

impl Lengths {
    pub(super) fn add(&mut self, length: usize) {
        let length = length as u32;
        if let Err(at) = self.0.binary_search(&length) {
            self.0.insert(at, length);
        }
    }

    /// Keeps [`LENGTHS`] of them, the shortest among them, the others evenly spread.
    pub(super) fn thin(&mut self) {
        let count = self.0.len();
        if count > LENGTHS {
            self.0 = (0..LENGTHS).map(|n| self.0[n * count / LENGTHS]).collect();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The longest that is not above `length`.
    pub(super) fn fitting(&self, length: usize) -> Option<usize> {
        let count = self.0.partition_point(|&known| known as usize <= length);
        count.checked_sub(1).map(|at| self.0[at] as usize)
    }

    /// The keys of the starts of `text`.
    pub(super) fn each_start(&self, seed: u64, text: &[u8], with: &mut dyn FnMut(u64)) {
        for &length in &self.0 {
            let Some(start) = text.get(..length as usize) else { return };
            with(mix_bytes(seed, start));
        }
    }

    /// The keys of the ends of `text`.
    pub(super) fn each_end(&self, seed: u64, text: &[u8], with: &mut dyn FnMut(u64)) {
        for &length in &self.0 {
            let Some(from) = text.len().checked_sub(length as usize) else { return };
            with(mix_bytes(seed, &text[from..]));
        }
    }
}

/// The width of the grams of a part; `None` for the empty one.
pub(super) fn width(part: &[u8]) -> Option<usize> {
    WIDTHS.into_iter().find(|&width| width <= part.len())
}

/// The grams of a part, of the widest width that fits.
fn grams(part: &[u8]) -> impl Iterator<Item = u64> {
    let width = width(part).unwrap_or(1);
    part.windows(width).take(CONSIDERED).map(le_word)
}

/// The keys of the grams of a part.
pub(super) fn gram_keys(seed: u64, part: &[u8]) -> impl Iterator<Item = u64> {
    let width = width(part).unwrap_or(1);
    grams(part).map(move |gram| gram_key(seed, width, gram))
}

fn gram_key(seed: u64, width: usize, gram: u64) -> u64 {
    mix(seed ^ width as u64, gram)
}

/// What is filed under the grams of one width in one field, until all of it is known.
#[derive(Debug, Default)]
pub(super) struct Parts {
    found: Vec<Part>,
    /// Whether some part has a single gram.
    single: bool,
    /// How many rules have the rarest grams, and the rarest neighbours, of all parts together.
    shared: [u64; 2],
}

#[derive(Debug)]
struct Part {
    order: Order,
    rarest: u64,
    /// Of all neighbours the rarest together.
    neighbours: [u64; 2],
}

/// Neighbours that are so many times as common as the rarest grams cost more than they spare: then, and where some part
/// has a single gram, every place of a text is looked at, and each part is filed under its rarest gram alone.
const DEARER: u64 = 4;

impl Parts {
    /// Adds a rule; `shared` tells how many rules have a gram, by its key under `seed`.
    pub(super) fn add(&mut self, order: Order, part: &[u8], seed: u64, shared: impl Fn(u64) -> u64) {
        let width = width(part).unwrap_or(1);
        let grams = || grams(part).map(|gram| (shared(gram_key(seed, width, gram)), gram));
        let Some((shared, rarest)) = grams().min_by_key(|&(shared, _)| shared) else { return };
        let pairs = grams().zip(grams().skip(1)).map(|((one, first), (other, second))| (one + other, [first, second]));
        let neighbours = pairs.min_by_key(|&(shared, _)| shared);
        self.single |= neighbours.is_none();
        let (shared_by_both, neighbours) = neighbours.unwrap_or((shared, [rarest; 2]));
        self.shared = [self.shared[0] + shared, self.shared[1] + shared_by_both];
        self.found.push(Part { order, rarest, neighbours });
    }

    /// The grams, and in `pairs` what is filed under them; `None` if nothing is.
    pub(super) fn finish(self, width: usize, seed: u64, pairs: &mut Vec<(u64, Order)>) -> Option<Grams> {
        if self.found.is_empty() {
            return None;
        }
        let every_place = self.single || self.shared[1] > DEARER * self.shared[0];
        let step = if every_place { 1 } else { 2 };
        let mut grams = Grams { width, step, bits: Bits::new(step * self.found.len(), BITS) };
        for part in &self.found {
            let filed = if every_place { std::slice::from_ref(&part.rarest) } else { &part.neighbours };
            for &gram in filed {
                grams.bits.add(gram);
                pairs.push((gram_key(seed, width, gram), part.order));
            }
        }
        Some(grams)
    }
}

/// The grams of one width in one field.
#[derive(Debug)]
pub(super) struct Grams {
    width: usize,
    /// 1, or 2: only even places of a text are looked at.
    step: usize,
    bits: Bits,
}

impl Grams {
    /// Adds the rules of all grams in `text`.
    pub(super) fn find<'t>(&self, seed: u64, text: &[u8], table: &'t Table, out: &mut Lists<'t>) {
        let look = |gram: u64| {
            if self.bits.have(gram) {
                table.find(gram_key(seed, self.width, gram), out);
            }
        };
        match self.width {
            8 => each_gram::<8>(text, self.step, look),
            4 => each_gram::<4>(text, self.step, look),
            3 => each_gram::<3>(text, self.step, look),
            2 => each_gram::<2>(text, self.step, look),
            _ => each_gram::<1>(text, self.step, look),
        }
    }
}

/// Calls `with` with the gram at every place of `text`, or at every second.
#[inline]
fn each_gram<const WIDTH: usize>(text: &[u8], step: usize, with: impl FnMut(u64)) {
    if step == 2 { each_gram_by::<WIDTH, 2>(text, with) } else { each_gram_by::<WIDTH, 1>(text, with) }
}

#[inline]
fn each_gram_by<const WIDTH: usize, const STEP: usize>(text: &[u8], mut with: impl FnMut(u64)) {
    let mut rest = text;
    while let Some(gram) = rest.first_chunk::<WIDTH>() {
        with(word(gram));
        rest = rest.get(STEP..).unwrap_or_default();
    }
}

/// [`le_word`] of as many bytes as are known beforehand: one read where there is one.
#[inline]
fn word<const WIDTH: usize>(gram: &[u8; WIDTH]) -> u64 {
    match &gram[..] {
        &[a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        &[a, b] => u64::from(u16::from_le_bytes([a, b])),
        &[a] => u64::from(a),
        other => le_word(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that are found in `text` of these parts, which are all of one width.
    fn found(parts: &[&str], text: &str) -> Vec<Order> {
        let (mut known, mut pairs) = (Parts::default(), Vec::new());
        (0..).zip(parts).for_each(|(order, part)| known.add(order, part.as_bytes(), 5, |_| 1));
        let grams = known.finish(width(parts[0].as_bytes()).unwrap(), 5, &mut pairs).unwrap();
        let table = Table::new(pairs);
        let mut lists = Lists::new();
        grams.find(5, text.as_bytes(), &table, &mut lists);
        let mut found = lists.concat();
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn a_part_is_found_wherever_it_stands() {
        for parts in [
            &["a"][..],
            &["ab"],
            &["abc"],
            &["abcd"],
            &["abcdefg"],
            &["abcdefgh"],
            &["abcd", "abcde"],
            &["keyword-0001"],
        ] {
            let part = parts[parts.len() - 1];
            for before in ["", "x", "xy", "some ", "another "] {
                for after in ["", "x", " text"] {
                    let text = format!("{before}{part}{after}");
                    assert!(found(parts, &text).contains(&(parts.len() as Order - 1)), "{part} in {text}");
                }
            }
            assert!(found(parts, "ZZZZZZZZZZZZZZZZZZ").is_empty());
        }
    }

    #[test]
    fn grams_are_those_of_every_place_or_every_second() {
        fn grams<const WIDTH: usize>(text: &[u8], step: usize) -> Vec<u64> {
            let mut all = Vec::new();
            each_gram::<WIDTH>(text, step, |gram| all.push(gram));
            all
        }
        let text: Vec<u8> = (1..40).collect();
        for (length, step) in (0..text.len()).flat_map(|length| [(length, 1), (length, 2)]) {
            let text = &text[..length];
            let found = [grams::<1>(text, step), grams::<2>(text, step), grams::<3>(text, step)];
            let found = found.into_iter().chain([grams::<4>(text, step), grams::<8>(text, step)]);
            for (width, found) in [1, 2, 3, 4, 8].into_iter().zip(found) {
                let expected: Vec<u64> = text.windows(width).step_by(step).map(le_word).collect();
                assert_eq!(found, expected, "{width} bytes of {length}");
            }
        }
    }

    #[test]
    fn many_lengths_are_thinned_and_every_start_still_has_a_key() {
        let mut lengths = Lengths::default();
        (3..100).for_each(|length| lengths.add(length));
        lengths.thin();
        assert_eq!(lengths.0.len(), LENGTHS);
        let text: String = ('!'..'~').collect::<String>() + "0123456789";
        for length in 3..100 {
            let key = mix_bytes(1, &text.as_bytes()[..lengths.fitting(length).unwrap()]);
            let mut keys = Vec::new();
            lengths.each_start(1, text.as_bytes(), &mut |key| keys.push(key));
            assert!(keys.contains(&key));
        }
        assert_eq!(lengths.fitting(2), None);
    }
}
