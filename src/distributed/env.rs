//! The launch contract: which rank this process is, and where the ranks meet, from the environment.
//!
//! torchrun's variables come first, SLURM's ([`slurm`]) serve where torchrun's are absent.

use super::slurm;
use super::store::{SECRET_VARIABLE, Secret};
use super::variables::{Variables, below, check_world_size, invalid, parse_number, parse_port};

/// A process's place among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// This process, from 0.
    pub rank: usize,
    /// All processes.
    pub world_size: usize,
    /// This process among those of its machine, from 0; the number of its GPU.
    pub local_rank: usize,
    /// Processes on this machine.
    pub local_world_size: usize,
}

impl Place {
    /// One process, alone.
    pub const ALONE: Self = Self {
        rank: 0,
        world_size: 1,
        local_rank: 0,
        local_world_size: 1,
    };
}

/// Where the ranks meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendezvous {
    /// Host name or address of rank 0 (or of torchrun's agent).
    pub host: String,
    /// The variable that says so.
    pub host_variable: &'static str,
    /// Port of the store there.
    pub port: u16,
    /// Whether rank 0 serves the store; otherwise torchrun's agent does.
    pub rank_0_serves: bool,
    /// Goes before every key: with an agent, the store outlives a restart of the ranks.
    pub prefix: String,
    /// What server and clients of the store must know, where it was given.
    pub secret: Option<Secret>,
    /// Who started the ranks.
    pub launched_by: LaunchedBy,
}

/// Who started the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchedBy {
    /// Somebody who set the variables.
    Environment,
    /// torchrun, or this program's launcher: a process that also serves the store.
    Agent,
    /// SLURM's srun.
    Slurm,
}

impl LaunchedBy {
    /// What to look at where a rank does not come.
    pub(super) fn question(self) -> &'static str {
        match self {
            Self::Environment => {
                "were all ranks started, with the same MASTER_ADDR and MASTER_PORT?"
            }
            Self::Agent => "what does the log say of it, and what its launcher?",
            Self::Slurm => {
                "did srun start all tasks of the step (SLURM_NTASKS), on nodes that reach each other?"
            }
        }
    }
}

/// How this process was launched, if with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its place.
    pub place: Place,
    /// Where it meets the others.
    pub rendezvous: Rendezvous,
}

/// The environment contradicts itself or the machine; a mistake of usage.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// Some of the variables are set, but not this one.
    #[error(
        "{present} is set, but {missing} is not: launch all ranks with torchrun or --nproc_per_node, or unset both"
    )]
    Missing {
        /// A variable that is set.
        present: &'static str,
        /// One that belongs to it.
        missing: &'static str,
    },
    /// A variable's value cannot be used.
    #[error("{variable}={value:?}: expected {expected}")]
    Invalid {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A number must be below another.
    #[error("{variable}={value} must be below {limit_variable}={limit}")]
    NotBelow {
        /// The variable that is too large.
        variable: &'static str,
        /// Its value.
        value: usize,
        /// The variable that limits it.
        limit_variable: &'static str,
        /// That one's value.
        limit: usize,
    },
    /// The job has several tasks, and this process is the shell's, not one of them.
    #[error(
        "SLURM gave this job {tasks} tasks, but this process was not started by srun (SLURM_STEP_ID is not set): \
         start it with `srun recap-train …`, or with --nproc_per_node on one machine; to train with one process, ask \
         SLURM for one task (--ntasks=1)"
    )]
    NoSrun {
        /// Tasks of the job.
        tasks: usize,
    },
    /// torchrun's agent serves the store, and asks nobody for a secret.
    #[error(
        "{SECRET_VARIABLE} is set, but the store is that of torchrun's agent, which asks for no secret: unset it, or set \
         TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, so that rank 0 serves the store"
    )]
    UnusedSecret,
    /// More local processes than processes.
    #[error("LOCAL_WORLD_SIZE={local_world_size} is more than WORLD_SIZE={world_size}")]
    LocalWorldTooLarge {
        /// Processes on this machine.
        local_world_size: usize,
        /// All processes.
        world_size: usize,
    },
    /// The machine has too few GPUs.
    #[error(
        "LOCAL_RANK={local_rank}, but this machine shows {num_gpus} GPUs: start one process per GPU, or set CUDA_VISIBLE_DEVICES"
    )]
    NoSuchGpu {
        /// This process among those of its machine.
        local_rank: usize,
        /// GPUs that CUDA shows.
        num_gpus: usize,
    },
    /// The batch cannot be shared out evenly.
    #[error("global_batch_size {global_batch_size} is not divisible by world size {world_size}")]
    IndivisibleBatch {
        /// Examples of one batch over all ranks.
        global_batch_size: usize,
        /// All processes.
        world_size: usize,
    },
}

