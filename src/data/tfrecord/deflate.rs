//! DEFLATE (RFC 1951), a window at a time: as fast as decompressors of whole files, in memory that does not grow.

use std::io::{self, Read};

use super::huffman::{
    BadCode, CODE_SHIFT, END, LITERAL, PAIR, PAIR_SHIFT, SECOND, SPECIAL, Table, VALUE_MASK,
    VALUE_SHIFT,
};

/// How far back a match may reach.
const HISTORY_BYTES: usize = 32 * 1024;
/// Bytes produced between two looks at the consumer.
const OUTPUT_BYTES: usize = 128 * 1024;
/// Room that one step may fill: some literals and the longest match.
const STEP_BYTES: usize = 280;
const INPUT_BYTES: usize = 64 * 1024;
/// Input that one step may use.
const STEP_INPUT_BYTES: usize = 32;
/// Entries that fit into the bits of one refill: five of 11 bits into 56. Each gives one literal or two.
const ENTRIES_PER_REFILL: usize = 5;

const LITLEN_ROOT: u32 = 11;
const DIST_ROOT: u32 = 8;

/// The bytes that come in.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    pub(super) at: usize,
    pub(super) end: usize,
    is_ended: bool,
}

impl Input {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            reader,
            buffer: vec![0; INPUT_BYTES],
            at: 0,
            end: 0,
            is_ended: false,
        }
    }

    /// Reads until there is input for a step, or no more.
    pub(super) fn ensure(&mut self) -> io::Result<()> {
        if self.end.saturating_sub(self.at) >= STEP_INPUT_BYTES || self.is_ended {
            return Ok(());
        }
        self.buffer.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        while self.end < STEP_INPUT_BYTES && !self.is_ended {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.is_ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next byte; `None` at the end.
    pub(super) fn byte(&mut self) -> io::Result<Option<u8>> {
        self.ensure()?;
        let byte = self.buffer[..self.end].get(self.at).copied();
        self.at += usize::from(byte.is_some());
        Ok(byte)
    }
}

/// What has been produced: the last bytes are history for matches.
pub(super) struct Window {
    bytes: Vec<u8>,
    /// What comes before has been consumed.
    pub(super) read: usize,
    pub(super) filled: usize,
    /// Where the stream in progress began; matches do not reach further back.
    begin: usize,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; HISTORY_BYTES + OUTPUT_BYTES + STEP_BYTES],
            read: 0,
            filled: 0,
            begin: 0,
        }
    }

    /// What waits for the consumer.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.read..self.filled]
    }

    /// Makes room by dropping what is too old for a match; everything has been read.
    pub(super) fn slide(&mut self) {
        let dropped = self.filled.saturating_sub(HISTORY_BYTES);
        if dropped > 0 {
            self.bytes.copy_within(dropped..self.filled, 0);
            self.filled -= dropped;
            self.begin = self.begin.saturating_sub(dropped);
        }
        self.read = self.filled;
    }

    fn has_room(&self) -> bool {
        self.filled + STEP_BYTES <= self.bytes.len()
    }
}

enum Block {
    /// A header comes next.
    Header,
    /// So many bytes to copy.
    Stored(usize),
    Coded,
    /// The last block has ended.
    Done,
}

/// Bits taken from the input.
#[derive(Clone, Copy, Debug, Default)]
struct Bits {
    bits: u64,
    /// How many of them are valid, in the low 6 bits; what is above those means nothing, which saves masking where
    /// every cycle counts.
    count: u32,
}

impl Bits {
    /// Takes in at least 56 bits; past the end of the input they are zeros, which [`Self::check_end`] notices.
    #[inline(always)]
    fn refill(&mut self, input: &mut Input) {
        let next = input.buffer[..input.end].get(input.at..);
        if let Some(next) = next.and_then(<[u8]>::first_chunk::<8>) {
            let count = self.count & 0x3f;
            self.bits |= u64::from_le_bytes(*next) << count;
            input.at += ((63 - count) >> 3) as usize;
            self.count = count | 56;
        } else {
            *self = self.refilled_at_end(input);
        }
    }

