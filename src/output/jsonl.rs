//! One JSON object a line, with the columns as keys. Numbers that are not finite are null.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::table::{Column, OutputError, Values};
use super::text::Texts;
use crate::whole_file::Draft;

#[derive(Debug)]
pub(super) struct Jsonl {
    path: PathBuf,
    draft: Draft,
    file: BufWriter<File>,
    texts: Texts,
}

impl Jsonl {
    pub(super) fn create(path: &Path) -> Result<Self, OutputError> {
        let (draft, file) = Draft::file(path).map_err(OutputError::io("write", path))?;
        Ok(Self {
            path: path.to_owned(),
            draft,
            file: BufWriter::new(file),
            // JSON has its own escapes.
            texts: Texts::new(|text| text.into()),
        })
    }

    pub(super) fn write(&mut self, part: &[Column]) -> Result<(), OutputError> {
        let rows = part.first().map_or(0, |column| column.values.len());
        for row in 0..rows {
            let mut object = Map::new();
            for column in part {
                let cell = cell(&column.values, row, &mut self.texts);
                object.insert(column.name.clone(), cell);
            }
            let object = Value::Object(object);
            writeln!(self.file, "{object}").map_err(OutputError::io("write", &self.path))?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), OutputError> {
        let written = self.file.into_inner();
        let written = written.map_err(|error| error.into_error());
        let published = written.and_then(|_| self.draft.publish());
        published.map_err(OutputError::io("write", &self.path))?;
        self.texts.report(&self.path);
        Ok(())
    }
}

fn cell(values: &Values, row: usize, texts: &mut Texts) -> Value {
    match values {
        // By way of its shortest text, so that 0.1 stays 0.1.
        Values::F32(values) => values[row]
            .to_string()
            .parse::<f64>()
            .map_or(Value::Null, Value::from),
        Values::I64(values) => values[row].into(),
        Values::Bytes(values) => texts.of(&values[row]).into(),
    }
}
