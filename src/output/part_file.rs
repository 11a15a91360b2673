//! A file that appears whole or not at all: written under another name, then renamed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::OutputError;

/// The file in the making; removed when dropped before [`PartFile::publish`].
#[derive(Debug)]
pub struct PartFile {
    path: PathBuf,
    part: PathBuf,
    is_published: bool,
}

impl PartFile {
    /// Creates the file beside `path`, and returns it with the handle to write to.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(path: &Path) -> Result<(Self, File), OutputError> {
        let part = beside(path, "part");
        let file = File::options()
            .create(true)
            .write(true)
            .read(true)
            .truncate(true)
            .open(&part)
            .map_err(OutputError::io("write", path))?;
        let part_file = Self {
            path: path.to_owned(),
            part,
            is_published: false,
        };
        Ok((part_file, file))
    }

    /// Writes `bytes` to `path`.
    ///
    /// # Errors
    /// When they cannot be written; a file of that name is then as it was before.
    pub fn write(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
        let (part_file, mut file) = Self::create(path)?;
        std::io::Write::write_all(&mut file, bytes).map_err(OutputError::io("write", path))?;
        part_file.publish(&file)
    }

    /// Gives the file its name, once it is on the disk.
    ///
    /// # Errors
    /// When it cannot be flushed or renamed.
    pub fn publish(mut self, file: &File) -> Result<(), OutputError> {
        file.sync_all()
            .map_err(OutputError::io("write", &self.path))?;
        fs::rename(&self.part, &self.path).map_err(OutputError::io("write", &self.path))?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.is_published {
            // What is left over is of no use, and the error that led here matters more.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// `folder/.name.suffix` for `folder/name`, of this process alone.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{suffix}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaces_the_old_one_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        PartFile::write(&path, b"old").unwrap();
        let (part_file, _) = PartFile::create(&path).unwrap();
        drop(part_file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        PartFile::write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = PartFile::write(&dir.path().join("none/x"), b"").unwrap_err();
        assert!(error.to_string().ends_with("none/x"));
    }
}
