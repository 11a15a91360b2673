//! One JSON object a line, with the columns as keys. Numbers that are not finite are null.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Column, OutputError, PartFile, Values};

#[derive(Debug)]
pub(super) struct Jsonl {
    path: PathBuf,
    part_file: PartFile,
    file: BufWriter<File>,
}

impl Jsonl {
    pub(super) fn create(path: &Path) -> Result<Self, OutputError> {
        let (part_file, file) = PartFile::create(path)?;
        Ok(Self {
            path: path.to_owned(),
            part_file,
            file: BufWriter::new(file),
        })
    }

    pub(super) fn write(&mut self, part: &[Column]) -> Result<(), OutputError> {
        let rows = part.first().map_or(0, |column| column.values.len());
        for row in 0..rows {
            let cells = part.iter();
            let cells = cells.map(|column| (column.name.clone(), cell(&column.values, row)));
            let object = Value::Object(cells.collect::<Map<_, _>>());
            writeln!(self.file, "{object}").map_err(OutputError::io("write", &self.path))?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), OutputError> {
        let file = self.file.into_inner();
        let file =
            file.map_err(|error| OutputError::io("write", &self.path)(error.into_error()))?;
        self.part_file.publish(&file)
    }
}

fn cell(values: &Values, row: usize) -> Value {
    match values {
        // By way of its shortest text, so that 0.1 stays 0.1.
        Values::F32(values) => values[row]
            .to_string()
            .parse::<f64>()
            .map_or(Value::Null, Value::from),
        Values::I64(values) => values[row].into(),
        Values::Bytes(values) => String::from_utf8_lossy(&values[row]).into(),
    }
}
