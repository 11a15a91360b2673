//! The limits of memory of control groups, of both versions, nested.

use std::fs;
use std::path::{Path, PathBuf};

use super::Room;

/// Where one version of control groups keeps its numbers.
struct Layout {
    /// Folders that may be its root, below `/sys/fs/cgroup`.
    roots: &'static [&'static str],
    limits: &'static [&'static str],
    usage: &'static str,
    /// Lines of `memory.stat` with page cache that the kernel would give up.
    cache: [&'static str; 2],
}

const VERSION_2: Layout = Layout {
    roots: &["", "unified"],
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    cache: ["inactive_file", "active_file"],
};

const VERSION_1: Layout = Layout {
    roots: &["memory"],
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};

/// The tightest limits of the control groups that `groups`, which is `/proc/self/cgroup`, names, and of those above them.
/// A name that is not there, as within a container, leaves those above it; so does one that leads out of `root`.
pub(super) fn room(root: &Path, groups: &str) -> Option<Room> {
    let mut rooms = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(name)) = (parts.next(), parts.next()) else {
            continue;
        };
        let layout = match controllers {
            "" => &VERSION_2,
            all if all.split(',').any(|one| one == "memory") => &VERSION_1,
            _ => continue,
        };
        for top in layout.roots.iter().map(|top| root.join(top)) {
            let is_below = |part: &str| !["", ".", ".."].contains(&part);
            let parts = name.split('/').skip_while(|part| !is_below(part));
            let own = top.join(parts.take_while(|part| is_below(part)).collect::<PathBuf>());
            let up = own
                .ancestors()
                .take_while(|folder| folder.starts_with(&top));
            rooms.extend(up.filter_map(|folder| layout.room(folder)));
        }
    }
    rooms.into_iter().reduce(Room::within)
}

impl Layout {
    /// What the group in `folder` allows.
    fn room(&self, folder: &Path) -> Option<Room> {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let limits = self.limits.iter().filter_map(|name| number(name));
        // Without a limit version 1 says the largest number of whole pages.
        let limit = limits.filter(|&limit| limit < 1 << 62).min()?;
        let stat = read("memory.stat").unwrap_or_default();
        let cache = self.cache.iter().filter_map(|name| {
            let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
            lines
                .find(|(key, _)| key == name)?
                .1
                .trim()
                .parse::<u64>()
                .ok()
        });
        let cache = cache.fold(0, u64::saturating_add);
        let used = number(self.usage).unwrap_or(0).saturating_sub(cache);
        let left = limit.saturating_sub(used);
        Some(Room { limit, left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system of control groups.
    fn groups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn room(limit: u64, left: u64) -> Option<Room> {
        Some(Room { limit, left })
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let root = groups(&[
            ("a/memory.max", "5000\n"),
            ("a/memory.current", "1000\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.high", "4500\n"),
            ("unified/c/memory.max", "77\n"),
        ]);
        assert_eq!(super::room(root.path(), "0::/a/b\n"), room(4500, 4000));
        assert_eq!(super::room(root.path(), "0::/\n"), None);
        // Within a container the name is the one outside, and the root is the container's.
        assert_eq!(
            super::room(root.path(), "0::/a/docker/7f\n"),
            room(5000, 4000)
        );
        assert_eq!(super::room(root.path(), "3:cpu:/x\n0::/c\n"), room(77, 77));
        assert_eq!(super::room(root.path(), ""), None);
    }

    #[test]
    fn version_1_is_understood_alone_and_with_other_controllers() {
        let root = groups(&[
            ("memory/job/memory.limit_in_bytes", "7000"),
            ("memory/memory.limit_in_bytes", "9223372036854771712"),
        ]);
        for line in ["4:memory:/job\n", "4:cpu,memory:/job/step:0\n0::/\n"] {
            assert_eq!(super::room(root.path(), line), room(7000, 7000), "{line}");
        }
        assert_eq!(super::room(root.path(), "4:memory:/\n"), None);
    }

    #[test]
    fn page_cache_counts_as_left() {
        let stat = "anon 900\ninactive_file 5000\nactive_file 1000\nshmem 50\n";
        let root = groups(&[
            ("a/memory.max", "7000"),
            ("a/memory.current", "6950"),
            ("a/memory.stat", stat),
        ]);
        assert_eq!(super::room(root.path(), "0::/a\n"), room(7000, 6050));
    }

    #[test]
    fn the_lowest_limit_and_the_least_that_is_left_may_be_of_two_groups() {
        let root = groups(&[
            ("a/memory.max", "8000\n"),
            ("a/memory.current", "7900\n"),
            ("a/b/memory.max", "4000\n"),
            ("a/b/memory.current", "1000\n"),
        ]);
        assert_eq!(super::room(root.path(), "0::/a/b\n"), room(4000, 100));
    }

    #[test]
    fn a_lower_limit_above_counts() {
        let root = groups(&[
            ("a/memory.max", "300\n"),
            ("a/memory.current", "100\n"),
            ("a/b/memory.max", "5000\n"),
            ("a/b/memory.current", "50\n"),
            ("a/b/c/memory.max", "max\n"),
        ]);
        assert_eq!(super::room(root.path(), "0::/a/b/c\n"), room(300, 200));
    }

    #[test]
    fn what_is_no_number_is_no_limit() {
        for text in [
            "",
            "\n",
            "max",
            "max 100000\n",
            "-1",
            "1e9",
            "4k",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            let root = groups(&[
                ("a/memory.max", text),
                ("memory/a/memory.limit_in_bytes", text),
            ]);
            assert_eq!(
                super::room(root.path(), "0::/a\n4:memory:/a\n"),
                None,
                "{text}"
            );
            // Nor does it hide another one.
            let root = groups(&[
                ("a/memory.max", text),
                ("a/memory.high", "70"),
                ("memory.max", "90"),
            ]);
            assert_eq!(super::room(root.path(), "0::/a\n"), room(70, 70), "{text}");
        }
        let root = groups(&[("a/memory.max", "0\n")]);
        assert_eq!(super::room(root.path(), "0::/a\n"), room(0, 0));
    }

    #[test]
    fn usage_that_cannot_be_read_counts_as_none() {
        for (current, stat) in [
            ("", ""),
            ("max", "inactive_file\n"),
            ("x", "inactive_file many\nactive_file"),
        ] {
            let root = groups(&[
                ("a/memory.max", "100"),
                ("a/memory.current", current),
                ("a/memory.stat", stat),
            ]);
            assert_eq!(super::room(root.path(), "0::/a\n"), room(100, 100));
        }
        // More cache than usage, more usage than the limit.
        let root = groups(&[
            ("a/memory.max", "100"),
            ("a/memory.current", "500"),
            ("a/b/memory.max", "100"),
            ("a/b/memory.current", "50"),
            (
                "a/b/memory.stat",
                "inactive_file 18446744073709551615\nactive_file 1\n",
            ),
        ]);
        assert_eq!(super::room(root.path(), "0::/a/b\n"), room(100, 0));
    }

    #[test]
    fn lines_that_say_nothing_are_passed_over_and_no_name_leads_out() {
        let root = groups(&[("top/memory.max", "70"), ("memory.max", "9")]);
        let top = root.path().join("top");
        for line in [
            "0::/..\n",
            "0::/../..\n",
            "0::/../top/../..\n",
            "0::\n",
            "x\n0:\n:::\n0::/\n",
            "0:://.\n",
        ] {
            assert_eq!(super::room(&top, line), room(70, 70), "{line}");
        }
        assert_eq!(
            super::room(&top, "4:cpu,cpuset:/\n5:name=systemd:/a\n\n"),
            None
        );
    }
}
