//! Apache Parquet: flat, required columns, row groups of bounded size.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::basic::{Compression, Repetition, Type as PhysicalType};
use ::parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::types::Type;

use super::table::{Column, OutputError, Values};
use crate::whole_file::Draft;

/// Rows that are held back to make a row group worth reading.
const ROWS_PER_GROUP: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Parquet {
    path: PathBuf,
    draft: Draft,
    writer: Writer,
    /// Rows of the next row group.
    waiting: Vec<Column>,
}

struct Writer(SerializedFileWriter<File>);

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SerializedFileWriter")
    }
}

impl Parquet {
    pub(super) fn create(path: &Path, columns: &[Column]) -> Result<Self, OutputError> {
        let (draft, file) = Draft::file(path).map_err(OutputError::io("write", path))?;
        let writer = writer(file, columns).map_err(failed(path))?;
        Ok(Self {
            path: path.to_owned(),
            draft,
            writer: Writer(writer),
            waiting: Vec::new(),
        })
    }

    pub(super) fn write(&mut self, part: Vec<Column>) -> Result<(), OutputError> {
        if self.waiting.is_empty() {
            self.waiting = part;
        } else {
            for (waiting, column) in self.waiting.iter_mut().zip(part) {
                waiting.values.append(column.values);
            }
        }
        let rows = self.waiting.first().map_or(0, |column| column.values.len());
        if rows >= ROWS_PER_GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        if self.waiting.iter().any(|column| !column.values.is_empty()) {
            self.write_group()?;
        }
        self.writer.0.close().map_err(failed(&self.path))?;
        let published = self.draft.publish();
        published.map_err(OutputError::io("write", &self.path))
    }

    fn write_group(&mut self) -> Result<(), OutputError> {
        let columns = std::mem::take(&mut self.waiting);
        let write = || -> Result<(), ParquetError> {
            let mut group = self.writer.0.next_row_group()?;
            for column in columns {
                write_column(&mut group, column.values)?;
            }
            group.close()?;
            Ok(())
        };
        write().map_err(failed(&self.path))
    }
}

fn failed(path: &Path) -> impl FnOnce(ParquetError) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::Parquet { path, source }
}

fn writer(file: File, columns: &[Column]) -> Result<SerializedFileWriter<File>, ParquetError> {
    let fields = columns.iter().map(|column| {
        let kind = match &column.values {
            Values::F32(_) => PhysicalType::FLOAT,
            Values::I64(_) => PhysicalType::INT64,
            Values::Bytes(_) => PhysicalType::BYTE_ARRAY,
        };
        let field =
            Type::primitive_type_builder(&column.name, kind).with_repetition(Repetition::REQUIRED);
        field.build().map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("predictions").with_fields(fields);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    SerializedFileWriter::new(
        file,
        Arc::new(schema.build()?),
        Arc::new(properties.build()),
    )
}

fn write_column(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: Values,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Ok(());
    };
    match values {
        Values::F32(values) => {
            column
                .typed::<FloatType>()
                .write_batch(&values, None, None)?;
        }
        Values::I64(values) => {
            column
                .typed::<Int64Type>()
                .write_batch(&values, None, None)?;
        }
        Values::Bytes(values) => {
            let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, None, None)?;
        }
    }
    column.close()
}
