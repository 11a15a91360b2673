//! Rows of a CSV table: its header, the places of the used columns, and their cells.

use std::io::{BufReader, Read};
use std::sync::Arc;

use super::csv::{CsvError, Dialect, Records};
use super::error::{ConvertError, Failure};
use super::inputs::Table;
use super::position::{Position, delimiter_hint, missing};
use super::row::{Place, Record, Row};
use super::source::{Take, is_damage};
use crate::config::CsvConfig;

/// A CSV table, and what is wanted of it.
pub(super) struct CsvTable<'a> {
    pub(super) table: &'a Table,
    pub(super) config: &'a CsvConfig,
    pub(super) dialect: Dialect,
    pub(super) columns: &'a [String],
}

/// Where the used columns stand, and how many cells a row has.
struct Layout {
    positions: Vec<Position>,
    width: usize,
}

type Reader = Records<BufReader<Box<dyn Read + Send>>>;

impl CsvTable<'_> {
    /// Reads every row of `stream`; whether `take` wants more.
    pub(super) fn read(
        &self,
        stream: Box<dyn Read + Send>,
        index: &mut u64,
        take: Take<'_>,
    ) -> Result<bool, Failure> {
        let at = |index: u64| move |error| Failure { index, error };
        let mut records = Records::new(BufReader::with_capacity(1 << 16, stream), self.dialect);
        let Some(layout) = self.layout(&mut records).map_err(at(*index))? else {
            return Ok(true);
        };
        // Without a header the first record has been read already, and is a row.
        let mut is_read = !self.config.header;
        loop {
            let is_there = is_read || self.advance(&mut records).map_err(at(*index))?;
            is_read = false;
            if !is_there {
                return Ok(true);
            }
            let row = Row {
                index: *index,
                file: Arc::clone(&self.table.path),
                place: Place::Line(records.line()),
                record: self.record(&records, &layout).map_err(at(*index))?,
            };
            *index += 1;
            if !take(row)? {
                return Ok(false);
            }
        }
    }

    fn advance(&self, records: &mut Reader) -> Result<bool, ConvertError> {
        records.advance().map_err(|error| match error {
            CsvError::Malformed { line, reason } => self.wrong(line, reason),
            CsvError::Io(source) if is_damage(&source) => ConvertError::Table {
                file: Arc::clone(&self.table.path),
                format: "CSV",
                source: source.into(),
            },
            CsvError::Io(source) => ConvertError::io("read", &self.table.path)(source),
        })
    }

    fn wrong(&self, line: u64, reason: String) -> ConvertError {
        ConvertError::Row {
            file: Arc::clone(&self.table.path),
            place: Place::Line(line),
            reason,
        }
    }

    /// Reads the first record; `None` if there is none.
    fn layout(&self, records: &mut Reader) -> Result<Option<Layout>, ConvertError> {
        if !self.advance(records)? {
            return Ok(None);
        }
        let width = records.len();
        let cells = (0..width).map(|place| String::from_utf8_lossy(records.cell(place)));
        let first: Vec<String> = cells.map(std::borrow::Cow::into_owned).collect();
        let names = if self.config.header {
            Some(&first)
        } else {
            self.check_first(&first)?;
            self.config.names.as_ref()
        };
        let position = |column: &String| match names {
            Some(names) => Position::find(self.table, column, names),
            None => self.numbered(column, &first),
        };
        let positions = self.columns.iter().map(position);
        Ok(Some(Layout {
            positions: positions.collect::<Result<_, _>>()?,
            width,
        }))
    }

    /// Checks the first row of a file without a header against the names that the mapping gives.
    fn check_first(&self, first: &[String]) -> Result<(), ConvertError> {
        let Some(names) = &self.config.names else {
            return Ok(());
        };
        if names == first {
            let reason =
                "these are the names of the columns: set csv.header to true, and remove csv.names";
            return Err(self.wrong(1, reason.to_owned()));
        }
        if names.len() == first.len() {
            return Ok(());
        }
        Err(self.unequal(1, names.len(), first))
    }

    /// The error of a row that has more or fewer cells than it should.
    fn unequal(&self, line: u64, expected: usize, cells: &[String]) -> ConvertError {
        let hint = match cells {
            [cell] => delimiter_hint(cell),
            _ => None,
        };
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        let found = cells.len();
        self.wrong(
            line,
            format!("expected {expected} columns, found {found}{hint}"),
        )
    }

    /// The place of a column that goes by number, or by the name of a folder.
    fn numbered(&self, column: &str, first: &[String]) -> Result<Position, ConvertError> {
        let place = column.parse().ok();
        if let Some(place) = place.filter(|&place: &usize| place < first.len()) {
            return Ok(Position::Cell(place));
        }
        Position::find(self.table, column, &[]).map_err(|_| {
            let hint = match first {
                [cell] => delimiter_hint(cell).map(|hint| format!(": {hint}")),
                _ => None,
            };
            let known = format!(
                "columns are numbered from 0 to {}{}",
                first.len().max(1) - 1,
                hint.unwrap_or_default()
            );
            missing(&self.table.path, column, known)
        })
    }

    /// The used cells of the current record.
    fn record(&self, records: &Reader, layout: &Layout) -> Result<Record, ConvertError> {
        if records.len() != layout.width {
            let cells =
                (0..records.len()).map(|place| String::from_utf8_lossy(records.cell(place)));
            let cells: Vec<String> = cells.map(std::borrow::Cow::into_owned).collect();
            return Err(self.unequal(records.line(), layout.width, &cells));
        }
        let mut bytes = Vec::new();
        let mut cells = Vec::with_capacity(layout.positions.len());
        for position in &layout.positions {
            let cell = match position {
                Position::Cell(place) => {
                    let cell = records.cell(*place);
                    let nulls = &self.config.nulls;
                    (!nulls.iter().any(|null| null.as_bytes() == cell)).then_some(cell)
                }
                Position::Folder(place) => {
                    let folder = self.table.partitions.get(*place);
                    folder.and_then(|(_, value)| value.as_deref().map(str::as_bytes))
                }
            };
            let begin = offset(bytes.len());
            cells.push(cell.map(|cell| {
                bytes.extend_from_slice(cell);
                (begin, offset(bytes.len()))
            }));
        }
        Ok(Record::Text {
            bytes: bytes.into(),
            cells: cells.into(),
        })
    }
}

/// A row has fewer bytes than 2^32, folders included: the reader and the file system see to it.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
