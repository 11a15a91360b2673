//! Objects in Google Cloud Storage, S3 and behind HTTP as files: which there are, and their bytes.
//!
//! The only room that knows an async runtime: one thread of its own, which all requests share. Whoever asks waits on a
//! channel.

mod address;
mod client;
mod read;
mod store;
mod variables;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use object_store::ObjectMeta;
use tokio::runtime::Handle;

pub(crate) use address::{is_remote, pattern_prefix};
pub(crate) use read::RemoteFile;

use crate::{printable, redact};
use address::Address;
use store::Store;

/// For a request with all its tries: an object's size, a page of a listing, a range. What drips in more slowly has not
/// come.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// More objects and folders than this are not listed: their names alone would take the memory of a training.
const MAX_OBJECTS: usize = 1_000_000;
/// Bytes of what a store says that are passed on.
const MAX_WORDS: usize = 1000;

/// Why a remote object cannot be found or read.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address is none that can be read.
    #[error("{reason}")]
    Address {
        /// What is wrong with it.
        reason: String,
    },
    /// The store cannot be set up: a setting in the environment is missing or wrong.
    #[error("the store cannot be used; are its variables set (AWS_..., GOOGLE_...)?")]
    Store(#[source] StoreError),
    /// The store does not answer, or refuses.
    #[error("the store gives no answer that can be used")]
    Request(#[source] StoreError),
    /// A range of the object cannot be had.
    #[error("bytes {begin} to {end} of {size} cannot be fetched")]
    Fetch {
        /// First byte.
        begin: u64,
        /// After the last byte.
        end: u64,
        /// Of the object.
        size: u64,
        /// What the store said last.
        source: StoreError,
    },
    /// An answer with a range broke off.
    #[error("bytes {begin} to {end} do not come whole")]
    CutShort {
        /// First byte.
        begin: u64,
        /// After the last byte.
        end: u64,
        /// What happened on the way.
        source: StoreError,
    },
    /// The store sent another number of bytes than asked for.
    #[error("{found} bytes came instead of bytes {begin} to {end}")]
    Length {
        /// First byte.
        begin: u64,
        /// After the last byte.
        end: u64,
        /// How many came.
        found: usize,
    },
    /// An answer did not come, or not whole, in the time for all tries.
    #[error("no whole answer came within {} s, all tries taken together", ANSWER_TIME.as_secs())]
    TooSlow,
    /// The store has just let a request wait in vain.
    #[error("not asked again: it did not answer {seconds} s ago; run the same command again later")]
    NotAsked {
        /// How long ago that request was given up.
        seconds: u64,
    },
    /// A listing goes on and on.
    #[error("there are more than {MAX_OBJECTS} objects and folders: name a folder further down")]
    TooMany,
    /// The object is another one than when reading began.
    #[error(
        "the object has changed while it was read, at byte {begin}: {then} when it was opened, {now} now"
    )]
    Changed {
        /// Where reading was.
        begin: u64,
        /// Size and tag at first.
        then: Version,
        /// Size and tag now.
        now: Version,
    },
    /// The thread for requests cannot be started, or has ended.
    #[error("the thread that talks to remote stores is not there")]
    Thread(#[source] std::io::Error),
}

impl RemoteError {
    /// Whether the object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        match self {
            Self::Request(source) | Self::Fetch { source, .. } => source.is_not_found,
            _ => false,
        }
    }
}

/// What a store, or the way to it, said.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    /// With all causes, each once.
    text: String,
    is_not_found: bool,
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        // What the client says where it is not to speak without TLS.
        if text.contains("URL scheme is not allowed") {
            text += ": AWS_ALLOW_HTTP=true lets it speak http, without TLS";
        }
        Self {
            text: words(text.trim_end_matches([':', ' '])),
            is_not_found: matches!(error, object_store::Error::NotFound { .. }),
        }
    }
}

/// What a store said, as far as it can be passed on: bounded, and without secrets that it repeats.
fn words(text: &str) -> String {
    let text = redact::text(text);
    // S3 repeats a token that has expired.
    let text = match (text.find("<Token"), text.rfind("</Token")) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}<Token>***{}", &text[..begin], &text[end..]).into()
        }
        _ => text,
    };
    printable::line(&printable::short(&text, MAX_WORDS)).into_owned()
}

/// What tells an object from its successor at the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// In bytes.
    pub size: u64,
    /// What the store gives to tell contents apart; else when the object was last changed; `None` if it says neither.
    pub tag: Option<String>,
}

