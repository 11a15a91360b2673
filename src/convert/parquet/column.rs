//! One column of a row group as values: what the physical type holds, read as the logical type says.

use std::sync::Arc;

use ::parquet::basic::{Compression, ConvertedType, LogicalType, TimeUnit, Type as Physical};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::{DataType, Int96};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::properties::ReaderProperties;
use ::parquet::file::serialized_reader::SerializedPageReader;
use ::parquet::schema::types::{ColumnDescPtr, Type};

use super::super::cell::Value;
use super::super::decimal::Decimal;
use super::super::time::Unit;
use super::chunk::Chunks;
use super::header::Headers;
use super::page::Pages;

/// A decimal has no more digits than this behind the point.
const MAX_SCALE: i32 = 76;
/// Texts that are read of a column at a time have no more bytes than this together: a dictionary may repeat a long one.
const MAX_TEXT_BYTES: usize = 64 << 20;
/// The day of 1970-01-01 in the count that INT96 uses.
const EPOCH: i64 = 2_440_588;
const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it is stored: truth values, integers, floats.
    Plain,
    Unsigned,
    /// With so many digits behind the point.
    Decimal(i32),
    /// A float of 16 bits.
    Half,
    Date,
    Clock(Unit),
    Instant(Unit),
    Text,
    Uuid,
}

impl Kind {
    /// Of a column; for one that is not supported, what it is.
    pub(super) fn of(field: &Type) -> std::result::Result<Self, &'static str> {
        let basic = field.get_basic_info();
        let logical = basic.logical_type_ref();
        let stored = field.get_physical_type();
        let by_logical = match (logical, stored) {
            (Some(LogicalType::Float16), Physical::FIXED_LEN_BYTE_ARRAY) => Some(Self::Half),
            (Some(LogicalType::Uuid), Physical::FIXED_LEN_BYTE_ARRAY) => Some(Self::Uuid),
            (Some(LogicalType::Time(time)), Physical::INT32 | Physical::INT64) => {
                Some(Self::Clock(unit(time.unit)))
            }
            (Some(LogicalType::Timestamp(time)), Physical::INT64) => {
                Some(Self::Instant(unit(time.unit)))
            }
            (Some(LogicalType::Decimal(decimal)), _) => Some(Self::Decimal(decimal.scale)),
            _ => None,
        };
        let kind = by_logical.map_or_else(
            || {
                let converted = logical.map(|logical| Some(logical.clone()).into());
                let converted = converted.unwrap_or_else(|| basic.converted_type());
                Self::by_converted(field, converted)
            },
            Ok,
        )?;
        match kind {
            Self::Decimal(scale) if !(0..=MAX_SCALE).contains(&scale) => {
                Err("decimals of more than 76 digits")
            }
            kind => Ok(kind),
        }
    }

    fn by_converted(
        field: &Type,
        converted: ConvertedType,
    ) -> std::result::Result<Self, &'static str> {
        use ConvertedType as C;
        Ok(match (field.get_physical_type(), converted) {
            (_, C::DECIMAL) => match field {
                Type::PrimitiveType { scale, .. } => Self::Decimal(*scale),
                Type::GroupType { .. } => return Err("groups"),
            },
            (Physical::INT32 | Physical::INT64, converted) => match converted {
                C::UINT_8 | C::UINT_16 | C::UINT_32 | C::UINT_64 => Self::Unsigned,
                C::DATE => Self::Date,
                C::TIME_MILLIS => Self::Clock(Unit::Millis),
                C::TIME_MICROS => Self::Clock(Unit::Micros),
                C::TIMESTAMP_MILLIS => Self::Instant(Unit::Millis),
                C::TIMESTAMP_MICROS => Self::Instant(Unit::Micros),
                _ => Self::Plain,
            },
            (Physical::FIXED_LEN_BYTE_ARRAY, C::INTERVAL) => return Err("intervals"),
            (Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY, _) => Self::Text,
            _ => Self::Plain,
        })
    }

    fn of_int32(self, value: i32) -> Value {
        match self {
            Self::Unsigned => Value::Integer(i64::from(value.cast_unsigned())),
            Self::Decimal(scale) => decimal(i128::from(value), scale),
            Self::Date => Value::Date(value),
            Self::Clock(unit) => Value::Clock(i64::from(value), unit),
            _ => Value::Integer(i64::from(value)),
        }
    }

    fn of_int64(self, value: i64) -> Value {
        match self {
            Self::Unsigned => Value::Unsigned(value.cast_unsigned()),
            Self::Decimal(scale) => decimal(i128::from(value), scale),
            Self::Clock(unit) => Value::Clock(value, unit),
            Self::Instant(unit) => Value::Instant(value, unit),
            _ => Value::Integer(value),
        }
    }

    fn of_bytes(self, bytes: &[u8]) -> Result<Value> {
        match self {
            Self::Decimal(scale) => {
                let digits = big_endian(bytes);
                let digits = digits.ok_or_else(|| damaged("a decimal has more than 38 digits"))?;
                Ok(decimal(digits, scale))
            }
            Self::Half => {
                let half = bytes.first_chunk().filter(|_| bytes.len() == 2);
                let half = half.ok_or_else(|| damaged("a float of 16 bits has other bits"))?;
                // As what is stored: no literal is rounded to 16 bits to meet it.
                Ok(Value::Float(half::f16::from_le_bytes(*half).to_f64()))
            }
            Self::Uuid => Ok(Value::Text(uuid(bytes).into_bytes().into())),
            // As the empty cell of a CSV file.
            _ if bytes.is_empty() => Ok(Value::Empty),
            _ => Ok(Value::Text(bytes.into())),
        }
    }
}

