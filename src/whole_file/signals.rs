//! Signals that end a process which has drafts, and the one that says a file has grown too large.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};
use tracing::warn;

/// Exit status after a second signal: as a shell reports a process that a signal ended.
const KILLED_BY: i32 = 128;

/// Whether a write has met the limit on the size of files.
static LIMIT_MET: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on a signal that ends the process removes its drafts first; a second one ends it at once. The process dies of
/// the signal, so that shells and schedulers see which it was.
///
/// # Errors
/// When the system refuses handlers or a thread.
pub fn remove_on_signals() -> io::Result<()> {
    let ends = [SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU];
    let ends: Vec<i32> = ends.into_iter().filter(|&end| !is_ignored(end)).collect();
    let is_ending = Arc::new(AtomicBool::new(false));
    for &end in &ends {
        flag::register_conditional_shutdown(end, KILLED_BY + end, Arc::clone(&is_ending))?;
        flag::register(end, Arc::clone(&is_ending))?;
    }
    let mut signals = Signals::new(&ends)?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            let held = super::remove_all();
            let name = low_level::signal_name(signal).unwrap_or("a signal");
            warn!("ended by {name}: what was begun is removed");
            // Returns only where the system refuses, and then the process goes on as if there had been no signal.
            drop(low_level::emulate_default_handler(signal));
            drop(held);
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(wait).map(drop)
}

/// From now on a file that would grow beyond the limit (`ulimit -f`) is an error of the write, not the end of the process.
///
/// # Errors
/// When the system refuses the handler.
pub fn survive_size_limit() -> io::Result<()> {
    let met = LIMIT_MET.get_or_init(Arc::default);
    flag::register(SIGXFSZ, Arc::clone(met)).map(drop)
}

/// Whether a write of this process has met the limit on the size of files.
#[must_use]
pub fn size_limit_was_met() -> bool {
    LIMIT_MET
        .get()
        .is_some_and(|met| met.load(Ordering::Relaxed))
}

/// Whether whoever started the process had it ignore `signal`, as nohup does. Known on Linux alone.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_that_are_ignored_are_known() {
        // Rust ignores SIGPIPE, and nothing ignores SIGILL.
        assert!(is_ignored(signal_hook::consts::SIGPIPE));
        assert!(!is_ignored(signal_hook::consts::SIGILL));
    }
}
