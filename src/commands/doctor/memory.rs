//! Memory and other limits of the process.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::finding::{Finding, gigabytes};

/// Less than this is not enough for the model of the original with its optimizer.
const LITTLE_BYTES: u64 = 2_000_000_000;
/// Less than this is not enough for libtorch and a small model.
const TOO_LITTLE_BYTES: u64 = 300_000_000;
/// Open files that a training with many inputs and ranks may need.
const MANY_FILES: u64 = 1024;

pub(super) fn look() -> Vec<Finding> {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    vec![judge(
        field(&memory, "MemTotal:"),
        field(&memory, "MemAvailable:"),
        cgroup_rest(Path::new("/sys/fs/cgroup"), &groups),
    )]
}

/// `total` and `free` bytes of the machine; the limit of the container and what is left below it.
fn judge(total: Option<u64>, free: Option<u64>, container: Option<(u64, u64)>) -> Finding {
    let (Some(total), Some(free)) = (total, free) else {
        return Finding::ok("memory", "unknown on this system".to_owned());
    };
    let mut facts = format!("{} of {} free", gigabytes(free), gigabytes(total));
    let mut rest = free;
    match container {
        Some((limit, left)) if limit < total => {
            facts += &format!(
                ", {} of the container's {} left",
                gigabytes(left),
                gigabytes(limit)
            );
            rest = rest.min(left);
        }
        _ => facts += ", no limit by a container",
    }
    if rest < TOO_LITTLE_BYTES {
        Finding::fail(
            "memory",
            facts,
            "end other programs, or raise the container's limit",
        )
    } else if rest < LITTLE_BYTES {
        let remedy =
            "the production model needs about 1.3 GB at batch 1,024: free some, or raise the limit";
        Finding::warn("memory", facts, remedy)
    } else {
        Finding::ok("memory", facts)
    }
}

/// Bytes of a line such as `MemTotal:  16384 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The tightest memory limit of this process's control groups (version 2, else 1) and what is left below it; `groups` is
/// `/proc/self/cgroup`.
fn cgroup_rest(root: &Path, groups: &str) -> Option<(u64, u64)> {
    let path = |prefix: &str| {
        groups
            .lines()
            .find_map(|line| line.split_once(prefix).map(|(_, path)| path))
    };
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut tightest: Option<(u64, u64)> = None;
    let mut consider = |folder: &Path, limit: &str, usage: &str| {
        if let Some(limit) = number(&folder.join(limit)) {
            let used = number(&folder.join(usage)).unwrap_or(0);
            let left = limit.saturating_sub(used);
            if tightest.is_none_or(|(_, least)| left < least) {
                tightest = Some((limit, left));
            }
        }
    };
    let own = root.join(path("0::").unwrap_or_default().trim_start_matches('/'));
    for folder in own
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
    {
        consider(folder, "memory.max", "memory.current");
    }
    let v1 = root.join("memory");
    let own = v1.join(path(":memory:").unwrap_or_default().trim_start_matches('/'));
    for folder in own.ancestors().take_while(|folder| folder.starts_with(&v1)) {
        consider(folder, "memory.limit_in_bytes", "memory.usage_in_bytes");
    }
    tightest
}

/// How many files may be open.
pub(super) fn descriptors() -> Finding {
    let limits = getrlimit(Resource::Nofile);
    judge_descriptors(
        limits.current.unwrap_or(u64::MAX),
        limits.maximum.unwrap_or(u64::MAX),
    )
}

fn judge_descriptors(soft: u64, hard: u64) -> Finding {
    let facts = match soft {
        u64::MAX => "no limit".to_owned(),
        soft => format!("{soft} may be open"),
    };
    if soft >= MANY_FILES {
        return Finding::ok("files", facts);
    }
    let possible = hard.min(4 * MANY_FILES);
    Finding::warn(
        "files",
        facts,
        &format!("`ulimit -n {possible}` before the start"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/memory.max", "5000\n");
        write("a/memory.current", "1000\n");
        write("a/b/memory.max", "max\n");
        let found = cgroup_rest(root.path(), "0::/a/b\n");
        assert_eq!(found, Some((5000, 4000)));
        assert_eq!(cgroup_rest(root.path(), "0::/\n"), None);
        write("memory/job/memory.limit_in_bytes", "7000");
        assert_eq!(
            cgroup_rest(root.path(), "4:memory:/job\n"),
            Some((7000, 7000))
        );
    }

    #[test]
    fn little_memory_is_a_warning_and_none_a_failure() {
        let level = |free, container| judge(Some(64 << 30), Some(free), container).level;
        assert_eq!(level(8 << 30, None), Level::Ok);
        assert_eq!(level(1 << 30, None), Level::Warn);
        assert_eq!(level(8 << 30, Some((1 << 30, 1 << 20))), Level::Fail);
        assert_eq!(level(8 << 30, Some((u64::MAX, u64::MAX))), Level::Ok);
        assert_eq!(
            field("A: 1 kB\nMemTotal:   16 kB\n", "MemTotal:"),
            Some(16384)
        );
    }

    #[test]
    fn few_files_are_a_warning_with_the_command_that_helps() {
        assert_eq!(judge_descriptors(1024, 4096).level, Level::Ok);
        assert_eq!(
            judge_descriptors(256, 512).remedy,
            "`ulimit -n 512` before the start"
        );
    }
}
