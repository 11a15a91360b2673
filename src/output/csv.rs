//! Comma-separated values: a header, then one line per row. Floats are written so that they read back to the bit, and
//! text so that it reads back as it was, except for control characters, which no reader of CSV agrees on: they become
//! escapes, and are counted.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::table::{Column, OutputError, Values};
use super::text::Texts;
use crate::printable;
use crate::whole_file::Draft;

const BUFFER_BYTES: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Csv {
    path: PathBuf,
    draft: Draft,
    lines: csv::Writer<File>,
    texts: Texts,
}

impl Csv {
    pub(super) fn create(path: &Path, columns: &[Column]) -> Result<Self, OutputError> {
        let (draft, file) = Draft::file(path).map_err(OutputError::io("write", path))?;
        let mut builder = csv::WriterBuilder::new();
        let mut csv = Self {
            path: path.to_owned(),
            draft,
            lines: builder.buffer_capacity(BUFFER_BYTES).from_writer(file),
            texts: Texts::new(escaped),
        };
        let names: Vec<_> = columns.iter().map(|c| escaped(&c.name)).collect();
        csv.line(&names)?;
        Ok(csv)
    }

    pub(super) fn write(&mut self, part: &[Column]) -> Result<(), OutputError> {
        let rows = part.first().map_or(0, |column| column.values.len());
        for row in 0..rows {
            let texts = &mut self.texts;
            let cells: Vec<_> = part.iter().map(|c| cell(&c.values, row, texts)).collect();
            self.line(&cells)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), OutputError> {
        let written = self.lines.into_inner();
        let written = written.map_err(|error| error.into_error());
        let published = written.and_then(|_| self.draft.publish());
        published.map_err(OutputError::io("write", &self.path))?;
        self.texts.report(&self.path);
        Ok(())
    }

    fn line(&mut self, cells: &[Cow<'_, str>]) -> Result<(), OutputError> {
        let cells = cells.iter().map(|cell| cell.as_bytes());
        let written = self.lines.write_record(cells).map_err(std::io::Error::from);
        written.map_err(OutputError::io("write", &self.path))
    }
}

fn cell<'a>(values: &'a Values, row: usize, texts: &mut Texts) -> Cow<'a, str> {
    match values {
        Values::F32(values) => values[row].to_string().into(),
        Values::I64(values) => values[row].to_string().into(),
        Values::Bytes(values) => texts.of(&values[row]),
    }
}

/// Breaks of lines and tabs can be read back from a cell in quotes, other control characters cannot.
fn escaped(text: &str) -> Cow<'_, str> {
    printable::escaped(text, |c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_is_the_text_except_for_control_characters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        let cells = [
            "plain",
            "",
            " a, b ",
            "say \"hi\"",
            "two\nlines\r\n",
            "tab\t",
            "日本",
            "=1+1",
            "#",
            "\u{202e}",
            "\0\x1b[31m",
            "\u{9b}2J",
        ];
        let column = |name: &str| Column {
            name: name.to_owned(),
            values: Values::Bytes(cells.map(|cell| cell.as_bytes().to_vec()).to_vec()),
        };
        let columns = [column("a\x1bb"), column("c,d")];
        let mut csv = Csv::create(&path, &columns).unwrap();
        csv.write(&columns).unwrap();
        assert_eq!(csv.texts.changed(), 4);
        csv.finish().unwrap();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        let names: Vec<&str> = reader.headers().unwrap().iter().collect();
        assert_eq!(names, ["a\\x1bb", "c,d"]);
        let found = reader.records().map(|record| record.unwrap()[1].to_owned());
        let mut expected = cells.map(str::to_owned);
        expected[10] = "\\x00\\x1b[31m".to_owned();
        expected[11] = "\\u{9b}2J".to_owned();
        assert_eq!(found.collect::<Vec<_>>(), expected);
        let is_harmless = |byte: &u8| *byte >= b' ' || b"\r\n\t".contains(byte);
        assert!(std::fs::read(&path).unwrap().iter().all(is_harmless));
    }
}
