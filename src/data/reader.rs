//! One open data file as the workers read it: its records, or the rows that were kept of it.

use std::path::Path;
use std::sync::Arc;

use super::cache::{KeptReader, RowWriter};
use super::example::Scratch;
use super::pipeline::Pipeline;
use super::tfrecord::{Block, ChunkPool, ReadOptions, RecordReader};

/// What is done to records when they are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handling {
    /// Each is tried, and passed over if it is bad.
    pub(crate) checks: bool,
    /// They are decoded to be kept.
    pub(crate) decodes: bool,
}

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
    pub(crate) pool: Arc<ChunkPool>,
}

impl Fallback {
    /// The records from number `start` on.
    pub(crate) fn records(&self, start: u64) -> RecordReader {
        let options = ReadOptions {
            start,
            ..self.options
        };
        RecordReader::new(Arc::clone(&self.path), options, Arc::clone(&self.pool))
    }
}

impl FileReader {
    /// Whether the file's rows are being kept on disk.
    pub(crate) fn keeps(&self) -> bool {
        matches!(self, Self::Records(_, Some(_)))
    }

    /// The next records. After a block with `is_last` there is nothing more.
    pub(crate) fn read(
        &mut self,
        pipeline: &Pipeline,
        scratch: &mut Scratch,
        handling: Handling,
    ) -> Block {
        match self {
            Self::Records(reader, keeps) => {
                let mut block = reader.read_block();
                if handling.checks {
                    check(&mut block, pipeline, scratch);
                }
                if handling.decodes {
                    pipeline.decode(&mut block.records, scratch);
                }
                keep(keeps, &block);
                block
            }
            Self::Kept(kept, fallback) => match kept.read(pipeline.specs()) {
                Ok(records) => Block {
                    is_last: records.is_none(),
                    records: records.unwrap_or_default(),
                    failure: None,
                    skipped: 0,
                },
                Err(next) => {
                    *self = Self::Records(fallback.records(next), None);
                    self.read(pipeline, scratch, handling)
                }
            },
        }
    }
}

/// Only whole good files are kept: what ends in an error must end so again.
fn keep(keeps: &mut Option<RowWriter>, block: &Block) {
    if let Some(mut writer) = keeps.take()
        && block.failure.is_none()
        && writer.add(&block.records)
    {
        if block.is_last {
            writer.finish();
        } else {
            *keeps = Some(writer);
        }
    }
}

fn check(block: &mut Block, pipeline: &Pipeline, scratch: &mut Scratch) {
    let before = block.records.len();
    block.records.retain(|payload| {
        let outcome = pipeline.check(payload, scratch);
        if let Err(error) = &outcome {
            let cause = std::error::Error::source(error);
            tracing::warn!(error = %error, cause, "skipping a bad record");
        }
        outcome.is_ok()
    });
    block.skipped += (before - block.records.len()) as u64;
}
