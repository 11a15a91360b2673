//! Serves the store: keys and values of the ranks in bounded memory, to whoever knows the secret where there is one.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::secret::Secret;
use super::wire::{
    MAGIC, MAX_KEY_BYTES, MAX_VALUE_BYTES, Query, nonsense, read_array, read_keys, read_text,
};

/// How long a client may take to say who it is, all in all, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The threads do little.
const STACK_BYTES: usize = 256 << 10;
/// What a rank may put into the store, its share of what all may.
const BYTES_PER_RANK: usize = 512 << 10;
const BYTES_AT_LEAST: usize = 64 << 20;
/// A rank has two connections; some may be there that a dead one has left.
const CONNECTIONS_PER_RANK: usize = 4;
const CONNECTIONS_AT_LEAST: usize = 64;
/// Connections that have not yet said who they are: all ranks may come at once.
const STRANGERS_PER_RANK: usize = 2;
const STRANGERS_AT_LEAST: usize = 16;

/// A store that is served until this is dropped; all clients are then cut off.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    secret: Option<Secret>,
    values: Mutex<Values>,
    max_clients: usize,
    max_strangers: usize,
    connections: Mutex<Connections>,
    /// Told whenever one ends.
    has_ended: Condvar,
    is_over: AtomicBool,
    /// When somebody who was let in last asked for something.
    heard_at: Mutex<Option<Instant>>,
}

/// All connections, by their numbers; each has a thread.
#[derive(Debug, Default)]
struct Connections {
    clients: HashMap<usize, TcpStream>,
    /// Those that have not yet said who they are, the oldest first.
    strangers: BTreeMap<usize, TcpStream>,
    /// How many more are cut off, whose threads have not yet ended.
    num_leaving: usize,
}

/// The keys, in bounded memory.
#[derive(Debug)]
struct Values {
    by_key: HashMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
    max_bytes: usize,
}

impl Server {
    /// Serves at `listener` the store of `world_size` ranks, who must know `secret` where there is one.
    ///
    /// # Errors
    /// When the system gives no thread, or the listener has no address.
    pub fn start(
        listener: TcpListener,
        secret: Option<Secret>,
        world_size: usize,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            secret,
            values: Mutex::new(Values {
                by_key: HashMap::new(),
                bytes: 0,
                max_bytes: BYTES_AT_LEAST.max(world_size.saturating_mul(BYTES_PER_RANK)),
            }),
            max_clients: CONNECTIONS_AT_LEAST.max(world_size.saturating_mul(CONNECTIONS_PER_RANK)),
            max_strangers: STRANGERS_AT_LEAST.max(world_size.saturating_mul(STRANGERS_PER_RANK)),
            connections: Mutex::default(),
            has_ended: Condvar::new(),
            is_over: AtomicBool::new(false),
            heard_at: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || accepting.accept(&listener))?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When a rank last asked for something; `None` as long as none has come. A rank that lives asks every few seconds.
    pub(in crate::distributed) fn heard_at(&self) -> Option<Instant> {
        *self.shared.heard()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let connections = self.shared.connections();
        for stream in connections
            .clients
            .values()
            .chain(connections.strangers.values())
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(connections);
        // Wakes the thread that accepts, which then sees that it is over.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let _ = TcpStream::connect_timeout(&address, Duration::from_millis(200));
    }
}

impl Shared {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, Option<Instant>> {
        self.heard_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for number in 0.. {
            let accepted = listener.accept();
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, say: whoever wants to connect tries again.
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            let Ok(handle) = stream.try_clone() else {
                continue;
            };
            self.admit_stranger(number, handle);
            let serving = Arc::clone(self);
            let started = thread::Builder::new()
                .name("store client".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || serving.serve(number, stream));
            if started.is_err() {
                self.end(number);
            }
        }
    }

    /// Makes room for the connection `number`: who has taken longest to say who it is must go. So those that say nothing
    /// keep nobody out, and are few.
    fn admit_stranger(&self, number: usize, stream: TcpStream) {
        let mut connections = self.connections();
        while connections.strangers.len() >= self.max_strangers
            && let Some((_, oldest)) = connections.strangers.pop_first()
        {
            let _ = oldest.shutdown(Shutdown::Both);
            connections.num_leaving += 1;
        }
        while connections.num_leaving >= self.max_strangers {
            let waited = self.has_ended.wait(connections);
            connections = waited.unwrap_or_else(PoisonError::into_inner);
        }
        connections.strangers.insert(number, stream);
    }

    /// The connection `number` has said who it is.
    fn admit(&self, number: usize) -> io::Result<()> {
        let mut connections = self.connections();
        if connections.clients.len() >= self.max_clients {
            return Err(nonsense("there are too many".to_owned()));
        }
        let stream = connections.strangers.remove(&number);
        let stream = stream.ok_or_else(|| nonsense("it took too long".to_owned()))?;
        connections.clients.insert(number, stream);
        Ok(())
    }

