//! The words of the store: the part of PyTorch's `TCPStore` protocol (libtorch 2.11) that ranks use, every size bounded.
//!
//! The same words, so that ranks can also meet at the store of torchrun's agent.

use std::io::{self, Read, Write};

/// As `TCPStore` has it.
pub(super) const MAX_KEY_BYTES: usize = 8 << 10;
/// The largest value of ours is the list of Gloo's addresses: about 200 bytes a rank.
pub(super) const MAX_VALUE_BYTES: usize = 1 << 20;
/// Keys of one request.
const MAX_KEYS: usize = 1 << 16;
/// The same, in bytes.
const MAX_KEYS_BYTES: usize = 8 << 20;
/// What a client says first.
pub(super) const MAGIC: u32 = 0x3C85_F7CE;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Query {
    /// Begins the conversation.
    Validate = 0,
    /// Sets a key.
    Set = 1,
    /// Sets a key that has the expected value.
    CompareSet = 2,
    /// The value of one key.
    Get = 3,
    /// Adds to a number.
    Add = 4,
    /// Whether keys are there.
    Check = 5,
    /// How many keys there are.
    NumKeys = 7,
    /// Removes a key.
    Delete = 8,
    /// The values of several keys.
    MultiGet = 10,
    /// Sends a number back.
    Ping = 13,
}

impl Query {
    pub(super) fn decode(byte: u8) -> io::Result<Self> {
        const ALL: [Query; 10] = [
            Query::Validate,
            Query::Set,
            Query::CompareSet,
            Query::Get,
            Query::Add,
            Query::Check,
            Query::NumKeys,
            Query::Delete,
            Query::MultiGet,
            Query::Ping,
        ];
        let known = ALL.into_iter().find(|query| *query as u8 == byte);
        known.ok_or_else(|| nonsense(format!("there is no request {byte}")))
    }
}

/// What cannot come from one of our processes.
pub(super) fn nonsense(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Request(Vec<u8>);

impl Request {
    pub(super) fn new(query: Query) -> Self {
        Self(vec![query as u8])
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// A key or value.
    pub(super) fn text(self, bytes: &[u8]) -> Self {
        self.raw(&(bytes.len() as u64).to_le_bytes()).raw(bytes)
    }

    pub(super) fn count(self, count: usize) -> Self {
        self.raw(&(count as u64).to_le_bytes())
    }

    pub(super) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.0)
    }
}

pub(super) fn read_array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A count of at most `limit`.
pub(super) fn read_count(from: &mut impl Read, limit: usize) -> io::Result<usize> {
    let count = u64::from_le_bytes(read_array(from)?);
    let small = usize::try_from(count).ok().filter(|&count| count <= limit);
    small.ok_or_else(|| nonsense(format!("{count} is announced, at most {limit} can be")))
}

/// A key or value of at most `limit` bytes. Memory is taken as the bytes come, not as they are announced.
pub(super) fn read_text(from: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let length = read_count(from, limit)?;
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// The keys of one request.
pub(super) fn read_keys(from: &mut impl Read) -> io::Result<Vec<Vec<u8>>> {
    let count = read_count(from, MAX_KEYS)?;
    let mut keys = Vec::new();
    let mut room = MAX_KEYS_BYTES;
    for _ in 0..count {
        let key = read_text(from, room.min(MAX_KEY_BYTES))?;
        room -= key.len();
        keys.push(key);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_sizes_are_bounded() {
        let huge = u64::MAX.to_le_bytes();
        let message = read_text(&mut &huge[..], MAX_VALUE_BYTES).unwrap_err();
        assert!(message.to_string().contains("at most 1048576"), "{message}");
        assert!(read_keys(&mut &huge[..]).is_err());
        let cut = Request::new(Query::Get).text(b"abc");
        let short = &cut.0[1..cut.0.len() - 1];
        let error = read_text(&mut &short[..], 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn requests_that_nobody_makes_are_refused() {
        assert_eq!(Query::decode(10).unwrap(), Query::MultiGet);
        for byte in [6, 9, 11, 14, 255] {
            assert!(Query::decode(byte).is_err());
        }
    }
}
