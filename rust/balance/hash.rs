//! The hash that affinity rests on: XXH64 with seed 0, the same in every process, on every machine, in every version.
//!
//! A key that is text is hashed as its UTF-8, bytes as they are, an integer as its decimal digits, so that 42 and "42"
//! are one key and any other program can tell which. Destinations are told apart by the XXH64 of their id.
//!
//! Source: Y. Collet, the xxHash specification (doc/xxhash_spec.md of xxHash). About 10 ns for 36 bytes.

const PRIMES: [u64; 5] =
    [0x9E37_79B1_85EB_CA87, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x85EB_CA77_C2B2_AE63, 0x27D4_EB2F_1656_67C5];

/// XXH64 of these bytes, with seed 0.
pub fn xxh64(bytes: &[u8]) -> u64 {
    let (stripes, rest) = bytes.as_chunks::<32>();
    let mut hash = match stripes {
        [] => PRIMES[4],
        _ => striped(stripes),
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        let mixed = round(0, u64::from_le_bytes(*word));
        hash = (hash ^ mixed).rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        let mixed = u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIMES[0]);
        hash = (hash ^ mixed).rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(PRIMES[4])).rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}

fn striped(stripes: &[[u8; 32]]) -> u64 {
    let mut lanes = [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, PRIMES[0].wrapping_neg()];
    for stripe in stripes {
        for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }
    let turns = [1, 7, 12, 18];
    let sum = lanes.iter().zip(turns).fold(0u64, |sum, (lane, turn)| sum.wrapping_add(lane.rotate_left(turn)));
    lanes.iter().fold(sum, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]))
}

#[inline]
fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

/// 2^64 / φ, odd: multiples of it differ in all bits that a finalizer then mixes.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finalizer of splitmix64.
#[inline]
fn finalized(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A well-mixed number from two, such as a key and a destination: the finalizer of splitmix64 over one and the other.
#[inline]
pub fn mix(a: u64, b: u64) -> u64 {
    finalized(a ^ b.wrapping_mul(GOLDEN))
}

/// A well-mixed number from any: a step of splitmix64.
pub fn scramble(seed: u64) -> u64 {
    finalized(seed.wrapping_add(GOLDEN))
}

/// A hash as a number above 0 and below 1.
#[inline]
pub fn fraction(hash: u64) -> f64 {
    // The upper 52 bits, in the middle of their step.
    ((hash >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_xxh64() {
        let table: [(&[u8], u64); 5] = [
            (b"", 0xEF46_DB37_51D8_E999),
            (b"a", 0xD24E_C4F1_A98C_6E5B),
            (b"abc", 0x44BC_2CF5_AD77_0999),
            (b"Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1),
            (b"0123456789abcdefghijklmnopqrstuv0123456789abcdefghijklmnopqrstuvxyz", 0xAA77_CC7D_BF68_8093),
        ];
        for (bytes, hash) in table {
            assert_eq!(xxh64(bytes), hash, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn fractions_lie_between_zero_and_one() {
        assert!(fraction(0) > 0.0 && fraction(u64::MAX) < 1.0);
        assert!((fraction(1 << 63) - 0.5).abs() < 1e-12);
    }
}
