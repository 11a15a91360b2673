//! Writes tf.Examples: the opposite of [`example`](super::example).

use crate::protobuf::{push_bytes, push_varint};

/// One example in the making; its buffers are used again for the next.
#[derive(Debug, Default)]
pub(crate) struct ExampleWriter {
    features: Vec<u8>,
    list: Vec<u8>,
}

/// Numbers of the lists in a `Feature`.
const BYTES_LIST: u64 = 1;
const FLOAT_LIST: u64 = 2;
const INT64_LIST: u64 = 3;

impl ExampleWriter {
    /// Adds a feature of floats.
    pub(crate) fn floats(&mut self, key: &str, values: &[f32]) {
        self.list.clear();
        self.list
            .extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self.packed(key, FLOAT_LIST);
    }

    /// Adds a feature of integers.
    pub(crate) fn ints(&mut self, key: &str, values: &[i64]) {
        self.list.clear();
        for value in values {
            push_varint(value.cast_unsigned(), &mut self.list);
        }
        self.packed(key, INT64_LIST);
    }

    /// Adds a feature of strings.
    pub(crate) fn strings<'a>(&mut self, key: &str, values: impl IntoIterator<Item = &'a [u8]>) {
        self.list.clear();
        for value in values {
            push_bytes(1, value, &mut self.list);
        }
        self.entry(key, BYTES_LIST);
    }

    /// Appends the example to `payload` and begins the next.
    pub(crate) fn finish(&mut self, payload: &mut Vec<u8>) {
        push_bytes(1, &self.features, payload);
        self.features.clear();
    }

    /// The numbers in `list` as a packed field.
    fn packed(&mut self, key: &str, kind: u64) {
        let mut packed = Vec::with_capacity(self.list.len() + 11);
        push_bytes(1, &self.list, &mut packed);
        self.list = packed;
        self.entry(key, kind);
    }

    /// The map entry of `key` with the list message in `list`.
    fn entry(&mut self, key: &str, kind: u64) {
        let mut feature = Vec::with_capacity(self.list.len() + 11);
        push_bytes(kind, &self.list, &mut feature);
        let mut entry = Vec::with_capacity(feature.len() + key.len() + 22);
        push_bytes(1, key.as_bytes(), &mut entry);
        push_bytes(2, &feature, &mut entry);
        push_bytes(1, &entry, &mut self.features);
    }
}
