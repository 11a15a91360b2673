//! Where bytes of a data file come from: a local file or a remote object. The rest of the room knows only paths.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::error::DataError;
use super::remote::{self, RemoteFile};
use crate::{redact, regular_file};

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
            open_regular(path).map(Self::Local)
        }
    }
}

/// Opens a regular file of this machine.
fn open_regular(path: &Path) -> io::Result<File> {
    if let Some(other) = NotRegular::at(path, &fs::metadata(path)?) {
        return Err(io::Error::other(other));
    }
    regular_file::open(path)
}

/// Something that is no regular file, and so cannot be read again in the next epoch or after a resume.
#[derive(Debug, thiserror::Error)]
#[error("{what}, no regular file{remedy}")]
pub struct NotRegular {
    what: String,
    remedy: &'static str,
}

impl NotRegular {
    /// What stands at `path`, of which `metadata` is; `None` for a file.
    fn at(path: &Path, metadata: &fs::Metadata) -> Option<Self> {
        let what = regular_file::other_kind(metadata.file_type())?;
        let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        Some(Self {
            what: if is_link {
                format!("a link to {what}")
            } else {
                what.to_owned()
            },
            remedy: "; data is read again in every epoch and after a resume: write it to a file first",
        })
    }

    /// The same for what cannot be opened at all: a link to nowhere.
    fn dangling(path: &Path) -> Option<Self> {
        let target = fs::read_link(path).ok()?;
        let remedy = if target.to_string_lossy().contains("annex/objects/") {
            ": fetch it with `git annex get`"
        } else {
            ""
        };
        Some(Self {
            what: format!("a link to {}, where nothing is", target.display()),
            remedy,
        })
    }
}

/// What stands at a local path.
pub(crate) enum Stands {
    /// A file, or nothing any more.
    File,
    Folder,
    Other(NotRegular),
}

/// What stands at `path`, links followed.
pub(crate) fn stands_at(path: &Path) -> Stands {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Stands::Folder,
        Ok(metadata) => NotRegular::at(path, &metadata).map_or(Stands::File, Stands::Other),
        Err(_) => NotRegular::dangling(path).map_or(Stands::File, Stands::Other),
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

/// Size of the file at `path` in bytes.
///
/// # Errors
/// When it cannot be told: what is not known is not empty.
pub(crate) fn size(path: &Path) -> Result<u64, DataError> {
    if remote::is_remote(path) {
        return remote::size(path).map_err(|source| DataError::Remote {
            address: redact::value(&path.display().to_string()).into_owned(),
            source,
        });
    }
    let metadata = fs::metadata(path).map_err(|source| DataError::Io {
        action: "find the size of",
        path: path.to_owned(),
        source,
    })?;
    Ok(metadata.len())
}

/// `path` so that it means the same in another folder; an address stays what it is.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    if remote::is_remote(path) {
        return path.to_path_buf();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Tells whether a file has been changed or replaced: its size, and what its file system or store tells contents apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(u64, Mark);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Times can be set and names can change hands: the time of the last change of the inode cannot be set, and another
    /// file has another inode.
    Inode {
        number: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
    /// Its hash.
    Tag(u64),
}

impl Version {
    /// Of the file at `path` as it is now; `None` if that cannot be told.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        if remote::is_remote(path) {
            let version = remote::version(path).ok()?;
            let tag = xxh3_64(version.tag?.as_bytes());
            return Some(Self(version.size, Mark::Tag(tag)));
        }
        let metadata = fs::metadata(path).ok()?;
        let mark = Mark::Inode {
            number: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        Some(Self(metadata.len(), mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_same_size_and_time_is_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::write(&path, "data").unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let set_time = |path: &Path| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(time).unwrap();
        };
        let first = Version::of(&path).unwrap();
        assert_eq!(Version::of(&path), Some(first));
        std::fs::write(&other, "DATA").unwrap();
        set_time(&other);
        std::fs::rename(&other, &path).unwrap();
        let replaced = Version::of(&path).unwrap();
        assert_ne!(replaced, first, "another file under the name");
        // Kernels take the time of a change from a clock that ticks a few hundred times a second.
        let begin = std::time::Instant::now();
        while Version::of(&path) == Some(replaced) && begin.elapsed().as_secs() < 10 {
            std::fs::write(&path, "Data").unwrap();
            set_time(&path);
        }
        assert_ne!(
            Version::of(&path),
            Some(replaced),
            "written over in its place"
        );
    }

    #[test]
    fn a_size_that_is_not_known_is_an_error() {
        let error = size(Path::new("/nowhere/a.gz")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/a.gz"), "{error}");
    }
}