    fn end(&self, number: usize) {
        let mut connections = self.connections();
        let stranger = connections.strangers.remove(&number);
        let known = stranger.or_else(|| connections.clients.remove(&number));
        if known.is_none() {
            connections.num_leaving -= 1;
        }
        self.has_ended.notify_all();
    }

    /// One connection, to its end. What it does wrong ends it and nobody else.
    fn serve(&self, number: usize, stream: TcpStream) {
        if !self.is_over.load(Ordering::SeqCst)
            && let Err(error) = self.converse(number, stream)
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            tracing::debug!("a client of the store is cut off: {error}");
        }
        self.end(number);
    }

    fn converse(&self, number: usize, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut greeting = Greeting {
            stream: &mut stream,
            deadline: Instant::now() + PATIENCE,
        };
        match &self.secret {
            Some(secret) => secret.meet_client(&mut greeting)?,
            None => meet_anybody(&mut greeting)?,
        }
        self.admit(number)?;
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let [query] = read_array(&mut reader)?;
            *self.heard() = Some(Instant::now());
            let answer = self.answer(Query::decode(query)?, &mut reader)?;
            stream.write_all(&answer)?;
        }
    }

    fn answer(&self, query: Query, from: &mut impl Read) -> io::Result<Vec<u8>> {
        let key = |from: &mut _| read_text(from, MAX_KEY_BYTES);
        let value = |from: &mut _| read_text(from, MAX_VALUE_BYTES);
        Ok(match query {
            Query::Validate => return Err(nonsense("it has begun already".to_owned())),
            Query::Ping => read_array::<4>(from)?.to_vec(),
            Query::Set => {
                let (key, value) = (key(from)?, value(from)?);
                self.values().set(key, value)?;
                Vec::new()
            }
            Query::CompareSet => {
                let (key, expected, desired) = (key(from)?, value(from)?, value(from)?);
                text(&self.values().compare_set(key, expected, desired)?)
            }
            Query::Add => {
                let (key, amount) = (key(from)?, i64::from_le_bytes(read_array(from)?));
                self.values().add(key, amount)?.to_le_bytes().to_vec()
            }
            Query::Get => {
                let key = key(from)?;
                text(self.values().get(&key))
            }
            Query::MultiGet => {
                let keys = read_keys(from)?;
                self.values().get_all(&keys)?
            }
            Query::Check => {
                let keys = read_keys(from)?;
                let values = self.values();
                let are_there = keys.iter().all(|key| values.by_key.contains_key(key));
                vec![u8::from(!are_there)]
            }
            Query::NumKeys => (self.values().by_key.len() as u64).to_le_bytes().to_vec(),
            Query::Delete => {
                let key = key(from)?;
                let removed = self.values().remove(&key);
                u64::from(removed).to_le_bytes().to_vec()
            }
        })
    }
}

/// What a stranger says and is told, which together must not take longer than to `deadline`.
struct Greeting<'a> {
    stream: &'a mut TcpStream,
    deadline: Instant,
}

impl Greeting<'_> {
    fn remaining(&self) -> io::Result<Option<Duration>> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(remaining))
    }
}

impl Read for Greeting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.remaining()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Greeting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.remaining()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Where there is no secret: whoever speaks the protocol.
fn meet_anybody(stream: &mut impl Read) -> io::Result<()> {
    let [query] = read_array(stream)?;
    let magic = u32::from_le_bytes(read_array(stream)?);
    if query != Query::Validate as u8 || magic != MAGIC {
        return Err(nonsense("a stranger".to_owned()));
    }
    Ok(())
}

fn text(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value].concat()
}

