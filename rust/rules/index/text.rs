//! Starts, ends and parts of texts.
//!
//! - A start or an end is a key for each length that some rule names; at most [`LENGTHS`] of them, longer ones are cut
//!   to the nearest.
//! - A part is filed under one of its grams: as many bytes as the widest of [`WIDTHS`] that fits. A text is walked
//!   once for each width in use; a bit set of the field's grams passes over almost all of it without a look at the
//!   table. Source: the q-gram filters of Wu and Manber, "A fast algorithm for multi-pattern searching" (1994).
//!   Unlike an automaton it costs a few bytes for each rule, fits in the cache, and is built as fast as it is read.

use super::table::{Lists, Table, le_word, mix, mix_bytes};

/// So many lengths of starts, and of ends, are looked up in a field.
pub(super) const LENGTHS: usize = 24;

/// Bytes of a gram, descending.
pub(super) const WIDTHS: [usize; 5] = [8, 4, 3, 2, 1];

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

/// The keys of the grams of a part, of the widest width that fits.
pub(super) fn gram_keys(seed: u64, part: &[u8]) -> impl Iterator<Item = u64> {
    let width = width(part).unwrap_or(1);
    part.windows(width).take(CONSIDERED).map(move |gram| gram_key(seed, width, le_word(gram)))
}

#[inline]
fn gram_key(seed: u64, width: usize, gram: u64) -> u64 {
    mix(seed ^ width as u64, gram)
}

/// The grams of one width in one field.
#[derive(Debug)]
pub(super) struct Grams {
    width: usize,
    /// Two bits for each gram, in one word: a Bloom filter in blocks.
    bits: Box<[u64]>,
}

impl Grams {
    /// At least 16 bits for each gram: of the places of a text, one in 60 or fewer is looked up in the table in vain.
    pub(super) fn new(width: usize, keys: &[u64]) -> Self {
        let mut bits = vec![0_u64; (keys.len() / 4).max(16).next_power_of_two()].into_boxed_slice();
        let last = bits.len() - 1;
        for &key in keys {
            bits[bit_word(key) & last] |= bits_of(key);
        }
        Self { width, bits }
    }

    /// Adds the rules of all grams in `text`.
    pub(super) fn find<'t>(&self, seed: u64, text: &[u8], table: &'t Table, out: &mut Lists<'t>) {
        let last = self.bits.len() - 1;
        let look = |gram: u64| {
            let key = gram_key(seed, self.width, gram);
            let wanted = bits_of(key);
            if self.bits[bit_word(key) & last] & wanted == wanted {
                table.find(key, out);
            }
        };
        match self.width {
            8 => each_gram::<8>(text, look),
            4 => each_gram::<4>(text, look),
            3 => each_gram::<3>(text, look),
            2 => each_gram::<2>(text, look),
            _ => each_gram::<1>(text, look),
        }
    }
}

/// Calls `with` with every gram of `text`, as a number. Eight bytes are read at a time, however few of them count; what
/// is too near to the end for that is copied first.
#[inline]
fn each_gram<const WIDTH: usize>(text: &[u8], mut with: impl FnMut(u64)) {
    let mask = u64::MAX >> (64 - 8 * WIDTH);
    text.windows(8).for_each(|word| with(le_word(word) & mask));
    let rest = &text[text.len().saturating_sub(7)..];
    let mut end = [0; 15];
    end[..rest.len()].copy_from_slice(rest);
    (WIDTH..=rest.len()).zip(end.windows(8)).for_each(|(_, word)| with(le_word(word) & mask));
}

/// Which word of the bit set a key is in: other bits of the key than choose the bits in it.
#[inline]
fn bit_word(key: u64) -> usize {
    (key >> 20) as usize
}

/// The two bits of a key.
#[inline]
fn bits_of(key: u64) -> u64 {
    1 << (key >> 58) | 1 << (key & 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_wherever_it_stands() {
        for part in ["a", "ab", "abc", "abcd", "abcdefg", "abcdefgh", "keyword-0001"] {
            let keys: Vec<u64> = gram_keys(5, part.as_bytes()).collect();
            assert!(!keys.is_empty());
            let grams = Grams::new(width(part.as_bytes()).unwrap(), &keys[..1]);
            let table = Table::new(vec![(keys[0], 7)]);
            for text in [part.to_owned(), format!("x{part}"), format!("{part}x"), format!("some {part} text")] {
                let mut lists = Lists::new();
                grams.find(5, text.as_bytes(), &table, &mut lists);
                assert!(lists.iter().any(|&list| list == [7]), "{part} in {text}");
            }
            let mut lists = Lists::new();
            grams.find(5, b"ZZZZZZZZZZZZZZZZZZ", &table, &mut lists);
            assert!(lists.is_empty());
        }
    }

    #[test]
    fn grams_are_those_of_every_place() {
        fn grams<const WIDTH: usize>(text: &[u8]) -> Vec<u64> {
            let mut all = Vec::new();
            each_gram::<WIDTH>(text, |gram| all.push(gram));
            all
        }
        let text: Vec<u8> = (1..40).collect();
        for length in 0..text.len() {
            let text = &text[..length];
            for (width, found) in
                [(1, grams::<1>(text)), (3, grams::<3>(text)), (4, grams::<4>(text)), (8, grams::<8>(text))]
            {
                let expected: Vec<u64> = text.windows(width).map(le_word).collect();
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
