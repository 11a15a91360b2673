//! The folder of a conversion: made under another name, and renamed when everything in it is complete.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::ConvertError;

/// A folder in the making; removed when dropped before [`Folder::publish`].
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    draft: PathBuf,
    is_published: bool,
}

impl Folder {
    /// Begins the folder `path`, which must not exist, or be empty.
    pub(super) fn create(path: &Path) -> Result<Self, ConvertError> {
        let is_taken = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => path.exists(),
        };
        if is_taken {
            let folder = path.to_owned();
            return Err(ConvertError::Exists { folder });
        }
        let Some(name) = path.file_name() else {
            let reason = format!("`{}` names no folder", path.display());
            return Err(ConvertError::setting("output_dir", reason));
        };
        let name = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let draft = path.with_file_name(name);
        fs::create_dir_all(&draft).map_err(ConvertError::io("create", &draft))?;
        Ok(Self {
            path: path.to_owned(),
            draft,
            is_published: false,
        })
    }

    /// Makes the folder `name` inside.
    pub(super) fn add_folder(&self, name: &str) -> Result<(), ConvertError> {
        let path = self.draft.join(name);
        fs::create_dir_all(&path).map_err(ConvertError::io("create", &path))
    }

    /// Writes the file `name` inside with `write`, and waits until it is on the disk.
    pub(super) fn add_file(
        &self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) -> Result<(), ConvertError> {
        let path = self.draft.join(name);
        let save = || {
            let mut file = BufWriter::new(File::create(&path)?);
            write(&mut file)?;
            file.flush()?;
            file.get_ref().sync_all()
        };
        save().map_err(ConvertError::io("write", &self.path.join(name)))
    }

    /// Gives the folder its name.
    pub(super) fn publish(mut self) -> Result<(), ConvertError> {
        fs::rename(&self.draft, &self.path).map_err(ConvertError::io("publish", &self.path))?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_published {
            // What is left over is of no use, and the error that led here matters more.
            drop(fs::remove_dir_all(&self.draft));
        }
    }
}
