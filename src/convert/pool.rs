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
        let first_worker = scope.spawn({
            let receiver = Arc::clone(&receiver);
            || body(receiver)
        });
        // Where the system gives fewer threads than were asked for, these do the work.
        let more = (1..threads.get()).map_while(|_| {
            let receiver = Arc::clone(&receiver);
            let builder = thread::Builder::new();
            builder.spawn_scoped(scope, || body(receiver)).ok()
        });
        let workers: Vec<_> = std::iter::once(first_worker).chain(more).collect();
        // The channel closes with the last worker, so that a panic in all of them does not leave `feed` waiting.
        drop(receiver);
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

fn earlier(one: Option<Failure>, other: Option<Failure>) -> Option<Failure> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.index < one.index { other } else { one }),
        (one, other) => one.or(other),
    }
}
