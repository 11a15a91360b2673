//! `--nproc_per_node`: starts the ranks of one machine, passes signals on, and ends all when one fails.
//!
//! The launcher serves the store, as torchrun's agent does: ranks whose launcher was killed notice and end.

mod ranks;
mod silence;

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::iterator::Signals;

use self::ranks::{Event, Patience, Ranks};
use super::store::{SECRET_VARIABLE, Secret, Server};
use crate::interrupt;
use crate::machine;

/// How long the other ranks may take to end after one has ended. They end together, with everything saved, or cannot
/// work on.
const GRACE: Duration = Duration::from_secs(9);

/// As the config has it by default.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Where ranks of one machine meet: nobody comes here from outside.
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Why the ranks could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// The environment already says which rank this is.
    #[error(
        "--nproc_per_node starts ranks, but {variable} is set, so this process is one: drop one of the two"
    )]
    Nested {
        /// A variable of the launch contract.
        variable: &'static str,
    },
    /// Signals cannot be caught, so they could not be passed on.
    #[error("cannot catch signals")]
    Signals {
        /// What the system said.
        source: std::io::Error,
    },
    /// The store for the ranks cannot be served.
    #[error("cannot serve the store at which the ranks meet")]
    Store {
        /// What the system said.
        source: std::io::Error,
    },
    /// A rank could not be started.
    #[error("cannot start rank {rank}: {}", program.display())]
    Start {
        /// Which.
        rank: usize,
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What to start, how often.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program of every rank.
    pub program: PathBuf,
    /// Its arguments, without `--nproc_per_node`.
    pub args: Vec<OsString>,
    /// How many ranks.
    pub num_processes: usize,
    /// How long the other ranks may take to end after one has ended otherwise than with 0, before they are killed.
    pub grace: Duration,
    /// How long ranks wait for each other (`training.distributed_timeout_in_s`). Within 10 s more they have ended, or are
    /// killed: after a signal, and when none of them gives a sign of life.
    pub timeout: Duration,
    /// The exit code of ranks that a signal ended after they had saved: no failure, and they end together by themselves.
    pub interrupted: Option<u8>,
}

impl Launcher {
    /// Starts `program args` as `num_processes` ranks that wait 600 s for each other, 9 s of grace; every exit code but 0
    /// is a failure.
    #[must_use]
    pub fn new(program: PathBuf, args: Vec<OsString>, num_processes: usize) -> Self {
        Self {
            program,
            args,
            num_processes,
            grace: GRACE,
            timeout: TIMEOUT,
            interrupted: None,
        }
    }

    /// Starts the ranks and waits for all; returns the exit code of the first that ended otherwise than with 0
    /// (128 + n for signal n), or 0; 1 where ranks had to be killed before.
    ///
    /// Ranks share standard output and error. Signals that ask for the end ([`interrupt::signals`]) go to every rank,
    /// once each: the ranks are process groups of their own, so that a terminal's Ctrl-C does not reach them a second
    /// time. A second SIGINT or SIGTERM leaves those who still run 2 s.
    ///
    /// # Errors
    /// When this process is a rank itself, or a rank cannot be started; those already started are then ended.
    pub fn run(&self) -> Result<u8, LauncherError> {
        let is_set = |name: &&str| std::env::var_os(name).is_some();
        if let Some(variable) = ["RANK", "WORLD_SIZE", "LOCAL_RANK"]
            .into_iter()
            .find(is_set)
        {
            return Err(LauncherError::Nested { variable });
        }
        let (events, inbox) = mpsc::channel();
        let mut signals = Signals::new(interrupt::signals())
            .map_err(|source| LauncherError::Signals { source })?;
        let store = RanksStore::serve(self.num_processes);
        let store = store.map_err(|source| LauncherError::Store { source })?;
        let mut ranks = Ranks::new(Patience {
            grace: self.grace,
            timeout: self.timeout,
            interrupted: self.interrupted,
        });
        let handle = signals.handle();
        let forward = events.clone();
        let listening = thread::Builder::new().name("signals".to_owned());
        let listen = move || {
            for signal in signals.forever() {
                let _ = forward.send(Event::Signal(signal));
            }
        };
        listening
            .spawn(listen)
            .map_err(|source| LauncherError::Signals { source })?;
        let started = (0..self.num_processes).try_for_each(|rank| {
            ranks.push(self.start(rank, &store, events.clone())?);
            Ok(())
        });
        if started.is_err() {
            ranks.end_all();
        }
        ranks.wait(&inbox, &store.server);
        handle.close();
        started.map(|()| ranks.first_failure().unwrap_or(0))
    }

    fn start(
        &self,
        rank: usize,
        store: &RanksStore,
        events: Sender<Event>,
    ) -> Result<Pid, LauncherError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .process_group(0);
        command.env("RANK", rank.to_string());
        command.env("LOCAL_RANK", rank.to_string());
        command.env("WORLD_SIZE", self.num_processes.to_string());
        command.env("LOCAL_WORLD_SIZE", self.num_processes.to_string());
        command.env("MASTER_ADDR", HOST.to_string());
        let port = store.server.address().port();
        command.env("MASTER_PORT", port.to_string());
        command.env(SECRET_VARIABLE, store.secret.to_text());
        command.env_remove("TORCHELASTIC_RUN_ID");
        command.env("TORCHELASTIC_USE_AGENT_STORE", "True");
        command.env("TORCHELASTIC_RESTART_COUNT", "0");
        if std::env::var_os("OMP_NUM_THREADS").is_none() {
            let threads = (machine::cores() / self.num_processes.max(1)).max(1);
            command.env("OMP_NUM_THREADS", threads.to_string());
        }
        let start_error = |source| LauncherError::Start {
            rank,
            program: self.program.clone(),
            source,
        };
        let mut child = command.spawn().map_err(start_error)?;
        let pid = Pid::from_child(&child);
        let wait = move || {
            let status = child.wait().unwrap_or(ExitStatus::from_raw(1));
            let _ = events.send(Event::Ended(rank, status));
        };
        let waiting = thread::Builder::new().name(format!("rank {rank}"));
        if let Err(source) = waiting.spawn(wait) {
            // Nobody would see its end.
            let _ = kill_process(pid, Signal::KILL);
            return Err(start_error(source));
        }
        Ok(pid)
    }
}

/// The store that the launcher serves, for its ranks alone.
#[derive(Debug)]
struct RanksStore {
    server: Server,
    secret: Secret,
}

impl RanksStore {
    fn serve(world_size: usize) -> std::io::Result<Self> {
        let secret = Secret::random()?;
        let listener = TcpListener::bind((HOST, 0))?;
        let server = Server::start(listener, Some(secret.clone()), world_size)?;
        Ok(Self { server, secret })
    }
}
