//! Files of checkpoints: what is none is damage, so that another checkpoint may take its place.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::CheckpointError;
use crate::regular_file::{self, NotRegular, TooLong};

/// Opens a file for reading; `None` where nothing has that name. A link to a regular file is one.
///
/// # Errors
/// When it is something else than a regular file, or cannot be opened.
pub(super) fn open_if_there(path: &Path) -> Result<Option<File>, CheckpointError> {
    match regular_file::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

/// Opens a file that must be there.
///
/// # Errors
/// When it is missing or no regular file, which is damage, or cannot be opened.
pub(super) fn open(path: &Path) -> Result<File, CheckpointError> {
    open_if_there(path)?.ok_or_else(|| missing(path))
}

/// The bytes of a file that must be there and has at most `limit` of them.
///
/// # Errors
/// When it is missing, no regular file or too long, which is damage, or cannot be read.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CheckpointError> {
    regular_file::read(path, limit).map_err(|error| match is_absence(&error) {
        true => missing(path),
        false => failed(path, error),
    })
}

/// Whether nothing has that name, as opposed to something that cannot be looked at. Behind a name that is a file nothing
/// can be.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn missing(path: &Path) -> CheckpointError {
    CheckpointError::damaged(path, "it is missing")
}

fn failed(path: &Path, error: io::Error) -> CheckpointError {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<NotRegular>() || inner.is::<TooLong>()) {
        return CheckpointError::damaged(path, error.to_string());
    }
    CheckpointError::io("read", path)(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn problem(path: &Path) -> String {
        match open(path) {
            Err(CheckpointError::Damaged { problem, .. }) => problem,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn only_regular_files_are_opened_through_links_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        symlink("pipe", path("to_pipe")).unwrap();
        symlink("/dev/zero", path("to_device")).unwrap();
        fs::write(path("file"), "text").unwrap();
        symlink("file", path("to_file")).unwrap();
        symlink("nowhere", path("to_nothing")).unwrap();
        for (name, expected) in [
            (
                "pipe",
                "it is a pipe, expected a regular file: write what comes out of it to a file first",
            ),
            (
                "to_pipe",
                "it is a pipe, expected a regular file: write what comes out of it to a file first",
            ),
            ("to_device", "it is a device, expected a regular file"),
            (".", "it is a folder, expected a regular file"),
            ("to_nothing", "it is missing"),
            ("file/below", "it is missing"),
        ] {
            assert_eq!(problem(&path(name)), expected, "{name}");
        }
        assert_eq!(read(&path("to_file"), 4).unwrap(), b"text");
        assert!(matches!(
            read(&path("file"), 3),
            Err(CheckpointError::Damaged { .. })
        ));
    }

    #[test]
    fn what_cannot_be_read_is_not_damaged() {
        let dir = tempfile::tempdir().unwrap();
        // Links in a circle, since root may read everything else.
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        let error = open(&dir.path().join("a")).unwrap_err();
        assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
    }
}