impl Version {
    fn of(meta: &ObjectMeta) -> Self {
        // The client says 1970 for what the store has not said.
        let has_time = meta.last_modified.timestamp() != 0;
        let changed = || has_time.then(|| meta.last_modified.to_rfc3339());
        Self {
            size: meta.size,
            tag: meta.e_tag.clone().or_else(changed),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = self.tag.as_deref().unwrap_or("nothing");
        write!(formatter, "{} bytes tagged {tag}", self.size)
    }
}

/// The thread for requests and the stores that were talked to.
#[derive(Debug)]
struct Remote {
    handle: Handle,
    /// By the part of an address before the path.
    stores: Mutex<HashMap<String, Arc<Store>>>,
    /// Sizes of objects that were listed, so that not every object is asked for again.
    sizes: Mutex<HashMap<PathBuf, u64>>,
}

impl Remote {
    fn get() -> Result<&'static Self, RemoteError> {
        static REMOTE: OnceLock<Remote> = OnceLock::new();
        if let Some(remote) = REMOTE.get() {
            return Ok(remote);
        }
        let started = Self::start().map_err(RemoteError::Thread)?;
        Ok(REMOTE.get_or_init(|| started))
    }

    fn start() -> std::io::Result<Self> {
        // Somebody else in this process may have chosen: any choice will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("remote".to_owned());
        thread.spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        Ok(Self {
            handle,
            stores: Mutex::default(),
            sizes: Mutex::default(),
        })
    }

    /// The store of `address`; connections and credentials are shared by all who use it.
    fn store(&self, address: &Address) -> Result<Arc<Store>, RemoteError> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&address.root) {
            return Ok(Arc::clone(store));
        }
        let store = address.store();
        let store = Arc::new(store.map_err(|error| RemoteError::Store(error.into()))?);
        stores.insert(address.root.clone(), Arc::clone(&store));
        Ok(store)
    }

    /// Has `work` done on the thread for requests; its result comes through the receiver.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // Whoever asked may have gone.
            let _ = sender.send(work.await);
        });
        receiver
    }

    fn wait<T>(receiver: &mpsc::Receiver<T>) -> Result<T, RemoteError> {
        let gone = |error| RemoteError::Thread(std::io::Error::other(error));
        receiver.recv().map_err(gone)
    }

    /// Has `work` done, which asks `store`. One that has just let a request wait in vain is not waited for again: whoever
    /// comes next at the start of a run would wait as long for the same answer.
    fn ask<T: Send + 'static>(
        &self,
        store: &Store,
        work: impl Future<Output = Result<T, RemoteError>> + Send + 'static,
    ) -> Result<T, RemoteError> {
        store.check()?;
        Self::wait(&self.spawn(work))?
    }

    fn remember(&self, file: &Path, size: u64) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.insert(file.to_owned(), size);
    }
}

/// The object at `file` as it is now.
pub(crate) fn version(file: &Path) -> Result<Version, RemoteError> {
    let remote = Remote::get()?;
    let address = Address::of(file)?;
    let store = remote.store(&address)?;
    let meta = remote.ask(&store, Arc::clone(&store).head(address.path()?))?;
    Ok(Version::of(&meta))
}

/// Size of the object at `file` in bytes, as it was when it was listed if it was.
pub(crate) fn size(file: &Path) -> Result<u64, RemoteError> {
    let remote = Remote::get()?;
    let known = {
        let sizes = remote.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.get(file).copied()
    };
    match known {
        Some(size) => Ok(size),
        None => Ok(version(file)?.size),
    }
}

/// The objects that `pattern` names, of which a `*` crosses no `/`; without such signs, the one object there.
pub(crate) fn matching(
    pattern: &str,
    is_match: impl Fn(&str) -> bool,
) -> Result<Vec<PathBuf>, RemoteError> {
    let Some((folder, is_deep)) = pattern_prefix(pattern) else {
        let file = PathBuf::from(pattern);
        let remote = Remote::get()?;
        return match version(&file) {
            Ok(version) => {
                remote.remember(&file, version.size);
                Ok(vec![file])
            }
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        };
    };
    let mut files = list(Path::new(folder), is_deep)?;
    files.retain(|file| file.to_str().is_some_and(&is_match));
    Ok(files)
}

/// The objects whose addresses begin with `folder`, those of its subfolders only if `is_deep`.
pub(crate) fn list(folder: &Path, is_deep: bool) -> Result<Vec<PathBuf>, RemoteError> {
    let remote = Remote::get()?;
    let address = Address::of(folder)?;
    let store = remote.store(&address)?;
    let prefix = address.path()?;
    let listing = Arc::clone(&store).list(prefix, is_deep, MAX_OBJECTS);
    let objects = remote.ask(&store, listing)?;
    let files = objects.iter().map(|object| {
        let file = PathBuf::from(format!("{}/{}", address.root, object.location));
        remote.remember(&file, object.size);
        file
    });
    Ok(files.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_is_passed_on_in_bounds_and_without_tokens() {
        let answer = "<Error><Code>ExpiredToken</Code><Token-0>hush</Token-0></Error>";
        let shown = words(answer);
        assert!(
            shown.contains("ExpiredToken") && !shown.contains("hush"),
            "{shown}"
        );
        assert_eq!(words("at http://h/a?sig=hush"), "at http://h/a?***");
        assert_eq!(words("403:\n\x1b[2J"), "403:\\n\\x1b[2J");
        assert!(words(&"x".repeat(1 << 20)).len() < 1100);
    }
}
