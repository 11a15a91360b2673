//! Reads gzip (RFC 1952): any number of members, each with its checksum and length verified.
//!
//! The inflating itself is a library's; the wrapping is ours because the checksum of the library's own costs a tenth of
//! the time.

use std::io::{self, BufRead, Read};

use crc_fast::{CrcAlgorithm, Digest};
use flate2::{Decompress, FlushDecompress, Status};

pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const HAS_HEADER_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// The uncompressed bytes of `R`. Every error that comes from the bytes, not from `R`, says what is wrong with them.
pub(super) struct GzipReader<R> {
    inner: R,
    inflate: Decompress,
    state: State,
    crc: Digest,
    /// Bytes of this member so far, modulo 2³².
    size: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a member: the first must be there, another one may.
    Between {
        is_first: bool,
    },
    Inside,
}

impl<R: BufRead> GzipReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            inflate: Decompress::new(false),
            state: State::Between { is_first: true },
            crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc),
            size: 0,
        }
    }

    /// Inflates some bytes of the current member; 0 at its end, which has been checked then.
    fn inflate(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.inner.fill_buf()?;
            let is_at_end = input.is_empty();
            let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input, buffer, FlushDecompress::None)
                .map_err(|_| damaged("the deflate stream is damaged"))?;
            let taken = narrow(self.inflate.total_in() - taken);
            let made = narrow(self.inflate.total_out() - made);
            self.inner.consume(taken);
            self.crc.update(&buffer[..made]);
            self.size = self.size.wrapping_add(low_bits(made));
            if status == Status::StreamEnd && made == 0 {
                self.check_trailer()?;
                return Ok(0);
            }
            if made > 0 {
                return Ok(made);
            }
            if is_at_end {
                return Err(cut_short());
            }
        }
    }

    fn check_trailer(&mut self) -> io::Result<()> {
        let stored_crc = u32::from_le_bytes(self.take()?);
        let stored_size = u32::from_le_bytes(self.take()?);
        if u64::from(stored_crc) != self.crc.finalize() {
            return Err(damaged("the gzip checksum does not match"));
        }
        if stored_size != self.size {
            return Err(damaged("the gzip length does not match"));
        }
        self.inflate.reset(false);
        self.crc.reset();
        self.size = 0;
        self.state = State::Between { is_first: false };
        Ok(())
    }

    fn read_header(&mut self) -> io::Result<()> {
        let mut header = Header {
            reader: self,
            crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc),
        };
        let [m0, m1, method, flags, ..]: [u8; 10] = header.take()?;
        if [m0, m1] != MAGIC || method != DEFLATE || flags & RESERVED != 0 {
            return Err(damaged("a gzip header is damaged"));
        }
        if flags & HAS_EXTRA != 0 {
            for _ in 0..u16::from_le_bytes(header.take()?) {
                header.take::<1>()?;
            }
        }
        for text in [HAS_NAME, HAS_COMMENT] {
            while flags & text != 0 && header.take()? != [0] {}
        }
        if flags & HAS_HEADER_CRC != 0 {
            let found = header.crc.finalize() & 0xffff;
            if found != u64::from(u16::from_le_bytes(header.take()?)) {
                return Err(damaged("the checksum of a gzip header does not match"));
            }
        }
        self.state = State::Inside;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.inner.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(cut_short()),
            Err(error) => Err(error),
            Ok(()) => Ok(bytes),
        }
    }
}

/// Reads a header while summing it up.
struct Header<'a, R> {
    reader: &'a mut GzipReader<R>,
    crc: Digest,
}

impl<R: BufRead> Header<'_, R> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let bytes = self.reader.take()?;
        self.crc.update(&bytes);
        Ok(bytes)
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let State::Between { is_first } = self.state {
                if !is_first && self.inner.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.read_header()?;
            }
            match self.inflate(buffer)? {
                // The member has ended: another one may follow.
                0 => {}
                made => return Ok(made),
            }
        }
    }
}

fn damaged(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the gzip stream is cut short")
}

fn narrow(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[allow(clippy::cast_possible_truncation, reason = "gzip counts modulo 2³²")]
fn low_bits(count: usize) -> u32 {
    count as u32
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn member(text: &[u8], extra: Option<&str>) -> Vec<u8> {
        let mut builder = flate2::GzBuilder::new();
        if let Some(extra) = extra {
            builder = builder.extra(extra).filename(extra).comment(extra);
        }
        let mut writer = builder.write(Vec::new(), flate2::Compression::new(6));
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        // Small buffers on both sides, so that every boundary is crossed.
        let inner = io::BufReader::with_capacity(7, bytes);
        let mut reader = GzipReader::new(inner);
        let (mut all, mut buffer) = (Vec::new(), [0; 5]);
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(all),
                read => all.extend_from_slice(&buffer[..read]),
            }
        }
    }

    #[test]
    fn members_with_every_header_field_follow_one_another() {
        let mut bytes = member(b"first", None);
        bytes.extend(member(b"", Some("x")));
        bytes.extend(member(&[b'y'; 1000], Some("name")));
        let expected = [&b"first"[..], &[b'y'; 1000]].concat();
        assert_eq!(read(&bytes).unwrap(), expected);
    }

    #[test]
    fn a_header_checksum_is_verified() {
        let mut bytes = member(b"text", None);
        bytes[3] |= HAS_HEADER_CRC;
        let crc = crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, &bytes[..10]);
        let crc = u16::try_from(crc & 0xffff).unwrap();
        let head: Vec<u8> = [&bytes[..10], &crc.to_le_bytes(), &bytes[10..]].concat();
        assert_eq!(read(&head).unwrap(), b"text");
        let wrong = [&bytes[..10], &(!crc).to_le_bytes(), &bytes[10..]].concat();
        let error = read(&wrong).unwrap_err().to_string();
        assert_eq!(error, "the checksum of a gzip header does not match");
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_the_trailer_is_an_error() {
        let bytes = member(b"some text that is long enough", None);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..64 {
            let mut bytes = bytes.clone();
            let at = bytes.len() - 8 + bit / 8;
            bytes[at] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_err(), "bit {bit}");
        }
        let junk = [&bytes[..], b"junk behind the end"].concat();
        let error = read(&junk).unwrap_err().to_string();
        assert_eq!(error, "a gzip header is damaged");
    }
}
