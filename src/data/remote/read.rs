//! Reads one object in ranges, some ahead of the reader; memory is bounded by a few ranges.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::{GetOptions, GetRange, ObjectStore, path};

use super::address::Address;
use super::store::Store;
use super::{Remote, RemoteError, Version};

/// Bytes of one request.
const RANGE_BYTES: u64 = 4 << 20;
/// Ranges that are asked for before they are needed.
const RANGES_AHEAD: usize = 2;
/// How often a range is asked for whose answer breaks off. That requests are refused or not answered at all is the
/// business of the store's client, which has tried again by itself.
const TRIES: usize = 3;

type Reply = Result<Vec<u8>, RemoteError>;

/// The bytes of an object, from its first on.
#[derive(Debug)]
pub(crate) struct RemoteFile {
    store: Arc<Store>,
    path: path::Path,
    version: Version,
    range_bytes: u64,
    /// Start of the next range to ask for.
    next: u64,
    /// The other ends are held by the thread for requests.
    ahead: VecDeque<mpsc::Receiver<Reply>>,
    /// The range that is being read, and how much of it has been.
    current: Vec<u8>,
    used: usize,
}

impl RemoteFile {
    /// Asks for the object at `file`.
    ///
    /// # Errors
    /// When the store cannot be set up or does not know the object; then the kind is `NotFound`.
    pub(crate) fn open(file: &Path) -> io::Result<Self> {
        let open = || {
            let remote = Remote::get()?;
            let address = Address::of(file)?;
            Self::start(remote.store(&address)?, address.path()?, RANGE_BYTES)
        };
        open().map_err(to_io)
    }

    fn start(store: Arc<Store>, path: path::Path, range_bytes: u64) -> Result<Self, RemoteError> {
        let head = Arc::clone(&store).head(path.clone());
        let meta = Remote::wait(&Remote::get()?.spawn(head))??;
        let mut file = Self {
            store,
            path,
            version: Version::of(&meta),
            range_bytes,
            next: 0,
            ahead: VecDeque::new(),
            current: Vec::new(),
            used: 0,
        };
        file.ask()?;
        Ok(file)
    }

    /// Asks for ranges until enough are on their way.
    fn ask(&mut self) -> Result<(), RemoteError> {
        while self.ahead.len() < RANGES_AHEAD && self.next < self.version.size {
            let begin = self.next;
            let end = self.version.size.min(begin + self.range_bytes);
            let (store, path) = (Arc::clone(&self.store), self.path.clone());
            let version = self.version.clone();
            let request = async move {
                let fetch = fetch(&*store.objects, path, version, begin, end);
                store.request(fetch).await
            };
            self.ahead.push_back(Remote::get()?.spawn(request));
            self.next = end;
        }
        Ok(())
    }

    /// Goes on to the next range; whether there is one.
    fn advance(&mut self) -> Result<bool, RemoteError> {
        let Some(reply) = self.ahead.pop_front() else {
            return Ok(false);
        };
        self.current = Remote::wait(&reply)??;
        self.used = 0;
        self.ask()?;
        Ok(true)
    }
}

impl Read for RemoteFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.current.len() {
            if !self.advance().map_err(to_io)? {
                return Ok(0);
            }
        }
        let read = (&self.current[self.used..]).read(buffer)?;
        self.used += read;
        Ok(read)
    }
}

/// Bytes `begin` to `end` of the object, which must be the one of `version`.
async fn fetch(
    store: &dyn ObjectStore,
    path: path::Path,
    version: Version,
    begin: u64,
    end: u64,
) -> Reply {
    let mut tries = 1;
    loop {
        let fetched = fetch_once(store, &path, &version, begin..end).await;
        match fetched {
            Err(error @ (RemoteError::CutShort { .. } | RemoteError::Length { .. }))
                if tries < TRIES =>
            {
                tracing::warn!(
                    object = %path,
                    error = &error as &dyn std::error::Error,
                    "fetching a range once more"
                );
                tries += 1;
            }
            other => return other,
        }
    }
}

