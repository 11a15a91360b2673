//! A file that grows by records: each is in it whole or not at all, whatever the disk does in between.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Bytes of records that wait for a disk that cannot take them.
const WAITING_BYTES: usize = 1 << 20;

/// The file, open for appending. One process writes it.
#[derive(Debug)]
pub struct RecordFile {
    file: File,
    /// Up to here there are whole records.
    end: u64,
    /// Whether there may be half a record behind `end`.
    is_torn: bool,
    /// Records that the disk has not taken.
    waiting: Vec<u8>,
    num_waiting: u64,
    lost: u64,
}

/// What became of a record.
#[derive(Debug)]
pub enum Appended {
    /// It is in the file.
    Written,
    /// It is in the file with all that waited, after the disk had failed.
    Again,
    /// The disk has begun to fail with this record, which waits in memory.
    Failed(io::Error),
    /// The disk fails on: the record waits, or is lost where too many wait already.
    StillFailing,
}

impl RecordFile {
    /// Opens the file, or begins it. Records go behind what it holds.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other(
                "it is no regular file, such as records are kept in",
            ));
        }
        Ok(Self {
            end: found.len(),
            file,
            is_torn: false,
            waiting: Vec::new(),
            num_waiting: 0,
            lost: 0,
        })
    }

    /// Appends `record`, behind those that wait.
    pub fn append(&mut self, record: &[u8]) -> Appended {
        if self.num_waiting == 0 {
            let Err(error) = self.write(record) else {
                return Appended::Written;
            };
            self.keep(record);
            return Appended::Failed(error);
        }
        self.keep(record);
        match self.flush() {
            Err(_) => Appended::StillFailing,
            Ok(()) => Appended::Again,
        }
    }

    /// Tries once more to write what waits.
    ///
    /// # Errors
    /// When the disk still fails.
    pub fn flush(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let written = self.write(&waiting);
        match written {
            Ok(()) => self.num_waiting = 0,
            Err(_) => self.waiting = waiting,
        }
        written
    }

    /// Records that are not in the file so far: those that wait, and those that are lost.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.num_waiting + self.lost
    }

    fn keep(&mut self, record: &[u8]) {
        if self.waiting.len() + record.len() <= WAITING_BYTES {
            self.waiting.extend_from_slice(record);
            self.num_waiting += 1;
        } else {
            self.lost += 1;
        }
    }

    /// All of `bytes`, or nothing of them.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.end)?;
            self.is_torn = false;
        }
        let written = self.file.write_all(bytes);
        match &written {
            Ok(()) => self.end += bytes.len() as u64,
            Err(_) => self.is_torn = self.file.set_len(self.end).is_err(),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file on a device that is always full stands for a disk without room.
    fn failing(path: &Path) -> RecordFile {
        let mut records = RecordFile::open(path).unwrap();
        records.file = File::options().write(true).open("/dev/full").unwrap();
        records
    }

    #[test]
    fn records_are_kept_in_a_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let error = RecordFile::open(&path).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
    }

    #[test]
    fn what_a_full_disk_refuses_is_written_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, "0\n").unwrap();
        let mut records = failing(&path);
        assert!(matches!(records.append(b"1\n"), Appended::Failed(_)));
        assert!(matches!(records.append(b"2\n"), Appended::StillFailing));
        assert_eq!(records.missing(), 2);
        // Half a record that could not be cut off.
        std::fs::write(&path, "0\n1").unwrap();
        records.is_torn = true;
        records.file = RecordFile::open(&path).unwrap().file;
        assert!(matches!(records.append(b"3\n"), Appended::Again));
        assert!(matches!(records.append(b"4\n"), Appended::Written));
        assert_eq!(records.missing(), 0);
        assert_eq!(std::fs::read(&path).unwrap(), b"0\n1\n2\n3\n4\n");
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_lost_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let mut records = failing(&path);
        let record = vec![b'x'; WAITING_BYTES / 4];
        for _ in 0..7 {
            records.append(&record);
        }
        assert_eq!((records.num_waiting, records.lost), (4, 3));
        records.file = RecordFile::open(&path).unwrap().file;
        assert!(records.flush().is_ok());
        assert_eq!((records.missing(), records.waiting.len()), (3, 0));
        assert!(matches!(records.append(b"y"), Appended::Written));
        assert_eq!(records.end, 4 * record.len() as u64 + 1);
    }
}
