//! Reads the flat columns of a Parquet file row by row.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use ::parquet::schema::types::Type;

use super::cell::{Record, Row, Value};
use super::error::{ConvertError, Failure};
use super::source::{Take, position};

/// Reads `columns` of every row; whether `take` wants more.
pub(super) fn read(
    file: &Arc<Path>,
    columns: &[String],
    index: &mut u64,
    take: Take<'_>,
) -> Result<bool, Failure> {
    let at = |index: u64| move |error| Failure { index, error };
    let opened = File::open(file).map_err(ConvertError::io("open", file));
    let opened = opened.map_err(at(*index))?;
    let damaged = |error: ParquetError| ConvertError::Table {
        file: Arc::clone(file),
        format: "Parquet",
        source: error.into(),
    };
    let reader = SerializedFileReader::new(opened).map_err(|e| at(*index)(damaged(e)))?;
    let schema = reader.metadata().file_metadata().schema();
    let chosen = Chosen::new(file, schema, columns).map_err(at(*index))?;
    let rows = reader
        .get_row_iter(Some(chosen.projection))
        .map_err(|error| at(*index)(damaged(error)))?;
    for (number, row) in (1..).zip(rows) {
        let row = row.map_err(|error| at(*index)(damaged(error)))?;
        let mut values = vec![Value::Empty; columns.len()];
        for (&places, (name, field)) in chosen.places.iter().zip(row.get_column_iter()) {
            let value = value(field).ok_or_else(|| {
                let error = ConvertError::Cell {
                    file: Arc::clone(file),
                    row: number,
                    column: name.clone(),
                    expected: "a number, a truth value, a time or text".to_owned(),
                    found: "a value of another kind".to_owned(),
                };
                at(*index)(error)
            })?;
            values[places] = value;
        }
        let row = Row {
            index: *index,
            file: Arc::clone(file),
            number,
            record: Record::Typed(values),
        };
        *index += 1;
        if !take(row)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The columns that are read, in the order of the file.
struct Chosen {
    projection: Type,
    /// For each of them its place among the used columns.
    places: Vec<usize>,
}

impl Chosen {
    fn new(file: &Arc<Path>, schema: &Type, columns: &[String]) -> Result<Self, ConvertError> {
        let fields = schema.get_fields();
        let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
        let mut found = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            let position = position(file, column, &names)?;
            if !fields[position].is_primitive() {
                return Err(ConvertError::Column {
                    file: Arc::clone(file),
                    column: column.clone(),
                    known: "only one that is nested, which is not supported".to_owned(),
                });
            }
            found.push((position, place));
        }
        found.sort_unstable();
        let kept = found
            .iter()
            .map(|&(position, _)| Arc::clone(&fields[position]));
        let projection = Type::group_type_builder(schema.name())
            .with_fields(kept.collect())
            .build();
        let projection = projection.map_err(|error| ConvertError::Table {
            file: Arc::clone(file),
            format: "Parquet",
            source: error.into(),
        })?;
        let places = found.into_iter().map(|(_, place)| place).collect();
        Ok(Self { projection, places })
    }
}

/// The value of a field; `None` for kinds that are no single number or text.
fn value(field: &Field) -> Option<Value> {
    Some(match field {
        Field::Null => Value::Empty,
        Field::Bool(value) => Value::Int(i64::from(*value)),
        Field::Byte(value) => Value::Int(i64::from(*value)),
        Field::Short(value) => Value::Int(i64::from(*value)),
        Field::Int(value) | Field::Date(value) => Value::Int(i64::from(*value)),
        Field::Long(value) | Field::TimestampMillis(value) | Field::TimestampMicros(value) => {
            Value::Int(*value)
        }
        Field::UByte(value) => Value::Int(i64::from(*value)),
        Field::UShort(value) => Value::Int(i64::from(*value)),
        Field::UInt(value) => Value::Int(i64::from(*value)),
        Field::ULong(value) => Value::Int(i64::try_from(*value).ok()?),
        Field::Float16(value) => Value::Float(value.to_f64()),
        Field::Float(value) => Value::Float(f64::from(*value)),
        Field::Double(value) => Value::Float(*value),
        Field::Str(text) => Value::Text(text.as_bytes().into()),
        Field::Bytes(bytes) => Value::Text(bytes.data().into()),
        _ => return None,
    })
}
