//! A block of rows as bytes, and back. Numbers are little-endian.

use super::block::{Packed, RowBlock};
use super::disk::Place;
use crate::data::columns::Spec;
use crate::data::payload::Payload;

/// `block` with where its `records` lay.
pub(super) fn serialise(block: &RowBlock, records: &[Payload]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(block.size() + 32 * records.len() + 1024);
    put(&mut bytes, records.len());
    for record in records {
        bytes.extend(record.record.to_le_bytes());
        bytes.extend(record.offset.to_le_bytes());
        put(&mut bytes, record.len);
    }
    put(&mut bytes, block.columns.len());
    for column in &block.columns {
        put_column(&mut bytes, column);
    }
    bytes
}

/// The block that [`serialise`] wrote, if it fits `specs`.
pub(super) fn parse(bytes: &[u8], specs: &[Spec]) -> Option<(RowBlock, Vec<Place>)> {
    let mut bytes = Cursor(bytes);
    let rows = bytes.size()?;
    let mut places = Vec::new();
    for _ in 0..rows {
        places.push((bytes.number()?, bytes.number()?, bytes.size()?));
    }
    let mut columns = Vec::new();
    for _ in 0..bytes.size()? {
        columns.push(column(&mut bytes, true)?);
    }
    let block = RowBlock { columns };
    (bytes.0.is_empty() && block.fits(specs, rows)).then_some((block, places))
}

fn put(bytes: &mut Vec<u8>, size: usize) {
    bytes.extend((size as u64).to_le_bytes());
}

/// A column is its kind, how many values it has, and these.
fn put_column(bytes: &mut Vec<u8>, column: &Packed) {
    fn values<T: Copy, const N: usize>(
        bytes: &mut Vec<u8>,
        kind: u8,
        values: &[T],
        each: impl Fn(T) -> [u8; N],
    ) {
        bytes.push(kind);
        put(bytes, values.len());
        bytes.extend(values.iter().flat_map(|&value| each(value)));
    }
    match column {
        Packed::Default => bytes.push(0),
        Packed::UpperHalf(all) => values(bytes, 1, all, u16::to_le_bytes),
        Packed::F32(all) => values(bytes, 2, all, f32::to_le_bytes),
        Packed::I8(all) => values(bytes, 3, all, i8::to_le_bytes),
        Packed::I16(all) => values(bytes, 4, all, i16::to_le_bytes),
        Packed::I32(all) => values(bytes, 5, all, i32::to_le_bytes),
        Packed::I64(all) => values(bytes, 6, all, i64::to_le_bytes),
        Packed::Bytes(all) => {
            bytes.push(7);
            put(bytes, all.len());
            for value in all {
                put(bytes, value.len());
                bytes.extend(value);
            }
        }
        Packed::Ragged { ends, values } => {
            bytes.push(8);
            put(bytes, ends.len());
            for &end in ends {
                put(bytes, end);
            }
            put_column(bytes, values);
        }
    }
}

fn column(bytes: &mut Cursor<'_>, may_be_ragged: bool) -> Option<Packed> {
    let [kind] = *bytes.take(1)? else { return None };
    Some(match kind {
        0 => Packed::Default,
        1 => Packed::UpperHalf(bytes.values(u16::from_le_bytes)?),
        2 => Packed::F32(bytes.values(f32::from_le_bytes)?),
        3 => Packed::I8(bytes.values(i8::from_le_bytes)?),
        4 => Packed::I16(bytes.values(i16::from_le_bytes)?),
        5 => Packed::I32(bytes.values(i32::from_le_bytes)?),
        6 => Packed::I64(bytes.values(i64::from_le_bytes)?),
        7 => {
            let mut all = Vec::new();
            for _ in 0..bytes.size()? {
                let len = bytes.size()?;
                all.push(bytes.take(len)?.to_vec());
            }
            Packed::Bytes(all)
        }
        8 if may_be_ragged => {
            let mut ends = Vec::new();
            for _ in 0..bytes.size()? {
                ends.push(bytes.size()?);
            }
            let values = Box::new(column(bytes, false)?);
            Packed::Ragged { ends, values }
        }
        _ => return None,
    })
}

/// What is left to parse. Everything it hands out is there: no size is trusted.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let bytes = self.take(8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn values<T, const N: usize>(&mut self, value: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
        let len = self.size()?.checked_mul(N)?;
        let (values, _) = self.take(len)?.as_chunks::<N>();
        Some(values.iter().map(|&bytes| value(bytes)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::disk::payloads;
    use super::*;
    use crate::batch::HostValues;
    use crate::data::columns::Column;
    use crate::data::schema::{Dtype, Feature, Length};

    fn specs() -> Vec<Spec> {
        let spec = |dtype, length| {
            Spec::new(Feature {
                key: "key".to_owned(),
                name: "name".into(),
                dtype,
                length,
                parts: None,
            })
        };
        vec![
            spec(Dtype::Float, Length::Fixed(2)),
            spec(Dtype::Float, Length::Fixed(1)),
            spec(Dtype::Int64, Length::Fixed(1)),
            spec(Dtype::Int64, Length::Fixed(1)),
            spec(Dtype::Int64, Length::Fixed(1)),
            spec(Dtype::Int64, Length::Fixed(1)),
            spec(Dtype::Bytes, Length::Fixed(1)),
            spec(Dtype::Float, Length::Variable),
            spec(Dtype::Int64, Length::Fixed(1)),
        ]
    }

    /// Two rows, every kind of column once.
    fn block() -> RowBlock {
        let fixed = |values| Column { values, ends: None };
        let ints = |values: [i64; 2]| fixed(HostValues::I64(values.to_vec()));
        RowBlock::pack(vec![
            fixed(HostValues::F32(vec![0.1, f32::NAN, -0.0, 3.0])),
            fixed(HostValues::F32(vec![1.0, -2.0])),
            ints([1, -1]),
            ints([1, 300]),
            ints([1, -70_000]),
            ints([i64::MIN, i64::MAX]),
            fixed(HostValues::Bytes(vec![b"ab".to_vec(), Vec::new()])),
            Column {
                values: HostValues::F32(vec![0.1, 0.2, 0.3]),
                ends: Some(vec![3, 3]),
            },
            ints([0, 0]),
        ])
    }

    fn bytes() -> Vec<u8> {
        let places = [(3, 100, 7), (5, 200, 8)];
        let records = payloads(&Arc::from(Path::new("x")), &Arc::new(block()), &places);
        serialise(&block(), &records)
    }

    #[test]
    fn every_kind_of_column_comes_back() {
        let (parsed, places) = parse(&bytes(), &specs()).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", block()));
        assert_eq!(places, [(3, 100, 7), (5, 200, 8)]);
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_or_fits() {
        let good = bytes();
        for end in 0..good.len() {
            assert!(parse(&good[..end], &specs()).is_none(), "cut at {end}");
        }
        let mut columns: Vec<Column> = Vec::new();
        for (at, bit) in (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            if let Some((block, _)) = parse(&bytes, &specs()) {
                // Without a checksum values may differ, but never so that reading a row fails.
                columns = specs().iter().map(|spec| spec.column(2)).collect();
                (0..2).for_each(|row| block.read(row, &specs(), &mut columns));
            }
        }
        assert_eq!(columns.len(), specs().len());
        assert!(parse(&good, &specs()[1..]).is_none(), "of another layout");
    }
}
