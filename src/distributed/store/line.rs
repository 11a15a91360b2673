//! A socket whose every wait ends: at a deadline, or when a signal asks for the end.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;

/// How long a wait goes on without a look at deadline and signals.
const LOOK: Duration = Duration::from_millis(100);
/// How long one attempt to connect may take: a host that drops packets says nothing.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Whether a signal has asked this process, or another rank, to end, and with which exit code it does where nothing is to
/// be saved.
#[derive(Clone, Debug)]
pub struct Stop {
    pub(in crate::distributed) interrupt: Interrupt,
    pub(in crate::distributed) exit_code: u8,
}

impl Stop {
    /// Looks at `interrupt` again and again.
    #[must_use]
    pub fn new(interrupt: Interrupt, exit_code: u8) -> Self {
        Self {
            interrupt,
            exit_code,
        }
    }

    /// Nobody asks.
    #[must_use]
    pub fn never() -> Self {
        Self::new(Interrupt::default(), 1)
    }

    /// Whether it has come.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.interrupt.is_requested()
    }
}

/// Until when to wait, unless asked to stop.
#[derive(Clone, Debug)]
pub(in crate::distributed) struct Patience {
    pub(in crate::distributed) deadline: Instant,
    pub(in crate::distributed) stop: Stop,
}

impl Patience {
    pub(in crate::distributed) fn new(timeout: Duration, stop: Stop) -> Self {
        let now = Instant::now();
        // A timeout beyond the clock's range is as good as a year.
        let year = Duration::from_secs(365 * 24 * 3600);
        Self {
            deadline: now + timeout.min(year),
            stop,
        }
    }

    /// An error of the kind `Interrupted` or `TimedOut` once the wait is over.
    pub(in crate::distributed) fn check(&self) -> io::Result<()> {
        if self.stop.is_requested() {
            return Err(stopped());
        }
        if Instant::now() >= self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// What remains, at most `time`.
    pub(super) fn at_most(&self, time: Duration) -> Duration {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        remaining.min(time).max(Duration::from_millis(1))
    }

    /// Sleeps for a moment, and then checks.
    pub(in crate::distributed) fn pause(&self, time: Duration) -> io::Result<()> {
        thread::sleep(self.at_most(time));
        self.check()
    }
}

/// `ConnectionAborted`, since `Interrupted` makes readers try again.
pub(super) fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, Stopped)
}

/// Whether `error` says that a signal asked for the end.
pub(super) fn is_stopped(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Stopped>())
}

/// A signal asked for the end.
#[derive(Debug, thiserror::Error)]
#[error("a signal asked this process to end")]
struct Stopped;

/// The addresses of `host`. The system's resolver knows no deadline, so it runs on a thread that is given up.
pub(in crate::distributed) fn resolve(
    host: &str,
    port: u16,
    patience: &Patience,
) -> io::Result<Vec<SocketAddr>> {
    let (sender, receiver) = mpsc::channel();
    let target = (host.to_owned(), port);
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            let found = target.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            let _ = sender.send(found);
        })?;
    loop {
        match receiver.recv_timeout(patience.at_most(LOOK)) {
            Ok(found) => return found,
            Err(RecvTimeoutError::Timeout) => patience.check()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the resolver has ended without an answer"));
            }
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    pub(super) patience: Patience,
}

impl Line {
    /// One attempt at every address in turn.
    pub(super) fn connect(addresses: &[SocketAddr], patience: &Patience) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            patience.check()?;
            match TcpStream::connect_timeout(address, patience.at_most(ATTEMPT)) {
                // Where nobody listens, the system may connect a socket with itself.
                Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                    last = io::ErrorKind::ConnectionRefused.into();
                }
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(LOOK))?;
                    stream.set_write_timeout(Some(LOOK))?;
                    return Ok(Self {
                        stream,
                        patience: patience.clone(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn until_done(
        &mut self,
        mut act: impl FnMut(&mut TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match act(&mut self.stream) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    self.patience.check()?;
                }
                done => return done,
            }
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.until_done(|stream| stream.read(buffer))
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until_done(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
