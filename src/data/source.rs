//! Where bytes of a data file come from: a local file or a remote object. The rest of the room knows only paths.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

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

/// Tells whether a file has been changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Size and time of the last change.
    Local(u64, Option<SystemTime>),
    /// Size and tag.
    Remote(remote::Version),
}

impl Version {
    /// Of the file at `path` as it is now; `None` if that cannot be told.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        if remote::is_remote(path) {
            return remote::version(path).ok().map(Self::Remote);
        }
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self::Local(metadata.len(), metadata.modified().ok()))
    }
}
