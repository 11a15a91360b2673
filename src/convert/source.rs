//! Reads tables row by row: CSV, compressed or not, and Parquet.

use std::path::Path;
use std::sync::Arc;

use super::cell::{Layout, Record, Row};
use super::error::{ConvertError, Failure};
use super::parquet;
use crate::config::CsvConfig;
use crate::data::uncompressed;

/// The tables of a conversion.
#[derive(Debug)]
pub(super) struct Sources {
    files: Vec<Arc<Path>>,
    csv: CsvConfig,
    delimiter: u8,
}

/// Takes one row; false ends the reading.
pub(super) type Take<'a> = &'a mut dyn FnMut(Row) -> Result<bool, Failure>;

impl Sources {
    /// The files that `pattern` matches, sorted.
    pub(super) fn find(pattern: &str, csv: &CsvConfig) -> Result<Self, ConvertError> {
        let paths = glob::glob(pattern)
            .map_err(|error| ConvertError::setting("inputs", format!("no glob: {error}")))?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.map_err(|error| {
                let path = error.path().to_owned();
                ConvertError::io("list", &path)(error.into())
            })?;
            if !path.is_dir() {
                files.push(path);
            }
        }
        files.sort();
        if files.is_empty() {
            let pattern = pattern.to_owned();
            return Err(ConvertError::NoFiles { pattern });
        }
        let delimiter = match csv.delimiter.as_bytes() {
            [byte] if byte.is_ascii() => *byte,
            _ => {
                let reason = format!("expected one character, found {:?}", csv.delimiter);
                return Err(ConvertError::setting("csv.delimiter", reason));
            }
        };
        if csv.header && csv.names.is_some() {
            let reason =
                "files with a header have names already: remove it, or set header to false";
            return Err(ConvertError::setting("csv.names", reason));
        }
        Ok(Self {
            files: files.into_iter().map(Arc::from).collect(),
            csv: csv.clone(),
            delimiter,
        })
    }

    /// Reads `columns` of every row of every file, in order, until `take` has enough.
    pub(super) fn read(&self, columns: &[String], take: Take<'_>) -> Result<(), Failure> {
        let mut index = 0;
        for file in &self.files {
            let ending = file.extension().and_then(|ending| ending.to_str());
            let go_on = if ending.is_some_and(|e| e.eq_ignore_ascii_case("parquet")) {
                parquet::read(file, columns, &mut index, take)?
            } else {
                self.read_csv(file, columns, &mut index, take)?
            };
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    fn read_csv(
        &self,
        file: &Arc<Path>,
        columns: &[String],
        index: &mut u64,
        take: Take<'_>,
    ) -> Result<bool, Failure> {
        let at = |index: u64| move |error| Failure { index, error };
        let stream = uncompressed(file)
            .map_err(ConvertError::io("open", file))
            .map_err(at(*index))?;
        let trim = if self.csv.trim {
            csv::Trim::All
        } else {
            csv::Trim::None
        };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(self.csv.header)
            .delimiter(self.delimiter)
            .trim(trim)
            .buffer_capacity(1 << 16)
            .from_reader(stream);
        let mut layout = None;
        let mut number = 0;
        loop {
            let mut record = csv::ByteRecord::new();
            number += 1;
            let more = reader.read_byte_record(&mut record);
            if !more.map_err(|error| at(*index)(csv_error(file, number, error)))? {
                return Ok(true);
            }
            if layout.is_none() {
                let header = reader.byte_headers().cloned().unwrap_or_default();
                let found = self.layout(file, columns, &header, record.len());
                layout = Some(Arc::new(found.map_err(at(*index))?));
            }
            let Some(layout) = &layout else { continue };
            let row = Row {
                index: *index,
                file: Arc::clone(file),
                number,
                record: Record::Text {
                    record,
                    layout: Arc::clone(layout),
                },
            };
            *index += 1;
            if !take(row)? {
                return Ok(false);
            }
        }
    }

    /// Where `columns` stand in a file whose rows have `width` cells.
    fn layout(
        &self,
        file: &Arc<Path>,
        columns: &[String],
        header: &csv::ByteRecord,
        width: usize,
    ) -> Result<Layout, ConvertError> {
        let names: Option<Vec<String>> = if self.csv.header {
            let names = header.iter().map(String::from_utf8_lossy);
            Some(names.map(std::borrow::Cow::into_owned).collect())
        } else {
            self.csv.names.clone()
        };
        if let Some(names) = names.as_ref().filter(|names| names.len() != width) {
            return Err(ConvertError::Row {
                file: Arc::clone(file),
                row: 1,
                reason: format!("expected {} columns, found {width}", names.len()),
            });
        }
        let position = |column: &String| match &names {
            Some(names) => position(file, column, names),
            None => match column.parse().ok().filter(|&place: &usize| place < width) {
                Some(place) => Ok(place),
                None => {
                    let known = format!("columns are numbered from 0 to {}", width.max(1) - 1);
                    Err(missing(file, column, known))
                }
            },
        };
        let nulls = self.csv.nulls.iter().map(|null| null.clone().into_bytes());
        Ok(Layout {
            positions: columns.iter().map(position).collect::<Result<_, _>>()?,
            nulls: nulls.collect(),
        })
    }
}

/// The place of `column` among `names`.
pub(super) fn position(
    file: &Arc<Path>,
    column: &str,
    names: &[String],
) -> Result<usize, ConvertError> {
    let mut places = names.iter().enumerate().filter(|(_, name)| *name == column);
    match (places.next(), places.next()) {
        (Some((place, _)), None) => Ok(place),
        (Some(_), Some(_)) => Err(missing(
            file,
            column,
            "two columns have that name".to_owned(),
        )),
        (None, _) => {
            let shown: Vec<&str> = names.iter().take(50).map(String::as_str).collect();
            let more = if names.len() > shown.len() {
                ", …"
            } else {
                ""
            };
            Err(missing(
                file,
                column,
                format!("there are {}{more}", shown.join(", ")),
            ))
        }
    }
}

fn missing(file: &Arc<Path>, column: &str, known: String) -> ConvertError {
    ConvertError::Column {
        file: Arc::clone(file),
        column: column.to_owned(),
        known,
    }
}

fn csv_error(file: &Arc<Path>, number: u64, error: csv::Error) -> ConvertError {
    if let csv::ErrorKind::UnequalLengths {
        expected_len, len, ..
    } = error.kind()
    {
        return ConvertError::Row {
            file: Arc::clone(file),
            row: number,
            reason: format!("expected {expected_len} columns, found {len}"),
        };
    }
    ConvertError::Table {
        file: Arc::clone(file),
        format: "CSV",
        source: error.into(),
    }
}