async fn fetch_once(
    store: &dyn ObjectStore,
    path: &path::Path,
    version: &Version,
    range: std::ops::Range<u64>,
) -> Reply {
    let (begin, end) = (range.start, range.end);
    let failed = |error: object_store::Error| RemoteError::Fetch {
        begin,
        end,
        size: version.size,
        source: error.into(),
    };
    let options = GetOptions {
        range: Some(GetRange::Bounded(range)),
        ..GetOptions::default()
    };
    let answer = store.get_opts(path, options).await.map_err(failed)?;
    let now = Version::of(&answer.meta);
    if now != *version {
        return Err(RemoteError::Changed {
            begin,
            then: version.clone(),
            now,
        });
    }
    collect(answer.into_stream(), begin..end).await
}

/// The body of an answer, which must be bytes `range` of the object. Takes in no more than one piece beyond them: the
/// store may send without end.
async fn collect(
    mut body: BoxStream<'static, object_store::Result<Bytes>>,
    range: std::ops::Range<u64>,
) -> Reply {
    let (begin, end) = (range.start, range.end);
    let wanted = usize::try_from(end - begin).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    let length = |found| RemoteError::Length { begin, end, found };
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| RemoteError::CutShort {
            begin,
            end,
            source: error.into(),
        })?;
        let found = bytes.len() + piece.len();
        if found > wanted {
            return Err(length(found));
        }
        if bytes.is_empty() {
            bytes.reserve_exact(wanted);
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() == wanted {
        Ok(bytes)
    } else {
        Err(length(bytes.len()))
    }
}

fn to_io(error: RemoteError) -> io::Error {
    let kind = if error.is_not_found() {
        io::ErrorKind::NotFound
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    fn store() -> Arc<Store> {
        Arc::new(Store::of_files(Arc::new(InMemory::new())))
    }

    fn put(store: &Arc<Store>, bytes: Vec<u8>) {
        let store = Arc::clone(store);
        let put = async move {
            let path = "a".into();
            store.objects.put(&path, bytes.into()).await.map(|_| ())
        };
        let done = Remote::get().unwrap().spawn(put);
        Remote::wait(&done).unwrap().unwrap();
    }

    fn bytes(len: u64) -> Vec<u8> {
        (0..len)
            .map(|n| u8::try_from(n * 7 % 251).unwrap())
            .collect()
    }

    #[test]
    fn an_object_of_any_number_of_ranges_is_read_whole() {
        let store = store();
        for len in [0, 1, 99, 100, 101, 1000, 1234] {
            put(&store, bytes(len));
            let mut file = RemoteFile::start(Arc::clone(&store), "a".into(), 100).unwrap();
            assert!(file.ahead.len() <= RANGES_AHEAD);
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert!(read == bytes(len), "{len}");
            assert!(file.current.len() <= 100);
        }
    }

    #[test]
    fn an_object_that_changes_under_way_is_not_mixed_with_its_successor() {
        let store = store();
        put(&store, bytes(1000));
        let mut file = RemoteFile::start(Arc::clone(&store), "a".into(), 100).unwrap();
        let mut first = [0; 100];
        file.read_exact(&mut first).unwrap();
        put(&store, bytes(1000));
        let error = file.read_to_end(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("has changed while it was read"), "{error}");
        assert!(error.contains("1000 bytes tagged"), "{error}");
    }

    #[test]
    fn an_object_that_is_not_there_is_not_found() {
        let store = store();
        let error = RemoteFile::start(store, "a".into(), 100).unwrap_err();
        assert_eq!(to_io(error).kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_body_is_taken_in_up_to_the_range_asked_for() {
        let read = |pieces: Vec<&'static [u8]>, len: u64| {
            let endless = futures_util::stream::iter(pieces.into_iter().cycle().take(1 << 20));
            let body = endless.map(|piece| Ok(Bytes::from_static(piece)));
            let collect = collect(body.boxed(), 10..10 + len);
            Remote::wait(&Remote::get().unwrap().spawn(collect)).unwrap()
        };
        assert_eq!(read(vec![b"ab"], 2 << 20).unwrap().len(), 2 << 20);
        let endless = read(vec![b"ab"], 100).unwrap_err();
        assert!(
            matches!(endless, RemoteError::Length { found: 102, .. }),
            "{endless}"
        );
        let short = read(vec![b"ab"], 3 << 20).unwrap_err();
        assert!(
            matches!(short, RemoteError::Length { begin: 10, .. }),
            "{short}"
        );
    }
}