impl Launch {
    /// Reads the launch from environment variables, looked up with `vars`; `None` when there is only one process.
    ///
    /// # Errors
    /// When variables are missing, malformed, or contradict each other.
    pub fn from_env(vars: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, LaunchError> {
        let vars = Variables::new(&vars);
        if let Some(present) = vars.first_set(&TORCHRUN_RANKS) {
            return torchrun(&vars, present).map(Some);
        }
        slurm::launch(&vars)
    }
}

impl Place {
    /// Checks that CUDA shows this process's GPU.
    ///
    /// # Errors
    /// When `local_rank` is not below `num_gpus`.
    pub fn check_gpu(&self, num_gpus: usize) -> Result<(), LaunchError> {
        if self.local_rank < num_gpus {
            return Ok(());
        }
        Err(LaunchError::NoSuchGpu {
            local_rank: self.local_rank,
            num_gpus,
        })
    }

    /// This rank's share of a batch of `global_batch_size` examples.
    ///
    /// # Errors
    /// When the ranks' shares would differ.
    pub fn per_rank_batch_size(&self, global_batch_size: usize) -> Result<usize, LaunchError> {
        if global_batch_size.is_multiple_of(self.world_size) {
            return Ok(global_batch_size / self.world_size);
        }
        Err(LaunchError::IndivisibleBatch {
            global_batch_size,
            world_size: self.world_size,
        })
    }

