//! Work spread over threads whose outcome does not depend on them: results are merged by the caller in any order, and
//! of several errors the one of the first row is told.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::error::{ConvertError, Failure};

/// Calls `work` for every job that `feed` hands out, on `threads` threads, each with a state of its own that `start`
/// made; returns the states.
///
/// The function that `feed` gets says whether to go on. After it said no, `feed` hands out the rest of the rows it has
/// read and ends: so every row before the first bad one is looked at, however fast the threads are.
pub(super) fn run<J: Send, S: Send>(
    threads: NonZeroUsize,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, J) -> Result<(), Failure> + Sync,
    feed: impl FnOnce(&mut dyn FnMut(J) -> bool) -> Result<(), Failure>,
) -> Result<Vec<S>, ConvertError> {
    run_on(threads, thread::Builder::new, start, work, feed)
}

fn run_on<J: Send, S: Send>(
    threads: NonZeroUsize,
    builder: impl Fn() -> thread::Builder,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, J) -> Result<(), Failure> + Sync,
    feed: impl FnOnce(&mut dyn FnMut(J) -> bool) -> Result<(), Failure>,
) -> Result<Vec<S>, ConvertError> {
    let (sender, receiver) = sync_channel::<J>(1);
    let receiver = Arc::new(Mutex::new(receiver));
    let has_failed = AtomicBool::new(false);
    let body = |receiver: Arc<Mutex<Receiver<J>>>| {
        let mut state = start();
        let mut first: Option<Failure> = None;
        loop {
            let job = receiver
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(job) = job else { break };
            if let Err(failure) = work(&mut state, job) {
                has_failed.store(true, Ordering::Relaxed);
                first = earlier(first, Some(failure));
            }
        }
        (state, first)
    };
    thread::scope(|scope| {
        // Where the system gives fewer threads than were asked for, these do the work.
        let workers = (0..threads.get()).map_while(|_| {
            let receiver = Arc::clone(&receiver);
            builder().spawn_scoped(scope, || body(receiver)).ok()
        });
        let workers: Vec<_> = workers.collect();
        // The channel closes with the last worker, so that a panic in all of them does not leave `feed` waiting.
        drop(receiver);
        if workers.is_empty() {
            return alone(start(), &work, feed);
        }
        let mut hand_out = |job| sender.send(job).is_ok() && !has_failed.load(Ordering::Relaxed);
        let mut first = feed(&mut hand_out).err();
        drop(sender);
        let mut states = Vec::new();
        for worker in workers {
            let (state, failure) = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            first = earlier(first, failure);
            states.push(state);
        }
        match first {
            Some(failure) => Err(failure.error),
            None => Ok(states),
        }
    })
}

/// The same on the calling thread.
fn alone<J, S>(
    mut state: S,
    work: impl Fn(&mut S, J) -> Result<(), Failure>,
    feed: impl FnOnce(&mut dyn FnMut(J) -> bool) -> Result<(), Failure>,
) -> Result<Vec<S>, ConvertError> {
    let mut first: Option<Failure> = None;
    let mut hand_out = |job| {
        first = earlier(first.take(), work(&mut state, job).err());
        first.is_none()
    };
    let last = feed(&mut hand_out).err();
    match earlier(first, last) {
        Some(failure) => Err(failure.error),
        None => Ok(vec![state]),
    }
}

fn earlier(one: Option<Failure>, other: Option<Failure>) -> Option<Failure> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.index < one.index { other } else { one }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds up 0 to 99 on `threads` threads; `bad` numbers fail.
    fn sum(threads: usize, builder: fn() -> thread::Builder, bad: &[u64]) -> Result<u64, String> {
        let work = |sum: &mut u64, number: u64| {
            if bad.contains(&number) {
                let (key, reason) = (format!("row-{number}"), "bad".to_owned());
                let error = ConvertError::Setting { key, reason };
                return Err(Failure {
                    index: number,
                    error,
                });
            }
            *sum += number;
            Ok(())
        };
        let feed = |hand_out: &mut dyn FnMut(u64) -> bool| {
            let _ = (0..100).all(hand_out);
            Ok(())
        };
        let threads = NonZeroUsize::new(threads).unwrap();
        let sums = run_on(threads, builder, || 0, work, feed);
        sums.map(|sums| sums.iter().sum())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_outcome_does_not_depend_on_threads_also_where_there_are_none() {
        // No system has room for such a stack.
        let impossible = || thread::Builder::new().stack_size(1 << 60);
        assert!(impossible().spawn(|| ()).is_err());
        for threads in [1, 4] {
            for builder in [thread::Builder::new, impossible] {
                assert_eq!(sum(threads, builder, &[]), Ok(4950));
                let error = sum(threads, builder, &[7, 80]).unwrap_err();
                assert!(error.contains("row-7"), "{error}");
            }
        }
    }
}
