//! `events.jsonl`: every record of a run, whole or not there. What a killed process left of a record is cut off, and
//! records that the disk did not take are counted and said.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing::{info, warn};
use tracing_subscriber::fmt::MakeWriter;

use super::superseded::{self, MAX_RECORD_BYTES};
use crate::whole_file::{Appended, RecordFile};

/// Name of the log in `training.save_dir`.
pub const FILE: &str = "events.jsonl";
/// Bytes of records that wait until the folder of the run is known.
const PENDING_BYTES: usize = 1 << 20;

static EVENTS: Mutex<Events> = Mutex::new(Events::nothing_yet());

enum Events {
    /// Bounded: a run opens its folder, or has removed what is superseded, within a few records.
    Pending {
        records: Vec<u8>,
        lost: u64,
    },
    Open {
        path: PathBuf,
        file: RecordFile,
    },
}

impl Events {
    const fn nothing_yet() -> Self {
        Self::Pending {
            records: Vec::new(),
            lost: 0,
        }
    }
}

/// From now on every record also goes to `folder/events.jsonl`, earlier ones of this run included.
///
/// # Errors
/// When the file cannot be opened.
pub fn open_events(folder: &Path) -> io::Result<()> {
    let path = folder.join(FILE);
    superseded::finish(&path)?;
    let cut = cut_half_a_record(&path)?;
    let file = RecordFile::open(&path)?;
    let opened = path.clone();
    let (appended, lost) = go_on(Events::Open { path, file });
    if cut > 0 {
        info!(file = %opened.display(), bytes = cut, "cut off half a record that a killed run left");
    }
    report(&appended);
    if lost > 0 {
        warn!(
            lost,
            "records from before the run had its folder are missing in events.jsonl"
        );
    }
    Ok(())
}

/// Removes the records of steps behind `global_step`, which are trained again: they are written again.
///
/// # Errors
/// When the file cannot be read or written.
pub fn forget_after(global_step: u64) -> io::Result<()> {
    let mut events = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let Events::Open { path, file } = &mut *events else {
        return Ok(());
    };
    // What waits would end up behind what is moved.
    if file.flush().is_err() {
        return Ok(());
    }
    let path = path.clone();
    // Records wait meanwhile: removal itself says what it finds, and another thread may have something to say.
    let open = std::mem::replace(&mut *events, Events::nothing_yet());
    drop(events);
    let removed = superseded::remove(&path, global_step);
    let reopened = match removed {
        Ok(1..) => RecordFile::open(&path).map(|file| Events::Open { path, file }),
        _ => Ok(open),
    };
    let (appended, _) = go_on(reopened?);
    report(&appended);
    let removed = removed?;
    if removed > 0 {
        info!(
            records = removed,
            "removed the records of steps that are trained again from events.jsonl"
        );
    }
    Ok(())
}

/// Lets records go to `open`, those that have waited first; returns what became of them, and how many are lost.
fn go_on(mut open: Events) -> (Appended, u64) {
    let mut events = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut outcome = (Appended::Written, 0);
    if let (Events::Pending { records, lost }, Events::Open { file, .. }) = (&*events, &mut open) {
        let is_empty = records.is_empty();
        let appended = (!is_empty).then(|| file.append(records));
        outcome = (appended.unwrap_or(Appended::Written), *lost);
    }
    *events = open;
    outcome
}

/// Writes what waits; says what is missing.
pub(super) fn finish() {
    let mut events = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let Events::Open { path, file } = &mut *events else {
        return;
    };
    // The count says it.
    let _ = file.flush();
    let (missing, path) = (file.missing(), path.clone());
    drop(events);
    if missing > 0 {
        warn!(
            name: "records_missing",
            missing,
            file = %path.display(),
            "the disk did not take every record of this run; what was trained is not affected"
        );
    }
}

/// Every record goes through it.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventsWriter;

impl MakeWriter<'_> for EventsWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for EventsWriter {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        if record.is_empty() {
            return Ok(0);
        }
        let mut events = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
        let appended = match &mut *events {
            Events::Pending { records, .. } if records.len() < PENDING_BYTES => {
                records.extend_from_slice(record);
                Appended::Written
            }
            Events::Pending { lost, .. } => {
                *lost += 1;
                Appended::Written
            }
            Events::Open { file, .. } => file.append(record),
        };
        drop(events);
        report(&appended);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says when the disk begins to fail, and when it works again. This is a record itself.
fn report(appended: &Appended) {
    match appended {
        Appended::Written | Appended::StillFailing => {}
        Appended::Failed(error) => warn!(
            %error,
            "events.jsonl cannot be written: records wait in memory, up to 1 MiB of them, and are written when it can be"
        ),
        Appended::Again => warn!("events.jsonl can be written again, and what waited is in it"),
    }
}

/// Cuts off what stands behind the last line break of the file; returns how many bytes.
fn cut_half_a_record(path: &Path) -> io::Result<u64> {
    let opened = File::options().read(true).write(true).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let end = file.seek(SeekFrom::End(0))?;
    if end == 0 {
        // A link to /dev/null, which cannot be cut, among others.
        return Ok(0);
    }
    let mut tail = 1 << 12;
    loop {
        let start = end.saturating_sub(tail);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&file).take(end - start).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n');
        let whole = whole.map(|at| start + at as u64 + 1);
        match whole {
            Some(whole) => {
                if whole < end {
                    file.set_len(whole)?;
                }
                return Ok(end - whole);
            }
            None if start == 0 && end <= MAX_RECORD_BYTES => {
                file.set_len(0)?;
                return Ok(end);
            }
            // No records of ours, so it stays; the next one begins a line of its own.
            None if tail > MAX_RECORD_BYTES => {
                file.write_all(b"\n")?;
                return Ok(0);
            }
            None => tail *= 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_record_is_cut_off_and_whole_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(cut_half_a_record(&path).unwrap(), 0);
        let long = format!("{{\"a\":1}}\n{}", "x".repeat(100_000));
        let cases: [(&str, &str); 6] = [
            ("", ""),
            ("{}\n", "{}\n"),
            ("{}\n{\"half", "{}\n"),
            ("{}\n\0\0\0", "{}\n"),
            ("{\"half", ""),
            (&long, "{\"a\":1}\n"),
        ];
        for (before, after) in cases {
            std::fs::write(&path, before).unwrap();
            let cut = cut_half_a_record(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
            assert_eq!(cut, (before.len() - after.len()) as u64);
        }
    }
}
