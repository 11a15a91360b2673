//! Where bytes of a data file come from: a local file or a remote object. The rest of the room knows only paths.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_64;

use super::remote::{self, RemoteFile};

/// An open data file, still compressed.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file of this machine.
    Local(File),
    /// An object of a store.
    Remote(RemoteFile),
}

impl Source {
    /// Opens `path`, which may be an address.
    ///
    /// # Errors
    /// When it is not there (the kind says so) or cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if remote::is_remote(path) {
            RemoteFile::open(path).map(Self::Remote)
        } else {
            File::open(path).map(Self::Local)
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read(buffer),
            Self::Remote(file) => file.read(buffer),
        }
    }
}

/// Size of the file at `path` in bytes; 0 if it cannot be told.
pub(crate) fn size(path: &Path) -> u64 {
    if remote::is_remote(path) {
        remote::size(path).unwrap_or(0)
    } else {
        std::fs::metadata(path).map_or(0, |metadata| metadata.len())
    }
}

/// `path` so that it means the same in another folder; an address stays what it is.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    if remote::is_remote(path) {
        return path.to_path_buf();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Tells whether a file has been changed: its size, and the time of its last change or the tag of its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(u64, Mark);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Changed(Option<SystemTime>),
    /// Its hash.
    Tag(u64),
}

impl Version {
    /// Of the file at `path` as it is now; `None` if that cannot be told.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        if remote::is_remote(path) {
            let version = remote::version(path).ok()?;
            let tag = xxh3_64(version.tag.as_bytes());
            return Some(Self(version.size, Mark::Tag(tag)));
        }
        let metadata = std::fs::metadata(path).ok()?;
        let changed = metadata.modified().ok();
        Some(Self(metadata.len(), Mark::Changed(changed)))
    }
}
