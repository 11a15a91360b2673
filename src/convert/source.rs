//! Reads tables row by row, whatever each of them is written in.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::csv::Dialect;
use super::csv_table::CsvTable;
use super::error::{ConvertError, Failure};
use super::format::{self, Format, SNIFFED};
use super::inputs::{self, Table};
use super::parquet;
use super::row::Row;
use crate::config::{CsvConfig, PositiveInt};
use crate::data::{RemoteError, uncompressed};
use crate::printable;

/// What some programs put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The tables of a conversion.
#[derive(Debug)]
pub(super) struct Sources {
    tables: Vec<Table>,
    csv: CsvConfig,
    dialect: Dialect,
    /// Whether what looks odd has been said: tables are read more than once.
    has_warned: AtomicBool,
}

/// Takes one row; false ends the reading.
pub(super) type Take<'a> = &'a mut dyn FnMut(Row) -> Result<bool, Failure>;

impl Sources {
    /// The tables that `patterns` name.
    pub(super) fn find(patterns: &[String], csv: &CsvConfig) -> Result<Self, ConvertError> {
        let dialect = dialect(csv)?;
        if csv.header && csv.names.is_some() {
            let reason =
                "files with a header have names already: remove it, or set header to false";
            return Err(ConvertError::setting("csv.names", reason));
        }
        Ok(Self {
            tables: inputs::find(patterns)?,
            csv: csv.clone(),
            dialect,
            has_warned: AtomicBool::new(false),
        })
    }

    /// Whether any table has `column`.
    pub(super) fn have(&self, column: &str) -> Result<bool, ConvertError> {
        let columns = [column.to_owned()];
        for table in &self.tables {
            let looked = self.read_table(table, &columns, &mut 0, &mut |_| Ok(false));
            match looked.map_err(|failure| failure.error) {
                Ok(_) => return Ok(true),
                Err(ConvertError::Column { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Reads `columns` of every row of every file, in order, until `take` has enough.
    pub(super) fn read(&self, columns: &[String], take: Take<'_>) -> Result<(), Failure> {
        let warns = !self.has_warned.swap(true, Ordering::Relaxed);
        let mut index = 0;
        let mut blank = Vec::new();
        for table in &self.tables {
            let before = index;
            if !self.read_table(table, columns, &mut index, take)? {
                return Ok(());
            }
            if index == before {
                blank.push(table);
            }
        }
        let Some(first) = blank.first() else {
            return Ok(());
        };
        if index == 0 {
            let error = no_rows(first, blank.len());
            return Err(Failure { index, error });
        }
        if warns {
            let first = first.path.display().to_string();
            let first = printable::line(&first);
            tracing::warn!(tables = blank.len(), %first, "tables hold no row");
        }
        Ok(())
    }

    fn read_table(
        &self,
        table: &Table,
        columns: &[String],
        index: &mut u64,
        take: Take<'_>,
    ) -> Result<bool, Failure> {
        let at = |index: u64| move |error| Failure { index, error };
        let (format, stream) = open(table).map_err(at(*index))?;
        match format {
            Format::Parquet => {
                drop(stream);
                parquet::read(table, columns, index, take)
            }
            Format::Csv => {
                let csv = CsvTable {
                    table,
                    config: &self.csv,
                    dialect: self.dialect,
                    columns,
                };
                csv.read(stream, index, take)
            }
        }
    }
}

/// What `table` is written in, and its uncompressed bytes.
fn open(table: &Table) -> Result<(Format, Box<dyn Read + Send>), ConvertError> {
    let path = &table.path;
    let mut stream = uncompressed(path).map_err(ConvertError::io("open", path))?;
    let mut start = Vec::with_capacity(SNIFFED);
    let sniffed = stream.by_ref().take(SNIFFED as u64).read_to_end(&mut start);
    sniffed.map_err(|error| match is_damage(&error) {
        true => ConvertError::Table {
            file: Arc::clone(path),
            format: "a table",
            source: error.into(),
        },
        false => ConvertError::io("read", path)(error),
    })?;
    let format = format::recognise(path, &start)?;
    if start.starts_with(BYTE_ORDER_MARK) {
        start.drain(..BYTE_ORDER_MARK.len());
    }
    Ok((format, Box::new(io::Cursor::new(start).chain(stream))))
}

/// Whether `error` comes of what the file holds, as opposed to the machine or the way to a store.
pub(super) fn is_damage(error: &io::Error) -> bool {
    let is_remote = error
        .get_ref()
        .is_some_and(|source| source.is::<RemoteError>());
    error.raw_os_error().is_none() && !is_remote
}

fn no_rows(first: &Table, count: usize) -> ConvertError {
    let is_empty = std::fs::metadata(&first.path).is_ok_and(|metadata| metadata.len() == 0);
    let what = if is_empty { "is empty" } else { "holds no row" };
    let others = match count - 1 {
        0 => String::new(),
        others => format!(", nor do {others} other tables"),
    };
    ConvertError::NoRows {
        file: Arc::clone(&first.path),
        what: format!("{what}{others}"),
    }
}

/// How the CSV files are written.
fn dialect(csv: &CsvConfig) -> Result<Dialect, ConvertError> {
    let delimiter = sign("csv.delimiter", &csv.delimiter)?;
    let quote = csv.quote.as_ref().map(|quote| sign("csv.quote", quote));
    let quote = quote.transpose()?;
    if quote == Some(delimiter) {
        let reason = "cells cannot be separated by quotes: choose another one";
        return Err(ConvertError::setting("csv.delimiter", reason));
    }
    Ok(Dialect {
        delimiter,
        quote,
        trim: csv.trim,
        max_cell_lines: csv.max_cell_lines.map(PositiveInt::get),
    })
}

/// The one character of ASCII that `text` is.
fn sign(key: &str, text: &str) -> Result<u8, ConvertError> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
        _ => {
            let reason = format!("expected one character, found {text:?}");
            Err(ConvertError::setting(key, reason))
        }
    }
}
