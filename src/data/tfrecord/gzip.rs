//! Gzip files (RFC 1952): headers, any number of members, checksums.

use std::io::{self, Read};

use super::deflate::{Deflate, Input, Window};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE_METHOD: u8 = 8;
/// Flags of the header.
const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Reads what a gzip file holds.
pub(crate) struct GzipReader {
    input: Input,
    window: Window,
    deflate: Deflate,
    checksum: crc32fast::Hasher,
    /// Bytes of this member, modulo 2³².
    length: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A header comes next; the first one must be there.
    Header {
        is_first: bool,
    },
    Body,
    Ended,
    /// Damaged: nothing more can be read.
    Failed,
}

impl GzipReader {
    pub(crate) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            input: Input::new(reader),
            window: Window::new(),
            deflate: Deflate::new(),
            checksum: crc32fast::Hasher::new(),
            length: 0,
            state: State::Header { is_first: true },
        }
    }

    /// Fills the window, which has been read; nothing new in it means the end.
    fn fill(&mut self) -> io::Result<()> {
        self.window.slide();
        while self.window.unread().is_empty() {
            match self.state {
                State::Ended => return Ok(()),
                State::Failed => return Err(invalid("an earlier part of the stream is damaged")),
                State::Header { is_first } => self.header(is_first)?,
                State::Body => self.body()?,
            }
        }
        Ok(())
    }

    fn body(&mut self) -> io::Result<()> {
        let outcome = self.deflate.run(&mut self.input, &mut self.window);
        // What came before the damage still counts.
        let produced = self.window.unread();
        self.checksum.update(produced);
        #[allow(clippy::cast_possible_truncation, reason = "the window is small")]
        let count = produced.len() as u32;
        self.length = self.length.wrapping_add(count);
        if let Err(error) = outcome {
            self.state = State::Failed;
            return if count > 0 { Ok(()) } else { Err(error) };
        }
        if self.deflate.is_done() {
            if let Err(error) = self.trailer() {
                self.state = State::Failed;
                return Err(error);
            }
            self.state = State::Header { is_first: false };
        }
        Ok(())
    }

    fn trailer(&mut self) -> io::Result<()> {
        let found = [self.checksum.clone().finalize(), self.length];
        let stored = [self.number()?, self.number()?];
        if found == stored {
            Ok(())
        } else {
            Err(invalid("checksum or length of a gzip member do not match"))
        }
    }

    fn header(&mut self, is_first: bool) -> io::Result<()> {
        let Some(first) = self.input.byte()? else {
            if is_first {
                return Err(cut_short());
            }
            self.state = State::Ended;
            return Ok(());
        };
        let rest = [self.byte()?, self.byte()?];
        let flags = self.byte()?;
        if [first, rest[0]] != MAGIC || rest[1] != DEFLATE_METHOD || flags & RESERVED != 0 {
            self.state = State::Failed;
            return Err(invalid("no gzip member begins where one should"));
        }
        // Time, level and system say nothing about the data.
        for _ in 0..6 {
            self.byte()?;
        }
        if flags & HAS_EXTRA != 0 {
            for _ in 0..u16::from_le_bytes([self.byte()?, self.byte()?]) {
                self.byte()?;
            }
        }
        for text in [HAS_NAME, HAS_COMMENT] {
            while flags & text != 0 && self.byte()? != 0 {}
        }
        if flags & HAS_CHECKSUM != 0 {
            self.byte()?;
            self.byte()?;
        }
        self.deflate.restart(&mut self.window);
        self.checksum = crc32fast::Hasher::new();
        self.length = 0;
        self.state = State::Body;
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.input.byte()?.ok_or_else(cut_short)
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = [self.byte()?, self.byte()?, self.byte()?, self.byte()?];
        Ok(u32::from_le_bytes(bytes))
    }
}

impl Read for GzipReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.window.unread().is_empty() {
            self.fill()?;
        }
        let unread = self.window.unread();
        let count = unread.len().min(out.len());
        out[..count].copy_from_slice(&unread[..count]);
        self.window.read += count;
        Ok(count)
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn cut_short() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the compressed stream is cut short",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder};

    use super::*;
    use crate::data::draw::{Draw, Purpose};

    fn inflate(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        GzipReader::new(Box::new(io::Cursor::new(bytes.to_vec()))).read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
        let builder = GzBuilder::new()
            .filename("name")
            .comment("text")
            .extra([1, 2, 3]);
        let mut encoder = builder.write(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Bytes of every kind: noise, runs, text that repeats near and far.
    fn samples() -> Vec<Vec<u8>> {
        let draw = Draw::new(1, Purpose::Feature);
        let noise = |count: u64, bound| -> Vec<u8> {
            (0..count)
                .map(|place| u8::try_from(draw.at(place).below(bound)).unwrap())
                .collect()
        };
        let floats: Vec<u8> = (0..60_000)
            .flat_map(|place| draw.at(place).unit().to_le_bytes())
            .collect();
        let far = noise(40_000, 256).repeat(3);
        let near = noise(30_000, 200).repeat(9);
        let skewed = (0..300_000)
            .map(|place| u8::try_from(draw.at(place).bits().leading_zeros()).unwrap())
            .collect();
        vec![
            Vec::new(),
            vec![7],
            vec![0; 500_000],
            noise(300_000, 256),
            noise(300_000, 3),
            b"abc".repeat(70_000),
            floats,
            far,
            near,
            skewed,
        ]
    }

    #[test]
    fn every_level_and_several_members_are_read() {
        for (index, sample) in samples().iter().enumerate() {
            for level in [0, 1, 6, 9] {
                let packed = gzip(sample, level);
                assert!(
                    inflate(&packed).unwrap() == *sample,
                    "sample {index}, level {level}"
                );
                let two = [packed.clone(), packed].concat();
                assert!(
                    inflate(&two).unwrap() == sample.repeat(2),
                    "sample {index}, level {level}"
                );
            }
        }
    }

    #[test]
    fn damage_is_found_and_agrees_with_another_decoder() {
        let sample = &samples()[8][..5000];
        for level in [0, 6] {
            let packed = gzip(sample, level);
            for place in 0..packed.len() {
                assert!(inflate(&packed[..place]).is_err(), "cut at {place}");
                let mut flipped = packed.clone();
                flipped[place] ^= 1 << (place % 8);
                let mut theirs = Vec::new();
                let other = flate2::read::MultiGzDecoder::new(flipped.as_slice())
                    .read_to_end(&mut theirs)
                    .is_ok();
                let ours = inflate(&flipped);
                // Flags of the header may make optional parts of it longer, in either decoder's view.
                if place >= 32 {
                    assert_eq!(ours.is_ok(), other, "flipped at {place}");
                }
                if let Ok(ours) = ours {
                    assert!(ours == sample, "flipped at {place}");
                }
            }
        }
    }

    #[test]
    fn what_came_before_the_damage_is_delivered() {
        let sample = &samples()[3];
        let packed = gzip(sample, 6);
        let mut reader = GzipReader::new(Box::new(io::Cursor::new(packed[..200_000].to_vec())));
        let mut out = Vec::new();
        assert!(reader.read_to_end(&mut out).is_err());
        assert!(out.len() > 190_000 && sample.starts_with(&out));
    }
}
