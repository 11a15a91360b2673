//! Files of results: columns of predictions as CSV, JSONL, safetensors or Parquet, row group by row group. They appear
//! whole or not at all.

mod csv;
mod jsonl;
mod parquet;
mod safetensors;
mod text;

use std::path::{Path, PathBuf};

/// The values of one column over some rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Strings of bytes; text formats show what is not UTF-8 as replacement characters, safetensors leaves them out.
    Bytes(Vec<Vec<u8>>),
}

impl Values {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::F32(_) => "floats",
            Self::I64(_) => "integers",
            Self::Bytes(_) => "strings",
        }
    }

    fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::F32(own), Self::F32(mut other)) => own.append(&mut other),
            (Self::I64(own), Self::I64(mut other)) => own.append(&mut other),
            (Self::Bytes(own), Self::Bytes(mut other)) => own.append(&mut other),
            // The table compares the kinds of every part before it is written.
            _ => debug_assert!(false, "columns of different kinds"),
        }
    }
}

/// One column of a table over some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// One value per row.
    pub values: Values,
}

/// Why a file of results cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The ending of the file names no format.
    #[error("cannot tell the format of {}: it must end in .csv, .jsonl, .safetensors or .parquet", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Parquet writer refused.
    #[error("cannot write {}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: ::parquet::errors::ParquetError,
    },
    /// The columns of a part are not those of the first one, or differ in length.
    #[error("column `{column}` does not fit the table: {problem}")]
    Column {
        /// The column.
        column: String,
        /// What is wrong.
        problem: String,
    },
}

impl OutputError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

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
