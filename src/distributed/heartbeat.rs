//! Every rank shows at the store that it lives, and watches that the others do; one rank's failure ends all.
//!
//! Two threads, because a store whose host is frozen does not answer: `beat` talks to the store and may hang, `judge`
//! looks at what `beat` has seen and never waits for anybody. Once a failure is known, `judge` logs it, gives the
//! process a moment to end by itself, and then ends it: a collective inside libtorch cannot be interrupted.

use std::num::NonZeroU8;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::DistributedError;
use super::card::shown;
use super::env::Place;
use super::liveness::{Beat, Failure, Pace, Watch};
use super::store::{Stop, Store, StoreError};
use super::wish::{self, WISH, Wish};
use crate::interrupt::LOOK;

/// Holds the first failure of the run; empty until there is one.
const FAILURE: &str = "failure";
/// Counts the ranks that have read the failure.
const READERS: &str = "failure_readers";

fn beat_key(rank: usize) -> String {
    format!("beat/{rank}")
}

/// Lays down what every rank reads from the first beat on. The keys must be there before ranks read them.
pub(super) fn prepare(store: &Store, rank: usize) -> Result<(), StoreError> {
    // A failure that is there already stays.
    store.compare_set(FAILURE, b"", b"")?;
    wish::prepare(store)?;
    store.set(&beat_key(rank), Beat::default().encode().as_bytes())
}

/// The failure that the store holds, if it does.
pub(super) fn failure(store: &Store) -> Result<Option<Failure>, StoreError> {
    let text = store.get(FAILURE)?;
    Ok(text.as_deref().and_then(read_failure))
}

/// What is none of ours is none.
fn read_failure(text: &[u8]) -> Option<Failure> {
    let failure: Failure = serde_json::from_slice(text).ok()?;
    Some(Failure {
        reason: shown(&failure.reason),
        ..failure
    })
}

/// Lets the others know that this rank leaves the meeting because of `error`, where they cannot know it themselves.
pub(super) fn tell_at_meeting(store: &Store, rank: usize, error: &DistributedError) {
    let reason = match error {
        DistributedError::Stopped { .. } => stop_reason(rank),
        DistributedError::Unreadable { .. } if rank == 0 => format!("rank 0 failed: {error}"),
        _ => return,
    };
    share(store, &Failure::of(rank, reason));
}

fn stop_reason(rank: usize) -> String {
    format!("a signal asked rank {rank} to end while the ranks met")
}

/// Who watches, and how.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) place: Place,
    pub(super) rank_0_serves: bool,
    pub(super) pace: Pace,
    /// Ends the process as long as the ranks have not met: nothing is lost then, and nothing else can end the wait.
    pub(super) stop: Stop,
}

/// The two threads of this rank, and what they know.
#[derive(Debug)]
pub(super) struct Heartbeat {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rank: usize,
    world_size: usize,
    pace: Pace,
    stop: Stop,
    /// Written by the main thread, read by `beat`.
    num_collectives: AtomicU64,
    state: Mutex<State>,
    /// Wakes whoever waits for `state` to change.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    watch: Watch,
    failure: Option<Failure>,
    /// The store has this rank's failure, or the failure came from there.
    is_failure_shared: bool,
    /// The main thread is about to end the process because of a failure.
    is_failing: bool,
    /// The ranks have met: what a signal means is up to the main thread.
    has_met: bool,
    /// The run is over for this rank; the threads end.
    is_over: bool,
    /// `beat` has ended.
    is_beat_over: bool,
}

