//! Whether checkpoints could be saved in a folder: found out by trying, since permissions alone do not say it.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::CheckpointError;

/// Creates `save_dir` where it is missing and a file in it, and removes what it has created.
///
/// # Errors
/// Those that a training would end with.
pub fn try_save_dir(save_dir: &Path) -> Result<(), CheckpointError> {
    let is_missing = |folder: &&Path| matches!(folder.try_exists(), Ok(false));
    let ancestors = save_dir.ancestors();
    let missing: Vec<&Path> = ancestors
        .take_while(is_missing)
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    let tried = fs::create_dir_all(save_dir)
        .map_err(CheckpointError::io("create", save_dir))
        .and_then(|()| try_file(save_dir));
    for created in missing {
        // Whoever has put something there meanwhile keeps it.
        if fs::remove_dir(created).is_err() {
            break;
        }
    }
    tried
}

fn try_file(save_dir: &Path) -> Result<(), CheckpointError> {
    tempfile::tempfile_in(save_dir)
        .and_then(|mut file| file.write_all(b"tried"))
        .map_err(CheckpointError::io("write in", save_dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trial_creates_it_removes() {
        let dir = tempfile::tempdir().unwrap();
        try_save_dir(&dir.path().join("a/b/c")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        try_save_dir(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        for folder in ["/dev/null/save", "/dev/null", "/proc/save"] {
            let error = try_save_dir(Path::new(folder)).unwrap_err();
            assert!(error.to_string().contains(folder), "{error}");
        }
    }
}
