use proptest::prelude::*;

use super::*;

/// A way of looking at a block.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Way {
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Sse2,
    Words,
}

pub(in super::super) const WAYS: &[Way] = &[
    #[cfg(target_arch = "x86_64")]
    Way::Avx2,
    #[cfg(target_arch = "x86_64")]
    Way::Sse2,
    Way::Words,
];

/// Does `pass` in this way; `None` if the processor does not have it.
pub(in super::super) fn run_in<P: Pass>(way: Way, pass: P) -> Option<P::Done> {
    match way {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what is asked of it.
        Way::Avx2 => has_avx2().then(|| unsafe { with_avx2(pass) }),
        #[cfg(target_arch = "x86_64")]
        Way::Sse2 => Some(with_sse2(pass)),
        Way::Words => Some(with_words(pass)),
    }
}

/// What `Marks` and `Odd` say, byte by byte.
fn by_bytes(block: &[u8; BLOCK]) -> (Marks, Odd) {
    let bits = |is: fn(u8) -> bool| (0..BLOCK).filter(|&at| is(block[at])).fold(0, |bits, at| bits | 1 << at);
    let odd =
        Odd { backslashes: bits(|byte| byte == b'\\'), controls: bits(|byte| byte < 0x20), foreign: !block.is_ascii() };
    let any_odd = odd.foreign || odd.backslashes | odd.controls != 0;
    (Marks { quotes: bits(|byte| byte == b'"'), any_odd }, odd)
}

/// The same in every way that this processor has.
fn in_every_way(block: &[u8; BLOCK]) -> Vec<(Marks, Odd)> {
    struct Look<'a>(&'a [u8; BLOCK]);
    impl Pass for Look<'_> {
        type Done = (Marks, Odd);

        fn run(self, marks: impl Fn(&[u8; BLOCK]) -> Marks, odd: impl Fn(&[u8; BLOCK]) -> Odd) -> Self::Done {
            (marks(self.0), odd(self.0))
        }
    }
    WAYS.iter().filter_map(|&way| run_in(way, Look(block))).collect()
}

#[test]
fn each_byte_is_told_at_each_place_among_any_other() {
    for other in [b' ', b'a', b'"', b'\\', 0, 0x1f, 0x7f, 0x80, 0xff] {
        for byte in 0..=u8::MAX {
            for at in 0..BLOCK {
                let mut block = [other; BLOCK];
                block[at] = byte;
                for found in in_every_way(&block) {
                    assert_eq!(found, by_bytes(&block), "{byte} at {at} among {other}");
                }
            }
        }
    }
}

#[test]
fn this_processor_has_a_way() {
    assert!(!in_every_way(&[0; BLOCK]).is_empty());
}

#[test]
fn what_stood_before_is_shifted_out() {
    let odd = Odd { backslashes: 0b1001, controls: 0b0110, foreign: true };
    assert_eq!(odd.after(3), Odd { backslashes: 1, controls: 0, foreign: true });
}

proptest! {
    #[test]
    fn any_block_is_looked_at_alike(block in any::<[u8; BLOCK]>()) {
        for found in in_every_way(&block) {
            prop_assert_eq!(found, by_bytes(&block));
        }
    }
}
