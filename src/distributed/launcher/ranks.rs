//! The started ranks: waits for their end, passes signals on, and kills those who do not end.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::silence::{LOOK, Silence, is_stopped};
use crate::distributed::store::Server;
use crate::interrupt::{self, Repeats};

/// What ranks get beyond their timeout to end after a signal.
const AFTER_SIGNAL: Duration = Duration::from_secs(10);
/// What they get once somebody has lost patience.
const AFTER_SECOND: Duration = Duration::from_secs(2);
/// How long all of them may be silent beyond their timeout: at its end they would have ended themselves.
const SILENT: Duration = Duration::from_secs(5);
/// How long a killed process may take to go. One that hangs in the kernel stays.
const KILLED: Duration = Duration::from_secs(5);

/// What the launcher waits for.
pub(super) enum Event {
    Signal(i32),
    Ended(usize, ExitStatus),
}

/// When the ranks that still run are killed.
#[derive(Debug)]
struct Deadline {
    at: Instant,
    patience: Duration,
    /// What they should have ended after.
    after: String,
}

/// The ranks, and how they end.
#[derive(Debug)]
pub(super) struct Ranks {
    /// `None` once ended.
    running: Vec<Option<Pid>>,
    first_failure: Option<u8>,
    deadline: Option<Deadline>,
    are_killed: bool,
    repeats: Repeats,
    /// Signals that went to the ranks.
    passed_on: Vec<i32>,
    silence: Silence,
    patience: Patience,
}

/// How long to wait for ranks, and what for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// See [`super::Launcher::grace`].
    pub(super) grace: Duration,
    /// See [`super::Launcher::timeout`].
    pub(super) timeout: Duration,
    /// See [`super::Launcher::interrupted`].
    pub(super) interrupted: Option<u8>,
}

