//! Files of results: columns of predictions as CSV, JSONL, safetensors or Parquet, row group by row group. They appear
//! whole or not at all.

mod csv;
mod jsonl;
mod parquet;
mod safetensors;
mod table;
mod text;

use std::path::{Path, PathBuf};

pub use self::table::{Column, OutputError, Values};

/// The formats by the ending of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line; numbers that are not finite are null.
    Jsonl,
    /// One tensor `[rows]` per column.
    Safetensors,
    /// Apache Parquet, compressed with Snappy.
    Parquet,
}

impl Format {
    /// The format that the ending of `path` names.
    ///
    /// # Errors
    /// When it names none.
    pub fn of(path: &Path) -> Result<Self, OutputError> {
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl") => Ok(Self::Jsonl),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(OutputError::Format {
                path: path.to_owned(),
            }),
        }
    }
}

/// A table that is written part by part, with memory for one part, and appears when it is whole.
#[derive(Debug)]
pub struct TableWriter {
    format: Format,
    path: PathBuf,
    /// `None` until the first part tells the columns.
    sink: Option<Sink>,
    layout: Vec<(String, &'static str)>,
    rows: u64,
}

#[derive(Debug)]
enum Sink {
    Csv(Box<csv::Csv>),
    Jsonl(jsonl::Jsonl),
    Safetensors(safetensors::Safetensors),
    Parquet(Box<parquet::Parquet>),
}

impl TableWriter {
    /// Prepares to write to `path`, in the format that its ending names.
    ///
    /// # Errors
    /// When it names none.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        Ok(Self {
            format: Format::of(path)?,
            path: path.to_owned(),
            sink: None,
            layout: Vec::new(),
            rows: 0,
        })
    }

    /// Appends the rows of `part`, whose columns are the same in every part.
    ///
    /// # Errors
    /// When the columns do not fit, or the file cannot be written.
    pub fn write(&mut self, part: Vec<Column>) -> Result<(), OutputError> {
        if self.sink.is_none() {
            let kinds = part.iter();
            let kinds = kinds.map(|column| (column.name.clone(), column.values.kind()));
            self.layout = kinds.collect();
            self.sink = Some(self.open(&part)?);
        }
        let rows = self.check(&part)?;
        match &mut self.sink {
            Some(Sink::Csv(sink)) => sink.write(&part)?,
            Some(Sink::Jsonl(sink)) => sink.write(&part)?,
            Some(Sink::Safetensors(sink)) => sink.write(&part)?,
            Some(Sink::Parquet(sink)) => sink.write(part)?,
            None => {}
        }
        self.rows += rows as u64;
        Ok(())
    }

    /// Completes the file and gives it its name; returns how many rows it has. Without any part there is no file.
    ///
    /// # Errors
    /// When it cannot be written; a file of that name is then as it was before.
    pub fn finish(self) -> Result<u64, OutputError> {
        match self.sink {
            Some(Sink::Csv(sink)) => sink.finish()?,
            Some(Sink::Jsonl(sink)) => sink.finish()?,
            Some(Sink::Safetensors(sink)) => sink.finish()?,
            Some(Sink::Parquet(sink)) => sink.finish()?,
            None => {}
        }
        Ok(self.rows)
    }

    fn open(&self, part: &[Column]) -> Result<Sink, OutputError> {
        Ok(match self.format {
            Format::Csv => Sink::Csv(Box::new(csv::Csv::create(&self.path, part)?)),
            Format::Jsonl => Sink::Jsonl(jsonl::Jsonl::create(&self.path)?),
            Format::Safetensors => {
                Sink::Safetensors(safetensors::Safetensors::create(&self.path, part)?)
            }
            Format::Parquet => Sink::Parquet(Box::new(parquet::Parquet::create(&self.path, part)?)),
        })
    }

    /// Whether `part` has the columns of the table; returns its rows.
    fn check(&self, part: &[Column]) -> Result<usize, OutputError> {
        let rows = part.first().map_or(0, |column| column.values.len());
        let wrong = |column: &str, problem: String| OutputError::Column {
            column: column.to_owned(),
            problem,
        };
        for (column, (name, kind)) in part.iter().zip(&self.layout) {
            if column.name != *name || column.values.kind() != *kind {
                let problem = format!("expected `{name}` of {kind} here");
                return Err(wrong(&column.name, problem));
            }
            if column.values.len() != rows {
                let found = column.values.len();
                return Err(wrong(name, format!("{found} values for {rows} rows")));
            }
        }
        if part.len() != self.layout.len() {
            let problem = format!("{} columns, expected {}", part.len(), self.layout.len());
            return Err(wrong("*", problem));
        }
        Ok(rows)
    }
}
