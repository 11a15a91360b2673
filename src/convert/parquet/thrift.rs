//! Walks over Thrift's compact form, in which Parquet has its footer and the headers of its pages.

/// Levels of structures.
const MAX_DEPTH: usize = 64;

/// Kinds of values.
const STOP: u8 = 0;
pub(super) const INTEGER: u8 = 5;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

/// What is left of a structure in Thrift's compact form. `None`: it ends too early, or is too deep.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    pub(super) fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.unsigned()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// Calls `visit` for every field of a structure, with its number, kind and depth.
    pub(super) fn fields(
        &mut self,
        depth: usize,
        visit: &mut dyn FnMut(&mut Self, i64, u8, usize) -> Option<()>,
    ) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut field = 0_i64;
        loop {
            let header = self.byte()?;
            let kind = header & 0x0f;
            if kind == STOP {
                return Some(());
            }
            field = match header >> 4 {
                0 => self.signed()?,
                step => field.checked_add(i64::from(step))?,
            };
            visit(self, field, kind, depth + 1)?;
        }
    }

    /// Length and kind of a list.
    pub(super) fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let length = match header >> 4 {
            15 => self.unsigned()?,
            length => u64::from(length),
        };
        Some((length, header & 0x0f))
    }

    pub(super) fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            // Truth values of fields stand in their headers.
            1 | 2 => Some(()),
            3 => self.pass(1),
            4..=6 => self.unsigned().map(drop),
            7 => self.pass(8),
            8 => self.unsigned().and_then(|length| self.pass(length)),
            LIST | 10 => self.skip_list(depth),
            11 => self.skip_map(depth),
            STRUCT => self.fields(depth, &mut |cursor, _, kind, depth| {
                cursor.skip(kind, depth)
            }),
            _ => None,
        }
    }

    fn skip_list(&mut self, depth: usize) -> Option<()> {
        let (length, kind) = self.list()?;
        for _ in 0..length {
            self.skip_item(kind, depth + 1)?;
        }
        Some(())
    }

    fn skip_map(&mut self, depth: usize) -> Option<()> {
        let length = self.unsigned()?;
        if length == 0 {
            return Some(());
        }
        let kinds = self.byte()?;
        for _ in 0..length {
            self.skip_item(kinds >> 4, depth + 1)?;
            self.skip_item(kinds & 0x0f, depth + 1)?;
        }
        Some(())
    }

    /// Skips what stands in a list, where truth values have a byte each: something is read of every item.
    fn skip_item(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => self.pass(1),
            kind => self.skip(kind, depth),
        }
    }
}
