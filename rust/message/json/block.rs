//! What stands where in 64 bytes of JSON: a bit for each byte, the first one lowest.
//!
//! On x86-64 by AVX2 where the processor has it, else by SSE2, which every one has; elsewhere in words of eight bytes.
//! The tests hold the three to each other. Beside SSE2, AVX2 takes a seventh off the parsing of deliveries of 10 kB, and
//! half off that of long texts.
//!
//! All that is unsafe in reading JSON is in this file: loads from arrays of their size, calls of what a processor has, and
//! ASCII as text.

/// So many bytes are looked at together.
pub(super) const BLOCK: usize = 64;

/// What every block is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    /// `"`.
    pub(super) quotes: u64,
    /// Whether there is anything of [`Odd`].
    pub(super) any_odd: bool,
}

/// What most blocks do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Odd {
    /// `\`.
    pub(super) backslashes: u64,
    /// Below 32: control characters, line feeds and tabs among them.
    pub(super) controls: u64,
    /// Whether a byte is above 127: no ASCII.
    pub(super) foreign: bool,
}

impl Odd {
    /// Without the marks of the first bytes; `first` is less than 64.
    pub(super) fn after(self, first: usize) -> Self {
        Self { backslashes: self.backslashes >> first, controls: self.controls >> first, ..self }
    }
}

/// What is done to block after block. It is compiled for each way of looking at a block, which is inlined into it.
pub(super) trait Pass {
    /// What comes of it.
    type Done;

    /// Does it.
    fn run(self, marks: impl Fn(&[u8; BLOCK]) -> Marks, odd: impl Fn(&[u8; BLOCK]) -> Odd) -> Self::Done;
}

/// Does `pass` in the fastest way that this processor has.
#[inline(always)]
pub(super) fn run<P: Pass>(pass: P) -> P::Done {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx2() {
            // SAFETY: the processor has what is asked of it.
            return unsafe { with_avx2(pass) };
        }
        with_sse2(pass)
    }
    #[cfg(not(target_arch = "x86_64"))]
    with_words(pass)
}

/// Asked once of the processor, then of a byte in memory.
#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn with_avx2<P: Pass>(pass: P) -> P::Done {
    pass.run(|block| avx2::marks(block), |block| avx2::odd(block))
}

#[cfg(target_arch = "x86_64")]
fn with_sse2<P: Pass>(pass: P) -> P::Done {
    // SAFETY: every processor of x86-64 has SSE2.
    pass.run(|block| unsafe { sse2::marks(block) }, |block| unsafe { sse2::odd(block) })
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn with_words<P: Pass>(pass: P) -> P::Done {
    pass.run(words::marks, words::odd)
}

// No closures below: a function that is handed one is compiled without what the closure may use, and vectors would go
// through memory wherever it is not inlined.

/// Two registers of 32 bytes.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Marks, Odd};

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(block: &[u8; BLOCK]) -> [__m256i; 2] {
        // SAFETY: reads 32 bytes from each of the two halves of 64 bytes; the instruction asks for no alignment.
        unsafe { [_mm256_loadu_si256(block.as_ptr().cast()), _mm256_loadu_si256(block[32..].as_ptr().cast())] }
    }

    /// A bit for each byte whose top bit is set.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn bits([low, high]: [__m256i; 2]) -> u64 {
        let (low, high) = (_mm256_movemask_epi8(low) as u32, _mm256_movemask_epi8(high) as u32);
        u64::from(high) << 32 | u64::from(low)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn are([low, high]: [__m256i; 2], byte: u8) -> [__m256i; 2] {
        let wanted = _mm256_set1_epi8(byte as i8);
        [_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted)]
    }

    /// Read with signs, so that bytes above 127 are below 32 as well.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn are_control_or_foreign([low, high]: [__m256i; 2]) -> [__m256i; 2] {
        let space = _mm256_set1_epi8(0x20);
        [_mm256_cmpgt_epi8(space, low), _mm256_cmpgt_epi8(space, high)]
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn marks(block: &[u8; BLOCK]) -> Marks {
        let parts = load(block);
        let ([a, b], [c, d]) = (are_control_or_foreign(parts), are(parts, b'\\'));
        let odd = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
        Marks { quotes: bits(are(parts, b'"')), any_odd: _mm256_movemask_epi8(odd) != 0 }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn odd(block: &[u8; BLOCK]) -> Odd {
        let parts = load(block);
        let foreign = bits(parts);
        let controls = bits(are_control_or_foreign(parts)) & !foreign;
        Odd { backslashes: bits(are(parts, b'\\')), controls, foreign: foreign != 0 }
    }
}

