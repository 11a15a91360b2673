//! The protobuf wire format: varints, tags, fields; nothing about what they mean.

use super::error::RecordError;

/// Deepest nesting of (obsolete) groups that is skipped.
const MAX_GROUP_DEPTH: u32 = 64;

/// A cursor over a message that lies in a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire<'a> {
    payload: &'a [u8],
    at: usize,
    end: usize,
}

/// The value of one field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    /// A fixed64 or a group: of no use here, and skipped.
    Other,
    /// A string, a message or a packed list.
    Bytes(Wire<'a>),
}

impl<'a> Wire<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self {
            payload,
            at: 0,
            end: payload.len(),
        }
    }

    /// The part of `payload` at `span`, which came from [`Wire::span`].
    pub(crate) fn within(payload: &'a [u8], (at, end): (usize, usize)) -> Self {
        Self { payload, at, end }
    }

    /// Where what is left lies in the payload.
    pub(crate) fn span(self) -> (usize, usize) {
        (self.at, self.end)
    }

    /// What is left.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.payload.get(self.at..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.at >= self.end
    }

    /// The next field number and value; `None` at the end.
    pub(crate) fn field(&mut self) -> Result<Option<(u64, Field<'a>)>, RecordError> {
        if self.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(self.malformed("a field number is out of range"));
        }
        let value = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                self.skip(8)?;
                Field::Other
            }
            2 => {
                let length = self.varint()?;
                let start = self.at;
                self.skip(length)?;
                Field::Bytes(Self {
                    at: start,
                    end: self.at,
                    ..*self
                })
            }
            3 => {
                self.skip_group(number)?;
                Field::Other
            }
            5 => {
                let bytes = self.bytes().first_chunk::<4>().copied();
                self.skip(4)?;
                Field::Fixed32(bytes.unwrap_or_default())
            }
            _ => return Err(self.malformed("a wire type is unknown or out of place")),
        };
        Ok(Some((number, value)))
    }

    /// The next varint; bits past the 64th are dropped, as protobuf does.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, RecordError> {
        let bytes = self.bytes();
        match bytes.first() {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, RecordError> {
        let bytes = self.bytes();
        let mut value = 0;
        for (index, &byte) in bytes.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.malformed(if bytes.len() < 10 {
            "a varint is cut short"
        } else {
            "a varint is longer than ten bytes"
        }))
    }

    /// Passes over `length` bytes, of which it is known that they are there.
    pub(crate) fn advance(&mut self, length: usize) {
        self.at = self.end.min(self.at + length);
    }

    fn skip(&mut self, length: u64) -> Result<(), RecordError> {
        match usize::try_from(length) {
            Ok(length) if length <= self.end - self.at => {
                self.at += length;
                Ok(())
            }
            _ => Err(self.malformed("a field is longer than what holds it")),
        }
    }

    fn skip_group(&mut self, number: u64) -> Result<(), RecordError> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            let tag = self.varint()?;
            match tag & 7 {
                0 => drop(self.varint()?),
                1 => self.skip(8)?,
                2 => {
                    let length = self.varint()?;
                    self.skip(length)?;
                }
                3 if open.len() < MAX_GROUP_DEPTH as usize => open.push(tag >> 3),
                4 if tag >> 3 == innermost => drop(open.pop()),
                5 => self.skip(4)?,
                _ => return Err(self.malformed("a group is not closed")),
            }
        }
        Ok(())
    }

    pub(crate) fn malformed(self, reason: &'static str) -> RecordError {
        RecordError::Malformed {
            at: self.at,
            reason,
        }
    }
}
