//! A rank's connection to the store: every call ends within its timeout, whatever is at the other end.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::line::{Line, Patience, Stop, is_stopped, resolve};
use super::secret::Secret;
use super::wire::{MAGIC, MAX_VALUE_BYTES, Query, Request, nonsense, read_array, read_text};
use crate::torch::process_group::KeyValue;

/// Between two looks whether a key is there, at first and later.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LATER_LOOK: Duration = Duration::from_millis(50);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name of its host leads nowhere.
    #[error(
        "{variable}={host:?} leads to no address: it must be the name or the address of rank 0's machine, as this machine \
         knows it"
    )]
    Name {
        /// The variable it comes from.
        variable: &'static str,
        /// As given.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody takes the connection.
    #[error(
        "nobody takes a connection at {address} within {seconds:.1} s: was that process started, is it at the address \
         that {variable} names, and does the network let this machine through to it?"
    )]
    Unreachable {
        /// The variable that the host comes from.
        variable: &'static str,
        /// Host and port.
        address: String,
        /// How long this process has tried.
        seconds: f64,
        /// Why the last attempt failed.
        source: io::Error,
    },
    /// Somebody takes the connection and says nothing.
    #[error(
        "{address} takes connections, but has not answered within {seconds:.1} s: what serves the store there is frozen, \
         or another program has the port"
    )]
    Silent {
        /// Host and port.
        address: String,
        /// How long this process has tried.
        seconds: f64,
    },
    /// What answers is something else.
    #[error(
        "what answers at {address} is not the store of this run: is another program or another run at this port, or has \
         only one side a RECAP_STORE_SECRET?"
    )]
    Stranger {
        /// Host and port.
        address: String,
        /// What it did.
        source: io::Error,
    },
    /// The port cannot be served.
    #[error(
        "port {port} cannot be served: if another program or run has it, choose another MASTER_PORT"
    )]
    Bind {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// It was there, and is gone or silent now.
    #[error("the store is gone")]
    Lost {
        /// What happened.
        source: io::Error,
    },
    /// A key was not set in time.
    #[error("nobody has set {key} within {seconds:.1} s")]
    Late {
        /// The key.
        key: String,
        /// How long this process has waited.
        seconds: f64,
    },
    /// A signal asked this process to end.
    #[error("a signal asked this process to end")]
    Stopped,
}

/// Where the store is, and what to say there.
#[derive(Clone, Debug)]
pub struct StoreOptions<'a> {
    /// Name or address of its host.
    pub host: &'a str,
    /// The variable that says so.
    pub host_variable: &'static str,
    /// Its port.
    pub port: u16,
    /// Goes before every key, so that two runs at one store do not meet.
    pub prefix: &'a str,
    /// What both sides must know, where there is one.
    pub secret: Option<&'a Secret>,
    /// How long each call may take.
    pub timeout: Duration,
}

/// A connection to the store. A call waits for every other call on the same connection.
pub struct Store {
    /// `None` after a failure: what would come next belongs to the call that failed.
    line: Mutex<Option<Line>>,
    prefix: String,
    timeout: Duration,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Connects, trying again until `patience` ends: the server may come later than its clients.
    ///
    /// # Errors
    /// When the server does not come or answer in time, something else answers, or a signal asks for the end.
    pub(in crate::distributed) fn connect(
        options: &StoreOptions<'_>,
        patience: &Patience,
    ) -> Result<Self, StoreError> {
        let begin = Instant::now();
        let mut found = Ok(Vec::new());
        let mut is_warned = false;
        loop {
            if found.as_ref().map_or(true, Vec::is_empty) {
                found = resolve(options.host, options.port, patience);
            }
            let error = match &found {
                Ok(addresses) => match Line::connect(addresses, patience) {
                    Ok(line) => match Self::begin(line, options) {
                        Ok(store) => return Ok(store),
                        Err(error) => failed_greeting(options, begin, error, patience)?,
                    },
                    Err(source) => StoreError::Unreachable {
                        variable: options.host_variable,
                        address: address(options),
                        seconds: begin.elapsed().as_secs_f64(),
                        source,
                    },
                },
                Err(source) => {
                    let error = StoreError::Name {
                        variable: options.host_variable,
                        host: options.host.to_owned(),
                        source: io::Error::new(source.kind(), source.to_string()),
                    };
                    // A network may come up later than its machines.
                    if !is_warned && patience.check().is_ok() {
                        tracing::warn!("{error}, which may come: {source}");
                        is_warned = true;
                    }
                    error
                }
            };
            if patience.stop.is_requested() {
                return Err(StoreError::Stopped);
            }
            if patience.pause(RETRY).is_err() && !patience.stop.is_requested() {
                return Err(error);
            }
        }
    }