fn unit(unit: TimeUnit) -> Unit {
    match unit {
        TimeUnit::MILLIS => Unit::Millis,
        TimeUnit::MICROS => Unit::Micros,
        TimeUnit::NANOS => Unit::Nanos,
    }
}

fn decimal(digits: i128, scale: i32) -> Value {
    Value::Decimal(Box::new(Decimal::new(digits, -scale)))
}

fn damaged(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}

/// A number in two's complement, if it has no more than 128 bits.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first().is_some_and(|&byte| byte >= 0x80) {
        0xff
    } else {
        0
    };
    let extra = bytes.len().saturating_sub(16);
    let (extra, kept) = bytes.split_at(extra);
    let mut all = [sign; 16];
    all[16 - kept.len()..].copy_from_slice(kept);
    let is_same_sign = (all[0] >= 0x80) == (sign == 0xff);
    (is_same_sign && extra.iter().all(|&byte| byte == sign)).then(|| i128::from_be_bytes(all))
}

fn uuid(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let hyphen = |place: usize| matches!(place, 4 | 6 | 8 | 10);
    let parts = digits.iter().enumerate();
    parts
        .map(|(place, digits)| {
            let sign = if hyphen(place) { "-" } else { "" };
            format!("{sign}{digits}")
        })
        .collect()
}

/// As fine as 64 bits allow.
fn int96(value: &Int96) -> Value {
    let [low, high, day] = *value.data() else {
        return Value::Empty;
    };
    let nanos = i128::from(u64::from(high) << 32 | u64::from(low));
    let nanos = i128::from(i64::from(day) - EPOCH) * NANOS_PER_DAY + nanos;
    match i64::try_from(nanos) {
        Ok(nanos) => Value::Instant(nanos, Unit::Nanos),
        // 2^32 days and 2^64 nanoseconds in milliseconds fit.
        Err(_) => i64::try_from(nanos.div_euclid(1_000_000))
            .map_or(Value::Empty, |millis| Value::Instant(millis, Unit::Millis)),
    }
}

/// A column of one row group.
pub(super) struct Column {
    reader: ColumnReader,
    kind: Kind,
    is_optional: bool,
}

impl Column {
    /// Begins to read column `leaf` of the row group `group`.
    pub(super) fn open(
        chunks: &Arc<Chunks>,
        group: &RowGroupMetaData,
        description: ColumnDescPtr,
        leaf: usize,
    ) -> Result<Self> {
        let kind = Kind::of(description.self_type()).map_err(damaged)?;
        let rows = usize::try_from(group.num_rows())?;
        // Statistics are of no use here, and their sizes would be believed.
        let properties = ReaderProperties::builder().set_read_page_statistics(false);
        // Pages come as they are stored, since the crate would inflate them without a bound.
        let stored = group.column(leaf).clone().into_builder();
        let stored = stored.set_compression(Compression::UNCOMPRESSED).build()?;
        let pages = SerializedPageReader::new_with_properties(
            Arc::clone(chunks),
            &stored,
            rows,
            None,
            Arc::new(properties.build()),
        )?;
        let is_optional = description.max_def_level() > 0;
        let codec = group.column(leaf).compression();
        let (begin, length) = stored.byte_range();
        let headers = Headers::new(Arc::clone(chunks), begin, length);
        let pages = Box::new(Pages::new(pages, headers, codec, is_optional));
        Ok(Self {
            reader: get_column_reader(description, pages),
            kind,
            is_optional,
        })
    }

    /// The next `rows` values.
    pub(super) fn read(&mut self, rows: usize) -> Result<Vec<Value>> {
        let values = self.fetch(rows)?;
        if values.len() != rows {
            let missing = rows - values.len();
            return Err(damaged(&format!(
                "a column ends {missing} rows before its row group"
            )));
        }
        Ok(values)
    }

