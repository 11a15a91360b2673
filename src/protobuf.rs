//! Writes the protobuf wire format. A leaf for every room.

/// Appends a varint.
pub fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a field of bytes: a string, a message or packed numbers.
pub fn push_bytes(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    push_varint(field << 3 | 2, out);
    push_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A message in the making.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// Its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Adds an integer.
    pub fn varint(&mut self, field: u64, value: u64) {
        push_varint(field << 3, &mut self.0);
        push_varint(value, &mut self.0);
    }

    /// Adds a number of 64 bits.
    pub fn double(&mut self, field: u64, value: f64) {
        push_varint(field << 3 | 1, &mut self.0);
        self.0.extend(value.to_le_bytes());
    }

    /// Adds a number of 32 bits.
    #[allow(clippy::cast_possible_truncation, reason = "the field is that narrow")]
    pub fn float(&mut self, field: u64, value: f64) {
        push_varint(field << 3 | 5, &mut self.0);
        self.0.extend((value as f32).to_le_bytes());
    }

    /// Adds a string.
    pub fn bytes(&mut self, field: u64, value: &[u8]) {
        push_bytes(field, value, &mut self.0);
    }

    /// Adds packed numbers of 64 bits.
    pub fn doubles(&mut self, field: u64, values: &[f64]) {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, &packed);
    }

    /// Adds the message that `fill` fills.
    pub fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}