    fn begin(mut line: Line, options: &StoreOptions<'_>) -> io::Result<Self> {
        match options.secret {
            Some(secret) => secret.meet_server(&mut line)?,
            None => greet(&mut line)?,
        }
        Ok(Self {
            line: Mutex::new(Some(line)),
            prefix: options.prefix.to_owned(),
            timeout: options.timeout,
        })
    }

    /// From now on signals do not end a call.
    pub(in crate::distributed) fn ignore_signals(&self) {
        if let Some(line) = &mut *self.lock() {
            line.patience.stop = Stop::never();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, key: &str) -> Vec<u8> {
        format!("{}/{key}", self.prefix).into_bytes()
    }

    fn ask<T>(
        &self,
        request: &Request,
        read: impl FnOnce(&mut Line) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let mut guard = self.lock();
        let Some(mut line) = guard.take() else {
            let source = io::ErrorKind::NotConnected.into();
            return Err(StoreError::Lost { source });
        };
        line.patience.deadline = Patience::new(self.timeout, Stop::never()).deadline;
        let answer = request.send(&mut line).and_then(|()| read(&mut line));
        match answer {
            Ok(answer) => {
                *guard = Some(line);
                Ok(answer)
            }
            Err(error) if is_stopped(&error) => Err(StoreError::Stopped),
            Err(source) => Err(StoreError::Lost { source }),
        }
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let request = Request::new(Query::Set).text(&self.key(key)).text(value);
        self.ask(&request, |_| Ok(()))
    }

    /// Sets `key` to `desired` if it has the value `expected`, which is empty for a key that is not there; returns its
    /// value afterwards.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn compare_set(
        &self,
        key: &str,
        expected: &[u8],
        desired: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let request = Request::new(Query::CompareSet).text(&self.key(key));
        self.ask(&request.text(expected).text(desired), read_value)
    }

    /// Adds `amount` to the number under `key` (0 at first); returns the sum.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        let request = Request::new(Query::Add).text(&self.key(key));
        self.ask(&request.raw(&amount.to_le_bytes()), |line| {
            Ok(i64::from_le_bytes(read_array(line)?))
        })
    }

    /// Whether all `keys` are there.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn has(&self, keys: &[impl AsRef<str>]) -> Result<bool, StoreError> {
        let request = self.keys(Query::Check, keys);
        self.ask(&request, |line| match read_array(line)? {
            [0] => Ok(true),
            [1] => Ok(false),
            [other] => Err(nonsense(format!("{other} is no answer"))),
        })
    }

    /// The value of `key`; `None` as long as it is not there.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.has(&[key])? {
            return Ok(None);
        }
        let request = Request::new(Query::Get).text(&self.key(key));
        self.ask(&request, read_value).map(Some)
    }

    /// The values of `keys`, all of which must be there.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn get_all(&self, keys: &[String]) -> Result<Vec<Vec<u8>>, StoreError> {
        let request = self.keys(Query::MultiGet, keys);
        self.ask(&request, |line| {
            (0..keys.len()).map(|_| read_value(line)).collect()
        })
    }

    fn keys(&self, query: Query, keys: &[impl AsRef<str>]) -> Request {
        let request = Request::new(query).count(keys.len());
        let add = |request: Request, key: &_| {
            let key: &str = AsRef::<str>::as_ref(key);
            request.text(&self.key(key))
        };
        keys.iter().fold(request, add)
    }

    /// Waits until `key` is there, at most for `time`.
    ///
    /// # Errors
    /// When it does not come, the server is gone, or a signal asks for the end.
    pub fn wait(&self, key: &str, time: Duration) -> Result<(), StoreError> {
        let begin = Instant::now();
        let mut look = FIRST_LOOK;
        while !self.has(&[key])? {
            if begin.elapsed() >= time {
                return Err(StoreError::Late {
                    key: key.to_owned(),
                    seconds: begin.elapsed().as_secs_f64(),
                });
            }
            std::thread::sleep(look);
            look = (2 * look).min(LATER_LOOK);
        }
        Ok(())
    }
}

