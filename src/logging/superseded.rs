//! Records of steps that a resumed run trains again: they leave `events.jsonl`, so that no step is in it twice.
//!
//! The end of the file is written anew. What it becomes is first put whole beside it, so that a process that is killed in
//! between loses nothing: the next one finishes the work.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::whole_file::Draft;

/// No record is longer. A file that ends with more than this without a line break is none of ours.
pub(super) const MAX_RECORD_BYTES: u64 = 16 << 20;
/// Bytes that are read first to find where to begin.
const FIRST_WINDOW: u64 = 1 << 16;

/// What is asked of a record.
#[derive(Deserialize)]
struct Probe {
    global_step: Option<u64>,
}

/// Removes the records behind `global_step` from the file; returns how many. Reads about as much as was written since
/// that step. Nobody else writes the file meanwhile.
pub(super) fn remove(path: &Path, global_step: u64) -> io::Result<u64> {
    let start = window(path, global_step)?;
    let mut lines = Lines::open(path, start)?;
    let (mut at, mut line) = (start, Vec::new());
    loop {
        match lines.next(&mut line)? {
            None => return Ok(0),
            Some(step) if step.is_some_and(|step| step > global_step) => break,
            Some(_) => at += line.len() as u64,
        }
    }
    let (draft, file) = Draft::file(&rest_of(path))?;
    let mut rest = BufWriter::new(file);
    writeln!(rest, "{at}")?;
    let mut removed = 1;
    while let Some(step) = lines.next(&mut line)? {
        if step.is_some_and(|step| step > global_step) {
            removed += 1;
        } else {
            rest.write_all(&line)?;
        }
    }
    rest.flush()?;
    draft.publish()?;
    finish(path)?;
    Ok(removed)
}

/// Puts the new end of the file in its place, if one has been prepared.
pub(super) fn finish(path: &Path) -> io::Result<()> {
    let rest = rest_of(path);
    let mut reader = match File::open(&rest) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => BufReader::new(opened?),
    };
    let mut at = String::new();
    reader.by_ref().take(32).read_line(&mut at)?;
    let at = at.trim_end().parse().map_err(io::Error::other)?;
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.set_len(file.metadata()?.len().min(at))?;
    file.seek(SeekFrom::End(0))?;
    io::copy(&mut reader, &mut file)?;
    file.sync_all()?;
    std::fs::remove_file(&rest)
}

/// Beside the log, where its new end waits.
fn rest_of(path: &Path) -> PathBuf {
    path.with_file_name(".events.rest")
}

/// A place at which a line begins and before which every record is of `global_step` or before. Steps ascend.
fn window(path: &Path, global_step: u64) -> io::Result<u64> {
    let end = std::fs::metadata(path)?.len();
    let mut size = FIRST_WINDOW;
    while size < end {
        let mut lines = Lines::open(path, end - size)?;
        let mut line = Vec::new();
        // This one may have begun before.
        let mut start = end - size;
        if lines.next(&mut line)?.is_some() {
            start += line.len() as u64;
        }
        while let Some(step) = lines.next(&mut line)? {
            match step {
                Some(step) if step <= global_step => return Ok(start),
                Some(_) => break,
                None => {}
            }
        }
        size *= 4;
    }
    Ok(0)
}

/// The lines of the file with the step of each.
struct Lines(BufReader<File>);

impl Lines {
    fn open(path: &Path, start: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(Self(BufReader::new(file)))
    }

    /// Reads the next line into `line`, its line break too, and returns its step if it has one; `None` at the end.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Option<u64>>> {
        line.clear();
        let bounded = &mut self.0.by_ref().take(MAX_RECORD_BYTES);
        if bounded.read_until(b'\n', line)? == 0 {
            return Ok(None);
        }
        let probe = serde_json::from_slice::<Probe>(line);
        Ok(Some(probe.ok().and_then(|probe| probe.global_step)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> String {
        format!("{{\"event\":\"step\",\"global_step\":{step},\"loss\":0.5}}\n")
    }

    const WORDS: &str = "{\"level\":\"WARN\",\"message\":\"words\"}\n";

    #[test]
    fn records_of_steps_that_are_trained_again_leave_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let steps = |range: std::ops::RangeInclusive<u64>| range.map(step).collect::<String>();
        let before = steps(1..=5_000);
        let tail = [steps(5_001..=7_000), WORDS.to_owned(), steps(7_001..=7_002)].concat();
        let text = [&before, WORDS, &tail, WORDS].concat();
        std::fs::write(&path, &text).unwrap();
        assert_eq!(remove(&path, 7_002).unwrap(), 0);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(remove(&path, 5_000).unwrap(), 2_002);
        let expected = [&before, WORDS, WORDS, WORDS].concat();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(remove(&path, 0).unwrap(), 5_000);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), WORDS.repeat(3));
        assert!(!rest_of(&path).exists());
    }

    #[test]
    fn a_process_that_is_killed_in_between_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let whole = [step(1), step(2), WORDS.to_owned()].concat();
        let at = step(1).len();
        // Killed before, while, and after the end was written.
        for found in [&whole[..], &whole[..at], &[&step(1), &WORDS[..9]].concat()] {
            std::fs::write(&path, found).unwrap();
            crate::whole_file::write(&rest_of(&path), format!("{at}\n{WORDS}").as_bytes()).unwrap();
            finish(&path).unwrap();
            let after = std::fs::read_to_string(&path).unwrap();
            assert_eq!(after, [&step(1), WORDS].concat());
            assert!(!rest_of(&path).exists());
        }
    }
}
