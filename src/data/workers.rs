//! The threads that read files and make batches: one pool for both, so that no core idles while there is work.
//!
//! What they do is decided by the sequencer, in an order that does not depend on them; they only return results. The
//! sequencer's thread is one of them: while it waits it works, because waking another thread costs more than a record.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::counters::Stats;
use super::decoder::Decoder;
use super::error::DataError;
use super::payload::{Block, Payload};
use super::pipeline::{Finished, SharedPipeline};
use super::reader::FileReader;

/// Names an open file: its epoch, and its place in the epoch's order.
pub(crate) type FileId = (u64, usize);

/// Something to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Read the next records of a file.
    Read(FileId, Box<FileReader>),
    /// Make records a batch.
    Batch(u64, Vec<Payload>),
}

/// Something done.
#[derive(Debug)]
pub(crate) enum Done {
    /// A file's next records; the reader comes back for more.
    Read(FileId, Box<FileReader>, Block),
    /// A batch.
    Batch(u64, Result<Finished, DataError>),
    /// A thread panicked over its task.
    Panicked(DataError),
}

/// The pool. Dropping it discards what is queued and joins the threads.
pub(crate) struct Workers {
    queue: Arc<Queue>,
    /// The other ends are held by the threads.
    results: Receiver<Done>,
    threads: Vec<JoinHandle<()>>,
    /// What the thread that waits works with.
    own: Worker,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    tasks: VecDeque<Task>,
    is_closed: bool,
}

impl Workers {
    /// Starts `count` threads less one: the other is whoever calls [`Self::wait`]. Rows are packed if they are kept.
    pub(crate) fn start(
        count: usize,
        pipeline: &SharedPipeline,
        packs: bool,
        stats: &Arc<Stats>,
    ) -> Result<Self, DataError> {
        let queue = Arc::new(Queue::default());
        let (sender, results) = channel();
        let worker = || Worker {
            pipeline: Arc::clone(pipeline),
            decoder: Decoder::new(pipeline, packs, stats),
            stats: Arc::clone(stats),
        };
        let mut workers = Self {
            queue,
            results,
            threads: Vec::new(),
            own: worker(),
        };
        stats.has_threads(count.max(1));
        for index in 1..count {
            let (queue, results) = (Arc::clone(&workers.queue), sender.clone());
            let worker = worker();
            let thread = spawn(format!("data-{index}"), move || {
                worker.run(&queue, &results);
            })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Queues `task`; batches go first, because they free memory.
    pub(crate) fn submit(&self, task: Task) {
        let mut state = self.queue.lock();
        match task {
            Task::Batch(..) => state.tasks.push_front(task),
            Task::Read(..) => state.tasks.push_back(task),
        }
        drop(state);
        self.queue.changed.notify_one();
    }

    /// The next result: one that is there, else one of this thread's own work, else one that another thread brings.
    pub(crate) fn wait(&mut self) -> Done {
        if let Ok(done) = self.results.try_recv() {
            return done;
        }
        if let Some(task) = self.queue.try_next() {
            return self.own.attempt(task);
        }
        self.results.recv().unwrap_or_else(|_| {
            Done::Panicked(DataError::Thread {
                thread: "data".to_owned(),
                message: "all workers are gone".to_owned(),
            })
        })
    }

    /// How many threads there are.
    pub(crate) fn count(&self) -> usize {
        self.threads.len() + 1
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.is_closed = true;
        state.tasks.clear();
        drop(state);
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic has been reported as a result.
            drop(thread.join());
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task, if there is one now.
    fn try_next(&self) -> Option<Task> {
        self.lock().tasks.pop_front()
    }

    /// The next task, once there is one; `None` when the pool is closed.
    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(task) = state.tasks.pop_front() {
                return Some(task);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Worker {
    pipeline: SharedPipeline,
    decoder: Decoder,
    stats: Arc<Stats>,
}

impl Worker {
    fn run(mut self, queue: &Queue, results: &Sender<Done>) {
        while let Some(task) = queue.next() {
            if results.send(self.attempt(task)).is_err() {
                return;
            }
        }
    }

    /// Performs `task`; a panic over it is a result too.
    fn attempt(&mut self, task: Task) -> Done {
        let done = catch_unwind(AssertUnwindSafe(|| self.perform(task)));
        done.unwrap_or_else(|panic| Done::Panicked(panicked(panic.as_ref())))
    }

    fn perform(&mut self, task: Task) -> Done {
        match task {
            Task::Read(id, mut reader) => {
                let block = reader.read(&mut self.decoder);
                Done::Read(id, reader, block)
            }
            Task::Batch(number, payloads) => {
                let begin = Instant::now();
                let batch = self.pipeline.batch(payloads);
                self.stats.parsed(begin.elapsed());
                Done::Batch(number, batch)
            }
        }
    }
}

/// Starts a named thread.
pub(crate) fn spawn(
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, DataError> {
    let builder = std::thread::Builder::new().name(name.clone());
    builder.spawn(body).map_err(|error| DataError::Thread {
        thread: name,
        message: format!("cannot be started: {error}"),
    })
}

/// The error that a panic of the current thread becomes.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> DataError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    DataError::Thread {
        thread: std::thread::current().name().unwrap_or("data").to_owned(),
        message: text.unwrap_or("a panic without a message").to_owned(),
    }
}
