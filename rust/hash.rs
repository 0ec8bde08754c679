//! The hash of what rules are made of: of their ids, fields, predicates and witnesses.
//!
//! Rules are not chosen by an enemy, and hashing them is much of what building costs. So it is fast and has no secret;
//! it only says where to look, and what is found there is compared.

/// Folds a word into a hash: a 64x64 -> 128 bit product, its halves combined, as in wyhash
/// (<https://github.com/wangyi-fudan/wyhash>).
#[inline]
pub(crate) fn mix(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ 0xA076_1D64_78BD_642F) * u128::from(word ^ 0xE703_7ED1_A0B4_28DB);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Folds bytes into a hash.
#[inline]
pub(crate) fn mix_bytes(state: u64, bytes: &[u8]) -> u64 {
    let mut state = mix(state, bytes.len() as u64);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        state = mix(state, le_word(word));
    }
    let rest = words.remainder();
    if rest.is_empty() { state } else { mix(state, short_word(rest)) }
}

/// Up to eight bytes as a number that no other text of their length has.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>(), bytes) {
        (Some(first), Some(last), _) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        (.., [first, .., last]) => u64::from(*first) | u64::from(bytes[1]) << 8 | u64::from(*last) << 16,
        _ => le_word(bytes),
    }
}

/// Up to eight bytes as a number.
#[inline]
pub(crate) fn le_word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// The lower half of a hash as a number below `count`, which is less than 2^32: a product instead of a remainder
/// (Lemire, "Fast random integer generation in an interval", 2019).
#[inline]
pub(crate) fn scaled(hash: u64, count: usize) -> usize {
    ((u64::from(hash as u32) * count as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_every_length_have_hashes_of_their_own() {
        let text = b"abcdefghijklmnopqrstuvwxyz\0\0\0\0";
        let mut seen: Vec<u64> = (0..text.len()).map(|length| mix_bytes(0, &text[..length])).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), text.len());
    }
}
