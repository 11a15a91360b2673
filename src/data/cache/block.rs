//! Some decoded rows, column by column, each column in the narrowest type that holds its values exactly.

use std::ops::Range;

use crate::batch::HostValues;
use crate::data::columns::{Column, Spec};
use crate::data::schema::{Dtype, Length};

/// Decoded rows of one layout.
#[derive(Debug)]
pub(crate) struct RowBlock {
    pub(super) columns: Vec<Packed>,
}

/// The values of one feature over the rows of a block.
#[derive(Debug)]
pub(super) enum Packed {
    /// Every value is the default: nothing is held.
    Default,
    /// The upper halves: every lower half is zero.
    UpperHalf(Vec<u16>),
    F32(Vec<f32>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Bytes(Vec<Vec<u8>>),
    /// Rows of any length; `ends` says where each one ends in the values.
    Ragged {
        ends: Vec<usize>,
        values: Box<Packed>,
    },
}

impl RowBlock {
    /// Packs the columns of a layout, to be kept.
    pub(crate) fn pack(columns: Vec<Column>) -> Self {
        Self::of(columns, pack)
    }

    /// The columns of a layout as they are, for rows that are soon used.
    pub(crate) fn plain(columns: Vec<Column>) -> Self {
        Self::of(columns, |values| match values {
            HostValues::F32(values) => Packed::F32(values),
            HostValues::I64(values) => Packed::I64(values),
            other => pack(other),
        })
    }

    fn of(columns: Vec<Column>, pack: impl Fn(HostValues) -> Packed) -> Self {
        let column = |column: Column| {
            let values = pack(column.values);
            match column.ends {
                Some(ends) => Packed::Ragged {
                    ends,
                    values: Box::new(values),
                },
                None => values,
            }
        };
        Self {
            columns: columns.into_iter().map(column).collect(),
        }
    }

    /// Appends row `row` to `columns`, which are those of the same layout.
    pub(crate) fn read(&self, row: usize, specs: &[Spec], columns: &mut [Column]) {
        for ((packed, spec), column) in self.columns.iter().zip(specs).zip(columns) {
            if let Packed::Ragged { ends, values } = packed {
                let begin = row.checked_sub(1).map_or(0, |before| ends[before]);
                append(values, begin..ends[row], &mut column.values);
            } else {
                let width = spec.keep.width();
                append(packed, row * width..(row + 1) * width, &mut column.values);
            }
            column.end_row();
        }
    }

    /// Whether this can be a block of `rows` rows of `specs`.
    pub(super) fn fits(&self, specs: &[Spec], rows: usize) -> bool {
        let fits = |(packed, spec): (&Packed, &Spec)| match packed {
            Packed::Ragged { ends, values } => {
                spec.feature.length == Length::Variable
                    && ends.len() == rows
                    && ends.is_sorted()
                    && values.holds(spec.feature.dtype, ends.last().copied().unwrap_or(0))
            }
            fixed => {
                spec.feature.length != Length::Variable
                    && fixed.holds(spec.feature.dtype, rows * spec.keep.width())
            }
        };
        self.columns.len() == specs.len() && self.columns.iter().zip(specs).all(fits)
    }

    /// Bytes of memory, all told.
    pub(crate) fn size(&self) -> usize {
        let columns = self.columns.capacity() * size_of::<Packed>();
        size_of::<Self>() + columns + self.held()
    }

    fn held(&self) -> usize {
        self.columns.iter().map(Packed::held).sum()
    }
}

impl Packed {
    /// Whether these are `count` values of a feature of `dtype`.
    fn holds(&self, dtype: Dtype, count: usize) -> bool {
        let (found, len) = match self {
            Self::Default => return true,
            Self::UpperHalf(values) => (Dtype::Float, values.len()),
            Self::F32(values) => (Dtype::Float, values.len()),
            Self::I8(values) => (Dtype::Int64, values.len()),
            Self::I16(values) => (Dtype::Int64, values.len()),
            Self::I32(values) => (Dtype::Int64, values.len()),
            Self::I64(values) => (Dtype::Int64, values.len()),
            Self::Bytes(values) => (Dtype::Bytes, values.len()),
            Self::Ragged { .. } => return false,
        };
        found == dtype && len == count
    }

