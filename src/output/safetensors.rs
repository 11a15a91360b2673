//! One tensor `[rows]` per column of numbers. The header needs the number of rows, so that the columns wait in files of
//! their own until the end.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, json};

use super::table::{Column, OutputError, Values};
use crate::whole_file::Draft;

/// What tensors begin at a multiple of.
const ALIGNMENT: usize = 8;

#[derive(Debug)]
pub(super) struct Safetensors {
    path: PathBuf,
    draft: Draft,
    file: File,
    /// One per column; `None` for strings, which the format does not know.
    spools: Vec<Option<Spool>>,
    rows: usize,
}

/// The values of one column so far.
#[derive(Debug)]
struct Spool {
    name: String,
    dtype: &'static str,
    bytes_per_value: usize,
    file: BufWriter<File>,
}

impl Safetensors {
    pub(super) fn create(path: &Path, columns: &[Column]) -> Result<Self, OutputError> {
        let (draft, file) = Draft::file(path).map_err(OutputError::io("write", path))?;
        let spools = columns.iter().map(|column| Spool::create(path, column));
        Ok(Self {
            path: path.to_owned(),
            draft,
            file,
            spools: spools.collect::<Result<_, _>>()?,
            rows: 0,
        })
    }

    pub(super) fn write(&mut self, part: &[Column]) -> Result<(), OutputError> {
        for (spool, column) in self.spools.iter_mut().zip(part) {
            if let Some(spool) = spool {
                spool
                    .write(&column.values)
                    .map_err(OutputError::io("write", &self.path))?;
            }
        }
        self.rows += part.first().map_or(0, |column| column.values.len());
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        let published = self.assemble().and_then(|()| self.draft.publish());
        published.map_err(OutputError::io("write", &self.path))
    }

    /// Header, then column by column.
    fn assemble(&mut self) -> io::Result<()> {
        // The wide ones first: then every tensor begins at a multiple of its own width.
        let mut spools: Vec<&mut Spool> = self.spools.iter_mut().flatten().collect();
        spools.sort_by_key(|spool| std::cmp::Reverse(spool.bytes_per_value));
        let mut header = Map::new();
        let mut end = 0;
        for spool in &spools {
            let begin = end;
            end += spool.bytes_per_value * self.rows;
            let info = json!({
                "dtype": spool.dtype, "shape": [self.rows], "data_offsets": [begin, end],
            });
            header.insert(spool.name.clone(), info);
        }
        let mut header = serde_json::to_vec(&header)?;
        header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
        self.file.write_all(&(header.len() as u64).to_le_bytes())?;
        self.file.write_all(&header)?;
        for spool in spools {
            spool.file.flush()?;
            let values = spool.file.get_mut();
            values.rewind()?;
            io::copy(values, &mut self.file)?;
        }
        Ok(())
    }
}

impl Spool {
    /// An unnamed file in the folder of `path`; `None` for strings.
    fn create(path: &Path, column: &Column) -> Result<Option<Self>, OutputError> {
        let (dtype, bytes_per_value) = match &column.values {
            Values::F32(_) => ("F32", 4),
            Values::I64(_) => ("I64", 8),
            Values::Bytes(_) => {
                tracing::warn!(
                    column = column.name,
                    "safetensors knows no strings: left out"
                );
                return Ok(None);
            }
        };
        // The handle keeps it; it is gone however this process ends.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let file = tempfile::tempfile_in(folder.unwrap_or(Path::new(".")))
            .map_err(OutputError::io("write beside", path))?;
        Ok(Some(Self {
            name: column.name.clone(),
            dtype,
            bytes_per_value,
            file: BufWriter::new(file),
        }))
    }

    fn write(&mut self, values: &Values) -> io::Result<()> {
        match values {
            Values::F32(values) => values
                .iter()
                .try_for_each(|value| self.file.write_all(&value.to_le_bytes())),
            Values::I64(values) => values
                .iter()
                .try_for_each(|value| self.file.write_all(&value.to_le_bytes())),
            Values::Bytes(_) => Ok(()),
        }
    }
}
