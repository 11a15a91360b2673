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
use crate::machine::{Memory, bytes_text};
use crate::whole_file;

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
        let memory = Memory::now().most();
        let limit = limit(config, ranks, memory);
        if let Some(asked) = config.cache_memory_in_mb
            && asked.get() > memory >> 20
        {
            tracing::info!(
                "cache_memory_in_mb: {} MB were to be kept, this machine has {}",
                asked.get(),
                bytes_text(memory)
            );
        }
        Ok(Self::Memory(Store::new(limit)))
    }
}

/// Finds out whether the folder that `config` keeps rows in can be used, if it has one, and leaves nothing behind.
///
/// # Errors
/// Those of [`Cache::open`].
pub(crate) fn try_folder(config: &RecapDataConfig) -> Result<(), DataError> {
    match &config.cache_dir {
        Some(folder) => whole_file::try_folder(Path::new(folder))
            .map_err(|error| DataError::CacheFolder(Box::new(error))),
        None => Ok(()),
    }
}

/// What each of `ranks` processes of this machine, which may use `memory` bytes, keeps at most: no more than there is.
fn limit(config: &RecapDataConfig, ranks: usize, memory: u64) -> usize {
    let limit = match config.cache_memory_in_mb {
        Some(megabytes) => megabytes.get().saturating_mul(1 << 20).min(memory),
        None => memory / 2,
    };
    usize::try_from(limit / ranks.max(1) as u64).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_a_machine_share_its_limit() {
        let config = |more: &str| -> RecapDataConfig {
            let text = "inputs: a, global_batch_size: 1, seg_dense_schema: {schema_path: s}, tasks: {t: {}}, cache: true";
            crate::config::parse(&format!("{{{text}{more}}}")).unwrap()
        };
        let (half, own) = (config(""), config(", cache_memory_in_mb: 8"));
        assert_eq!(limit(&half, 1, 1 << 30), 1 << 29);
        assert_eq!(limit(&half, 4, 1 << 30), 1 << 27);
        assert_eq!(limit(&own, 1, 1 << 30), 8 << 20);
        assert_eq!(limit(&own, 8, 1 << 30), 1 << 20);
        assert_eq!(limit(&half, 0, 1 << 30), 1 << 29);
        assert_eq!(limit(&own, 1, 1 << 20), 1 << 20);
    }
}
