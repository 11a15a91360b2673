//! What killed processes left over.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tracing::{info, warn};

use super::name::{is_draft, is_of_a_dead_process, parent, prefix};

/// Removes the drafts in `folder` whose processes are gone: those of the file or folder `name`, or all (`None`). Says
/// what it removes, and what cannot be removed.
pub fn remove_leftovers(folder: &Path, name: Option<&OsStr>) {
    // Whoever writes there reports a folder that cannot be read.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let is_asked = name.is_none_or(|name| found.as_bytes().starts_with(&prefix(name)));
        if !is_asked || !is_draft(&found) {
            continue;
        }
        let path = entry.path();
        match remove_if_abandoned(&path) {
            Ok(true) => info!(path = %path.display(), "removed what a killed process left over"),
            Ok(false) => {}
            Err(error) => {
                warn!(path = %path.display(), %error, "what a killed process left over cannot be removed");
            }
        }
    }
}

/// Whether another process, or this one, is about to write the file or folder `target`. What killed processes left of it
/// is removed on the way.
#[must_use]
pub fn is_in_the_making(target: &Path) -> bool {
    let (Some(name), folder) = (target.file_name(), parent(target)) else {
        return false;
    };
    remove_leftovers(folder, Some(name));
    let drafts = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_of_target = |found: OsString| {
        is_draft(&found) && found.as_bytes().starts_with(&prefix(name)) && is_named(&found, name)
    };
    drafts.map(|entry| entry.file_name()).any(is_of_target)
}

/// Whether `draft` is one of the file `name` exactly: one of `name.more` begins alike.
fn is_named(draft: &OsStr, name: &OsStr) -> bool {
    let rest = &draft.as_bytes()[prefix(name).len()..];
    let owner = rest.split(|&byte| byte == b'@').next().unwrap_or_default();
    owner
        .iter()
        .all(|&byte| byte.is_ascii_digit() || byte == b'-')
}

/// Whether the process that wrote the draft `path` is gone, and the draft with it now.
fn remove_if_abandoned(path: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() && !found.is_dir() {
        return Ok(false);
    }
    // Network file systems lock what is open for writing alone.
    let opened = File::options().read(true).write(found.is_file()).open(path);
    let file = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let is_abandoned = match file.try_lock() {
        Ok(()) => is_same(&file, path),
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => path.file_name().is_some_and(is_of_a_dead_process),
    };
    if is_abandoned {
        remove(path)?;
    }
    Ok(is_abandoned)
}

/// Whether `path` still names what `file` holds.
pub(super) fn is_same(file: &File, path: &Path) -> bool {
    let key = |found: fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(own), Ok(found)) => key(own) == key(found),
        _ => false,
    }
}

/// Removes a file, or a folder with all it holds; one that is gone already is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whole_file::{Draft, name::draft_name, write};
    use std::ffi::OsString;

    fn names(folder: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_a_live_one_writes_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        assert!(!is_in_the_making(&path));
        let (live, _file) = Draft::file(&path).unwrap();
        assert!(is_in_the_making(&path));
        assert!(!is_in_the_making(&dir.path().join("o")));
        let (longer, _file) = Draft::file(&dir.path().join("out.7-0")).unwrap();
        drop(longer);
        // The same process number on the same machine: the lock is what counts.
        fs::write(dir.path().join(draft_name("out".as_ref(), 1 << 40)), "x").unwrap();
        let folder = dir.path().join(".out.7-0@elsewhere.recap-draft");
        fs::create_dir_all(folder.join("train")).unwrap();
        for other in ["..7-0@x.recap-draft", ".out.part", "out.7-0@x.recap-draft"] {
            fs::write(dir.path().join(other), "x").unwrap();
        }
        fs::write(dir.path().join(".other.7-0@x.recap-draft"), "x").unwrap();
        write(&path, b"whole").unwrap();
        let mut expected = vec![
            "..7-0@x.recap-draft".into(),
            ".other.7-0@x.recap-draft".into(),
            ".out.part".into(),
            "out".into(),
            "out.7-0@x.recap-draft".into(),
            live.path().file_name().unwrap().to_owned(),
        ];
        expected.sort();
        assert_eq!(names(dir.path()), expected);
    }

    #[test]
    fn all_leftovers_of_a_folder_can_be_removed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".a.7-0@x.recap-draft", ".b.8-1@y.recap-draft"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        for foreign in [".a.b-0@x.recap-draft", ".recap-draft", ".a.7@x.recap-draft"] {
            fs::write(dir.path().join(foreign), "x").unwrap();
        }
        remove_leftovers(dir.path(), None);
        assert_eq!(names(dir.path()).len(), 3);
    }
}
