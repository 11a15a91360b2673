//! Decoded rows that are kept, in memory or on disk, so that later epochs neither inflate nor parse.
//!
//! What is kept is what a file yields to this rank, in file order. So the order of the stream and its positions are the
//! same with and without a cache.

mod block;
mod bytes;
mod disk;
mod store;

use std::path::Path;

pub(crate) use block::RowBlock;
pub(crate) use disk::{Folder, KeptReader, RowWriter};
pub(crate) use store::{CachedFile, FileKey, Filling, Store};

use super::columns::Spec;
use super::error::DataError;
use crate::config::RecapDataConfig;

/// Where decoded rows are kept.
#[derive(Debug)]
pub(crate) enum Cache {
    /// Nowhere.
    Off,
    /// As long as the loader lives.
    Memory(Store),
    /// For later runs as well.
    Disk(Folder),
}

impl Cache {
    /// The cache that `config` asks for, of rows of `specs`.
    pub(crate) fn open(config: &RecapDataConfig, specs: &[Spec]) -> Result<Self, DataError> {
        let skips = config.ignore_data_errors;
        if let Some(folder) = &config.cache_dir {
            return Folder::open(Path::new(folder), specs, skips).map(Self::Disk);
        }
        let limit = config.cache_memory_in_mb.and_then(|megabytes| {
            let megabytes = usize::try_from(megabytes.get()).ok()?;
            megabytes.checked_mul(1 << 20)
        });
        Ok(Self::Memory(Store::new(limit)))
    }
}
