//! What a config's data files are, in a few words, so that ranks can tell whether they have the same.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::error::DataError;
use super::{files, remote, source};
use crate::config::RecapDataConfig;
use crate::regular_file::{self, MAX_TEXT_BYTES};

/// Files whose first and last bytes are looked at, spread over all.
const SAMPLES: usize = 64;
/// How many bytes at either end: a gzip file ends with a checksum of what it holds.
const END_BYTES: usize = 4096;
/// Files that are listed one by one.
const MAX_LINES: usize = 1000;

/// The files of one data config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// How many files.
    pub num_files: usize,
    /// All their bytes.
    pub bytes: u64,
    /// Of names, sizes, and the ends of some.
    pub digest: u64,
    /// Of the schema's bytes; 0 without a schema.
    pub schema_digest: u64,
    /// Name and size of the first thousand.
    pub lines: Vec<String>,
}

/// Looks at the files that `config` finds now. Times of change are left out: a copy has others.
///
/// # Errors
/// When there are none, they cannot be listed, or the schema cannot be read.
pub fn inventory(config: &RecapDataConfig) -> Result<Inventory, DataError> {
    let files = files::list(config)?;
    let mut inventory = Inventory {
        num_files: files.len(),
        schema_digest: match &config.seg_dense_schema.schema_path {
            Some(path) => schema_digest(path.as_ref())?,
            None => 0,
        },
        ..Inventory::default()
    };
    let every = files.len().div_ceil(SAMPLES).max(1);
    let mut hash = Xxh3::new();
    for (number, file) in files.iter().enumerate() {
        let size = source::size(file)?;
        let line = format!("{}, {size} bytes", file.display());
        hash.update(line.as_bytes());
        if number % every == 0 {
            hash.update(&ends(file, size));
        }
        inventory.bytes = inventory.bytes.saturating_add(size);
        if number < MAX_LINES {
            inventory.lines.push(line);
        }
    }
    inventory.digest = hash.digest();
    Ok(inventory)
}

/// The first and last bytes of a file of this machine; what cannot be read is reported where it is.
fn ends(file: &Path, size: u64) -> Vec<u8> {
    let is_file = std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file());
    if remote::is_remote(file) || !is_file {
        return Vec::new();
    }
    let read = || -> io::Result<Vec<u8>> {
        let length = usize::try_from(size).map_or(END_BYTES, |size| size.min(END_BYTES));
        let (mut first, mut last) = (vec![0; length], vec![0; length]);
        let open = regular_file::open(file)?;
        open.read_exact_at(&mut first, 0)?;
        open.read_exact_at(&mut last, size - length as u64)?;
        Ok([first, last].concat())
    };
    read().unwrap_or_default()
}

fn schema_digest(path: &Path) -> Result<u64, DataError> {
    let failed = |source| DataError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let bytes = regular_file::read(path, MAX_TEXT_BYTES).map_err(failed)?;
    Ok(xxh3_64(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Decode;

    fn look(folder: &Path) -> Inventory {
        let mut config = RecapDataConfig::placeholder();
        config.inputs = Some(format!("{}/*.gz", folder.display()));
        config.seg_dense_schema.schema_path =
            Some(folder.join("schema.json").display().to_string());
        inventory(&config).unwrap()
    }

    #[test]
    fn names_sizes_and_contents_tell_files_apart() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("schema.json", "{}");
        write("a.gz", "one");
        write("b.gz", "three");
        let first = look(folder.path());
        assert_eq!((first.num_files, first.bytes, first.lines.len()), (2, 8, 2));
        assert!(
            first.lines[1].ends_with("b.gz, 5 bytes"),
            "{:?}",
            first.lines
        );
        assert_eq!(look(folder.path()), first);
        write("b.gz", "thrEe");
        assert_ne!(look(folder.path()).digest, first.digest);
        write("b.gz", "three");
        write("c.gz", "");
        assert_ne!(look(folder.path()).digest, first.digest);
        std::fs::remove_file(folder.path().join("c.gz")).unwrap();
        write("schema.json", "[]");
        let other = look(folder.path());
        assert_eq!(other.digest, first.digest);
        assert_ne!(other.schema_digest, first.schema_digest);
    }
}