    #[cold]
    fn refilled_at_end(mut self, input: &mut Input) -> Self {
        self.count &= 0x3f;
        while self.count < 56 {
            let byte = input.buffer[..input.end].get(input.at).copied();
            self.bits |= u64::from(byte.unwrap_or(0)) << self.count;
            input.at += 1;
            self.count += 8;
        }
        self
    }

    /// Drops as many bits as the low 6 bits of `count` say.
    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.bits >>= count & 0x3f;
        self.count = self.count.wrapping_sub(count);
    }

    /// Whole bytes among the bits.
    fn bytes(self) -> usize {
        (self.count >> 3 & 7) as usize
    }

    /// The next `count` bits, of which there are enough.
    #[inline(always)]
    fn take(&mut self, count: u32) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "at most 16 bits")]
        let value = (self.bits & ((1 << count) - 1)) as usize;
        self.skip(count);
        value
    }

    /// The value of the length or distance `entry`, with its extra bits.
    #[inline(always)]
    fn base_and_extra(&mut self, entry: u32) -> usize {
        let code_bits = entry >> CODE_SHIFT & 0xf;
        self.skip(code_bits);
        value(entry) as usize + self.take((entry & 0x3f) - code_bits)
    }

    /// Fails if more bits were used than there are.
    #[inline(always)]
    fn check_end(self, input: &Input) -> io::Result<()> {
        if input.at <= input.end || input.at - self.bytes().min(input.at) <= input.end {
            return Ok(());
        }
        Err(cut_short())
    }
}

