//! One open data file as a worker reads it: its records, or the rows that were kept of it.

use std::path::Path;
use std::sync::Arc;

use super::cache::{KeptReader, RowWriter};
use super::decoder::Decoder;
use super::payload::Block;
use super::tfrecord::{ReadOptions, RecordReader};

/// An open data file.
#[derive(Debug)]
pub(crate) enum FileReader {
    /// The file itself; its rows may be kept on the way.
    Records(RecordReader, Option<RowWriter>),
    /// Its kept rows.
    Kept(KeptReader, Fallback),
}

/// How to read the file itself, should its kept rows turn out to be damaged.
#[derive(Debug)]
pub(crate) struct Fallback {
    pub(crate) path: Arc<Path>,
    pub(crate) options: ReadOptions,
}

impl Fallback {
    /// The records from number `start` on.
    pub(crate) fn records(&self, start: u64) -> RecordReader {
        let options = ReadOptions {
            start,
            ..self.options
        };
        RecordReader::new(Arc::clone(&self.path), options)
    }
}

impl FileReader {
    /// Whether the file's rows are being kept on disk.
    pub(crate) fn keeps(&self) -> bool {
        matches!(self, Self::Records(_, Some(_)))
    }

    /// The next records. After a block with `is_last` there is nothing more.
    pub(crate) fn read(&mut self, decoder: &mut Decoder) -> Block {
        match self {
            Self::Records(reader, keeps) => {
                let block = decoder.read(reader);
                keep(keeps, &block);
                block
            }
            Self::Kept(kept, fallback) => match kept.read(decoder.specs()) {
                Ok(records) => Block {
                    is_last: records.is_none(),
                    records: records.unwrap_or_default(),
                    ..Block::default()
                },
                Err(next) => {
                    *self = Self::Records(fallback.records(next), None);
                    self.read(decoder)
                }
            },
        }
    }
}

/// Only whole good files are kept: what ends in an error must end so again.
fn keep(keeps: &mut Option<RowWriter>, block: &Block) {
    if let Some(mut writer) = keeps.take()
        && block.failure.is_none()
        && writer.add(block)
    {
        if block.is_last {
            writer.finish();
        } else {
            *keeps = Some(writer);
        }
    }
}
