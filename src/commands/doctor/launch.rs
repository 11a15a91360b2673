//! How the process was launched, and the clock.

use std::time::SystemTime;

use super::finding::Finding;
use crate::distributed::env::{Launch, LaunchError};

/// Variables that say or change how processes train together.
const VARIABLES: [&str; 9] = [
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "CUDA_VISIBLE_DEVICES",
    "GLOO_SOCKET_IFNAME",
];

pub(super) fn look(launch: Result<Option<Launch>, LaunchError>) -> Finding {
    let set = VARIABLES.iter().filter_map(|name| {
        let value = std::env::var(name).ok()?;
        Some(format!("{name}={value}"))
    });
    let set: Vec<String> = set.collect();
    let set = if set.is_empty() {
        String::new()
    } else {
        format!(" ({})", set.join(" "))
    };
    match launch {
        Err(error) => Finding::fail(
            "launch",
            format!("{error}{set}"),
            "launch with torchrun, srun or --nproc_per_node, or unset these variables",
        )
        .ending_with(&error.into()),
        Ok(None) => Finding::ok("launch", format!("one process{set}")),
        Ok(Some(Launch { place, .. })) => {
            let (rank, world_size) = (place.rank, place.world_size);
            Finding::ok("launch", format!("rank {rank} of {world_size}{set}"))
        }
    }
}

/// A clock before the program was built is wrong.
pub(super) fn clock() -> Finding {
    let built = std::env::current_exe().and_then(|path| path.metadata()?.modified());
    judge_clock(SystemTime::now(), built.unwrap_or(SystemTime::UNIX_EPOCH))
}

fn judge_clock(now: SystemTime, built: SystemTime) -> Finding {
    let facts = chrono::DateTime::<chrono::Local>::from(now).format("%F %T %:z");
    let facts = facts.to_string();
    if now < built {
        let remedy = "set the clock (timedatectl): dated inputs and the names of TensorBoard's files go by it";
        return Finding::warn(
            "clock",
            format!("{facts} is before the program was built"),
            remedy,
        );
    }
    Finding::ok("clock", facts)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::commands::doctor::finding::Level;

    #[test]
    fn a_clock_before_the_build_is_a_warning() {
        let built = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let second = Duration::from_secs(1);
        assert_eq!(judge_clock(built - second, built).level, Level::Warn);
        assert_eq!(judge_clock(built + second, built).level, Level::Ok);
    }

    #[test]
    fn a_launch_that_contradicts_itself_is_a_failure() {
        let only_rank = |name: &str| (name == "RANK").then(|| "1".to_owned());
        assert_eq!(look(Launch::from_env(only_rank)).level, Level::Fail);
        assert_eq!(look(Launch::from_env(|_| None)).level, Level::Ok);
    }
}
