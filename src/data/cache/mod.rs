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

use super::error::DataError;
use super::example::Layout;
use crate::config::RecapDataConfig;
use crate::machine::Memory;

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
    /// The cache that `config` asks for, of rows of `layout`.
    ///
    /// In memory its limit is one for the machine: the `ranks` here share it evenly.
    pub(crate) fn open(
        config: &RecapDataConfig,
        ranks: usize,
        layout: &Layout,
    ) -> Result<Self, DataError> {
        let skips = config.ignore_data_errors;
        if let Some(folder) = &config.cache_dir {
            return Folder::open(Path::new(folder), layout, skips).map(Self::Disk);
        }
        let limit = match config.cache_memory_in_mb {
            Some(megabytes) => megabytes.get().saturating_mul(1 << 20),
            None => Memory::now().most() / 2,
        };
        let share = limit / (ranks.max(1) as u64);
        Ok(Self::Memory(Store::new(
            usize::try_from(share).unwrap_or(usize::MAX),
        )))
    }
}
