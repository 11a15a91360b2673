//! Whether files could be written in a folder: found out by trying, since permissions alone do not say it.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A folder in which nothing can be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {}; {}", path.display(), self.cause(), self.remedy())]
pub struct FolderError {
    action: &'static str,
    path: PathBuf,
    /// What stands where the folder, or one above it, would be.
    in_the_way: Option<PathBuf>,
    error: io::Error,
}

impl FolderError {
    fn new(action: &'static str, path: &Path, error: io::Error) -> Self {
        let mut above = path.ancestors().filter(|path| !path.as_os_str().is_empty());
        let found = above.find(|path| fs::symlink_metadata(path).is_ok());
        Self {
            action,
            path: path.to_owned(),
            in_the_way: found.filter(|path| !path.is_dir()).map(Path::to_owned),
            error,
        }
    }

    /// Whether another folder would help, as opposed to a disk that is full or fails.
    #[must_use]
    pub fn is_config(&self) -> bool {
        let is_full = matches!(
            self.error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        );
        let of_the_system = [
            rustix::io::Errno::IO,
            rustix::io::Errno::MFILE,
            rustix::io::Errno::NFILE,
            rustix::io::Errno::NOMEM,
        ];
        let code = self.error.raw_os_error();
        let is_of_the_system = of_the_system
            .iter()
            .any(|errno| code == Some(errno.raw_os_error()));
        !is_full && !is_of_the_system
    }

    fn cause(&self) -> String {
        match &self.in_the_way {
            Some(path) => format!("{} is no folder", path.display()),
            None => self.error.to_string(),
        }
    }

    fn remedy(&self) -> &'static str {
        match self.is_config() {
            true => "name a folder that can be written, or let this user write there",
            false => "free some room, or name a folder on another disk",
        }
    }
}

/// Finds whatever [`make_folder`] would refuse, and leaves nothing behind.
///
/// # Errors
/// Those of [`make_folder`].
pub fn try_folder(path: &Path) -> Result<(), FolderError> {
    let is_missing = |folder: &&Path| matches!(folder.try_exists(), Ok(false));
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(is_missing)
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    let tried = make_folder(path);
    for created in missing {
        // Whoever has put something there meanwhile keeps it.
        if fs::remove_dir(created).is_err() {
            break;
        }
    }
    tried
}

/// Creates the folder `path` where it is missing, and those above it, and a file in it that is gone again.
///
/// # Errors
/// When one of it cannot be done.
pub fn make_folder(path: &Path) -> Result<(), FolderError> {
    let failed = |action| move |error| FolderError::new(action, path, error);
    fs::create_dir_all(path).map_err(failed("create"))?;
    tempfile::tempfile_in(path)
        .and_then(|mut file| file.write_all(b"tried"))
        .map_err(failed("write in"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trial_creates_it_removes() {
        let dir = tempfile::tempdir().unwrap();
        try_folder(&dir.path().join("a/b/c")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        try_folder(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        make_folder(&dir.path().join("a/b")).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_is_named_with_what_is_in_the_way() {
        for (folder, reason) in [
            ("/dev/null/save", "/dev/null is no folder"),
            ("/dev/null", "/dev/null is no folder"),
            ("/proc/save", "No such file"),
        ] {
            let error = try_folder(Path::new(folder)).unwrap_err();
            let said = error.to_string();
            assert!(said.contains(folder) && said.contains(reason), "{said}");
            assert!(
                said.contains("name a folder") && error.is_config(),
                "{said}"
            );
        }
        let full = io::Error::from(ErrorKind::StorageFull);
        let full = FolderError::new("write in", Path::new("/tmp"), full);
        assert!(!full.is_config() && full.to_string().contains("free some room"));
    }
}
