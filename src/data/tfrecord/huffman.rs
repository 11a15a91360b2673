//! Huffman codes as lookup tables: from the bits that come next to what they mean and how many of them that takes.
//!
//! The first `root` bits choose an entry. A longer code leads from there to a second table, chosen by its other bits.

/// Longest code of DEFLATE, in bits.
pub(super) const MAX_CODE_BITS: usize = 15;

/// The entry holds a literal; its byte is at [`VALUE_SHIFT`].
pub(super) const LITERAL: u32 = 1 << 31;
/// The entry is neither a literal nor a length or distance.
pub(super) const SPECIAL: u32 = 1 << 30;
/// Of the special ones: leads to a second table, whose start is the value and whose width the code bits.
pub(super) const SECOND: u32 = 1 << 29;
/// Of the special ones: the end of the block.
pub(super) const END: u32 = 1 << 28;
/// Of a literal: another one follows, its byte at [`PAIR_SHIFT`], and the entry takes the bits of both.
pub(super) const PAIR: u32 = 1 << 30;
pub(super) const PAIR_SHIFT: u32 = 20;
/// Where the value of an entry begins: a byte, the base of a length or distance, the start of a second table.
pub(super) const VALUE_SHIFT: u32 = 12;
/// The value of an entry, once shifted.
pub(super) const VALUE_MASK: u32 = 0xffff;
/// Bits that the code takes, without the extra bits: 4 bits from here.
pub(super) const CODE_SHIFT: u32 = 8;

/// A code that is no code: its lengths ask for too many or too few codes.
#[derive(Debug)]
pub(super) struct BadCode;

/// `SIZE` entries (a power of two, so that a masked index needs no check), looked up by `ROOT` bits.
///
/// An entry holds in its low 6 bits how many bits it takes in all, extra bits included.
#[derive(Debug)]
pub(super) struct Table<const SIZE: usize, const ROOT: u32> {
    entries: Box<[u32; SIZE]>,
}

impl<const SIZE: usize, const ROOT: u32> Table<SIZE, ROOT> {
    /// A table without codes.
    pub(super) fn new() -> Self {
        Self {
            entries: Box::new([SPECIAL; SIZE]),
        }
    }

    /// The entry for the bits that come next.
    #[inline(always)]
    pub(super) fn first(&self, bits: u64) -> u32 {
        self.entries[low(bits, ROOT) & (SIZE - 1)]
    }

    /// The entry that `entry`, a [`SECOND`], leads to; `bits` without the root bits.
    #[inline]
    pub(super) fn second(&self, entry: u32, bits: u64) -> u32 {
        let width = entry >> CODE_SHIFT & 0xf;
        let start = (entry >> VALUE_SHIFT & VALUE_MASK) as usize;
        self.entries[(start + low(bits, width)) & (SIZE - 1)]
    }

    /// Fills the table for symbols with codes of `lengths` bits (0: no code). `meaning` has the flags, the value and,
    /// in the low bits, the number of extra bits of each symbol.
    pub(super) fn build(
        &mut self,
        lengths: &[u8],
        meaning: impl Fn(usize) -> u32,
    ) -> Result<(), BadCode> {
        let mut counts = [0u16; MAX_CODE_BITS + 1];
        for &length in lengths {
            counts[usize::from(length) & MAX_CODE_BITS] += 1;
        }
        counts[0] = 0;
        let longest = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        let mut starts = [0u16; MAX_CODE_BITS + 2];
        let mut left = 1i32;
        for length in 1..=MAX_CODE_BITS {
            left = (left << 1) - i32::from(counts[length]);
            if left < 0 {
                return Err(BadCode);
            }
            starts[length + 1] = starts[length] + counts[length];
        }
        // A lone code of one bit is legal though a half of the code space is unused, and so is no code at all.
        if left > 0 && longest > 1 {
            return Err(BadCode);
        }
        if left > 0 {
            self.entries.fill(SPECIAL);
        }
        let mut sorted = [0u16; 320];
        for (symbol, &length) in (0u16..).zip(lengths) {
            if length > 0 {
                let place = &mut starts[usize::from(length)];
                *sorted.get_mut(usize::from(*place)).ok_or(BadCode)? = symbol;
                *place += 1;
            }
        }
        self.fill(&counts, &sorted, longest, meaning)
    }

    /// Joins two literals into one entry wherever their codes fit into it together.
    pub(super) fn pair_literals(&mut self) {
        let (mut singles, root) = ([0; SIZE], ROOT as usize);
        let count = 1 << root;
        singles[..count].copy_from_slice(&self.entries[..count]);
        for (place, entry) in self.entries[..count].iter_mut().enumerate() {
            let length = *entry & 0x3f;
            let next = singles[place >> length & (SIZE - 1)];
            let both = length + (next & 0x3f);
            if *entry & next & LITERAL != 0 && both <= ROOT {
                let value = next >> VALUE_SHIFT & 0xff;
                let first = *entry & 0xff << VALUE_SHIFT;
                *entry = LITERAL | PAIR | value << PAIR_SHIFT | first | both;
            }
        }
    }

