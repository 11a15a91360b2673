//! Files that must be regular ones: nothing here waits for a pipe, asks a device or reads without a bound.

use std::fs::{self, File, FileType};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use super::CheckpointError;

/// Opens a file for reading; `None` where nothing has that name. A link to a regular file is one.
///
/// # Errors
/// When it is something else than a regular file, or cannot be opened.
pub(super) fn open_if_there(path: &Path) -> Result<Option<File>, CheckpointError> {
    let found = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        // Behind a name that is a file nothing can be.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(CheckpointError::io("read", path)(error)),
    };
    expect_regular(path, found)?;
    // What has become a pipe meanwhile does not make us wait either.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path);
    let file = opened.map_err(CheckpointError::io("read", path))?;
    let found = file.metadata().map_err(CheckpointError::io("read", path))?;
    expect_regular(path, found.file_type())?;
    Ok(Some(file))
}

/// Opens a file that must be there.
///
/// # Errors
/// When it is missing or no regular file, which is damage, or cannot be opened.
pub(super) fn open(path: &Path) -> Result<File, CheckpointError> {
    open_if_there(path)?.ok_or_else(|| CheckpointError::damaged(path, "it is missing"))
}

/// The bytes of a file that must be there and has at most `limit` of them.
///
/// # Errors
/// When it is missing, no regular file or too long, which is damage, or cannot be read.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CheckpointError> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(CheckpointError::io("read", path))?;
    if bytes.len() as u64 > limit {
        let problem = format!("it has more than {limit} bytes");
        return Err(CheckpointError::damaged(path, problem));
    }
    Ok(bytes)
}

fn expect_regular(path: &Path, found: FileType) -> Result<(), CheckpointError> {
    if found.is_file() {
        return Ok(());
    }
    let what = match found {
        found if found.is_dir() => "a folder",
        found if found.is_fifo() => "a pipe",
        found if found.is_socket() => "a socket",
        _ => "a device",
    };
    let problem = format!("it is {what}, expected a regular file");
    Err(CheckpointError::damaged(path, problem))
}

#[cfg(test)]
mod tests {
    use super::*;
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
            ("pipe", "it is a pipe, expected a regular file"),
            ("to_pipe", "it is a pipe, expected a regular file"),
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