fn read_value(line: &mut Line) -> io::Result<Vec<u8>> {
    read_text(line, MAX_VALUE_BYTES)
}

fn address(options: &StoreOptions<'_>) -> String {
    match options.host.parse::<std::net::Ipv6Addr>() {
        Ok(ip) => SocketAddr::new(ip.into(), options.port).to_string(),
        Err(_) => format!("{}:{}", options.host, options.port),
    }
}

/// As `TCPStore`'s clients begin.
fn greet(line: &mut (impl Read + Write)) -> io::Result<()> {
    let nonce = std::process::id();
    let hello = Request::new(Query::Validate).raw(&MAGIC.to_le_bytes());
    let hello = hello.raw(&[Query::Ping as u8]).raw(&nonce.to_le_bytes());
    hello.send(line)?;
    let back = u32::from_le_bytes(read_array(line)?);
    if back == nonce {
        return Ok(());
    }
    Err(nonsense("it does not speak as a store does".to_owned()))
}

/// What a failed greeting means: an error to end with, or one to keep while trying again.
fn failed_greeting(
    options: &StoreOptions<'_>,
    begin: Instant,
    error: io::Error,
    patience: &Patience,
) -> Result<StoreError, StoreError> {
    let (address, seconds) = (address(options), begin.elapsed().as_secs_f64());
    if is_stopped(&error) || patience.stop.is_requested() {
        return Err(StoreError::Stopped);
    }
    match error.kind() {
        io::ErrorKind::TimedOut => Err(StoreError::Silent { address, seconds }),
        io::ErrorKind::InvalidData => Err(StoreError::Stranger {
            address,
            source: error,
        }),
        // A server at the limit of its connections, or one that ends, hangs up.
        _ => Ok(StoreError::Stranger {
            address,
            source: error,
        }),
    }
}

impl KeyValue for Store {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        Self::set(self, key, value).map_err(|error| in_words(&error))
    }

    fn compare_set(&self, key: &str, expected: &[u8], desired: &[u8]) -> Result<Vec<u8>, String> {
        Self::compare_set(self, key, expected, desired).map_err(|error| in_words(&error))
    }

    fn get(&self, key: &str, within: Duration) -> Result<Vec<u8>, String> {
        self.wait(key, within).map_err(|error| in_words(&error))?;
        let value = Self::get(self, key).map_err(|error| in_words(&error))?;
        value.ok_or_else(|| format!("{key} was removed"))
    }

    fn add(&self, key: &str, amount: i64) -> Result<i64, String> {
        Self::add(self, key, amount).map_err(|error| in_words(&error))
    }

    fn has(&self, key: &str) -> Result<bool, String> {
        Self::has(self, &[key]).map_err(|error| in_words(&error))
    }

    fn wait(&self, key: &str, within: Duration) -> Result<(), String> {
        Self::wait(self, key, within).map_err(|error| in_words(&error))
    }

    fn remove(&self, key: &str) -> Result<bool, String> {
        let request = Request::new(Query::Delete).text(&self.key(key));
        let removed = self.ask(&request, |line| Ok(u64::from_le_bytes(read_array(line)?)));
        Ok(removed.map_err(|error| in_words(&error))? > 0)
    }

    fn count(&self) -> Result<i64, String> {
        let request = Request::new(Query::NumKeys);
        let count = self.ask(&request, |line| Ok(i64::from_le_bytes(read_array(line)?)));
        count.map_err(|error| in_words(&error))
    }
}

/// With its cause, for libtorch.
fn in_words(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