/// Four registers of 16 bytes.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Marks, Odd};

    #[target_feature(enable = "sse2")]
    #[inline]
    fn load(block: &[u8; BLOCK]) -> [__m128i; 4] {
        // SAFETY: reads 16 bytes from each of the four quarters of 64 bytes; the instruction asks for no alignment.
        unsafe {
            [
                _mm_loadu_si128(block.as_ptr().cast()),
                _mm_loadu_si128(block[16..].as_ptr().cast()),
                _mm_loadu_si128(block[32..].as_ptr().cast()),
                _mm_loadu_si128(block[48..].as_ptr().cast()),
            ]
        }
    }

    /// A bit for each byte whose top bit is set.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn bits([a, b, c, d]: [__m128i; 4]) -> u64 {
        let low = _mm_movemask_epi8(a) as u32 | (_mm_movemask_epi8(b) as u32) << 16;
        let high = _mm_movemask_epi8(c) as u32 | (_mm_movemask_epi8(d) as u32) << 16;
        u64::from(high) << 32 | u64::from(low)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn are([a, b, c, d]: [__m128i; 4], byte: u8) -> [__m128i; 4] {
        let wanted = _mm_set1_epi8(byte as i8);
        [_mm_cmpeq_epi8(a, wanted), _mm_cmpeq_epi8(b, wanted), _mm_cmpeq_epi8(c, wanted), _mm_cmpeq_epi8(d, wanted)]
    }

    /// Read with signs, so that bytes above 127 are below 32 as well.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn are_control_or_foreign([a, b, c, d]: [__m128i; 4]) -> [__m128i; 4] {
        let space = _mm_set1_epi8(0x20);
        [_mm_cmpgt_epi8(space, a), _mm_cmpgt_epi8(space, b), _mm_cmpgt_epi8(space, c), _mm_cmpgt_epi8(space, d)]
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn any([a, b, c, d]: [__m128i; 4]) -> __m128i {
        _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn marks(block: &[u8; BLOCK]) -> Marks {
        let parts = load(block);
        let odd = _mm_or_si128(any(are_control_or_foreign(parts)), any(are(parts, b'\\')));
        Marks { quotes: bits(are(parts, b'"')), any_odd: _mm_movemask_epi8(odd) != 0 }
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn odd(block: &[u8; BLOCK]) -> Odd {
        let parts = load(block);
        let foreign = bits(parts);
        let controls = bits(are_control_or_foreign(parts)) & !foreign;
        Odd { backslashes: bits(are(parts, b'\\')), controls, foreign: foreign != 0 }
    }
}

/// Eight words of eight bytes ("SIMD within a register", Hacker's Delight 6-1), where compilers know what the processor
/// has. No byte carries into the next: its top bit is set aside while it is added to.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    use super::{BLOCK, Marks, Odd};

    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;

    fn words(block: &[u8; BLOCK]) -> [u64; 8] {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }

    /// A bit for each byte whose top bit is set.
    fn bits(words: [u64; 8]) -> u64 {
        if words.iter().fold(0, |any, word| any | word) & TOPS == 0 {
            return 0;
        }
        // The product adds each of the eight bits at its own place in the last byte.
        let gathered = |word: u64| ((word & TOPS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        words.into_iter().rev().fold(0, |bits, word| bits << 8 | gathered(word))
    }

    /// Top bits where a byte is below `limit`, which is at most 128.
    fn below(word: u64, limit: u64) -> u64 {
        !((word & !TOPS) + ONES * (128 - limit)) & !word & TOPS
    }

    fn is(word: u64, byte: u8) -> u64 {
        below(word ^ (ONES * u64::from(byte)), 1)
    }

    pub(super) fn marks(block: &[u8; BLOCK]) -> Marks {
        // Becomes a few vector instructions, and is the answer for most blocks of long text.
        let plain = |&byte: &u8| (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\';
        if block.iter().fold(true, |all, byte| all & plain(byte)) {
            return Marks { quotes: 0, any_odd: false };
        }
        let words = words(block);
        let odd = words.iter().fold(0, |odd, &word| odd | below(word, 0x20) | is(word, b'\\') | word & TOPS);
        Marks { quotes: bits(words.map(|word| is(word, b'"'))), any_odd: odd != 0 }
    }

    pub(super) fn odd(block: &[u8; BLOCK]) -> Odd {
        let words = words(block);
        Odd {
            backslashes: bits(words.map(|word| is(word, b'\\'))),
            controls: bits(words.map(|word| below(word, 0x20))),
            foreign: words.iter().fold(0, |any, word| any | word) & TOPS != 0,
        }
    }
}

/// The bytes as text, if they are UTF-8. Of a checked message they are; short text is checked again in nanoseconds, and
/// that it is sound can be seen here.
pub(super) fn unicode(bytes: &[u8]) -> Option<&str> {
    if bytes.is_ascii() {
        // `from_utf8` goes byte by byte to where a word is aligned; without this, converting values takes a tenth more.
        // SAFETY: ASCII is UTF-8.
        return Some(unsafe { str::from_utf8_unchecked(bytes) });
    }
    str::from_utf8(bytes).ok()
}

#[cfg(test)]
pub(super) mod tests;
