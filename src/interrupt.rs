//! Signals that ask a run to end: which these are, whether one has come, and an end for the process where the run itself
//! cannot come to one, because it waits for a read that does not return.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// Whether a signal has asked this process, or another rank of its run, to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The first [`Asked`] as a number, 0 before; one to this process stands before one to another rank.
    asked: AtomicU64,
    has_work: AtomicBool,
    /// See [`Interrupt::listen`].
    report: OnceLock<Report>,
}

type Report = fn(&str) -> u8;

/// A signal that asks for the end, and which rank got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// One that asks for the end.
    signal: i32,
    /// `None`: this process.
    rank: Option<u32>,
}

impl Asked {
    /// `signal` came to `rank` of this run; `None` where it is none that asks for the end.
    #[must_use]
    pub fn of_rank(signal: i32, rank: u32) -> Option<Self> {
        let asks = ASK_TO_END.into_iter().chain(POWER).any(|one| one == signal);
        let rank = Some(rank);
        asks.then_some(Self { signal, rank })
    }

    /// The signal, where it came to this process itself.
    #[must_use]
    pub fn own(self) -> Option<i32> {
        self.rank.is_none().then_some(self.signal)
    }

    /// The rank that got it; `None`: this process.
    #[must_use]
    pub fn rank(self) -> Option<u32> {
        self.rank
    }

    /// Never 0.
    fn to_number(self) -> u64 {
        let rank = self.rank.map_or(0, |rank| u64::from(rank) + 1);
        rank << 8 | u64::from(self.signal.unsigned_abs())
    }

    fn from_number(number: u64) -> Option<Self> {
        let signal = i32::try_from(number & 0xff)
            .ok()
            .filter(|&signal| signal > 0)?;
        let rank = (number >> 8).checked_sub(1);
        let rank = rank.and_then(|rank| u32::try_from(rank).ok());
        Some(Self { signal, rank })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(name(self.signal))?;
        match self.rank {
            Some(rank) => write!(formatter, " to rank {rank}"),
            None => Ok(()),
        }
    }
}

impl Interrupt {
    /// From now on [`signals`] ask for the end; SIGINT or SIGTERM once more ends the process without saving.
    ///
    /// Where a signal has come and the process neither has work to save ([`Self::has_work`]) nor ends within a few
    /// seconds, `report` is called with the name of the signal and the process ends with the exit code it returns.
    ///
    /// # Errors
    /// When the system refuses the handlers, or a thread.
    pub fn listen(report: fn(&str) -> u8) -> io::Result<Self> {
        let interrupt = Self::default();
        interrupt.0.report.get_or_init(|| report);
        let mut signals = Signals::new(signals())?;
        let shared = interrupt.clone();
        let body = move || {
            let mut repeats = Repeats::default();
            for signal in signals.forever() {
                shared.take(signal, &mut repeats);
            }
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(body)?;
        Ok(interrupt)
    }

    /// Takes in one signal to this process.
    fn take(&self, signal: i32, repeats: &mut Repeats) {
        let rank = None;
        self.ask(Asked { signal, rank });
        if repeats.is_impatient(signal) {
            low_level::exit(KILLED_BY + signal);
        }
    }

    /// As a signal does: for one that came to another rank, and concerns them all.
    pub fn ask(&self, asked: Asked) {
        let number = asked.to_number();
        let stands_first = |before| match Asked::from_number(before) {
            None => Some(number),
            Some(before) if before.rank.is_some() && asked.rank.is_none() => Some(number),
            Some(_) => None,
        };
        let order = Ordering::Relaxed;
        let before = self.0.asked.fetch_update(order, order, stands_first);
        if before == Ok(0)
            && let Some(&report) = self.0.report.get()
        {
            let shared = self.clone();
            let watch = thread::Builder::new().name("end".to_owned());
            // Without this thread a read that does not return holds the process; a second signal still ends it.
            drop(watch.spawn(move || shared.watch(report)));
        }
    }

    /// Ends the process once it has had nothing to save for a while.
    fn watch(&self, report: Report) {
        let mut idle = Instant::now();
        while idle.elapsed() < GRACE {
            thread::sleep(LOOK);
            if !self.is_idle() {
                idle = Instant::now();
            }
        }
        low_level::exit(report(&self.signal().unwrap_or_default()).into());
    }

    /// Whether a signal has come.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.asked().is_some()
    }

    /// Whether a signal has come and nothing would be lost if the process ended now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_requested() && !self.0.has_work.load(Ordering::Relaxed)
    }

    /// The signal that has come.
    #[must_use]
    pub fn asked(&self) -> Option<Asked> {
        Asked::from_number(self.0.asked.load(Ordering::Relaxed))
    }

    /// The name of the signal that has come, and of the rank where that is another one: `SIGTERM to rank 1`.
    #[must_use]
    pub fn signal(&self) -> Option<String> {
        self.asked().map(|asked| asked.to_string())
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

/// Tells a signal that somebody repeats, for whom the end does not come soon enough, from an echo.
#[derive(Debug, Default)]
pub struct Repeats {
    /// When each signal came first.
    first: HashMap<i32, Instant>,
}

impl Repeats {
    /// Takes in a signal that comes now; whether it is to end what the same one before had asked for.
    pub fn is_impatient(&mut self, signal: i32) -> bool {
        let first = *self.first.entry(signal).or_insert_with(Instant::now);
        is_impatient(signal, first.elapsed())
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
        interrupt.take(SIGTERM, &mut Repeats::default());
        let hung = interrupt.unless("hung", move || held.recv().is_ok());
        assert_eq!(hung.unwrap(), None);
        assert_eq!(interrupt.signal().as_deref(), Some("SIGTERM"));
        drop(hold);
    }

    #[test]
    fn a_signal_to_another_rank_asks_as_well_and_an_own_one_is_named_first() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.asked(), None);
        assert!(!interrupt.is_idle());
        interrupt.ask(Asked::of_rank(SIGUSR1, 70_000).unwrap());
        let named = |name: &str| assert_eq!(interrupt.signal().as_deref(), Some(name));
        named("SIGUSR1 to rank 70000");
        assert!(interrupt.is_requested() && interrupt.is_idle());
        interrupt.ask(Asked::of_rank(SIGTERM, 0).unwrap());
        named("SIGUSR1 to rank 70000");
        interrupt.take(SIGHUP, &mut Repeats::default());
        named("SIGHUP");
        interrupt.ask(Asked::of_rank(SIGTERM, 0).unwrap());
        interrupt.take(SIGXCPU, &mut Repeats::default());
        named("SIGHUP");
        assert_eq!(interrupt.asked().unwrap().own(), Some(SIGHUP));
        interrupt.has_work(true);
        assert!(!interrupt.is_idle());
        for signal in [0, -15, 9, 11, 15 + 256] {
            assert_eq!(Asked::of_rank(signal, 0), None, "{signal}");
        }
    }
}