/// One DEFLATE stream.
pub(super) struct Deflate {
    bits: Bits,
    block: Block,
    is_last: bool,
    litlen: Table<4096, LITLEN_ROOT>,
    dist: Table<1024, DIST_ROOT>,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            bits: Bits::default(),
            block: Block::Done,
            is_last: false,
            litlen: Table::new(),
            dist: Table::new(),
        }
    }

    /// Begins another stream.
    pub(super) fn restart(&mut self, window: &mut Window) {
        self.bits = Bits::default();
        (self.block, self.is_last) = (Block::Header, false);
        window.begin = window.filled;
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.block, Block::Done)
    }

    /// Produces bytes until the window is full or the stream is done; then the input stands right behind it.
    pub(super) fn run(&mut self, input: &mut Input, window: &mut Window) -> io::Result<()> {
        while window.has_room() {
            match self.block {
                Block::Done => return Ok(()),
                Block::Header => self.header(input)?,
                Block::Stored(left) => self.stored(input, window, left)?,
                Block::Coded => self.coded(input, window)?,
            }
            if matches!(self.block, Block::Header) && self.is_last {
                self.block = Block::Done;
                self.give_back(input);
            }
        }
        Ok(())
    }

    /// Returns whole unused bytes to the input.
    fn give_back(&mut self, input: &mut Input) {
        input.at -= self.bits.bytes().min(input.at);
        self.bits = Bits::default();
    }

    fn header(&mut self, input: &mut Input) -> io::Result<()> {
        input.ensure()?;
        self.bits.refill(input);
        self.is_last = self.bits.take(1) == 1;
        let kind = self.bits.take(2);
        self.bits.check_end(input)?;
        match kind {
            0 => {
                let padding = self.bits.count & 7;
                self.bits.skip(padding);
                self.give_back(input);
                let mut length = [0u8; 4];
                for byte in &mut length {
                    *byte = input.byte()?.ok_or_else(cut_short)?;
                }
                let [a, b, c, d] = length;
                if [a, b] != [!c, !d] {
                    return Err(damaged("the length of a stored block"));
                }
                self.block = Block::Stored(u16::from_le_bytes([a, b]).into());
            }
            1 => {
                let lengths = fixed_lengths();
                self.build(&lengths[..288], &lengths[288..])?;
            }
            2 => self.dynamic(input)?,
            _ => return Err(damaged("the type of a block")),
        }
        Ok(())
    }

    fn stored(&mut self, input: &mut Input, window: &mut Window, left: usize) -> io::Result<()> {
        input.ensure()?;
        let room = window.bytes.len() - window.filled;
        let count = left.min(room).min(input.end.saturating_sub(input.at));
        if count == 0 && left > 0 {
            return Err(cut_short());
        }
        let from = &input.buffer[input.at..input.at + count];
        window.bytes[window.filled..window.filled + count].copy_from_slice(from);
        window.filled += count;
        input.at += count;
        self.block = match left - count {
            0 => Block::Header,
            left => Block::Stored(left),
        };
        Ok(())
    }

    /// Reads the codes of a block that brings its own.
    fn dynamic(&mut self, input: &mut Input) -> io::Result<()> {
        let (litlens, dists, codes) = (
            self.bits.take(5) + 257,
            self.bits.take(5) + 1,
            self.bits.take(4) + 4,
        );
        if litlens > 286 || dists > 30 {
            return Err(damaged("the number of codes"));
        }
        let mut lengths = [0u8; 320];
        for &place in &CODE_ORDER[..codes] {
            input.ensure()?;
            self.bits.refill(input);
            lengths[place] = u8::try_from(self.bits.take(3)).unwrap_or(0);
        }
        let mut code: Table<128, 7> = Table::new();
        let meaning = |symbol| number(symbol) << VALUE_SHIFT | LITERAL;
        code.build(&lengths[..19], meaning).map_err(bad_code)?;
        lengths = [0; 320];
        let mut at = 0;
        while at < litlens + dists {
            input.ensure()?;
            self.bits.refill(input);
            let entry = code.first(self.bits.bits);
            if entry & LITERAL == 0 {
                return Err(damaged("a code length"));
            }
            self.bits.skip(entry);
            let (value, times) = match entry >> VALUE_SHIFT & VALUE_MASK {
                16 if at > 0 => (lengths[at - 1], 3 + self.bits.take(2)),
                16 => return Err(damaged("a repeated code length")),
                17 => (0, 3 + self.bits.take(3)),
                18 => (0, 11 + self.bits.take(7)),
                length => (u8::try_from(length).unwrap_or(0), 1),
            };
            self.bits.check_end(input)?;
            let end = at + times;
            if end > litlens + dists {
                return Err(damaged("a repeated code length"));
            }
            lengths[at..end].fill(value);
            at = end;
        }
        if lengths[256] == 0 {
            return Err(damaged("the code of the end of a block"));
        }
        self.build(&lengths[..litlens], &lengths[litlens..litlens + dists])
    }

    fn build(&mut self, litlens: &[u8], dists: &[u8]) -> io::Result<()> {
        self.litlen
            .build(litlens, litlen_meaning)
            .map_err(bad_code)?;
        self.litlen.pair_literals();
        self.dist.build(dists, dist_meaning).map_err(bad_code)?;
        self.block = Block::Coded;
        Ok(())
    }

    /// Decodes until the block ends or the window is full.
    fn coded(&mut self, input: &mut Input, window: &mut Window) -> io::Result<()> {
        // What is local stays in registers.
        let (mut bits, mut filled) = (self.bits, window.filled);
        let mut outcome = Ok(());
        while filled + STEP_BYTES <= window.bytes.len() {
            if input.at + STEP_INPUT_BYTES > input.end {
                outcome = bits.check_end(input).and_then(|()| input.ensure());
                if outcome.is_err() {
                    break;
                }
            }
            bits.refill(input);
            let Some(cells) = window.bytes[filled..].first_chunk_mut::<16>() else {
                break;
            };
            let mut entry = self.litlen.first(bits.bits);
            let (mut entries, mut literals) = (0, 0);
            while entry & LITERAL != 0 && entries < ENTRIES_PER_REFILL {
                bits.skip(entry);
                cells[literals & 15] = (entry >> VALUE_SHIFT).to_le_bytes()[0];
                cells[(literals + 1) & 15] = (entry >> PAIR_SHIFT).to_le_bytes()[0];
                literals += 1 + usize::from(entry & PAIR != 0);
                entries += 1;
                entry = self.litlen.first(bits.bits);
            }
            filled += literals;
            if entries == ENTRIES_PER_REFILL {
                continue;
            }
            match self.special(
                &mut bits,
                input,
                &mut window.bytes,
                filled - window.begin,
                filled,
            ) {
                Ok(Some(length)) => filled += length,
                Ok(None) => {
                    self.block = Block::Header;
                    break;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if input.at > input.end && outcome.is_ok() {
            outcome = bits.check_end(input);
        }
        (self.bits, window.filled) = (bits, filled);
        outcome
    }

    /// Decodes what is no literal of a short code; how many bytes it gave, `None` at the end of the block.
    #[inline(always)]
    fn special(
        &self,
        bits: &mut Bits,
        input: &mut Input,
        bytes: &mut [u8],
        history: usize,
        to: usize,
    ) -> io::Result<Option<usize>> {
        bits.refill(input);
        let mut entry = self.litlen.first(bits.bits);
        if entry & (SECOND | LITERAL) == SECOND {
            bits.skip(LITLEN_ROOT);
            entry = self.litlen.second(entry, bits.bits);
        }
        if entry & LITERAL != 0 {
            bits.skip(entry);
            bytes[to] = value(entry).to_le_bytes()[0];
            return Ok(Some(1));
        }
        if entry & SPECIAL != 0 {
            bits.skip(entry);
            let is_end = entry & END != 0;
            return if is_end {
                Ok(None)
            } else {
                Err(damaged("a literal or length"))
            };
        }
        let length = bits.base_and_extra(entry);
        bits.refill(input);
        let mut entry = self.dist.first(bits.bits);
        if entry & SECOND != 0 {
            bits.skip(DIST_ROOT);
            entry = self.dist.second(entry, bits.bits);
        }
        if entry & SPECIAL != 0 {
            return Err(damaged("a distance"));
        }
        let distance = bits.base_and_extra(entry);
        if distance > history {
            return Err(damaged("a match that reaches back before the start"));
        }
        repeat(bytes, to, distance, length);
        Ok(Some(length))
    }
}

#[inline(always)]
fn value(entry: u32) -> u32 {
    entry >> VALUE_SHIFT & VALUE_MASK
}

/// Repeats at `to` the `length` bytes from `distance` back, which is at least 1.
#[inline(always)]
fn repeat(bytes: &mut [u8], to: usize, distance: usize, length: usize) {
    let from = to - distance;
    if distance >= length {
        bytes.copy_within(from..from + length, to);
    } else if distance == 1 {
        let byte = bytes[from];
        bytes[to..to + length].fill(byte);
    } else {
        for place in to..to + length {
            bytes[place] = bytes[place - distance];
        }
    }
}

/// The order in which the lengths of the codes for code lengths come.
const CODE_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// Code lengths of a block of the fixed code: 288 literals and lengths, then 32 distances.
fn fixed_lengths() -> [u8; 320] {
    let mut lengths = [8; 320];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    lengths[288..].fill(5);
    lengths
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn litlen_meaning(symbol: usize) -> u32 {
    match symbol {
        0..=255 => LITERAL | number(symbol) << VALUE_SHIFT,
        256 => SPECIAL | END,
        257..=264 => number(symbol - 254) << VALUE_SHIFT,
        265..=284 => {
            let (group, extra) = ((symbol - 257) % 4, (symbol - 257) / 4 - 1);
            number(((4 + group) << extra) + 3) << VALUE_SHIFT | number(extra)
        }
        285 => 258 << VALUE_SHIFT,
        _ => SPECIAL,
    }
}

fn dist_meaning(symbol: usize) -> u32 {
    match symbol {
        0..=3 => number(symbol + 1) << VALUE_SHIFT,
        4..=29 => {
            let extra = symbol / 2 - 1;
            number(((2 + symbol % 2) << extra) + 1) << VALUE_SHIFT | number(extra)
        }
        _ => SPECIAL,
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is invalid"))
}

fn bad_code(_: BadCode) -> io::Error {
    damaged("a set of code lengths")
}

fn cut_short() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the compressed stream is cut short",
    )
}
