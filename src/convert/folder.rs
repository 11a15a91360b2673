//! The folder of a conversion: made under another name, and renamed when everything in it is complete.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::ConvertError;
use crate::whole_file::{self, Draft};

/// A folder in the making; removed when dropped before [`Folder::publish`].
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    draft: Draft,
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
        if whole_file::is_in_the_making(path) {
            let folder = path.to_owned();
            return Err(ConvertError::InTheMaking { folder });
        }
        if path.file_name().is_none() {
            let reason = format!("`{}` names no folder", path.display());
            return Err(ConvertError::setting("output_dir", reason));
        }
        let draft = Draft::folder(path).map_err(ConvertError::io("create", path))?;
        let path = path.to_owned();
        Ok(Self { path, draft })
    }

    /// Makes the folder `name` inside.
    pub(super) fn add_folder(&self, name: &str) -> Result<(), ConvertError> {
        let path = self.draft.path().join(name);
        fs::create_dir_all(&path).map_err(ConvertError::io("create", &path))
    }

    /// Writes the file `name` inside with `write`, and waits until it is on the disk.
    pub(super) fn add_file(
        &self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) -> Result<(), ConvertError> {
        let path = self.draft.path().join(name);
        let save = || {
            let mut file = BufWriter::new(File::create(&path)?);
            write(&mut file)?;
            file.flush()?;
            file.get_ref().sync_all()
        };
        save().map_err(ConvertError::io("write", &self.path.join(name)))
    }

    /// Gives the folder its name.
    pub(super) fn publish(self) -> Result<(), ConvertError> {
        let published = self.draft.publish();
        published.map_err(ConvertError::io("publish", &self.path))
    }
}
