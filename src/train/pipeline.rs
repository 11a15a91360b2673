//! Feeds the loop: while batch i trains, batch i+1 is on the device and batch i+2 is being read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use tch::Device;

use super::TrainError;
use super::staging::{Staged, Stager};
use super::times::Beside;
use crate::data::{Background, LoadedBatch, Loader, Meter, NotJoined, Position, RecordId};
use crate::interrupt::{Interrupt, LOOK};
use crate::torch::batch::Batch;

/// Batches that wait on the device, or are on their way to it, beside the one that trains.
const AHEAD: usize = 1;

/// A batch on the device.
#[derive(Debug)]
pub struct DeviceBatch {
    /// The tensors.
    pub batch: Batch,
    /// Position in the data right after this batch.
    pub position: Position,
    /// Where its rows came from.
    pub records: Vec<RecordId>,
}

impl DeviceBatch {
    /// The records of the batch for a message: `a.gz records 3-7, 12; b.gz records 0-3`.
    #[must_use]
    pub fn source(&self) -> String {
        source_of(&self.records)
    }
}

/// Records for a message, as [`DeviceBatch::source`].
pub(super) fn source_of(records: &[RecordId]) -> String {
    let mut by_file: BTreeMap<&Path, Vec<u64>> = BTreeMap::new();
    for record in records {
        by_file.entry(&record.file).or_default().push(record.record);
    }
    let file = |(path, records): (&Path, Vec<u64>)| {
        format!("{} records {}", path.display(), ranges(records))
    };
    by_file.into_iter().map(file).collect::<Vec<_>>().join("; ")
}

/// `3-7, 12` for the numbers 3 to 7 and 12.
fn ranges(mut numbers: Vec<u64>) -> String {
    numbers.sort_unstable();
    let runs = numbers.chunk_by(|a, b| b - a <= 1);
    let range = |run: &[u64]| match (run.first(), run.last()) {
        (Some(first), Some(last)) if first != last => format!("{first}-{last}"),
        (Some(first), _) => first.to_string(),
        (None, _) => String::new(),
    };
    runs.map(range).collect::<Vec<_>>().join(", ")
}

/// The thread that takes batches from the loader to the device, and the end of its channel.
#[derive(Debug)]
pub struct Pipeline {
    /// The copy thread holds the other end.
    batches: Option<Receiver<anyhow::Result<Staged>>>,
    thread: Background,
    /// Time the loop has waited for data.
    waited: Duration,
    /// Nanoseconds that the copy thread has spent on copies.
    copied: Arc<AtomicU64>,
    meter: Meter,
}

impl Pipeline {
    /// Starts to read ahead.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(loader: Loader, device: Device) -> anyhow::Result<Self> {
        let (sender, receiver) = sync_channel(AHEAD);
        let (meter, copied) = (loader.meter(), Arc::new(AtomicU64::new(0)));
        let spent = Arc::clone(&copied);
        let body = move || copy_all(loader, device, &sender, &spent);
        let thread = Background::spawn("copy".to_owned(), body);
        let thread = thread.context("cannot start the copy thread")?;
        Ok(Self {
            batches: Some(receiver),
            thread,
            waited: Duration::ZERO,
            copied,
            meter,
        })
    }

    /// The next batch; `None` when the data has ended, or `interrupt` was requested while
    /// there was none yet.
    ///
    /// # Errors
    /// What went wrong in the loader or in the copy.
    pub fn next(&mut self, interrupt: Option<&Interrupt>) -> anyhow::Result<Option<DeviceBatch>> {
        let begin = Instant::now();
        let next = self.wait(interrupt);
        self.waited += begin.elapsed();
        next
    }

    fn wait(&mut self, interrupt: Option<&Interrupt>) -> anyhow::Result<Option<DeviceBatch>> {
        let Some(batches) = &self.batches else {
            return Ok(None);
        };
        loop {
            match batches.recv_timeout(LOOK) {
                Ok(batch) => return batch?.take().map(Some),
                Err(RecvTimeoutError::Timeout)
                    if interrupt.is_some_and(Interrupt::is_requested) =>
                {
                    return Ok(None);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.join().map(|()| None),
            }
        }
    }

    /// Time the loop has waited for data so far.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// What has happened beside the loop so far.
    #[must_use]
    pub fn beside(&self) -> Beside {
        Beside {
            data_wait: self.waited,
            copy: Duration::from_nanos(self.copied.load(Ordering::Relaxed)),
            loader: self.meter.read(),
        }
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.batches = None;
        match self.thread.join() {
            Err(NotJoined::Panicked) => Err(TrainError::Panicked { thread: "copy" }.into()),
            Ok(()) | Err(NotJoined::Hangs) => Ok(()),
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Closing the channel ends the thread at its next send; its batches are of no use any more.
        let _ = self.join();
    }
}

fn copy_all(
    mut loader: Loader,
    device: Device,
    sender: &SyncSender<anyhow::Result<Staged>>,
    spent: &AtomicU64,
) {
    let stager = Stager::new(device);
    loop {
        let batch = match loader.next_batch() {
            Ok(Some(loaded)) => {
                let begin = Instant::now();
                let batch = stager.stage(loaded);
                let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
                spent.fetch_add(nanos, Ordering::Relaxed);
                batch
            }
            Ok(None) => return,
            Err(error) => Err(error).context("train_data"),
        };
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

/// Reads one batch and copies it to `device`, in the calling thread.
///
/// # Errors
/// When reading or copying fails.
pub fn next_on_device(loader: &mut Loader, device: Device) -> anyhow::Result<Option<DeviceBatch>> {
    let loaded = loader.next_batch().context("train_data")?;
    loaded.map(|loaded| on_device(loaded, device)).transpose()
}

fn on_device(loaded: LoadedBatch, device: Device) -> anyhow::Result<DeviceBatch> {
    Ok(DeviceBatch {
        batch: Batch::from_host(&loaded.batch, device)?,
        position: loaded.position,
        records: loaded.records,
    })
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn neighbours_become_ranges() {
        assert_eq!(ranges(vec![12, 3, 5, 4]), "3-5, 12");
        assert_eq!(ranges(vec![7]), "7");
        assert_eq!(ranges(Vec::new()), "");
    }
}