impl Values {
    /// Empty where there is none.
    fn get(&self, key: &[u8]) -> &[u8] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// As they are sent.
    fn get_all(&self, keys: &[Vec<u8>]) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        for key in keys {
            answer.extend(text(self.get(key)));
            if answer.len() > BYTES_AT_LEAST {
                return Err(nonsense("that is too much for one answer".to_owned()));
            }
        }
        Ok(answer)
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) -> io::Result<()> {
        let before = match self.by_key.get(&key) {
            Some(value) => key.len() + value.len(),
            None => 0,
        };
        let bytes = self.bytes - before + key.len() + value.len();
        if bytes > self.max_bytes {
            let full = format!(
                "the store is full, it holds at most {} bytes",
                self.max_bytes
            );
            return Err(nonsense(full));
        }
        self.bytes = bytes;
        self.by_key.insert(key, value);
        Ok(())
    }

    /// The value afterwards; a key that is not there equals an empty value.
    fn compare_set(
        &mut self,
        key: Vec<u8>,
        expected: Vec<u8>,
        desired: Vec<u8>,
    ) -> io::Result<Vec<u8>> {
        match self.by_key.get(&key) {
            Some(found) if *found != expected => Ok(found.clone()),
            None if !expected.is_empty() => Ok(expected),
            _ => {
                self.set(key, desired.clone())?;
                Ok(desired)
            }
        }
    }

    fn add(&mut self, key: Vec<u8>, amount: i64) -> io::Result<i64> {
        let text = String::from_utf8_lossy(self.get(&key)).into_owned();
        let before: i64 = match text.as_str() {
            "" => 0,
            number => number
                .parse()
                .map_err(|_| nonsense("adding to what is no number".to_owned()))?,
        };
        let sum = before.wrapping_add(amount);
        self.set(key, sum.to_string().into_bytes())?;
        Ok(sum)
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let Some(value) = self.by_key.remove(key) else {
            return false;
        };
        self.bytes -= key.len() + value.len();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(max_bytes: usize) -> Values {
        Values {
            by_key: HashMap::new(),
            bytes: 0,
            max_bytes,
        }
    }

    fn start(secret: Option<Secret>, world_size: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Server::start(listener, secret, world_size).unwrap()
    }

    /// Whether a client that comes to `server` is answered.
    fn serves(server: &Server, secret: Option<&Secret>) -> bool {
        let mut line = TcpStream::connect(server.address()).unwrap();
        let mut ask = || {
            match secret {
                Some(secret) => secret.meet_server(&mut line)?,
                None => line.write_all(&[&[0][..], &MAGIC.to_le_bytes()].concat())?,
            }
            line.write_all(&[Query::Ping as u8, 1, 2, 3, 4])?;
            read_array(&mut line)
        };
        ask().is_ok_and(|answer: [u8; 4]| answer == [1, 2, 3, 4])
    }

    #[test]
    fn who_does_not_say_who_it_is_keeps_nobody_out() {
        for secret in [None, Some(Secret::random().unwrap())] {
            let server = start(secret.clone(), 2);
            // The first byte of a greeting, and no more; as many as there may be clients.
            let begin = if secret.is_some() { b'r' } else { 0 };
            let mut strangers: Vec<TcpStream> = (0..server.shared.max_clients)
                .map(|_| {
                    let mut stranger = TcpStream::connect(server.address()).unwrap();
                    stranger.write_all(&[begin]).unwrap();
                    stranger
                })
                .collect();
            assert!(serves(&server, secret.as_ref()));
            let connections = server.shared.connections();
            assert!(connections.strangers.len() <= server.shared.max_strangers);
            drop(connections);
            // The oldest had to go.
            assert_eq!(strangers[0].read(&mut [0]).unwrap_or(0), 0);
        }
    }

    #[test]
    fn clients_that_were_let_in_stay_and_are_counted() {
        let server = start(None, 2);
        let come = || {
            let mut line = TcpStream::connect(server.address()).unwrap();
            let ping = [
                &[0][..],
                &MAGIC.to_le_bytes(),
                &[Query::Ping as u8, 1, 2, 3, 4],
            ]
            .concat();
            line.write_all(&ping).unwrap();
            let answer = read_array::<4>(&mut line);
            answer.map(|_| line)
        };
        let mut clients: Vec<TcpStream> = (0..server.shared.max_clients)
            .map(|_| come().unwrap())
            .collect();
        assert!(come().is_err(), "one too many");
        clients[0]
            .write_all(&[Query::Ping as u8, 5, 6, 7, 8])
            .unwrap();
        assert_eq!(read_array(&mut clients[0]).unwrap(), [5, 6, 7, 8]);
    }

    #[test]
    fn a_greeting_has_one_deadline_however_its_bytes_come() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(&[1, 2]).unwrap();
        let now = Instant::now();
        let mut greeting = Greeting {
            stream: &mut far,
            deadline: now + PATIENCE,
        };
        assert_eq!(read_array(&mut greeting).unwrap(), [1]);
        // The next byte is there, but the time is over.
        greeting.deadline = now;
        let late = read_array::<1>(&mut greeting).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(greeting.write_all(&[3]).is_err());
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let mut values = values(100);
        values.set(b"a".to_vec(), vec![0; 60]).unwrap();
        let error = values.set(b"b".to_vec(), vec![0; 60]).unwrap_err();
        assert!(error.to_string().contains("at most 100 bytes"), "{error}");
        values.set(b"a".to_vec(), vec![0; 99]).unwrap();
        assert!(values.remove(b"a") && !values.remove(b"a"));
        assert_eq!(values.bytes, 0);
    }

    #[test]
    fn the_first_to_compare_wins() {
        let mut values = values(1000);
        let mut race = |expected: &str, desired: &str| {
            let [expected, desired] = [expected, desired].map(|text| text.as_bytes().to_vec());
            values
                .compare_set(b"k".to_vec(), expected, desired)
                .unwrap()
        };
        assert_eq!(race("other", "x"), b"other");
        assert_eq!(race("", "first"), b"first");
        assert_eq!(race("", "second"), b"first");
        assert_eq!(race("first", "third"), b"third");
    }

    #[test]
    fn numbers_are_added() {
        let mut values = values(1000);
        assert_eq!(values.add(b"n".to_vec(), 2).unwrap(), 2);
        assert_eq!(values.add(b"n".to_vec(), -5).unwrap(), -3);
        values.set(b"n".to_vec(), b"x".to_vec()).unwrap();
        assert!(values.add(b"n".to_vec(), 1).is_err());
    }
}