    fn fill(
        &mut self,
        counts: &[u16; MAX_CODE_BITS + 1],
        sorted: &[u16],
        longest: usize,
        meaning: impl Fn(usize) -> u32,
    ) -> Result<(), BadCode> {
        let root = ROOT as usize;
        let mut symbols = sorted.iter();
        let mut code = 0u32;
        // Of the second table in progress: its prefix and start.
        let (mut prefix, mut start) = (usize::MAX, 1 << root);
        let mut next = start;
        for length in 1..=longest {
            for done in 0..counts[length] {
                let symbol = usize::from(*symbols.next().ok_or(BadCode)?);
                let entry = entry(meaning(symbol), length);
                // Codes come with their first bit lowest.
                let reversed = (code.reverse_bits() >> (32 - length)) as usize;
                code += 1;
                if length <= root {
                    let entries = self.entries.get_mut(..1 << root).ok_or(BadCode)?;
                    for place in entries.iter_mut().skip(reversed).step_by(1 << length) {
                        *place = entry;
                    }
                    continue;
                }
                let own = reversed & ((1 << root) - 1);
                if own != prefix {
                    prefix = own;
                    start = next;
                    let width = second_width(counts, length, counts[length] - done, root);
                    next = start + (1 << width);
                    let link = SPECIAL | SECOND | second_link(start, width) | ROOT;
                    *self.entries.get_mut(own).ok_or(BadCode)? = link;
                }
                let entries = self.entries.get_mut(start..next).ok_or(BadCode)?;
                let step = 1 << (length - root);
                for place in entries.iter_mut().skip(reversed >> root).step_by(step) {
                    *place = entry - ROOT - (ROOT << CODE_SHIFT);
                }
            }
            code <<= 1;
        }
        Ok(())
    }
}

/// The lowest `count` of `bits`.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "a table index has 15 bits at most"
)]
fn low(bits: u64, count: u32) -> usize {
    (bits & ((1 << count) - 1)) as usize
}

/// The entry of a symbol whose code has `length` bits.
fn entry(meaning: u32, length: usize) -> u32 {
    let length = u32::try_from(length).unwrap_or(0);
    meaning + length + (length << CODE_SHIFT)
}

fn second_link(start: usize, width: usize) -> u32 {
    let number = |value| u32::try_from(value).unwrap_or(0);
    number(start) << VALUE_SHIFT | number(width) << CODE_SHIFT
}

/// Bits that choose in a second table whose first code has `length` bits, with `remaining` codes of that length left.
fn second_width(
    counts: &[u16; MAX_CODE_BITS + 1],
    length: usize,
    remaining: u16,
    root: usize,
) -> usize {
    let mut width = length - root;
    let mut used = u32::from(remaining);
    while root + width < MAX_CODE_BITS && used < 1 << width {
        width += 1;
        used = (used << 1) + u32::from(counts[root + width]);
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(codes: &[u8]) -> Result<Table<4096, 3>, BadCode> {
        let mut table = Table::new();
        table.build(codes, |symbol| {
            LITERAL | u32::try_from(symbol).unwrap() << VALUE_SHIFT
        })?;
        Ok(table)
    }

    fn decode(table: &Table<4096, 3>, bits: u64) -> (u32, u32) {
        let mut entry = table.first(bits);
        let mut used = 0;
        if entry & SECOND != 0 {
            used = 3;
            entry = table.second(entry, bits >> 3);
        }
        (entry >> VALUE_SHIFT & VALUE_MASK, used + (entry & 0x3f))
    }

    #[test]
    fn short_and_long_codes_are_found() {
        // Canonical codes: 0, 10, 110, 1110, 11110, 111110, 111111.
        let table = lengths(&[1, 2, 3, 4, 5, 6, 6]).unwrap();
        for (symbol, (code, length)) in (0u32..).zip([
            (0b0, 1),
            (0b01, 2),
            (0b011, 3),
            (0b0111, 4),
            (0b01111, 5),
            (0b01_1111, 6),
            (0b11_1111, 6),
        ]) {
            assert_eq!(decode(&table, code), (symbol, length));
        }
    }

    #[test]
    fn two_literals_share_an_entry_where_both_fit() {
        let mut table = lengths(&[1, 2, 3, 3]).unwrap();
        table.pair_literals();
        // 0 then 10 are three bits; 10 then 0 as well; 110 leaves no room.
        let bytes = |bits| {
            let entry = table.first(bits);
            (
                entry >> VALUE_SHIFT & 0xff,
                entry >> PAIR_SHIFT & 0xff,
                entry & PAIR != 0,
                entry & 0x3f,
            )
        };
        assert_eq!(bytes(0b010), (0, 1, true, 3));
        assert_eq!(bytes(0b001), (1, 0, true, 3));
        assert_eq!(bytes(0b000), (0, 0, true, 2));
        assert_eq!(bytes(0b011), (2, 0, false, 3));
    }

    #[test]
    fn lengths_that_are_no_code_are_refused() {
        assert!(lengths(&[1, 1, 1]).is_err(), "too many codes");
        assert!(lengths(&[2, 2, 2]).is_err(), "too few codes");
        assert!(lengths(&[15; 300]).is_err(), "too few codes");
        let table = lengths(&[0, 1]).unwrap();
        assert_eq!(decode(&table, 0), (1, 1));
        assert_eq!(table.first(1), SPECIAL, "the unused half leads nowhere");
        assert_eq!(lengths(&[]).unwrap().first(0), SPECIAL);
    }
}
