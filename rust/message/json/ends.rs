//! Where the texts of a message end, found ahead of the scanner that goes through it.
//!
//! A scanner that looks for the end of each text waits for every answer before it knows where to go on. [`Ahead`] looks
//! at [`WINDOW`] bytes at a time, tells quotes that open from quotes that close by counting them, and notes where the
//! latter stand; the scanner takes one for each text, and the processor works on many texts at once. Source: Langdale
//! and Lemire, "Parsing gigabytes of JSON per second" (2019), stage 1. Of what that notes, closing quotes alone are kept:
//! text is most of a message, and brackets, commas and numbers are soon stepped over. So every other quote is taken, and
//! which bytes are within text is asked only where control characters are.
//!
//! Quotes are counted from a place outside of text. A backslash outside of text may miscount what follows it, but the
//! scanner comes to it first, and refuses it.

use super::block::{self, BLOCK, Marks, Odd};

/// Where texts end. Asked once for every text, in order.
pub(super) trait Ends {
    /// The next closing quote, and whether an escape may stand before it. `None` if that is not known: the text has to
    /// be stepped over.
    fn close(&mut self, bytes: &[u8]) -> Option<(usize, bool)>;

    /// Whether all bytes within texts so far are known to be ASCII.
    fn ascii(&self) -> bool;
}

/// Nothing is known: for a scanner that goes through little.
#[derive(Debug)]
pub(super) struct Unknown;

impl Ends for Unknown {
    #[inline(always)]
    fn close(&mut self, _: &[u8]) -> Option<(usize, bool)> {
        None
    }

    fn ascii(&self) -> bool {
        false
    }
}

/// So many bytes are looked at at once. Fewer cost more rounds, more cost small messages room that is cleared first.
const WINDOW: usize = 16 * BLOCK;

/// Closing quotes are noted so many at a time, whether there are as many or not: a block of text seldom has more.
const TOGETHER: usize = 4;

/// Of the quotes in a block every other one closes, so half of them at most; and room to note some that there are not.
const MOST: usize = WINDOW / 2 + TOGETHER;

/// What is known of the window that the scanner is in.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Where closing quotes stand, from `start` on: `count` of them, the first `taken` behind the scanner.
    places: [u16; MOST],
    taken: usize,
    count: usize,
    start: usize,
    /// Where the next window starts.
    end: usize,
    /// Whether a backslash stands in this window, or in one before where a text that it closes may have begun.
    escapes: bool,
    state: State,
}

/// What is carried from block to block.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// 1 if the block before ends within text.
    within: u64,
    /// 1 if the block before ends with a backslash that begins an escape.
    escaping: u64,
    /// The backslashes of this window, block upon block.
    backslashes: u64,
    /// Whether a byte was no ASCII.
    foreign: bool,
    /// Whether a text is no JSON: a control character, an escape that there is not. Which one and where, the scanner
    /// finds when it steps over it.
    wrong: bool,
}

impl Ahead {
    /// Will look from `start` on, which is outside of text.
    #[inline(always)]
    pub(super) fn from(start: usize) -> Self {
        let state = State::default();
        Self { places: [0; MOST], taken: 0, count: 0, start, end: start, escapes: false, state }
    }

    /// Looks at the next window.
    #[inline(never)]
    fn advance(&mut self, bytes: &[u8]) {
        self.advance_by(bytes, |window| block::run(window));
    }

    #[inline(always)]
    fn advance_by(&mut self, bytes: &[u8], look: impl FnOnce(Window<'_>)) {
        self.start = self.end;
        self.end = bytes.len().min(self.start + WINDOW);
        // A text that this window closes was opened in the last one that closed any, or after that.
        let before = self.state.backslashes != 0 || self.count == 0 && self.escapes;
        self.state.backslashes = 0;
        (self.taken, self.count) = (0, 0);
        look(Window { ahead: self, bytes });
        self.escapes = before || self.state.backslashes != 0;
    }

    /// Notes which of the quotes of the block at `place` of the window close, the first of them if `within` is 1. Quotes
    /// are 64 at most, and `within` is 0 or 1.
    #[inline(always)]
    fn note(&mut self, place: usize, quotes: u64, within: u64) {
        let mut at = self.count;
        self.count += (quotes.count_ones() as usize + within as usize) / 2;
        let mut rest = if within == 0 { without_first(quotes) } else { quotes };
        while let Some(slots) = self.places.get_mut(at..at + TOGETHER) {
            for slot in slots {
                // Of nothing, a place beyond the block, and beyond `count`.
                *slot = (place + rest.trailing_zeros() as usize) as u16;
                rest = without_first(without_first(rest));
            }
            if rest == 0 {
                break;
            }
            at += TOGETHER;
        }
    }
}

#[inline(always)]
fn without_first(bits: u64) -> u64 {
    bits & bits.wrapping_sub(1)
}

impl Ends for Ahead {
    #[inline(always)]
    fn close(&mut self, bytes: &[u8]) -> Option<(usize, bool)> {
        while self.taken >= self.count {
            if self.end >= bytes.len() {
                return None;
            }
            self.advance(bytes);
        }
        let place = *self.places.get(self.taken)?;
        self.taken += 1;
        (!self.state.wrong).then_some((self.start + usize::from(place), self.escapes))
    }

