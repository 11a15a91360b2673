//! A thread that may hang in a read: whoever is done with it waits for its end only for a moment.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a thread may take to notice that nobody needs it any more. One that hangs in a read (a pipe, a network file
/// system) would take for ever: it is left alone, with what it holds, until the process ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread, and a sign of its end.
#[derive(Debug)]
pub(crate) struct Background {
    thread: Option<JoinHandle<()>>,
    /// The other end is held by the thread and never used: it goes away with the thread.
    ended: Receiver<()>,
}

/// Why a thread gave no result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotJoined {
    /// It panicked.
    Panicked,
    /// It still hangs.
    Hangs,
}

impl Background {
    /// Starts `body` as a thread called `name`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (alive, ended): (Sender<()>, _) = channel();
        let thread = thread::Builder::new().name(name);
        let thread = thread.spawn(move || {
            let _alive = alive;
            body();
        })?;
        Ok(Self {
            thread: Some(thread),
            ended,
        })
    }

    /// Waits for the end of the thread, but no more than a moment.
    ///
    /// # Errors
    /// When it panicked, or hangs; it is then left alone.
    pub(crate) fn join(&mut self) -> Result<(), NotJoined> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        match self.ended.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) => {
                let name = thread.thread().name().unwrap_or_default();
                tracing::debug!(name, "a thread waits for a read and is left alone");
                Err(NotJoined::Hangs)
            }
            _ => thread.join().map_err(|_| NotJoined::Panicked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_hangs_is_left_alone_and_one_that_ends_is_joined() {
        let (hold, held) = channel::<()>();
        let mut hung = Background::spawn("hung".to_owned(), move || {
            let _ = held.recv();
        })
        .unwrap();
        assert_eq!(hung.join(), Err(NotJoined::Hangs));
        drop(hold);
        let mut quick = Background::spawn("quick".to_owned(), || ()).unwrap();
        assert_eq!(quick.join(), Ok(()));
        assert_eq!(
            quick.join(),
            Ok(()),
            "the second time there is nothing to wait for"
        );
    }
}