    /// Checks that no value is left.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.fetch(1)?.is_empty() {
            return Ok(());
        }
        Err(damaged("a column has more rows than its row group"))
    }

    fn fetch(&mut self, rows: usize) -> Result<Vec<Value>> {
        let (kind, is_optional) = (self.kind, self.is_optional);
        let mut room = MAX_TEXT_BYTES;
        let mut text = |bytes: &[u8]| {
            let left = room.checked_sub(bytes.len());
            room = left.ok_or_else(|| {
                damaged("1,024 rows of a column hold more than 64 MiB of text, which is no feature")
            })?;
            kind.of_bytes(bytes)
        };
        match &mut self.reader {
            ColumnReader::BoolColumnReader(column) => {
                fetch(column, rows, is_optional, |value| Ok(Value::Truth(*value)))
            }
            ColumnReader::Int32ColumnReader(column) => {
                fetch(column, rows, is_optional, |value| Ok(kind.of_int32(*value)))
            }
            ColumnReader::Int64ColumnReader(column) => {
                fetch(column, rows, is_optional, |value| Ok(kind.of_int64(*value)))
            }
            ColumnReader::Int96ColumnReader(column) => {
                fetch(column, rows, is_optional, |value| Ok(int96(value)))
            }
            ColumnReader::FloatColumnReader(column) => {
                fetch(column, rows, is_optional, |value| Ok(Value::Single(*value)))
            }
            ColumnReader::DoubleColumnReader(column) => {
                fetch(column, rows, is_optional, |value| Ok(Value::Float(*value)))
            }
            ColumnReader::ByteArrayColumnReader(column) => {
                fetch(column, rows, is_optional, |value| text(value.data()))
            }
            ColumnReader::FixedLenByteArrayColumnReader(column) => {
                fetch(column, rows, is_optional, |value| text(value.data()))
            }
        }
    }
}

/// Up to `rows` values, each as `value` makes it.
fn fetch<T: DataType>(
    column: &mut ColumnReaderImpl<T>,
    rows: usize,
    is_optional: bool,
    mut value: impl FnMut(&T::T) -> Result<Value>,
) -> Result<Vec<Value>> {
    let (mut found, mut levels) = (Vec::new(), Vec::new());
    column.read_records(rows, Some(&mut levels), None, &mut found)?;
    if !is_optional {
        return found.iter().map(value).collect();
    }
    let mut found = found.iter();
    let at_level = |&level: &i16| {
        if level == 0 {
            return Ok(Value::Empty);
        }
        let next = found.next();
        next.map_or_else(|| Err(damaged("a column lacks values")), &mut value)
    };
    levels.iter().map(at_level).collect()
}

#[cfg(test)]
mod tests {
    use ::parquet::data_type::{ByteArray, ByteArrayType};
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    #[test]
    fn two_s_complement_of_any_length() {
        for (bytes, expected) in [
            (&[][..], Some(0)),
            (&[5], Some(5)),
            (&[0xff, 0x85], Some(-123)),
            (&[0x80], Some(-128)),
            (&[0xff; 20], Some(-1)),
            (&[0; 40], Some(0)),
            (&[1; 17], None),
        ] {
            assert_eq!(big_endian(bytes), expected, "{bytes:?}");
        }
        let mut beyond = [0; 17];
        beyond[1] = 0x80;
        assert_eq!(big_endian(&beyond), None);
    }

    #[test]
    fn int96_is_as_fine_as_it_can_be() {
        let mut value = Int96::new();
        value.set_data(1, 0, 2_440_589);
        assert_eq!(
            int96(&value),
            Value::Instant(86_400_000_000_001, Unit::Nanos)
        );
        value.set_data(u32::MAX, u32::MAX, u32::MAX);
        assert!(matches!(int96(&value), Value::Instant(_, Unit::Millis)));
    }

    #[test]
    fn ids_of_16_bytes_are_written_with_hyphens() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

    /// The rows of a file whose one column has `text` 1,024 times, or the message.
    fn read(text: &[u8]) -> std::result::Result<usize, String> {
        let place = tempfile::NamedTempFile::new().unwrap();
        let schema = parse_message_type("message m { required binary x (UTF8); }").unwrap();
        let file = place.reopen().unwrap();
        let mut writer = SerializedFileWriter::new(file, schema.into(), Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts = vec![ByteArray::from(text.to_vec()); 1024];
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        let chunks = Arc::new(Chunks::open(place.path()).unwrap());
        let file = SerializedFileReader::new(chunks.try_clone().unwrap()).unwrap();
        let group = file.metadata().row_group(0);
        let description = group.column(0).column_descr_ptr();
        let mut column = Column::open(&chunks, group, description, 0).unwrap();
        let rows = column.read(1024).map(|values| values.len());
        rows.map_err(|error| error.to_string())
    }

    #[test]
    fn a_text_that_a_dictionary_repeats_is_not_copied_without_an_end() {
        assert_eq!(read(&[b'a'; 1 << 10]), Ok(1024));
        let message = read(&[b'a'; 100 << 10]).unwrap_err();
        assert!(message.contains("more than 64 MiB of text"), "{message}");
    }
}