impl Ranks {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            running: Vec::new(),
            first_failure: None,
            deadline: None,
            are_killed: false,
            repeats: Repeats::default(),
            passed_on: Vec::new(),
            silence: Silence::new(Instant::now(), patience.timeout.saturating_add(SILENT)),
            patience,
        }
    }

    /// The next rank runs.
    pub(super) fn push(&mut self, pid: Pid) {
        self.running.push(Some(pid));
    }

    /// The exit code of the first that ended otherwise than with 0.
    pub(super) fn first_failure(&self) -> Option<u8> {
        self.first_failure
    }

    /// Waits until all have ended, or cannot be ended.
    pub(super) fn wait(&mut self, inbox: &Receiver<Event>, store: &Server) {
        while self.running.iter().any(Option::is_some) {
            let now = Instant::now();
            let deadline = self.deadline.as_ref();
            let rest = deadline.map_or(LOOK, |end| end.at.saturating_duration_since(now));
            match inbox.recv_timeout(rest.min(LOOK)) {
                Ok(Event::Signal(signal)) => self.pass_on(signal),
                Ok(Event::Ended(rank, status)) => self.note_end(rank, status),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.forgive_own_absence(Instant::now());
            if self.is_late() && !self.kill_late() {
                return;
            }
            self.look(store);
        }
    }

    /// Ranks that stood still with this process, as in a paused container, get that time back.
    fn forgive_own_absence(&mut self, now: Instant) {
        let absence = self.silence.own_absence(now);
        if let Some(deadline) = &mut self.deadline {
            deadline.at += absence;
        }
    }

    fn is_late(&self) -> bool {
        let deadline = self.deadline.as_ref();
        deadline.is_some_and(|end| Instant::now() >= end.at)
    }

    /// Whether there is still something to wait for.
    fn kill_late(&mut self) -> bool {
        let ranks = self.still_running();
        let Some(Deadline {
            patience, after, ..
        }) = self.deadline.take()
        else {
            return true;
        };
        let seconds = patience.as_secs();
        if self.are_killed {
            tracing::error!("rank {ranks} is still there {seconds} s after {after}: left behind");
            return false;
        }
        if !ranks.is_empty() {
            tracing::warn!("rank {ranks} did not end within {seconds} s after {after}: killed");
            self.kill();
        }
        true
    }

    fn kill(&mut self) {
        self.first_failure.get_or_insert(1);
        self.are_killed = true;
        self.send(Signal::KILL);
        self.deadline = None;
        self.end_within(KILLED, "SIGKILL");
    }

    /// Ranks of whom at least one lives find out which one does not; of all of them nobody else does.
    fn look(&mut self, store: &Server) {
        let now = Instant::now();
        // Before the first rank has come to the store, it may take long to find its data.
        let sign = store.heard_at().or_else(|| {
            let mut running = self.running.iter().flatten();
            running.any(|pid| !is_stopped(*pid)).then_some(now)
        });
        let Some(silence) = self.silence.look(now, sign) else {
            return;
        };
        if !self.are_killed && self.running.iter().any(Option::is_some) {
            tracing::error!(
                "rank {}: none of them has answered for {:.0} s, longer than training.distributed_timeout_in_s ({} s): \
                 frozen, and killed",
                self.still_running(),
                silence.as_secs_f64(),
                self.patience.timeout.as_secs_f64()
            );
            self.kill();
        }
    }

    fn note_end(&mut self, rank: usize, status: ExitStatus) {
        self.running[rank] = None;
        let code = self.code(status);
        if self.first_failure.is_some() {
            return;
        }
        if code == 0 {
            // Ranks are done together: one that stays behind is frozen.
            self.end_within(self.patience.grace, "another rank");
            return;
        }
        self.first_failure = Some(code);
        if self.patience.interrupted == Some(code) {
            // A second signal would end the others before they are done with what the first one asked for.
            tracing::info!("rank {rank} has ended, as a signal asked: waiting for the others");
            self.end_within(self.patience.grace, "another rank");
            return;
        }
        tracing::error!("rank {rank} ended with {status}: ending the others");
        self.end_all();
    }

    /// A rank that dies of a signal that was passed on had not come to listen yet, and has nothing to save.
    fn code(&self, status: ExitStatus) -> u8 {
        let is_asked = |signal| self.passed_on.contains(&signal);
        match self.patience.interrupted {
            Some(code) if status.signal().is_some_and(is_asked) => code,
            _ => exit_code(status),
        }
    }

    fn still_running(&self) -> String {
        let ranks = self.running.iter().enumerate();
        let ranks = ranks.filter(|(_, pid)| pid.is_some());
        let ranks: Vec<String> = ranks.map(|(rank, _)| rank.to_string()).collect();
        ranks.join(", ")
    }

    /// Asks all to end; those who do not are killed after the grace.
    pub(super) fn end_all(&mut self) {
        self.end_within(self.patience.grace, "another rank");
        self.send(Signal::TERM);
    }

    /// Kills those who still run after `patience`, or earlier where that was said before.
    fn end_within(&mut self, patience: Duration, after: &str) {
        // A timeout beyond the clock's range is none.
        let Some(at) = Instant::now().checked_add(patience) else {
            return;
        };
        if self.deadline.as_ref().is_none_or(|before| at < before.at) {
            let after = after.to_owned();
            self.deadline = Some(Deadline {
                at,
                patience,
                after,
            });
        }
    }

    fn pass_on(&mut self, signal: i32) {
        let name = interrupt::name(signal);
        tracing::info!("{name}: passed on to the ranks");
        self.passed_on.push(signal);
        self.send(Signal::from_named_raw(signal).unwrap_or(Signal::TERM));
        if self.are_killed {
            return;
        }
        if self.repeats.is_impatient(signal) {
            self.end_within(AFTER_SECOND, &format!("{name} came again"));
        } else {
            let patience = self.patience.timeout.saturating_add(AFTER_SIGNAL);
            self.end_within(patience, name);
        }
    }

    /// A rank that ends in this moment cannot be reached, which is fine.
    fn send(&self, signal: Signal) {
        for pid in self.running.iter().flatten() {
            let _ = kill_process(*pid, signal);
        }
    }
}

/// As a shell would say it.
fn exit_code(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(signal).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks() -> Ranks {
        let mut ranks = Ranks::new(Patience {
            grace: Duration::from_secs(9),
            timeout: Duration::from_secs(600),
            interrupted: Some(75),
        });
        ranks.running = vec![None, None];
        ranks
    }

    #[test]
    fn a_pause_of_all_is_none_of_the_time_that_ranks_have_to_end() {
        let mut ranks = ranks();
        ranks.pass_on(15);
        let before = ranks.deadline.as_ref().unwrap().at;
        let pause = Duration::from_secs(100);
        ranks.forgive_own_absence(Instant::now() + pause);
        assert!(ranks.deadline.as_ref().unwrap().at >= before + pause);
        ranks.forgive_own_absence(Instant::now() + pause + LOOK);
        let shift = ranks.deadline.as_ref().unwrap().at - before;
        assert!(
            shift < pause + 4 * LOOK,
            "looks at their usual pace: {shift:?}"
        );
    }

    #[test]
    fn a_rank_that_a_signal_ends_before_it_listens_was_interrupted() {
        let mut ranks = ranks();
        ranks.pass_on(15);
        ranks.note_end(0, ExitStatus::from_raw(15));
        assert_eq!(ranks.first_failure(), Some(75));
        let mut killed = self::ranks();
        killed.pass_on(15);
        killed.note_end(0, ExitStatus::from_raw(9));
        assert_eq!(killed.first_failure(), Some(128 + 9));
    }
}