    fn ascii(&self) -> bool {
        !self.state.foreign && !self.state.wrong
    }
}

/// Looks at the bytes from `start` to `end`.
struct Window<'a> {
    ahead: &'a mut Ahead,
    bytes: &'a [u8],
}

impl block::Pass for Window<'_> {
    type Done = ();

    #[inline(always)]
    fn run(self, marks: impl Fn(&[u8; BLOCK]) -> Marks, odd: impl Fn(&[u8; BLOCK]) -> Odd) {
        let Self { ahead, bytes } = self;
        let start = ahead.start;
        let (blocks, tail) = bytes[start..ahead.end].as_chunks::<BLOCK>();
        // Kept apart, so that it stays in registers.
        let mut state = ahead.state;
        let mut place = 0;
        for block in blocks {
            let Marks { quotes, any_odd } = marks(block);
            let within = state.within;
            if any_odd || state.escaping != 0 {
                let quotes = state.quotes_among(quotes, odd(block), bytes, start + place);
                ahead.note(place, quotes, within);
            } else if quotes != 0 {
                state.pass(quotes);
                ahead.note(place, quotes, within);
            }
            place += BLOCK;
        }
        if !tail.is_empty() {
            let (quotes, odd) = match bytes.last_chunk::<BLOCK>() {
                // The message's last bytes; what stands before the tail is shifted out.
                Some(block) => {
                    let seen = BLOCK - tail.len();
                    (marks(block).quotes >> seen, odd(block).after(seen))
                }
                None => {
                    let mut block = [b' '; BLOCK];
                    block[..tail.len()].copy_from_slice(tail);
                    (marks(&block).quotes, odd(&block))
                }
            };
            let within = state.within;
            let quotes = state.quotes_among(quotes, odd, bytes, start + place);
            ahead.note(place, quotes, within);
        }
        ahead.state = state;
    }
}

impl State {
    /// Goes past the quotes of a block.
    #[inline(always)]
    fn pass(&mut self, quotes: u64) {
        self.within ^= u64::from(quotes.count_ones()) & 1;
    }

    /// The quotes that open or close, of a block at `start` that has what most blocks do not. Goes past it.
    #[inline(always)]
    fn quotes_among(&mut self, mut quotes: u64, odd: Odd, bytes: &[u8], start: usize) -> u64 {
        if odd.backslashes | self.escaping != 0 {
            let escaped = self.escaped(odd.backslashes);
            self.wrong |= !all_escapes(bytes, start, escaped);
            self.backslashes |= odd.backslashes;
            quotes &= !escaped;
        }
        if odd.controls != 0 {
            self.wrong |= odd.controls & self.text(quotes) != 0;
        }
        self.foreign |= odd.foreign;
        self.pass(quotes);
        quotes
    }

    /// The bytes of a block that are within text: an odd number of quotes stands up to them.
    #[inline(always)]
    fn text(&self, quotes: u64) -> u64 {
        let mut odd = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            odd ^= odd << shift;
        }
        odd ^ 0_u64.wrapping_sub(self.within)
    }

    /// The bytes that a backslash stands before which is not itself escaped.
    ///
    /// In a row of backslashes that one at an even place begins, those at even places escape. A backslash that may begin
    /// an escape is taken off bits that are set at all odd places: the borrow runs along its row, and what is left tells
    /// how the places of row and beginning differ. Source: `find_escaped` of simdjson.
    #[inline(always)]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        let beginning = backslashes & !self.escaping;
        let alternating = ((beginning << 1) | ODD).wrapping_sub(beginning) ^ ODD;
        let escaped = alternating ^ (backslashes | self.escaping);
        self.escaping = (alternating & backslashes) >> 63;
        escaped
    }
}

/// Whether what stands behind each backslash makes an escape of JSON.
#[inline(never)]
fn all_escapes(bytes: &[u8], start: usize, mut escaped: u64) -> bool {
    while escaped != 0 {
        let at = start + escaped.trailing_zeros() as usize;
        escaped &= escaped - 1;
        if bytes.get(at..).and_then(escape).is_none() {
            return false;
        }
    }
    true
}

/// How long the escape is whose backslash stands before `rest`, without the backslash; `None` if JSON has no such.
#[inline(always)]
pub(super) fn escape(rest: &[u8]) -> Option<usize> {
    match rest.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(1),
        b'u' => rest.get(1..5)?.iter().all(u8::is_ascii_hexdigit).then_some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
