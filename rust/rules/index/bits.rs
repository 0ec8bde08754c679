//! A set of hashes that says at once what is not in it: a Bloom filter of two bits for each, both in one word.
//!
//! It is so small that it stays in the cache where what it stands for does not, and nearly always says no, which the
//! processor learns to expect. Sources: Bloom, "Space/time trade-offs in hash coding with allowable errors" (1970); the
//! words are the blocks of Putze, Sanders and Singler, "Cache-, hash-, and space-efficient Bloom filters" (2007).

/// The set.
#[derive(Debug)]
pub(super) struct Bits {
    words: Box<[u64]>,
    /// How far a product is shifted for the number of a word and, below it, those of the two bits.
    shift: u32,
}

impl Bits {
    /// A set with room for `count`, at least `each` bits for each: of others, one in 60 seems to be there at 16 bits, and
    /// one in 250 at 32.
    pub(super) fn new(count: usize, each: usize) -> Self {
        let words = (count * each / 64).max(16).next_power_of_two();
        Self { words: vec![0; words].into(), shift: 64 - 12 - words.trailing_zeros() }
    }

    /// The number of the word, and those of the bits in the lower half.
    #[inline]
    fn place(&self, hash: u64) -> u64 {
        // The golden ratio's product (Knuth): its upper bits depend on all bits, so that numbers too need no better hash.
        hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift
    }

    pub(super) fn add(&mut self, hash: u64) {
        let place = self.place(hash);
        self.words[(place >> 12) as usize] |= 1 << (place & 63) | 1 << (place >> 6 & 63);
    }

    /// Whether the hash may have been added: surely if it was.
    #[inline]
    pub(super) fn have(&self, hash: u64) -> bool {
        let place = self.place(hash);
        let word = self.words[(place >> 12) as usize];
        // Nearly always the first bit decides.
        word >> (place & 63) & 1 == 1 && word >> (place >> 6 & 63) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_and_few_others_seem_to_be() {
        for (count, each, one_in) in [(1_u64, 16, 1_000), (100, 16, 60), (10_000, 16, 60), (10_000, 32, 250)] {
            let mut bits = Bits::new(count as usize, each);
            (0..count).for_each(|n| bits.add(n * 7));
            assert!((0..count).all(|n| bits.have(n * 7)));
            let others = (0..100_000).filter(|n| bits.have(n * 7 + 3)).count();
            assert!(others < 100_000 * 2 / one_in, "{others} of {count}");
        }
    }
}