impl Heartbeat {
    /// Starts the threads. `store` is a connection that nobody else uses.
    pub(super) fn start(store: Store, watcher: Watcher) -> std::io::Result<Self> {
        let Watcher {
            place,
            rank_0_serves,
            pace,
            stop,
        } = watcher;
        let (rank, world_size) = (place.rank, place.world_size);
        let state = State {
            watch: Watch::new(Instant::now(), rank, world_size, rank_0_serves, pace),
            has_met: false,
            failure: None,
            is_failure_shared: false,
            is_failing: false,
            is_over: false,
            is_beat_over: false,
        };
        let shared = Arc::new(Shared {
            rank,
            world_size,
            pace,
            stop,
            num_collectives: AtomicU64::new(0),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let (beating, judging) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || beating.beat(&store))?;
        thread::Builder::new()
            .name("liveness".to_owned())
            .spawn(move || judging.judge())?;
        Ok(Self { shared })
    }

    /// Notes that the ranks have met.
    pub(super) fn met(&self) {
        self.shared.lock().has_met = true;
    }

    /// Notes that this rank enters a collective.
    pub(super) fn enter(&self) {
        self.shared.num_collectives.fetch_add(1, Ordering::Relaxed);
    }

    /// Why a collective has failed here: waits until the guilty rank can be named, or all are heard to live. On a busy
    /// machine either may take its time, so it is not the clock that acquits a rank.
    pub(super) fn explain(&self) -> Option<Failure> {
        let shared = &self.shared;
        let mut state = shared.lock();
        state.watch.is_suspicious = true;
        let heard = state.watch.heard();
        let silent = |state: &State| state.watch.not_heard_since(&heard);
        let mut state = shared.wait_until(state, shared.pace.limit, |state| {
            state.failure.is_some() || silent(state).is_none()
        });
        if state.failure.is_none()
            && let Some(rank) = silent(&state)
        {
            let reason = format!(
                "rank {rank} has not answered for {:.1} s: it was killed, is frozen, or is out of reach",
                shared.pace.limit.as_secs_f64()
            );
            state.failure = Some(Failure::of(rank, reason));
        }
        state.failure.clone()
    }

    /// What to say where no rank is seen to be the reason.
    pub(super) fn without_culprit(&self) -> String {
        let own_part = self.shared.lock().watch.own_part();
        format!(
            "although all {} ranks still answer{own_part}",
            self.shared.world_size
        )
    }

    /// Tells the other ranks that this one ends with `exit_code`, and why; an earlier failure of another rank stands.
    ///
    /// The process that serves the store stays for a moment, so that the others can read it. After this call the
    /// process has a few seconds to end.
    pub(super) fn fail(&self, store: &Store, serves: bool, reason: &str, exit_code: u8) {
        let shared = &self.shared;
        let mut state = shared.lock();
        let own = Failure {
            exit_code: NonZeroU8::new(exit_code),
            ..Failure::of(
                shared.rank,
                format!("rank {} failed: {reason}", shared.rank),
            )
        };
        let failure = state.failure.get_or_insert(own).clone();
        let was_shared = std::mem::replace(&mut state.is_failure_shared, true);
        state.is_failing = true;
        shared.changed.notify_all();
        drop(state);
        if !was_shared {
            share(store, &failure);
        }
        if serves {
            let deadline = Instant::now() + 4 * shared.pace.interval;
            let others = i64::try_from(shared.world_size).unwrap_or(i64::MAX) - 1;
            while Instant::now() < deadline
                && store.add(READERS, 0).is_ok_and(|readers| readers < others)
            {
                let state = shared.lock();
                drop(shared.wait_until(state, shared.pace.interval / 2, |_| false));
            }
        }
    }

    /// Ends the threads. `beat` may hang in a dead store; it is then left behind.
    pub(super) fn stop(&self) {
        let shared = &self.shared;
        let mut state = shared.lock();
        state.is_over = true;
        shared.changed.notify_all();
        drop(shared.wait_until(state, shared.pace.grace, |state| state.is_beat_over));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done`, at most for `time`.
    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        time: Duration,
        done: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self
            .changed
            .wait_timeout_while(state, time, |state| !done(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Until the run is over: writes the own beat, reads those of all, passes failures and the wish to end on in both
    /// directions.
    fn beat(&self, store: &Store) {
        let mut keys: Vec<_> = (0..self.world_size).map(beat_key).collect();
        keys.extend([FAILURE.to_owned(), WISH.to_owned()]);
        let mut wish = Wish::new(self.rank, self.world_size, self.stop.interrupt.clone());
        let mut count = 0;
        loop {
            count += 1;
            let exchanged = self.exchange(store, count, &keys, &mut wish);
            let mut state = self.lock();
            if let Err(error) = exchanged {
                if !state.is_over && state.failure.is_none() {
                    let how = match std::error::Error::source(&error) {
                        Some(cause) => format!("is gone ({cause})"),
                        None => format!("is gone ({error})"),
                    };
                    state.failure = Some(state.watch.store_lost(&how));
                    state.is_failure_shared = true;
                }
                state.is_beat_over = true;
            }
            self.changed.notify_all();
            if !state.is_beat_over {
                state = self.rest(state, &wish);
                state.is_beat_over = state.is_over;
            }
            if state.is_beat_over {
                self.changed.notify_all();
                return;
            }
        }
    }

    /// Waits for the next beat, or until there is something to tell. A signal wakes nobody, so it is looked for.
    fn rest<'a>(&self, mut state: MutexGuard<'a, State>, wish: &Wish) -> MutexGuard<'a, State> {
        let is_awake = |state: &State| {
            state.is_over || (state.failure.is_some() && !state.is_failure_shared) || wish.is_news()
        };
        let begin = Instant::now();
        while !is_awake(&state)
            && let Some(rest) = self.pace.interval.checked_sub(begin.elapsed())
            && !rest.is_zero()
        {
            state = self.wait_until(state, rest.min(LOOK), is_awake);
        }
        state
    }

    fn exchange(
        &self,
        store: &Store,
        count: u64,
        keys: &[String],
        wish: &mut Wish,
    ) -> Result<(), StoreError> {
        wish.tell(store)?;
        let beat = Beat {
            count,
            num_collectives: self.num_collectives.load(Ordering::Relaxed),
        };
        store.set(&beat_key(self.rank), beat.encode().as_bytes())?;
        let values = store.get_all(keys)?;
        let of = |place: usize| values.get(place).map_or(&[][..], Vec::as_slice);
        let beats: Vec<_> = (0..self.world_size)
            .map(|rank| Beat::decode(of(rank)))
            .collect();
        let failure = of(self.world_size);
        wish.hear(of(self.world_size + 1));

        let mut state = self.lock();
        state.watch.observe(Instant::now(), &beats);
        if state.is_failure_shared {
            return Ok(());
        }
        if let Some(failure) = read_failure(failure) {
            state.failure = Some(failure);
            state.is_failure_shared = true;
            drop(state);
            store.add(READERS, 1)?;
        } else if let Some(failure) = state.failure.clone() {
            state.is_failure_shared = true;
            drop(state);
            share(store, &failure);
            store.add(READERS, 1)?;
        }
        Ok(())
    }

    /// Until the run is over: looks for a failure, and ends the process on one.
    fn judge(&self) {
        loop {
            let state = self.lock();
            let mut state = self.wait_until(state, self.pace.interval, |state| {
                state.is_over || state.failure.is_some()
            });
            if state.is_over {
                return;
            }
            if state.failure.is_none()
                && !state.has_met
                && let Some(asked) = self.stop.interrupt.asked()
            {
                let rank = asked.rank().map_or(self.rank, |rank| rank as usize);
                state.failure = Some(Failure::of(rank, stop_reason(rank)));
            }
            if state.failure.is_none() {
                state.failure = state.watch.verdict(Instant::now());
            }
            let Some(failure) = state.failure.clone() else {
                continue;
            };
            self.changed.notify_all();
            // Other ranks that a signal has ended are no failure of this one, which has nothing to save either.
            let is_stopped = self.stop.interrupt.is_idle();
            if !state.is_failing {
                self.report(&failure, is_stopped, &state.watch.own_part());
                state = self.wait_until(state, self.pace.grace, |state| {
                    state.is_over || state.is_failing
                });
            }
            if state.is_failing {
                state = self.wait_until(state, self.pace.farewell, |state| state.is_over);
            }
            if state.is_over {
                return;
            }
            drop(state);
            let code = match is_stopped {
                true => self.stop.exit_code,
                false => failure.exit_code.map_or(1, NonZeroU8::get),
            };
            signal_hook::low_level::exit(code.into());
        }
    }

    fn report(&self, failure: &Failure, is_stopped: bool, own_part: &str) {
        if is_stopped {
            tracing::warn!(
                rank = self.rank,
                "{failure}: nothing was trained yet, run the same command again"
            );
        } else if failure.rank == Some(self.rank) {
            tracing::error!(
                rank = self.rank,
                "the other ranks have ended: {failure}{own_part}"
            );
        } else {
            tracing::error!(rank = self.rank, "{failure}; this rank ends too{own_part}");
        }
    }
}

/// Makes `failure` the failure of the run, unless there is one. A store that is gone needs no telling.
fn share(store: &Store, failure: &Failure) {
    if let Ok(text) = serde_json::to_vec(failure) {
        let _ = store.compare_set(FAILURE, b"", &text);
    }
}
