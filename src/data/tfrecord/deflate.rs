//! DEFLATE (RFC 1951), a window at a time: as fast as decompressors of whole files, in memory that does not grow.

use std::io::{self, Read};

use super::huffman::{
    BadCode, CODE_SHIFT, END, LITERAL, SECOND, SPECIAL, Table, VALUE_MASK, VALUE_SHIFT,
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
/// Literals that fit into the bits of one refill: five codes of 11 bits into 56.
const LITERALS_PER_REFILL: usize = 5;

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

/// One DEFLATE stream.
pub(super) struct Deflate {
    bits: u64,
    count: u32,
    block: Block,
    is_last: bool,
    litlen: Table<4096>,
    dist: Table<1024>,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            bits: 0,
            count: 0,
            block: Block::Done,
            is_last: false,
            litlen: Table::new(LITLEN_ROOT),
            dist: Table::new(DIST_ROOT),
        }
    }

    /// Begins another stream.
    pub(super) fn restart(&mut self, window: &mut Window) {
        (self.bits, self.count) = (0, 0);
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

    /// Takes in at least 56 bits; past the end of the input they are zeros, which [`Self::check_end`] notices.
    #[inline(always)]
    fn refill(&mut self, input: &mut Input) {
        let next = input
            .buffer
            .get(input.at..)
            .and_then(<[u8]>::first_chunk::<8>);
        match next {
            Some(next) if input.at + 8 <= input.end => {
                self.bits |= u64::from_le_bytes(*next) << self.count;
                input.at += ((63 - self.count) >> 3) as usize;
                self.count |= 56;
            }
            _ => self.refill_at_end(input),
        }
    }

    #[cold]
    fn refill_at_end(&mut self, input: &mut Input) {
        while self.count < 56 {
            let byte = if input.at < input.end {
                input.buffer[input.at]
            } else {
                0
            };
            self.bits |= u64::from(byte) << self.count;
            input.at += 1;
            self.count += 8;
        }
    }

    #[inline(always)]
    fn drop_bits(&mut self, count: u32) {
        self.bits >>= count & 0x3f;
        self.count = self.count.wrapping_sub(count & 0x3f);
    }

    /// The next `count` bits, of which there are enough.
    #[inline(always)]
    fn take(&mut self, count: u32) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "at most 16 bits")]
        let value = (self.bits & ((1 << count) - 1)) as usize;
        self.drop_bits(count);
        value
    }

    /// Fails if more bits were used than there are.
    #[inline(always)]
    fn check_end(&self, input: &Input) -> io::Result<()> {
        if input.at <= input.end {
            return Ok(());
        }
        let unused = (self.count >> 3) as usize;
        if input.at - unused.min(input.at) > input.end {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the compressed stream is cut short",
            ));
        }
        Ok(())
    }

    /// Returns whole unused bytes to the input.
    fn give_back(&mut self, input: &mut Input) {
        input.at -= ((self.count >> 3) as usize).min(input.at);
        (self.bits, self.count) = (0, 0);
    }

    fn header(&mut self, input: &mut Input) -> io::Result<()> {
        input.ensure()?;
        self.refill(input);
        self.is_last = self.take(1) == 1;
        let kind = self.take(2);
        self.check_end(input)?;
        match kind {
            0 => {
                let padding = self.count & 7;
                self.drop_bits(padding);
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
        let (litlens, dists, codes) = (self.take(5) + 257, self.take(5) + 1, self.take(4) + 4);
        if litlens > 286 || dists > 30 {
            return Err(damaged("the number of codes"));
        }
        let mut lengths = [0u8; 320];
        for &place in &CODE_ORDER[..codes] {
            input.ensure()?;
            self.refill(input);
            lengths[place] = u8::try_from(self.take(3)).unwrap_or(0);
        }
        let mut code: Table<128> = Table::new(7);
        let meaning = |symbol| number(symbol) << VALUE_SHIFT | LITERAL;
        code.build(&lengths[..19], meaning).map_err(bad_code)?;
        lengths = [0; 320];
        let mut at = 0;
        while at < litlens + dists {
            input.ensure()?;
            self.refill(input);
            let entry = code.first(self.bits);
            if entry & LITERAL == 0 {
                return Err(damaged("a code length"));
            }
            self.drop_bits(entry);
            let (value, times) = match entry >> VALUE_SHIFT & VALUE_MASK {
                16 if at > 0 => (lengths[at - 1], 3 + self.take(2)),
                16 => return Err(damaged("a repeated code length")),
                17 => (0, 3 + self.take(3)),
                18 => (0, 11 + self.take(7)),
                length => (u8::try_from(length).unwrap_or(0), 1),
            };
            self.check_end(input)?;
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
        self.dist.build(dists, dist_meaning).map_err(bad_code)?;
        self.block = Block::Coded;
        Ok(())
    }

    /// Decodes until the block ends or the window is full.
    fn coded(&mut self, input: &mut Input, window: &mut Window) -> io::Result<()> {
        while window.has_room() {
            input.ensure()?;
            let before = window.filled;
            let outcome = self.step(input, window);
            if let Err(error) = outcome.and_then(|()| self.check_end(input)) {
                window.filled = before;
                return Err(error);
            }
            if !matches!(self.block, Block::Coded) {
                break;
            }
        }
        Ok(())
    }

    /// Decodes a few literals, and a match if one follows.
    #[inline(always)]
    fn step(&mut self, input: &mut Input, window: &mut Window) -> io::Result<()> {
        self.refill(input);
        let Some(place) = window
            .bytes
            .get_mut(window.filled..)
            .and_then(<[u8]>::first_chunk_mut::<8>)
        else {
            return Ok(());
        };
        let mut entry = self.litlen.first(self.bits);
        for cell in place.iter_mut().take(LITERALS_PER_REFILL) {
            if entry & LITERAL == 0 {
                return self.special(input, window, entry);
            }
            self.drop_bits(entry);
            *cell = value(entry).to_le_bytes()[0];
            window.filled += 1;
            entry = self.litlen.first(self.bits);
        }
        Ok(())
    }

    /// Decodes what is no literal of a short code: `entry`, whose bits come next.
    fn special(&mut self, input: &mut Input, window: &mut Window, entry: u32) -> io::Result<()> {
        self.refill(input);
        let mut entry = entry;
        // It may have been looked up with too few bits.
        if entry & SPECIAL != 0 || entry & LITERAL == 0 {
            entry = self.litlen.first(self.bits);
        }
        if entry & SECOND != 0 && entry & LITERAL == 0 {
            self.drop_bits(LITLEN_ROOT);
            entry = self.litlen.second(entry, self.bits);
        }
        if entry & LITERAL != 0 {
            self.drop_bits(entry);
            window.bytes[window.filled] = value(entry).to_le_bytes()[0];
            window.filled += 1;
            return Ok(());
        }
        if entry & END != 0 {
            self.drop_bits(entry);
            self.block = Block::Header;
            return Ok(());
        }
        if entry & SPECIAL != 0 {
            return Err(damaged("a literal or length"));
        }
        let length = self.base_and_extra(entry);
        self.refill(input);
        let mut entry = self.dist.first(self.bits);
        if entry & SECOND != 0 {
            self.drop_bits(DIST_ROOT);
            entry = self.dist.second(entry, self.bits);
        }
        if entry & SPECIAL != 0 {
            return Err(damaged("a distance"));
        }
        let distance = self.base_and_extra(entry);
        copy(window, distance, length)
    }

    /// The value of a length or distance, with its extra bits.
    #[inline(always)]
    fn base_and_extra(&mut self, entry: u32) -> usize {
        let code_bits = entry >> CODE_SHIFT & 0xf;
        self.drop_bits(code_bits);
        let extra = (entry & 0x3f) - code_bits;
        value(entry) as usize + self.take(extra)
    }
}

#[inline(always)]
fn value(entry: u32) -> u32 {
    entry >> VALUE_SHIFT & VALUE_MASK
}

/// Repeats `length` bytes from `distance` back.
fn copy(window: &mut Window, distance: usize, length: usize) -> io::Result<()> {
    let to = window.filled;
    if distance > to - window.begin || distance == 0 {
        return Err(damaged("a match that reaches back before the start"));
    }
    let from = to - distance;
    if distance >= length {
        window.bytes.copy_within(from..from + length, to);
    } else if distance == 1 {
        let byte = window.bytes[from];
        window.bytes[to..to + length].fill(byte);
    } else {
        for place in to..to + length {
            window.bytes[place] = window.bytes[place - distance];
        }
    }
    window.filled += length;
    Ok(())
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
