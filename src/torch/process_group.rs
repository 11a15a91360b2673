//! c10d: the group of ranks, the store through which it finds them, and the reducer that averages gradients.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tch::Tensor;

use super::sys_process_group::ffi;
use super::{TorchError, sys};

/// Name of the shared object with the CUDA part, where it lies beside the program.
const CUDA_SHIM: &str = "librecap_cuda.so";

/// Where the build left it; empty if it could not be built.
const BUILT_CUDA_SHIM: &str = env!("RECAP_CUDA_SHIM");

/// The keys and values through which the ranks of a [`Group`] find each other; errors are one sentence.
///
/// Calls come from any thread and must end: libtorch waits for them.
pub trait KeyValue: Send + Sync {
    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// When the store is gone.
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String>;

    /// Sets `key` to `desired` if it has the value `expected`; returns its value afterwards.
    ///
    /// # Errors
    /// When the store is gone.
    fn compare_set(&self, key: &str, expected: &[u8], desired: &[u8]) -> Result<Vec<u8>, String>;

    /// The value of `key`, once it is there.
    ///
    /// # Errors
    /// When it does not come `within` that time, or the store is gone.
    fn get(&self, key: &str, within: Duration) -> Result<Vec<u8>, String>;

    /// Adds `amount` to the number under `key` (0 at first); returns the sum.
    ///
    /// # Errors
    /// When the store is gone.
    fn add(&self, key: &str, amount: i64) -> Result<i64, String>;

    /// Whether `key` is there.
    ///
    /// # Errors
    /// When the store is gone.
    fn has(&self, key: &str) -> Result<bool, String>;

    /// Waits until `key` is there.
    ///
    /// # Errors
    /// When it does not come `within` that time, or the store is gone.
    fn wait(&self, key: &str, within: Duration) -> Result<(), String>;

    /// Removes `key`; whether it was there.
    ///
    /// # Errors
    /// When the store is gone.
    fn remove(&self, key: &str) -> Result<bool, String>;

    /// How many keys there are.
    ///
    /// # Errors
    /// When the store is gone.
    fn count(&self) -> Result<i64, String>;
}

/// A store in C++'s hands.
pub(super) struct SharedStore(Arc<dyn KeyValue>);

/// What C++ calls; see [`KeyValue`].
impl SharedStore {
    pub(super) fn another(&self) -> Box<Self> {
        Box::new(Self(Arc::clone(&self.0)))
    }

    pub(super) fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.0.set(key, value)
    }

    pub(super) fn compare_set(
        &self,
        key: &str,
        expected: &[u8],
        desired: &[u8],
    ) -> Result<Vec<u8>, String> {
        self.0.compare_set(key, expected, desired)
    }

    pub(super) fn get(&self, key: &str, within_ms: u64) -> Result<Vec<u8>, String> {
        self.0.get(key, Duration::from_millis(within_ms))
    }

    pub(super) fn add(&self, key: &str, amount: i64) -> Result<i64, String> {
        self.0.add(key, amount)
    }

    pub(super) fn has(&self, key: &str) -> Result<bool, String> {
        self.0.has(key)
    }

    pub(super) fn wait(&self, key: &str, within_ms: u64) -> Result<(), String> {
        self.0.wait(key, Duration::from_millis(within_ms))
    }

    pub(super) fn remove(&self, key: &str) -> Result<bool, String> {
        self.0.remove(key)
    }

    pub(super) fn count(&self) -> Result<i64, String> {
        self.0.count()
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
    pub fn connect(
        store: Arc<dyn KeyValue>,
        options: &GroupOptions<'_>,
    ) -> Result<Self, TorchError> {
        let inner = ffi::connect_group(
            Box::new(SharedStore(store)),
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

    /// Replaces `tensors` by those of `rank`.
    ///
    /// # Errors
    /// When a rank is gone or late, or there is no such rank.
    pub fn broadcast(&self, rank: usize, tensors: &[&Tensor]) -> Result<(), TorchError> {
        let tensors = sys::list(tensors.iter().copied());
        Ok(self.inner.broadcast(small(rank)?, &tensors)?)
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