    fn check(self) -> Result<Self, LaunchError> {
        check_world_size("WORLD_SIZE", self.world_size)?;
        below("RANK", self.rank, "WORLD_SIZE", self.world_size)?;
        let local_world_size = self.local_world_size;
        below(
            "LOCAL_RANK",
            self.local_rank,
            "LOCAL_WORLD_SIZE",
            local_world_size,
        )?;
        if local_world_size > self.world_size {
            return Err(LaunchError::LocalWorldTooLarge {
                local_world_size,
                world_size: self.world_size,
            });
        }
        Ok(self)
    }
}

/// One of these set means: launched with others. MASTER_ADDR alone does not, clusters export it at will.
const TORCHRUN_RANKS: [&str; 4] = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"];

fn torchrun(vars: &Variables<'_>, present: &'static str) -> Result<Launch, LaunchError> {
    let place = Place {
        rank: vars.number("RANK", present)?,
        world_size: vars.number("WORLD_SIZE", present)?,
        local_rank: vars.number("LOCAL_RANK", present)?,
        local_world_size: vars.number("LOCAL_WORLD_SIZE", present)?,
    };
    let place = place.check()?;
    let host = vars.required("MASTER_ADDR", present)?;
    let port = vars.required("MASTER_PORT", present)?;
    let port = parse_port("MASTER_PORT", port)?;
    let agent_serves = match vars.get("TORCHELASTIC_USE_AGENT_STORE").as_deref() {
        None | Some("False") => false,
        Some("True") => true,
        Some(value) => {
            return Err(invalid(
                "TORCHELASTIC_USE_AGENT_STORE",
                value,
                "True or False",
            ));
        }
    };
    let prefix = if agent_serves {
        let attempt = match vars.get("TORCHELASTIC_RESTART_COUNT") {
            Some(value) => parse_number("TORCHELASTIC_RESTART_COUNT", &value)?,
            None => 0,
        };
        format!("/worker/attempt_{attempt}")
    } else {
        String::new()
    };
    let secret = secret(vars);
    if agent_serves && secret.is_some() && vars.get("TORCHELASTIC_RUN_ID").is_some() {
        return Err(LaunchError::UnusedSecret);
    }
    let rendezvous = Rendezvous {
        host,
        host_variable: "MASTER_ADDR",
        port,
        rank_0_serves: !agent_serves,
        prefix,
        secret,
        launched_by: if agent_serves {
            LaunchedBy::Agent
        } else {
            LaunchedBy::Environment
        },
    };
    Ok(Launch { place, rendezvous })
}

/// The secret of the store, from the launcher or from the user.
pub(super) fn secret(vars: &Variables<'_>) -> Option<Secret> {
    Secret::from_text(&vars.get(SECRET_VARIABLE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(vars: &str) -> Result<Option<Launch>, LaunchError> {
        let find = |name: &str| {
            let mut pairs = vars
                .split_whitespace()
                .filter_map(|pair| pair.split_once('='));
            pairs
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        Launch::from_env(find)
    }

    const TORCHRUN: &str =
        "RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=node7 MASTER_PORT=29500";

    fn message(vars: &str) -> String {
        launch(vars).unwrap_err().to_string()
    }

    #[test]
    fn nothing_set_is_one_process() {
        assert_eq!(launch(""), Ok(None));
        assert_eq!(launch("MASTER_ADDR=node7 MASTER_PORT=29500"), Ok(None));
        assert_eq!(launch("SLURM_STEP_ID= SLURM_JOB_ID="), Ok(None));
    }

    #[test]
    fn a_variable_without_a_value_is_named() {
        for pair in TORCHRUN.split(' ') {
            let (name, _) = pair.split_once('=').unwrap();
            let message = message(&TORCHRUN.replace(pair, &format!("{name}=")));
            let expected = format!("{name}=\"\": expected");
            assert!(message.starts_with(&expected), "{message}");
        }
        assert!(message("RANK=").starts_with("RANK=\"\": expected"));
        let message = message("SLURM_STEP_ID=0 SLURM_PROCID= SLURM_NTASKS=2");
        assert!(message.starts_with("SLURM_PROCID=\"\""), "{message}");
    }

    #[test]
    fn no_variable_makes_a_rank_hold_more_than_it_can() {
        for size in ["65537", "18446744073709551615"] {
            let message = message(&TORCHRUN.replace("=4", &format!("={size}")));
            let expected = format!("WORLD_SIZE=\"{size}\": expected at most 65536 ranks");
            assert_eq!(message, expected);
        }
        let vars = "SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=99999999 SLURM_LOCALID=0";
        let message = message(vars);
        assert!(
            message.starts_with("SLURM_NTASKS=\"99999999\""),
            "{message}"
        );
    }

    #[test]
    fn torchruns_variables_are_read() {
        let launch = launch(TORCHRUN).unwrap().unwrap();
        let place = Place {
            rank: 3,
            world_size: 4,
            local_rank: 1,
            local_world_size: 2,
        };
        assert_eq!(launch.place, place);
        assert_eq!(launch.rendezvous.host, "node7");
        assert_eq!(launch.rendezvous.port, 29500);
        assert!(launch.rendezvous.rank_0_serves);
        assert_eq!(launch.rendezvous.prefix, "");
    }

    #[test]
    fn with_an_agent_store_nobody_serves_and_restarts_have_their_own_keys() {
        let vars =
            format!("{TORCHRUN} TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=2");
        let rendezvous = launch(&vars).unwrap().unwrap().rendezvous;
        assert!(!rendezvous.rank_0_serves);
        assert_eq!(rendezvous.prefix, "/worker/attempt_2");
    }

    #[test]
    fn a_secret_is_taken_where_the_server_asks_for_it() {
        let with = |more: &str| launch(&format!("{TORCHRUN} RECAP_STORE_SECRET=abc {more}"));
        let secret = with("").unwrap().unwrap().rendezvous.secret;
        assert_eq!(secret, Secret::from_text("abc"));
        let agent = "TORCHELASTIC_USE_AGENT_STORE=True";
        assert!(with(agent).unwrap().unwrap().rendezvous.secret.is_some());
        let torchrun = format!("{agent} TORCHELASTIC_RUN_ID=7");
        assert_eq!(with(&torchrun), Err(LaunchError::UnusedSecret));
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let message_1 = message("RANK=0");
        assert!(
            message_1.starts_with("RANK is set, but WORLD_SIZE is not"),
            "{message_1}"
        );
        for name in [
            "RANK",
            "WORLD_SIZE",
            "LOCAL_RANK",
            "LOCAL_WORLD_SIZE",
            "MASTER_ADDR",
            "MASTER_PORT",
        ] {
            let without: Vec<_> = TORCHRUN
                .split(' ')
                .filter(|pair| !pair.starts_with(&format!("{name}=")))
                .collect();
            let message = message(&without.join(" "));
            assert!(message.contains(&format!("but {name} is not")), "{message}");
        }
        let with = |from: &str, to: &str| message(&TORCHRUN.replace(from, to));
        assert_eq!(
            with("RANK=3", "RANK=4"),
            "RANK=4 must be below WORLD_SIZE=4"
        );
        assert_eq!(
            with("LOCAL_RANK=1", "LOCAL_RANK=2"),
            "LOCAL_RANK=2 must be below LOCAL_WORLD_SIZE=2"
        );
        assert_eq!(
            with("LOCAL_WORLD_SIZE=2", "LOCAL_WORLD_SIZE=5"),
            "LOCAL_WORLD_SIZE=5 is more than WORLD_SIZE=4"
        );
        assert_eq!(
            with("RANK=3", "RANK=-1"),
            "RANK=\"-1\": expected a number from 0"
        );
        assert_eq!(
            with("29500", "0"),
            "MASTER_PORT=\"0\": expected a port from 1 to 65535"
        );
    }

    #[test]
    fn the_machine_and_the_batch_are_checked_against_the_place() {
        let place = launch(TORCHRUN).unwrap().unwrap().place;
        assert_eq!(place.check_gpu(2), Ok(()));
        let message = place.check_gpu(1).unwrap_err().to_string();
        assert!(
            message.starts_with("LOCAL_RANK=1, but this machine shows 1 GPUs"),
            "{message}"
        );
        assert_eq!(place.per_rank_batch_size(1024), Ok(256));
        let message = place.per_rank_batch_size(1022).unwrap_err().to_string();
        assert_eq!(
            message,
            "global_batch_size 1022 is not divisible by world size 4"
        );
    }

    #[test]
    fn slurms_variables_serve_where_torchruns_are_absent() {
        let vars = "SLURM_PROCID=5 SLURM_NTASKS=7 SLURM_LOCALID=1 SLURM_NODEID=2 SLURM_JOB_ID=70001 SLURM_STEP_ID=0 \
                    SLURM_TASKS_PER_NODE=2(x3),1 SLURM_JOB_NODELIST=gpu[07-09,12],cpu1";
        let slurm = launch(vars).unwrap().unwrap();
        let place = Place {
            rank: 5,
            world_size: 7,
            local_rank: 1,
            local_world_size: 2,
        };
        assert_eq!(slurm.place, place);
        assert_eq!(slurm.rendezvous.host, "gpu07");
        assert_eq!(slurm.rendezvous.port, 15_000 + 10_001);
        assert!(slurm.rendezvous.rank_0_serves);
        assert_eq!(launch(&format!("{TORCHRUN} {vars}")), launch(TORCHRUN));
        assert_eq!(
            launch("SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=1"),
            Ok(None)
        );
        let part_of_a_job =
            vars.replace("SLURM_NTASKS=7", "SLURM_NTASKS=70 SLURM_STEP_NUM_TASKS=7");
        assert_eq!(launch(&part_of_a_job).unwrap().unwrap().place, place);
        let missing = message("SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_LOCALID=0");
        assert!(missing.contains("SLURM_NTASKS is not"), "{missing}");
        let with = |from: &str, to: &str| message(&part_of_a_job.replace(from, to));
        for (from, to, expected) in [
            (
                "PROCID=5",
                "PROCID=7",
                "SLURM_PROCID=7 must be below SLURM_STEP_NUM_TASKS=7",
            ),
            (
                "LOCALID=1",
                "LOCALID=2",
                "SLURM_LOCALID=2 must be below SLURM_TASKS_PER_NODE=2",
            ),
            (
                "PROCID=5",
                "PROCID=five",
                "SLURM_PROCID=\"five\": expected a number from 0",
            ),
            (
                "LOCALID=1",
                "LOCALID=",
                "SLURM_LOCALID=\"\": expected a value, or the variable unset",
            ),
            (
                "2(x3),1",
                "2(x",
                "SLURM_TASKS_PER_NODE=\"2(x\": expected a count of tasks for every node: 2(x3),1",
            ),
        ] {
            assert_eq!(with(from, to), expected);
        }
        let alone = message("SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=1");
        assert_eq!(alone, "SLURM_PROCID=1 must be below SLURM_NTASKS=1");
        let nobody = message("SLURM_STEP_ID=0 SLURM_NTASKS=3");
        assert!(nobody.contains("but SLURM_PROCID is not"), "{nobody}");
    }

    #[test]
    fn the_shell_of_a_slurm_job_is_none_of_its_tasks() {
        for vars in [
            "SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=4",
            "SLURM_JOB_ID=7 SLURM_NTASKS=4",
            "SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_NTASKS_PER_NODE=2 SLURM_JOB_NUM_NODES=2",
        ] {
            assert_eq!(
                launch(vars),
                Err(LaunchError::NoSrun { tasks: 4 }),
                "{vars}"
            );
        }
        let message = message("SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_NTASKS=4");
        assert!(message.contains("SLURM gave this job 4 tasks"), "{message}");
        assert!(message.contains("srun recap-train"), "{message}");
        for vars in [
            "SLURM_JOB_ID=7 SLURM_PROCID=0",
            "SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_NTASKS=1",
            "SLURM_NTASKS=4",
        ] {
            assert_eq!(launch(vars), Ok(None), "{vars}");
        }
        let told = format!("{TORCHRUN} SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_NTASKS=4");
        assert_eq!(launch(&told), launch(TORCHRUN));
    }
}
