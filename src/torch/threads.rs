//! libtorch's threads: how many there are, how they wait for one another, what CPU they run on.

use std::sync::mpsc::sync_channel;
use std::thread;

use tch::{Device, Kind, Tensor};

use super::sys;

/// What a user may have decided already about how many threads there are.
const COUNTED: [&str; 2] = ["OMP_NUM_THREADS", "MKL_NUM_THREADS"];

/// What a user may have decided already about how they wait.
const DECIDED: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// More elements than libtorch gives to one thread of an element-wise operation, fewer than it gives to three.
const FOR_TWO_THREADS: i64 = 1 << 16;

/// Keeps libtorch to `cores` threads, for the whole process: it counts the cores of the machine, and knows nothing of the
/// quota of a control group. A number in the environment is the user's own and stays. Call it once, at the start.
pub fn stay_within(cores: usize) {
    let is_decided = is_number_chosen();
    if let Some(threads) = fewer(tch::get_num_threads(), cores, is_decided) {
        tch::set_num_threads(threads);
    }
}

/// How many threads there should be instead of `threads`, if fewer.
fn fewer(threads: i32, cores: usize, is_decided: bool) -> Option<i32> {
    let cores = i32::try_from(cores.max(1)).unwrap_or(i32::MAX);
    (!is_decided && threads > cores).then_some(cores)
}

/// Lets threads of libtorch sleep soon while they wait for one another, for the whole process. Otherwise they spin for
/// milliseconds, in the way of the loader's threads and of all else on the machine. Call it once, before the first
/// computation; returns whether anything was done: not where a variable of the environment says how to wait, nor with a
/// single thread.
///
/// # Errors
/// When no thread can be started.
pub fn wait_asleep() -> std::io::Result<bool> {
    if tch::get_num_threads() < 2 || DECIDED.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(false);
    }
    // GNU's OpenMP reads those variables before `main`, and gives up its long spinning by itself only where it has more
    // threads than cores. A second team of threads, asleep for good, sees to that; a team lives as long as its thread.
    let (ready, is_ready) = sync_channel(1);
    thread::Builder::new()
        .name("idle".to_owned())
        .spawn(move || {
            let zeros = Tensor::f_zeros([FOR_TWO_THREADS], (Kind::Float, Device::Cpu));
            let _ = zeros.and_then(|zeros| zeros.f_add_scalar(1.0));
            let _ = ready.send(());
            loop {
                thread::park();
            }
        })?;
    let _ = is_ready.recv();
    Ok(true)
}

/// Whether the user, or the launcher for its ranks, has chosen the number of threads.
#[must_use]
pub fn is_number_chosen() -> bool {
    COUNTED.iter().any(|name| std::env::var_os(name).is_some())
}

/// The instructions that libtorch's kernels use on this CPU, and its model: `AVX512, AMD EPYC 9B45`.
#[must_use]
pub fn cpu() -> String {
    let kernels = sys::ffi::cpu_capability();
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(':'));
    match model {
        Some((_, model)) => format!("{kernels}, {}", model.trim()),
        None => kernels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_threads_than_cores_unless_the_user_says_so() {
        assert_eq!(fewer(8, 1, false), Some(1));
        assert_eq!(fewer(8, 0, false), Some(1));
        assert_eq!(fewer(8, 8, false), None);
        assert_eq!(fewer(2, 8, false), None);
        assert_eq!(fewer(8, 1, true), None);
    }

    #[test]
    fn the_second_team_is_there_at_return() {
        let decided = DECIDED.iter().any(|name| std::env::var_os(name).is_some());
        let expected = tch::get_num_threads() > 1 && !decided;
        assert_eq!(wait_asleep().unwrap(), expected);
        let names = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
            let path = task.unwrap().path().join("comm");
            std::fs::read_to_string(path).unwrap_or_default()
        });
        assert_eq!(
            names.into_iter().any(|name| name.trim() == "idle"),
            expected
        );
    }
}
