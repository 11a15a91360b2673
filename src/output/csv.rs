//! Comma-separated values: a header, then one line per row. Floats are written so that they read back to the bit.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Column, OutputError, PartFile, Values};

#[derive(Debug)]
pub(super) struct Csv {
    path: PathBuf,
    part_file: PartFile,
    file: BufWriter<File>,
}

impl Csv {
    pub(super) fn create(path: &Path, columns: &[Column]) -> Result<Self, OutputError> {
        let (part_file, file) = PartFile::create(path)?;
        let mut csv = Self {
            path: path.to_owned(),
            part_file,
            file: BufWriter::new(file),
        };
        let names: Vec<_> = columns.iter().map(|column| quoted(&column.name)).collect();
        csv.line(&names.join(","))?;
        Ok(csv)
    }

    pub(super) fn write(&mut self, part: &[Column]) -> Result<(), OutputError> {
        let rows = part.first().map_or(0, |column| column.values.len());
        for row in 0..rows {
            let cells: Vec<_> = part.iter().map(|c| cell(&c.values, row)).collect();
            self.line(&cells.join(","))?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), OutputError> {
        let file = self.file.into_inner();
        let file =
            file.map_err(|error| OutputError::io("write", &self.path)(error.into_error()))?;
        self.part_file.publish(&file)
    }

    fn line(&mut self, line: &str) -> Result<(), OutputError> {
        writeln!(self.file, "{line}").map_err(OutputError::io("write", &self.path))
    }
}

fn cell(values: &Values, row: usize) -> Cow<'_, str> {
    match values {
        Values::F32(values) => values[row].to_string().into(),
        Values::I64(values) => values[row].to_string().into(),
        Values::Bytes(values) => quoted(&String::from_utf8_lossy(&values[row]))
            .into_owned()
            .into(),
    }
}

/// `text`, in quotes if it has to be.
fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}
