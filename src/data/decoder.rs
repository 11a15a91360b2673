//! Decodes records right where they were read, while a core still has their bytes in its cache. What waits for its turn
//! afterwards are rows, which are smaller.

use std::sync::Arc;
use std::time::Instant;

use super::cache::RowBlock;
use super::columns::{Column, Spec};
use super::counters::Stats;
use super::error::DataError;
use super::example::Scratch;
use super::payload::{Block, Payload, Source};
use super::pipeline::SharedPipeline;
use super::tfrecord::{Frame, RecordReader};

/// Bytes of records that make a block: enough that handing it on costs little beside reading it.
const BLOCK_BYTES: usize = 768 * 1024;

/// What one thread reads files with.
pub(crate) struct Decoder {
    pipeline: SharedPipeline,
    /// Rows are to be kept: in the narrowest types.
    packs: bool,
    stats: Arc<Stats>,
    scratch: Scratch,
    /// The bytes last read.
    chunk: Vec<u8>,
}

/// The rows of a block in the making.
struct Rows {
    columns: Vec<Column>,
    count: usize,
    /// Each record with the number of its row, or what is wrong with it.
    records: Vec<(Frame, Result<usize, Box<DataError>>)>,
    bytes: usize,
}

impl Decoder {
    pub(crate) fn new(pipeline: &SharedPipeline, packs: bool, stats: &Arc<Stats>) -> Self {
        Self {
            pipeline: Arc::clone(pipeline),
            packs,
            stats: Arc::clone(stats),
            scratch: Scratch::default(),
            chunk: Vec::new(),
        }
    }

    /// What is read of a record.
    pub(crate) fn specs(&self) -> &[Spec] {
        &self.pipeline.layout().specs
    }

    /// The next records of a file. After a block with `is_last` there is nothing more.
    pub(crate) fn read(&mut self, reader: &mut RecordReader) -> Block {
        let mut block = Block::default();
        let mut rows: Option<Rows> = None;
        while !block.is_last && rows.as_ref().is_none_or(|rows| rows.bytes < BLOCK_BYTES) {
            let begin = Instant::now();
            let frames = reader.read_chunk(&mut self.chunk);
            let is_read = Instant::now();
            self.stats.inflated(is_read - begin);
            block.skipped += frames.skipped;
            block.failure = frames.failure;
            block.is_last = frames.is_last;
            block.is_empty = frames.is_empty;
            if !frames.found.is_empty() {
                let rows = rows.get_or_insert_with(|| self.rows(&frames.found));
                block.skipped += self.decode(reader, frames.found, rows);
            }
            self.stats.parsed(is_read.elapsed());
        }
        if let Some(rows) = rows {
            self.finish(reader, rows, &mut block);
            let layout = self.pipeline.layout();
            self.scratch.report_missing(layout, reader.path());
        }
        block
    }

    /// No rows, with room for as many as there will be if all chunks are like this one.
    fn rows(&self, found: &[Frame]) -> Rows {
        let bytes: usize = found.iter().map(|frame| frame.len).sum();
        let chunks = BLOCK_BYTES.div_ceil(bytes.max(1)).clamp(1, 8);
        Rows {
            columns: self.pipeline.layout().columns(found.len() * chunks),
            count: 0,
            records: Vec::with_capacity(found.len() * chunks),
            bytes: 0,
        }
    }

    /// Decodes what was `found` in the chunk; how many bad records were passed over.
    fn decode(&mut self, reader: &RecordReader, found: Vec<Frame>, rows: &mut Rows) -> u64 {
        let layout = self.pipeline.layout();
        let mut skipped = 0;
        for frame in found {
            let bytes = &self.chunk[frame.begin..frame.begin + frame.len];
            rows.bytes += frame.len;
            match self.scratch.read(layout, bytes, &mut rows.columns) {
                Ok(()) => {
                    rows.records.push((frame, Ok(rows.count)));
                    rows.count += 1;
                }
                Err(cause) => {
                    for (column, spec) in rows.columns.iter_mut().zip(&layout.specs) {
                        column.truncate(rows.count, spec);
                    }
                    let error = DataError::Record {
                        path: Arc::clone(reader.path()),
                        record: frame.record,
                        offset: frame.offset,
                        source: cause,
                    };
                    if reader.skips_damaged() {
                        let cause = std::error::Error::source(&error);
                        tracing::warn!(error = %error, cause, "skipping a bad record");
                        skipped += 1;
                    } else {
                        rows.records.push((frame, Err(Box::new(error))));
                    }
                }
            }
        }
        skipped
    }

    fn finish(&self, reader: &RecordReader, rows: Rows, block: &mut Block) {
        let is_good = rows.count > 0 && rows.count == rows.records.len();
        let decoded = Arc::new(if self.packs {
            RowBlock::pack(rows.columns)
        } else {
            RowBlock::plain(rows.columns)
        });
        let payload = |(frame, row): (Frame, Result<usize, Box<DataError>>)| Payload {
            source: match row {
                Ok(row) => Source::Row {
                    block: Arc::clone(&decoded),
                    row,
                },
                Err(error) => Source::Bad(error),
            },
            len: frame.len,
            path: Arc::clone(reader.path()),
            record: frame.record,
            offset: frame.offset,
        };
        block.records = rows.records.into_iter().map(payload).collect();
        block.rows = is_good.then_some(decoded);
    }
}
