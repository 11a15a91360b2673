//! c10d: the store at which ranks meet, the group of ranks, and the reducer that averages gradients.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tch::Tensor;

use super::sys_process_group::ffi;
use super::{TorchError, sys};

/// Name of the shared object with the CUDA part, where it lies beside the program.
const CUDA_SHIM: &str = "librecap_cuda.so";

/// Where the build left it; empty if it could not be built.
const BUILT_CUDA_SHIM: &str = env!("RECAP_CUDA_SHIM");

/// Where the ranks meet.
#[derive(Clone, Debug)]
pub struct StoreOptions<'a> {
    /// Name or address of the host that serves the store.
    pub host: &'a str,
    /// Its port; 0 lets the server choose a free one.
    pub port: u16,
    /// Whether this process serves it.
    pub is_server: bool,
    /// Goes before every key, so that two runs at one store do not meet.
    pub prefix: &'a str,
    /// How long to try to connect, and to wait for a key.
    pub timeout: Duration,
}

/// A connection to the key-value store of the ranks (`c10d::TCPStore`).
///
/// A call blocks every other call on the same connection, and blocks for as long as the server does:
/// a thread that must not wait for another wants its own connection.
pub struct Store {
    inner: cxx::UniquePtr<ffi::Store>,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Connects, and serves the store if so told.
    ///
    /// # Errors
    /// When the server does not answer within the timeout, or its port is taken.
    pub fn connect(options: &StoreOptions<'_>) -> Result<Self, TorchError> {
        let inner = ffi::connect_store(
            options.host,
            options.port,
            options.is_server,
            options.prefix,
            millis(options.timeout),
        )?;
        Ok(Self { inner })
    }

    /// The port of the server.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.inner.port()
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn set(&self, key: &str, value: &str) -> Result<(), TorchError> {
        Ok(self.inner.set(key, value)?)
    }

    /// Sets `key` to `desired` if it has the value `expected`; returns its value afterwards.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn compare_set(
        &self,
        key: &str,
        expected: &str,
        desired: &str,
    ) -> Result<String, TorchError> {
        Ok(self.inner.compare_set(key, expected, desired)?)
    }

    /// Adds `amount` to the number under `key` (0 at first); returns the sum.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64, TorchError> {
        Ok(self.inner.add(key, amount)?)
    }

    /// Whether somebody has set `key`.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn has(&self, key: &str) -> Result<bool, TorchError> {
        Ok(self.inner.has(key)?)
    }

    /// The values under `keys`; waits until all are set.
    ///
    /// # Errors
    /// When one is not set within the store's timeout, or the server is gone.
    pub fn get_all(&self, keys: &[String]) -> Result<Vec<String>, TorchError> {
        Ok(self.inner.get_all(keys)?)
    }
}

/// This process's place in a [`Group`] and the way to reach it.
#[derive(Clone, Debug)]
pub struct GroupOptions<'a> {
    /// This process.
    pub rank: usize,
    /// All processes.
    pub world_size: usize,
    /// How long a collective waits for a rank.
    pub timeout: Duration,
    /// Address at which the other ranks reach this one.
    pub address: &'a str,
    /// Network interface to listen on instead; empty: none.
    pub interface: &'a str,
}

/// All ranks, connected (`c10d::ProcessGroup`): by Gloo for CPU tensors, and by NCCL once added.
///
/// Every rank must make the same calls in the same order with tensors of the same shapes.
pub struct Group {
    inner: cxx::UniquePtr<ffi::Group>,
}

impl fmt::Debug for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Group").finish_non_exhaustive()
    }
}

impl Group {
    /// Connects with every other rank through `store`.
    ///
    /// # Errors
    /// When a rank does not come within the timeout, or a number is beyond `i32`.
    pub fn connect(store: &Store, options: &GroupOptions<'_>) -> Result<Self, TorchError> {
        let inner = ffi::connect_group(
            &store.inner,
            small(options.rank)?,
            small(options.world_size)?,
            millis(options.timeout),
            options.address,
            options.interface,
        )?;
        Ok(Self { inner })
    }

    /// Lets CUDA tensors travel by NCCL. libtorch's CUDA part must be loaded, and the device chosen.
    ///
    /// # Errors
    /// When this program was built where CUDA's headers are not, or NCCL cannot start.
    pub fn add_nccl(&self) -> Result<(), TorchError> {
        let shared_object = cuda_shim().ok_or_else(|| TorchError {
            message: no_cuda_shim(BUILT_CUDA_SHIM),
        })?;
        Ok(self.inner.add_nccl(&shared_object.to_string_lossy())?)
    }

    /// Replaces `tensor` by its mean over all ranks.
    ///
    /// # Errors
    /// When a rank is gone or late.
    pub fn all_reduce_mean(&self, tensor: &Tensor) -> Result<(), TorchError> {
        Ok(self.inner.all_reduce_mean(sys::as_cxx(tensor))?)
    }

    /// Replaces `tensors` by those of rank 0.
    ///
    /// # Errors
    /// When a rank is gone or late.
    pub fn broadcast(&self, tensors: &[&Tensor]) -> Result<(), TorchError> {
        Ok(self.inner.broadcast(&sys::list(tensors.iter().copied()))?)
    }

