//! Signals that end a process which has drafts, and the one that says a file has grown too large.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGPROF, SIGQUIT, SIGVTALRM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};
use tracing::warn;

use crate::interrupt;

/// What ends a process beside the signals that ask it to: who sends these does not wait for a checkpoint.
const END: [i32; 3] = [SIGQUIT, SIGVTALRM, SIGPROF];
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
    let ends: Vec<i32> = interrupt::heeded(interrupt::ASK_TO_END.into_iter().chain(END));
    let is_ending = Arc::new(AtomicBool::new(false));
    for &end in &ends {
        flag::register_conditional_shutdown(end, KILLED_BY + end, Arc::clone(&is_ending))?;
        flag::register(end, Arc::clone(&is_ending))?;
    }
    let mut signals = Signals::new(&ends)?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            let _held = super::remove_all();
            warn!(
                "ended by {}: what was begun is removed",
                interrupt::name(signal)
            );
            // Returns where the default of a signal is not known.
            drop(low_level::emulate_default_handler(signal));
            low_level::exit(KILLED_BY + signal);
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
