//! Reads the flat columns of a Parquet file row by row: never more of them than the file can hold, whatever it says.
//!
//! `footer` checks what the footer claims before anything is made of it, `chunk` hands out bytes that are there, `inflate`
//! inflates pages, `page` checks them, also against what `header` reads of their headers (`thrift` reads these and the
//! footer), `column` makes values. What the Parquet crate does not survive on hostile bytes is
//! caught here.

mod chunk;
mod column;
mod footer;
mod header;
mod inflate;
mod page;
mod thrift;

use std::cell::Cell as Flag;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Once};

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::Type;

use super::cell::Value;
use super::error::{ConvertError, Failure};
use super::inputs::Table;
use super::position::Position;
use super::row::{Place, Record, Row};
use super::source::{self, Take};
use chunk::Chunks;
use column::Column;

/// Rows that are decoded at a time.
const BATCH: usize = 1024;

/// Reads `columns` of every row; whether `take` wants more.
pub(super) fn read(
    table: &Table,
    columns: &[String],
    index: &mut u64,
    take: Take<'_>,
) -> Result<bool, Failure> {
    let at = |index: u64| move |error| Failure { index, error };
    let file = File::open(table).map_err(at(*index))?;
    let chosen = file.choose(table, columns).map_err(at(*index))?;
    let mut number = 0;
    for group in 0..file.reader.num_row_groups() {
        let mut columns = file.columns(group, &chosen).map_err(at(*index))?;
        let mut left = file.rows(group).map_err(at(*index))?;
        while left > 0 {
            let rows = BATCH.min(left);
            let read = |column: &mut Column| column.read(rows);
            let values = file.guard(|| columns.iter_mut().map(read).collect::<Result<Vec<_>, _>>());
            let values = values.map_err(at(*index))?;
            let mut values: Vec<_> = values.into_iter().map(Vec::into_iter).collect();
            left -= rows;
            for _ in 0..rows {
                number += 1;
                let row = Row {
                    index: *index,
                    file: Arc::clone(&table.path),
                    place: Place::Row(number),
                    record: Record::Typed(chosen.record(table, &mut values)),
                };
                *index += 1;
                if !take(row)? {
                    return Ok(false);
                }
            }
        }
        let end = file.guard(|| columns.iter_mut().try_for_each(Column::end));
        end.map_err(at(*index))?;
    }
    Ok(true)
}

/// The columns that are read.
struct Chosen {
    /// By place among the columns of the file that are read: its number in the file.
    leaves: Vec<usize>,
    /// By used column: which of those that are read, or which folder.
    positions: Vec<Position>,
}

impl Chosen {
    /// The next value of every used column.
    fn record(&self, table: &Table, values: &mut [std::vec::IntoIter<Value>]) -> Box<[Value]> {
        let mut read: Vec<Value> = values
            .iter_mut()
            .map(|values| values.next().unwrap_or(Value::Empty))
            .collect();
        let value = |position: &Position| match position {
            Position::Cell(place) => read
                .get_mut(*place)
                .map_or(Value::Empty, |value| std::mem::replace(value, Value::Empty)),
            Position::Folder(place) => {
                let folder = table.partitions.get(*place);
                let value = folder.and_then(|(_, value)| value.as_ref());
                value.map_or(Value::Empty, |text| Value::Text(text.as_bytes().into()))
            }
        };
        self.positions.iter().map(value).collect()
    }
}

struct File {
    path: Arc<Path>,
    chunks: Arc<Chunks>,
    reader: SerializedFileReader<Chunks>,
}

impl File {
    fn open(table: &Table) -> Result<Self, ConvertError> {
        let path = Arc::clone(&table.path);
        let chunks = Chunks::open(&path).map_err(|error| from_io(&path, error))?;
        let checked = guard(&path, || footer::check(&chunks));
        checked?;
        let reader = guard(&path, || SerializedFileReader::new(chunks.try_clone()?))?;
        Ok(Self {
            path,
            chunks: Arc::new(chunks),
            reader,
        })
    }

    fn guard<T>(&self, work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ConvertError> {
        guard(&self.path, work)
    }

    /// Finds `columns` in the file and in the names of its folders.
    fn choose(&self, table: &Table, columns: &[String]) -> Result<Chosen, ConvertError> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let fields = schema.root_schema().get_fields();
        let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
        let mut chosen = Chosen {
            leaves: Vec::new(),
            positions: Vec::new(),
        };
        for column in columns {
            let position = Position::find(table, column, &names)?;
            let position = match position {
                Position::Folder(_) => position,
                Position::Cell(field) => {
                    self.check_flat(column, &fields[field])?;
                    let of_field = |&leaf: &usize| schema.get_column_root_idx(leaf) == field;
                    let leaf = (0..schema.num_columns()).find(of_field).unwrap_or(field);
                    chosen.leaves.push(leaf);
                    Position::Cell(chosen.leaves.len() - 1)
                }
            };
            chosen.positions.push(position);
        }
        Ok(chosen)
    }

    fn check_flat(&self, column: &str, field: &Type) -> Result<(), ConvertError> {
        let is_repeated = field.get_basic_info().has_repetition()
            && field.get_basic_info().repetition() == ::parquet::basic::Repetition::REPEATED;
        let known = if !field.is_primitive() || is_repeated {
            "only one that is nested, which is not supported: write what is in it as columns of its own".to_owned()
        } else if let Err(kind) = self.guard(|| Ok(column::Kind::of(field)))? {
            format!("only one of {kind}, which is not supported")
        } else {
            return Ok(());
        };
        Err(ConvertError::Column {
            file: Arc::clone(&self.path),
            column: column.to_owned(),
            known,
        })
    }

    fn rows(&self, group: usize) -> Result<usize, ConvertError> {
        let rows = self.reader.metadata().row_group(group).num_rows();
        self.guard(|| Ok(usize::try_from(rows)?))
    }

    /// The columns of a row group that are read.
    fn columns(&self, group: usize, chosen: &Chosen) -> Result<Vec<Column>, ConvertError> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let group = self.reader.metadata().row_group(group);
        let column = |&leaf: &usize| Column::open(&self.chunks, group, schema.column(leaf), leaf);
        self.guard(|| chosen.leaves.iter().map(column).collect())
    }
}

thread_local! {
    /// Whether a panic on this thread is about to be caught and told as an error.
    static IS_GUARDED: Flag<bool> = const { Flag::new(false) };
}

/// Does `work`; a panic in it is damage of the file as any other.
fn guard<T>(
    path: &Arc<Path>,
    work: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, ConvertError> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                before(panic);
            }
        }));
    });
    IS_GUARDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(false);
    let damaged = |source: Box<dyn std::error::Error + Send + Sync>| ConvertError::Table {
        file: Arc::clone(path),
        format: "Parquet",
        source,
    };
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ParquetError::External(source))) => match source.downcast::<io::Error>() {
            Ok(error) => Err(from_io(path, *error)),
            Err(source) => Err(damaged(source)),
        },
        Ok(Err(error)) => Err(damaged(error.into())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let reason = format!("it is damaged: {}", text.unwrap_or("it cannot be decoded"));
            Err(damaged(reason.into()))
        }
    }
}

/// What reading the file `path` came to.
fn from_io(path: &Arc<Path>, error: io::Error) -> ConvertError {
    if source::is_damage(&error) {
        return ConvertError::Table {
            file: Arc::clone(path),
            format: "Parquet",
            source: error.into(),
        };
    }
    ConvertError::io("read", path)(error)
}
