//! SIGTERM and SIGINT: the first asks the loop to save and end, the second ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit status after a second signal: as a shell reports a process that a signal ended.
const KILLED_BY: i32 = 128;

/// Whether a signal has asked the run to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGTERM and SIGINT set the flag; a second one ends the process without saving.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGTERM, SIGINT] {
            // In this order, so that the first signal finds the flag still unset.
            flag::register_conditional_shutdown(
                signal,
                KILLED_BY + signal,
                Arc::clone(&interrupt.0),
            )?;
            flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    /// Whether a signal has come.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
