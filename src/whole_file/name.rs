//! The names of drafts: whose they are, and for which file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// How the name of every draft ends.
const ENDING: &str = ".recap-draft";
/// Bytes of the final name that a draft's name repeats, so that it stays below the limit of 255.
const NAME_BYTES: usize = 120;

/// Whether `name` is that of a draft, of whatever process.
#[must_use]
pub fn is_draft(name: &OsStr) -> bool {
    owner(name).is_some()
}

/// Process and host in the name of a draft; `None` for any other name.
fn owner(name: &OsStr) -> Option<(u32, String)> {
    let name = name.to_string_lossy();
    let name = name.strip_prefix('.')?.strip_suffix(ENDING)?;
    let (name, host) = name.rsplit_once('@')?;
    let (process, number) = name.rsplit_once('.')?.1.split_once('-')?;
    number.parse::<u64>().ok()?;
    Some((process.parse().ok()?, host.to_owned()))
}

/// The folder that `path` lies in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The name of draft `number` of this process.
pub(super) fn draft_name(name: &OsStr, number: u64) -> OsString {
    let process = std::process::id();
    let mut draft = prefix(name);
    draft.extend(format!("{process}-{number}@{}{ENDING}", host()).into_bytes());
    OsString::from_vec(draft)
}

/// How the names of all drafts of `name` begin.
pub(super) fn prefix(name: &OsStr) -> Vec<u8> {
    let name = name.as_bytes();
    let name = &name[..name.len().min(NAME_BYTES)];
    [b".", name, b"."].concat()
}

/// This machine's name, as far as it fits a file name.
fn host() -> String {
    let names = rustix::system::uname();
    let name = names.nodename().to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let plain = name.chars().map(|c| if is_plain(c) { c } else { '_' });
    plain.take(64).collect()
}

/// Whether the draft `name` is of a process that this machine had.
pub(super) fn is_of_a_dead_process(name: &OsStr) -> bool {
    let Some((process, of)) = owner(name) else {
        return false;
    };
    let process = i32::try_from(process).ok();
    let process = process.and_then(rustix::process::Pid::from_raw);
    of == host()
        && process.is_some_and(|process| {
            rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_locks_host_and_process_decide() {
        let own = draft_name("x".as_ref(), 3);
        assert!(is_draft(&own) && !is_of_a_dead_process(&own));
        let with_process =
            |process: u32, host: &str| OsString::from(format!(".a.b.{process}-0@{host}{ENDING}"));
        // Beyond the highest process number there is.
        assert!(is_of_a_dead_process(&with_process(1 << 30, &host())));
        assert!(!is_of_a_dead_process(&with_process(1 << 30, "elsewhere")));
    }
}
