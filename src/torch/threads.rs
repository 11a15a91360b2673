//! How libtorch's threads wait for one another.

use std::sync::mpsc::sync_channel;
use std::thread;

use tch::{Device, Kind, Tensor};

/// What a user may have decided already.
const DECIDED: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// More elements than libtorch gives to one thread of an element-wise operation, fewer than it gives to three.
const FOR_TWO_THREADS: i64 = 1 << 16;

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

#[cfg(test)]
mod tests {
    use super::*;

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
