//! What this process may use of the machine: cores and memory, within the limits of control groups (both versions,
//! nested), affinity and `ulimit`.

mod group;

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Resource, getppid, getrlimit};

/// Cores this process may use: affinity, cpusets and the quotas of all control groups above it count. At least 1.
#[must_use]
pub fn cores() -> usize {
    // The standard library reads affinity, and the quota of every group of either version on the way up.
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Cores for each of `processes` that do the same work on this machine: an equal part of what they share, or what this
/// one was bound to alone, if that is less. At least 1.
#[must_use]
pub fn share_of_cores(processes: usize) -> usize {
    share(cores(), affinity(None), affinity(getppid()), processes)
}

/// How many CPUs a process, or this one, is bound to; 0: unknown.
#[cfg(target_os = "linux")]
fn affinity(pid: Option<Pid>) -> usize {
    let cpus = rustix::thread::sched_getaffinity(pid);
    cpus.map_or(0, |cpus| cpus.count() as usize)
}

#[cfg(not(target_os = "linux"))]
fn affinity(_: Option<Pid>) -> usize {
    0
}

/// What a process may use is `cores`; affinity binds it to `own` CPUs, and whoever started it to `parents`.
fn share(cores: usize, own: usize, parents: usize, processes: usize) -> usize {
    // A quota is everybody's. Affinity is, too, unless the one who started the process has more: SLURM binds each task.
    let shared = if cores < own {
        cores
    } else {
        cores.max(parents)
    };
    (shared / processes.max(1)).clamp(1, cores.max(1))
}

/// A limit in bytes, and what is left below it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The limit.
    pub limit: u64,
    /// What can still be taken; page cache that the kernel would give up counts as left.
    pub left: u64,
}

impl Room {
    /// What two limits allow together: one may be the lower one, and the other the one that is nearly reached.
    fn within(self, other: Self) -> Self {
        Self {
            limit: self.limit.min(other.limit),
            left: self.left.min(other.left),
        }
    }
}

/// The limits of memory that this process is under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine (`None`: unknown on this system).
    pub machine: Option<Room>,
    /// Of all control groups that it is in (`None`: none has a limit).
    pub group: Option<Room>,
    /// Of the process: `ulimit -v` or `ulimit -d` (`None`: no limit).
    pub process: Option<Room>,
}

impl Memory {
    /// As it is now.
    #[must_use]
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let meminfo = read("/proc/meminfo");
        let limit = field(&meminfo, "MemTotal:");
        let left = field(&meminfo, "MemAvailable:");
        Self {
            machine: limit.zip(left).map(|(limit, left)| Room { limit, left }),
            group: group::room(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup")),
            process: process(&read("/proc/self/status")),
        }
    }

    /// The most this process could ever have; `u64::MAX` where nothing is known.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.rooms()
            .map(|room| room.limit)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// What it can still take now; `u64::MAX` where nothing is known.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.rooms().map(|room| room.left).min().unwrap_or(u64::MAX)
    }

    fn rooms(&self) -> impl Iterator<Item = Room> {
        [self.machine, self.group, self.process]
            .into_iter()
            .flatten()
    }
}

/// How many files this process may have open.
#[must_use]
pub fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// `23.4 GB` for people; whole numbers of bytes below a kilobyte.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let (mut number, mut unit) = (bytes as f64 / 1000.0, 0);
    // 999.95 would be rounded to 1000.0.
    while number >= 999.95 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

/// Bytes of a line such as `MemTotal:  16384 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The limits of `ulimit`; `status` is `/proc/self/status`.
fn process(status: &str) -> Option<Room> {
    let room = |resource, used| {
        let limit = getrlimit(resource).current?;
        let left = limit.saturating_sub(field(status, used).unwrap_or(0));
        Some(Room { limit, left })
    };
    let rooms = [
        room(Resource::As, "VmSize:"),
        room(Resource::Data, "VmData:"),
    ];
    rooms.into_iter().flatten().reduce(Room::within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(limit: u64, left: u64) -> Option<Room> {
        Some(Room { limit, left })
    }

    #[test]
    fn processes_share_cores_unless_each_was_bound_to_its_own() {
        // 64 CPUs for all, as the one who started them has them.
        assert_eq!(share(64, 64, 64, 1), 64);
        assert_eq!(share(64, 64, 64, 8), 8);
        assert_eq!(share(2, 2, 2, 3), 1, "at least one");
        // 8 of them by `taskset`, for the launcher and its ranks.
        assert_eq!(share(8, 8, 8, 4), 2);
        // Every rank was bound to 8 by whoever started it, or four to 32.
        assert_eq!(share(8, 8, 64, 8), 8);
        assert_eq!(share(32, 32, 64, 8), 8);
        // A quota of 8 of 64, for all together.
        assert_eq!(share(8, 64, 64, 4), 2);
        // Unknown.
        assert_eq!(share(8, 0, 0, 4), 2);
        assert_eq!(share_of_cores(1), cores());
        assert_eq!(share_of_cores(usize::MAX), 1);
    }

    #[test]
    fn the_least_of_all_limits_counts() {
        let memory = Memory {
            machine: room(100, 50),
            group: room(70, 60),
            process: None,
        };
        assert_eq!((memory.most(), memory.left()), (70, 50));
        assert_eq!(Memory::default().most(), u64::MAX);
        assert!(cores() >= 1);
        let now = Memory::now();
        assert!(now.left() <= now.most(), "{now:?}");
    }

    #[test]
    fn numbers_are_for_people() {
        let texts = [999, 1000, 999_960, 23_400_000_000, u64::MAX].map(bytes_text);
        assert_eq!(
            texts,
            ["999 bytes", "1.0 kB", "1.0 MB", "23.4 GB", "18.4 EB"]
        );
        let text = "A: 1 kB\nMemTotal:   16 kB\n";
        assert_eq!(field(text, "MemTotal:"), Some(16384));
        assert_eq!(
            field("MemTotal: 99999999999999999999 kB", "MemTotal:"),
            None
        );
    }
}
