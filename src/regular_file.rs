//! Files from outside that must be regular ones: nothing here waits for a pipe, asks a device or reads without a bound.
//!
//! What somebody else has made (a config, a schema, a checkpoint) is read through [`read`], with a limit that its caller
//! knows to be far beyond any such file.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::machine::bytes_text;

/// Most bytes of a config, a schema, or another text that people or their programs write.
pub const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Something that is no regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is {what}, expected a regular file{}", remedy(what))]
pub struct NotRegular {
    /// What it is, with an article.
    pub what: &'static str,
}

fn remedy(what: &str) -> &'static str {
    match what {
        PIPE => ": write what comes out of it to a file first",
        _ => "",
    }
}

/// A file has more bytes than anything of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has more than {}, the most that is read", bytes_text(*limit))]
pub struct TooLong {
    /// Bytes that would be read.
    pub limit: u64,
}

/// What a shell's `<(...)` is, too.
const PIPE: &str = "a pipe";

/// What a file of this type is called, with an article; `None` for a regular file.
#[must_use]
pub fn other_kind(found: FileType) -> Option<&'static str> {
    if found.is_file() {
        None
    } else if found.is_dir() {
        Some("a folder")
    } else if found.is_fifo() {
        Some(PIPE)
    } else if found.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// Opens the file at `path` for reading; a link to a regular file is one. Never waits for somebody else.
///
/// # Errors
/// When nothing is there, or it cannot be opened, as the system says; [`NotRegular`], inside an error of kind
/// [`io::ErrorKind::InvalidInput`], when it is something else than a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    expect_regular(&std::fs::metadata(path)?)?;
    // What stands there may have become a pipe since.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    expect_regular(&file.metadata()?)?;
    Ok(file)
}

fn expect_regular(found: &Metadata) -> io::Result<()> {
    match other_kind(found.file_type()) {
        Some(what) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            NotRegular { what },
        )),
        None => Ok(()),
    }
}

/// The bytes of the file at `path`, of which there must be `limit` at most.
///
/// # Errors
/// Those of [`open`]; when it cannot be read; [`TooLong`], inside an error of kind [`io::ErrorKind::FileTooLarge`].
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            TooLong { limit },
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_of_the_length_are_read_through_links_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), fifo, mode, 0).unwrap();
        symlink("pipe", path("to_pipe")).unwrap();
        symlink("/dev/zero", path("to_device")).unwrap();
        fs::write(path("file"), "text").unwrap();
        symlink("file", path("to_file")).unwrap();
        let said = |name: &str, limit| read(&path(name), limit).unwrap_err().to_string();
        for name in ["pipe", "to_pipe"] {
            let said = said(name, 4);
            assert!(
                said.starts_with("it is a pipe, ") && said.ends_with("to a file first"),
                "{said}"
            );
        }
        assert_eq!(
            said("to_device", 4),
            "it is a device, expected a regular file"
        );
        assert_eq!(said(".", 4), "it is a folder, expected a regular file");
        assert_eq!(read(&path("to_file"), 4).unwrap(), b"text");
        assert_eq!(
            said("file", 3),
            "it has more than 3 bytes, the most that is read"
        );
    }
}