    /// Bytes on the heap, room that is not used included.
    fn held(&self) -> usize {
        fn of<T>(values: &Vec<T>) -> usize {
            values.capacity() * size_of::<T>()
        }
        match self {
            Self::Default => 0,
            Self::UpperHalf(values) => of(values),
            Self::F32(values) => of(values),
            Self::I8(values) => of(values),
            Self::I16(values) => of(values),
            Self::I32(values) => of(values),
            Self::I64(values) => of(values),
            Self::Bytes(values) => of(values) + values.iter().map(Vec::capacity).sum::<usize>(),
            Self::Ragged { ends, values } => of(ends) + size_of::<Self>() + values.held(),
        }
    }
}

fn pack(values: HostValues) -> Packed {
    match values {
        HostValues::F32(values) => pack_floats(values),
        HostValues::I64(values) => pack_integers(values),
        HostValues::Bytes(values) if values.iter().all(Vec::is_empty) => Packed::Default,
        HostValues::Bytes(mut values) => {
            values.shrink_to_fit();
            Packed::Bytes(values)
        }
        // Columns that are being read hold nothing else.
        _ => Packed::Default,
    }
}

fn pack_floats(mut values: Vec<f32>) -> Packed {
    let used = values.iter().fold(0, |used, value| used | value.to_bits());
    match used {
        0 => Packed::Default,
        _ if used & 0xffff == 0 => {
            let upper = values.iter().map(|value| (value.to_bits() >> 16) as u16);
            Packed::UpperHalf(upper.collect())
        }
        _ => {
            // Made with room for more rows than came.
            values.shrink_to_fit();
            Packed::F32(values)
        }
    }
}

fn pack_integers(mut values: Vec<i64>) -> Packed {
    fn narrow<T: TryFrom<i64>>(values: &[i64]) -> Option<Vec<T>> {
        let (low, high) = (values.iter().min()?, values.iter().max()?);
        T::try_from(*low).ok()?;
        T::try_from(*high).ok()?;
        let mut narrow = Vec::with_capacity(values.len());
        narrow.extend(values.iter().filter_map(|&value| T::try_from(value).ok()));
        Some(narrow)
    }
    if values.iter().all(|&value| value == 0) {
        return Packed::Default;
    }
    if let Some(values) = narrow(&values) {
        Packed::I8(values)
    } else if let Some(values) = narrow(&values) {
        Packed::I16(values)
    } else if let Some(values) = narrow(&values) {
        Packed::I32(values)
    } else {
        values.shrink_to_fit();
        Packed::I64(values)
    }
}

fn widen(upper: u16) -> f32 {
    f32::from_bits(u32::from(upper) << 16)
}

/// Appends the values in `range`.
fn append(packed: &Packed, range: Range<usize>, to: &mut HostValues) {
    match (packed, to) {
        (Packed::F32(packed), HostValues::F32(to)) => to.extend_from_slice(&packed[range]),
        (Packed::UpperHalf(packed), HostValues::F32(to)) => {
            to.extend(packed[range].iter().map(|&upper| widen(upper)));
        }
        (Packed::I8(packed), HostValues::I64(to)) => widened(&packed[range], to),
        (Packed::I16(packed), HostValues::I64(to)) => widened(&packed[range], to),
        (Packed::I32(packed), HostValues::I64(to)) => widened(&packed[range], to),
        (Packed::I64(packed), HostValues::I64(to)) => to.extend_from_slice(&packed[range]),
        (Packed::Bytes(packed), HostValues::Bytes(to)) => to.extend_from_slice(&packed[range]),
        (_, HostValues::F32(to)) => to.resize(to.len() + range.len(), 0.0),
        (_, HostValues::I64(to)) => to.resize(to.len() + range.len(), 0),
        (_, HostValues::Bytes(to)) => to.resize(to.len() + range.len(), Vec::new()),
        // Columns that are being read hold nothing else.
        _ => {}
    }
}

fn widened<T: Copy + Into<i64>>(values: &[T], to: &mut Vec<i64>) {
    to.extend(values.iter().map(|&value| value.into()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::schema::Feature;

    fn spec(dtype: Dtype, length: Length) -> Spec {
        Spec::new(Feature {
            key: "key".to_owned(),
            name: "name".into(),
            dtype,
            length,
            parts: None,
        })
    }

    /// Packs a column of two values a row and reads it back row by row.
    fn round_trip(dtype: Dtype, values: HostValues, rows: usize) -> (HostValues, usize) {
        let specs = [spec(dtype, Length::Fixed(2))];
        let block = RowBlock::pack(vec![Column { values, ends: None }]);
        let mut columns = vec![specs[0].column(rows)];
        for row in 0..rows {
            block.read(row, &specs, &mut columns);
        }
        (columns.remove(0).values, block.held())
    }

    #[test]
    fn integers_take_the_narrowest_type_and_come_back_exactly() {
        for (high, bytes) in [
            (0, 0),
            (127, 1),
            (-129, 2),
            (40_000, 4),
            (i64::MAX, 8),
            (i64::MIN, 8),
        ] {
            let values = HostValues::I64(vec![0, 1, high, -1 + i64::from(high == 0)]);
            let values = if high == 0 {
                HostValues::I64(vec![0; 4])
            } else {
                values
            };
            let (back, size) = round_trip(Dtype::Int64, values.clone(), 2);
            assert_eq!(back, values);
            assert_eq!(size, 4 * bytes, "{high}");
        }
    }

    #[test]
    fn floats_come_back_bit_for_bit() {
        let bits = |values: &HostValues| match values {
            HostValues::F32(values) => values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        for (values, bytes) in [
            (vec![0.0; 4], 0),
            (vec![0.0, -0.0, 1.0, f32::NEG_INFINITY], 2),
            (
                vec![
                    0.1,
                    f32::from_bits(0x7fc0_0001),
                    -1.0,
                    f32::MIN_POSITIVE / 2.0,
                ],
                4,
            ),
        ] {
            let values = HostValues::F32(values);
            let (back, size) = round_trip(Dtype::Float, values.clone(), 2);
            assert_eq!(bits(&back), bits(&values));
            assert_eq!(size, 4 * bytes);
        }
    }

    #[test]
    fn rows_of_any_length_and_strings_come_back() {
        let specs = [
            spec(Dtype::Int64, Length::Variable),
            spec(Dtype::Bytes, Length::Fixed(1)),
        ];
        let ragged = Column {
            values: HostValues::I64(vec![5, 6, 7]),
            ends: Some(vec![2, 2, 3]),
        };
        let strings = Column {
            values: HostValues::Bytes(vec![b"a".to_vec(), Vec::new(), b"ccc".to_vec()]),
            ends: None,
        };
        let block = RowBlock::pack(vec![ragged, strings]);
        let mut columns: Vec<Column> = specs.iter().map(|spec| spec.column(3)).collect();
        for row in [2, 0, 1] {
            block.read(row, &specs, &mut columns);
        }
        assert_eq!(columns[0].values, HostValues::I64(vec![7, 5, 6]));
        assert_eq!(columns[0].ends, Some(vec![1, 3, 3]));
        let strings = vec![b"ccc".to_vec(), b"a".to_vec(), Vec::new()];
        assert_eq!(columns[1].values, HostValues::Bytes(strings));
    }
}