    /// `[n]` of every rank as `[world_size, n]`.
    ///
    /// # Errors
    /// When a rank is gone or late.
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Tensor, TorchError> {
        Ok(sys::from_cxx(self.inner.all_gather(sys::as_cxx(tensor))?))
    }

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// When a rank is gone or late.
    pub fn barrier(&self) -> Result<(), TorchError> {
        Ok(self.inner.barrier()?)
    }
}

/// Averages gradients over the ranks while backward runs (`c10d::Reducer`).
///
/// It hooks itself to the gradients of its parameters and unhooks itself when dropped. Gradients stay ordinary
/// tensors of their own: views into the reducer's buckets would save one copy of the gradients, and would break
/// every holder of a gradient tensor (and tch's `zero_grad`) when the buckets are made anew.
pub struct Reducer {
    inner: cxx::UniquePtr<ffi::Reducer>,
}

impl fmt::Debug for Reducer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reducer").finish_non_exhaustive()
    }
}

impl Reducer {
    /// For `parameters` in the order in which the forward pass uses them, in buckets of about `bucket_bytes`.
    ///
    /// # Errors
    /// When the list is empty or a parameter wants no gradient.
    pub fn new(
        group: &Group,
        parameters: &[&Tensor],
        bucket_bytes: u64,
    ) -> Result<Self, TorchError> {
        let parameters = sys::list(parameters.iter().copied());
        let inner = ffi::new_reducer(&group.inner, &parameters, bucket_bytes)?;
        Ok(Self { inner })
    }

    /// Makes the next backward average its gradients; without this call it only adds them up.
    ///
    /// # Errors
    /// When a parameter got no gradient in the backward before, or a rank is gone.
    pub fn prepare_for_backward(&self) -> Result<(), TorchError> {
        Ok(self.inner.prepare_for_backward()?)
    }

    /// From now on what happens in backward is noted.
    pub fn start_timeline(&self) {
        self.inner.start_timeline();
    }

    /// What has happened since [`Reducer::start_timeline`], in order; from now on nothing is noted.
    #[must_use]
    pub fn stop_timeline(&self) -> Vec<Event> {
        let numbers = self.inner.stop_timeline();
        let (events, _) = numbers.as_chunks();
        events.iter().map(Event::new).collect()
    }
}

/// Something that happened in a backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub what: EventKind,
    /// Which: the parameter as counted in [`Reducer::new`], or the bucket in the order of their departure.
    pub number: u64,
    /// Size of the gradient or of the bucket.
    pub bytes: u64,
    /// Since [`Reducer::start_timeline`].
    pub at: Duration,
}

/// What happens in a backward that averages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// This rank has its own gradient of a parameter.
    Gradient,
    /// The all-reduce of a bucket sets off.
    Launched,
    /// The all-reduce of a bucket is done; on a GPU: is in the queue.
    Reduced,
}

impl Event {
    /// From the four numbers of the bridge.
    fn new(numbers: &[u64; 4]) -> Self {
        let [what, number, bytes, nanos] = *numbers;
        let what = match what {
            0 => EventKind::Gradient,
            1 => EventKind::Launched,
            _ => EventKind::Reduced,
        };
        Self {
            what,
            number,
            bytes,
            at: Duration::from_nanos(nanos),
        }
    }
}

/// The shared object with the CUDA part (NCCL): beside the program, else where the build left it; `None` where it was
/// not built.
#[must_use]
pub fn cuda_shim() -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.map(|program| program.with_file_name(CUDA_SHIM));
    let built = Some(PathBuf::from(BUILT_CUDA_SHIM));
    [beside, built]
        .into_iter()
        .flatten()
        .find(|path: &PathBuf| Path::is_file(path))
}

/// What to do about a missing shared object that the build left at `built`.
fn no_cuda_shim(built: &str) -> String {
    if built.is_empty() {
        return format!(
            "GPUs cannot work together: this program was built without {CUDA_SHIM}, since the headers of CUDA and NCCL \
             were not there: build it anew with LIBTORCH at the torch folder of a pip-installed torch with CUDA"
        );
    }
    format!(
        "GPUs cannot work together: {CUDA_SHIM} is neither beside the program nor, any more, at {built}, where it was \
         built: `cargo build --release` makes it in target/release/build/recap-train-*/out; copy it from there \
         beside the program, as is needed whenever the program is installed or moved"
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn small(number: usize) -> Result<i32, TorchError> {
    i32::try_from(number).map_err(|_| TorchError {
        message: format!("{number} ranks are more than c10d can number"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_cuda_part_says_whether_to_build_or_to_copy_it() {
        let message = no_cuda_shim("");
        assert!(message.contains("build it anew with LIBTORCH"), "{message}");
        let message = no_cuda_shim("/gone/out/librecap_cuda.so");
        assert!(
            message.contains("at /gone/out/librecap_cuda.so"),
            "{message}"
        );
        assert!(
            message.contains("copy it from there beside the program"),
            "{message}"
        );
    }
}
