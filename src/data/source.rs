//! Where bytes of a data file come from: a local file or a remote object. The rest of the room knows only paths.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
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
            open_regular(path).map(Self::Local)
        }
    }
}

/// Opens a regular file of this machine. Opening must not wait either: for a pipe it would, until somebody writes.
fn open_regular(path: &Path) -> io::Result<File> {
    if let Some(other) = NotRegular::at(path, &fs::metadata(path)?) {
        return Err(io::Error::other(other));
    }
    // What stands there may be replaced between the look and the opening.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    match NotRegular::at(path, &file.metadata()?) {
        Some(other) => Err(io::Error::other(other)),
        None => Ok(file),
    }
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
        let what = kind(metadata.file_type())?;
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

/// What it is called; `None` for a file.
fn kind(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_fifo() {
        Some("a named pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_char_device() {
        Some("a character device")
    } else {
        Some("a block device")
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

/// Size of the file at `path` in bytes, if it can be told.
pub(crate) fn size(path: &Path) -> Option<u64> {
    if remote::is_remote(path) {
        remote::size(path).ok()
    } else {
        fs::metadata(path).ok().map(|metadata| metadata.len())
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
        let metadata = fs::metadata(path).ok()?;
        let changed = metadata.modified().ok();
        Some(Self(metadata.len(), Mark::Changed(changed)))
    }
}
