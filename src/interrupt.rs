//! Signals that ask a run to end: which these are, whether one has come, and an end for the process where the run itself
//! cannot come to one, because it waits for a read that does not return.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

/// What people, terminals and schedulers send before the time is up. The system would end the process at once.
pub(crate) const ASK_TO_END: [i32; 7] =
    [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU, SIGALRM];
/// Of power supplies and containers.
#[cfg(target_os = "linux")]
const POWER: Option<i32> = Some(30);
#[cfg(not(target_os = "linux"))]
const POWER: Option<i32> = None;

/// Exit status after a repeated signal: as a shell reports a process that a signal ended.
const KILLED_BY: i32 = 128;
/// The same signal again within this time is the same request: a scheduler reaches a process directly and by way of its
/// launcher.
const ECHO: Duration = Duration::from_secs(1);
/// How long a run that has nothing left to save may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// How often a wait looks whether something has come.
pub const LOOK: Duration = Duration::from_millis(50);

/// The signals that ask a process to end, without those that it was started to ignore.
#[must_use]
pub fn signals() -> &'static [i32] {
    static SIGNALS: OnceLock<Vec<i32>> = OnceLock::new();
    SIGNALS.get_or_init(|| heeded(ASK_TO_END.into_iter()))
}

/// `signals` and those of power supplies, without those that the process was started to ignore (`nohup`,
/// `trap '' HUP`). Known on Linux alone.
pub(crate) fn heeded(signals: impl Iterator<Item = i32>) -> Vec<i32> {
    // Read once: what is caught later is no longer ignored.
    static IGNORED: OnceLock<u64> = OnceLock::new();
    let ignored = *IGNORED.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        ignored(&status)
    });
    without(ignored, signals.chain(POWER))
}

fn without(ignored: u64, signals: impl Iterator<Item = i32>) -> Vec<i32> {
    signals
        .filter(|signal| ignored >> (signal - 1) & 1 == 0)
        .collect()
}

/// The signals ignored by the process of this `/proc/PID/status`: bit n − 1 stands for signal n.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// `SIGTERM` for 15.
#[must_use]
pub fn name(signal: i32) -> &'static str {
    low_level::signal_name(signal).unwrap_or(if Some(signal) == POWER {
        "SIGPWR"
    } else {
        "a signal"
    })
}

/// Whether a signal has asked this process to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The first signal, 0 before.
    signal: AtomicI32,
    has_work: AtomicBool,
}

impl Interrupt {
    /// From now on [`signals`] ask for the end; SIGINT or SIGTERM once more ends the process without saving.
    ///
    /// Where a signal has come and the process neither has work to save ([`Self::has_work`]) nor ends within a few
    /// seconds, `report` is called with the name of the signal and the process ends with the exit code it returns.
    ///
    /// # Errors
    /// When the system refuses the handlers, or a thread.
    pub fn listen(report: fn(&'static str) -> u8) -> io::Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new(signals())?;
        let shared = interrupt.clone();
        let body = move || {
            let mut seen = HashMap::new();
            for signal in signals.forever() {
                shared.take(signal, &mut seen, report);
            }
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(body)?;
        Ok(interrupt)
    }

    /// Takes in one signal; `seen` says when each of those before came first.
    fn take(&self, signal: i32, seen: &mut HashMap<i32, Instant>, report: fn(&'static str) -> u8) {
        if seen.is_empty() {
            self.0.signal.store(signal, Ordering::Relaxed);
            let shared = self.clone();
            let watch = thread::Builder::new().name("end".to_owned());
            // Without this thread a read that does not return holds the process; a second signal still ends it.
            drop(watch.spawn(move || shared.watch(report)));
        }
        let first = *seen.entry(signal).or_insert_with(Instant::now);
        if is_impatient(signal, first.elapsed()) {
            low_level::exit(KILLED_BY + signal);
        }
    }

    /// Ends the process once it has had nothing to save for a while.
    fn watch(&self, report: fn(&'static str) -> u8) {
        let mut idle = Instant::now();
        while idle.elapsed() < GRACE {
            thread::sleep(LOOK);
            if self.0.has_work.load(Ordering::Relaxed) {
                idle = Instant::now();
            }
        }
        low_level::exit(report(self.signal().unwrap_or_default()).into());
    }

    /// Whether a signal has come.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.signal.load(Ordering::Relaxed) != 0
    }

    /// The name of the signal that has come.
    #[must_use]
    pub fn signal(&self) -> Option<&'static str> {
        let signal = self.0.signal.load(Ordering::Relaxed);
        (signal != 0).then(|| name(signal))
    }

    /// Says whether there is something that would be lost if the process ended now. At first there is nothing.
    pub fn has_work(&self, has_work: bool) {
        self.0.has_work.store(has_work, Ordering::Relaxed);
    }

    /// Has `work`, which may hang in a read, done by a thread of its own; `None` when a signal comes first. The thread
    /// is then left alone, with what it has and makes.
    ///
    /// # Errors
    /// When no thread can be started, or it panicked.
    pub fn unless<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<T>> {
        let (sender, receiver) = sync_channel(1);
        let thread = thread::Builder::new().name(name.to_owned());
        // The receiver may have given up.
        thread.spawn(move || drop(sender.send(work())))?;
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(done) => return Ok(Some(done)),
                Err(RecvTimeoutError::Timeout) if self.is_requested() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other(format!("the thread {name} panicked")));
                }
            }
        }
    }
}

/// Whether a signal that came first so long ago is repeated by somebody for whom the run does not end soon enough.
/// Other signals are a scheduler's next step, which must not cut off the save that the one before has asked for.
fn is_impatient(signal: i32, since_first: Duration) -> bool {
    [SIGINT, SIGTERM].contains(&signal) && since_first >= ECHO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_were_ignored_at_the_start_stay_ignored() {
        let nohup = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored(nohup), 0x1001);
        let heeded = |ignored| without(ignored, ASK_TO_END.into_iter());
        assert!(!heeded(ignored(nohup)).contains(&SIGHUP));
        assert!(heeded(ignored(nohup)).contains(&SIGUSR1));
        assert_eq!(ignored("no such line"), 0);
        assert!(heeded(0).contains(&SIGXCPU));
    }

    #[test]
    fn only_the_same_request_repeated_after_a_while_cuts_a_save_off() {
        let late = Duration::from_secs(2);
        assert!(is_impatient(SIGINT, late) && is_impatient(SIGTERM, late));
        let echo = Duration::from_millis(5);
        assert!(!is_impatient(SIGTERM, echo), "by way of the launcher");
        assert!(
            !is_impatient(SIGHUP, late),
            "terminal and shell both send it"
        );
        assert!(!is_impatient(SIGXCPU, late), "comes every second");
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(name(SIGXCPU), "SIGXCPU");
        assert!(
            signals()
                .iter()
                .all(|&signal| name(signal).starts_with("SIG"))
        );
    }

    #[test]
    fn work_that_hangs_is_given_up_once_a_signal_has_come() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.unless("quick", || 7).unwrap(), Some(7));
        let (hold, held) = std::sync::mpsc::channel::<()>();
        interrupt.0.signal.store(SIGTERM, Ordering::Relaxed);
        let hung = interrupt.unless("hung", move || held.recv().is_ok());
        assert_eq!(hung.unwrap(), None);
        assert_eq!(interrupt.signal(), Some("SIGTERM"));
        drop(hold);
    }
}
