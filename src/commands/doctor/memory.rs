//! Memory and other limits of the process.

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::machine::{Memory, Room, bytes_text};

/// Less than this is not enough for the model of the original with its optimizer.
const LITTLE_BYTES: u64 = 2_000_000_000;
/// Less than this is not enough for libtorch and a small model.
const TOO_LITTLE_BYTES: u64 = 300_000_000;
/// Open files that a training with many inputs and ranks may need.
const MANY_FILES: u64 = 1024;

pub(super) fn look() -> Vec<Finding> {
    vec![judge(&Memory::now())]
}

fn judge(memory: &Memory) -> Finding {
    let Some(machine) = memory.machine else {
        return Finding::ok("memory", "unknown on this system".to_owned());
    };
    let mut facts = format!(
        "{} of {} free",
        bytes_text(machine.left),
        bytes_text(machine.limit)
    );
    let limited = |room: &Room| room.limit < machine.limit;
    match memory.group.filter(limited) {
        Some(group) => {
            facts += &format!(
                ", {} of the container's {} left",
                bytes_text(group.left),
                bytes_text(group.limit)
            );
        }
        None => facts += ", no limit by a container",
    }
    if let Some(process) = memory.process.filter(limited) {
        facts += &format!(
            ", {} of the process's {} left (ulimit)",
            bytes_text(process.left),
            bytes_text(process.limit)
        );
    }
    let rest = memory.left();
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
    fn little_memory_is_a_warning_and_none_a_failure() {
        let room = |limit, left| Some(Room { limit, left });
        let level = |free, group, process| {
            judge(&Memory {
                machine: room(64 << 30, free),
                group,
                process,
            })
        };
        assert_eq!(level(8 << 30, None, None).level, Level::Ok);
        assert_eq!(level(1 << 30, None, None).level, Level::Warn);
        let (small, large) = (room(1 << 30, 1 << 20), room(9 << 30, 8 << 30));
        assert_eq!(level(8 << 30, small, None).level, Level::Fail);
        assert_eq!(level(8 << 30, None, small).level, Level::Fail);
        let both = level(8 << 30, large, large);
        assert_eq!(both.level, Level::Ok);
        let said = "8.6 GB of the container's 9.7 GB left, 8.6 GB of the process's 9.7 GB left";
        assert!(both.facts.contains(said), "{}", both.facts);
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
