//! `state.json`: what a run remembers beside tensors, what made the checkpoint, the checksums of the tensor files, and
//! its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::format::{MODEL_FILE, OPTIMIZER_FILE};
use super::sealed::{self, Seal};
use super::{CheckpointError, regular};

/// Version of the layout that is written.
const FORMAT: u64 = 2;
/// The one before, which had no checksum of its own.
const UNSEALED: u64 = 1;
/// No state comes near this.
const MAX_BYTES: u64 = 1 << 30;

/// What `state.json` says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StateFile {
    format: u64,
    /// What the folder was named after, or was the best of; earlier checkpoints do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) global_step: Option<u64>,
    /// What the run goes on from.
    pub(super) state: Value,
    /// What made the checkpoint: the text of `run.json`. Checkpoints of the first format have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<Value>,
    pub(super) files: BTreeMap<String, FileDigest>,
}

/// A file as it was written.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FileDigest {
    bytes: u64,
    xxh3: String,
}

impl StateFile {
    pub(super) fn new(
        global_step: u64,
        state: Value,
        run: Option<Value>,
        files: BTreeMap<String, FileDigest>,
    ) -> Self {
        Self {
            format: FORMAT,
            global_step: Some(global_step),
            state,
            run,
            files,
        }
    }

    /// Writes it in one piece, with its checksum, and waits until it is on the disk.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub(super) fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let write = || -> std::io::Result<()> {
            let text = sealed::seal(self)?;
            let mut file = File::create(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(CheckpointError::io("write", path))
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// When it cannot be read, is not as it was written, or comes from a newer version of the program.
    pub(super) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let text = regular::read(path, MAX_BYTES)?;
        let seal = sealed::check(&text);
        let parsed: Result<Value, _> = serde_json::from_slice(&text);
        let format = parsed.as_ref().ok().and_then(|all| all["format"].as_u64());
        if let Some(format) = format.filter(|format| *format > FORMAT) {
            return Err(CheckpointError::Newer {
                path: path.to_owned(),
                format,
                known: FORMAT,
            });
        }
        let damaged = |problem: String| CheckpointError::damaged(path, problem);
        if seal == Seal::Broken {
            let problem = "its content does not have the checksum that stands at its end";
            return Err(damaged(problem.to_owned()));
        }
        let parsed = parsed.map_err(|error| damaged(error.to_string()))?;
        if seal == Seal::Missing && !is_unsealed(&parsed) {
            return Err(damaged("it does not end in its checksum".to_owned()));
        }
        let state: Self =
            serde_json::from_value(parsed).map_err(|error| damaged(error.to_string()))?;
        state.check_names().map_err(damaged)?;
        Ok(state)
    }

    /// Names lead to files of the folder, and both tensor files are among them.
    fn check_names(&self) -> Result<(), String> {
        for name in self.files.keys() {
            let mut parts = Path::new(name).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name.as_str())
            {
                return Err(format!("it lists {name:?}, which is no file of the folder"));
            }
        }
        let missing = [MODEL_FILE, OPTIMIZER_FILE]
            .into_iter()
            .find(|name| !self.files.contains_key(*name));
        missing.map_or(Ok(()), |name| Err(format!("it does not list {name}")))
    }
}

/// Whether a text without a checksum is whole in the format that had none.
fn is_unsealed(parsed: &Value) -> bool {
    let keys = parsed.as_object().map(|all| all.keys());
    let is_old = |key: &String| ["format", "state", "files"].contains(&key.as_str());
    parsed["format"].as_u64() == Some(UNSEALED) && keys.is_some_and(|mut keys| keys.all(is_old))
}

impl FileDigest {
    /// Of the file as the system gives it back.
    ///
    /// # Errors
    /// When it is missing or no regular file, which is damage, or cannot be read.
    pub(super) fn of(path: &Path) -> Result<Self, CheckpointError> {
        let mut hash = Xxh3::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 20];
        let mut file = regular::open(path)?;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(CheckpointError::io("read", path)(error)),
            };
            if read == 0 {
                return Ok(Self {
                    bytes,
                    xxh3: format!("{:032x}", hash.digest128()),
                });
            }
            hash.update(&buffer[..read]);
            bytes += read as u64;
        }
    }

    /// Compares the file at `path` with it.
    ///
    /// # Errors
    /// As for [`Self::of`], and when it differs.
    pub(super) fn verify(&self, path: &Path) -> Result<(), CheckpointError> {
        let found = Self::of(path)?;
        if found == *self {
            return Ok(());
        }
        let problem = format!(
            "{} bytes with checksum {}, expected {} bytes with checksum {}",
            found.bytes, found.xxh3, self.bytes, self.xxh3
        );
        Err(CheckpointError::damaged(path, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;

    fn written(content: &Value) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        std::fs::write(&path, content.to_string()).unwrap();
        (dir, path)
    }

    fn old(files: &[&str]) -> Value {
        let digest = json!({ "bytes": 1, "xxh3": "00" });
        let files: serde_json::Map<_, _> = files
            .iter()
            .map(|name| ((*name).to_owned(), digest.clone()))
            .collect();
        json!({ "format": 1, "state": { "step": 3 }, "files": files })
    }

    #[test]
    fn the_format_without_a_checksum_is_still_read() {
        let (_dir, path) = written(&old(&[MODEL_FILE, OPTIMIZER_FILE]));
        let state = StateFile::read(&path).unwrap();
        assert_eq!(state.state["step"], 3);
        assert!(state.run.is_none());
    }

    #[test]
    fn a_checksum_that_is_missing_is_damage() {
        let mut content = old(&[MODEL_FILE, OPTIMIZER_FILE]);
        content["format"] = json!(FORMAT);
        let (_dir, path) = written(&content);
        let error = StateFile::read(&path).unwrap_err();
        assert!(error.is_damage(), "{error}");
    }

    #[test]
    fn a_newer_format_is_called_newer() {
        let mut content = old(&[]);
        content["format"] = json!(FORMAT + 1);
        let (_dir, path) = written(&content);
        let error = StateFile::read(&path).unwrap_err();
        assert!(!error.is_damage(), "{error}");
        assert!(error.to_string().contains("newer version"), "{error}");
    }

    #[test]
    fn listed_names_stay_in_the_folder() {
        for name in ["../x", "/etc/passwd", "a/b", "", ".", "..", "a/"] {
            let (_dir, path) = written(&old(&[MODEL_FILE, OPTIMIZER_FILE, name]));
            let error = StateFile::read(&path).unwrap_err();
            assert!(error.is_damage(), "{name}: {error}");
        }
        let (_dir, path) = written(&old(&[MODEL_FILE]));
        assert!(StateFile::read(&path).unwrap_err().is_damage());
    }

    #[test]
    fn what_is_written_reads_back_and_no_flipped_bit_does() {
        let digest = || FileDigest {
            bytes: 1,
            xxh3: "00".to_owned(),
        };
        let files = [MODEL_FILE, OPTIMIZER_FILE].map(|name| (name.to_owned(), digest()));
        let state = json!({ "step": 120, "walltime_secs": 0.1 });
        let state = StateFile::new(7, state, Some(json!({ "seed": 1 })), files.into());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        state.write(&path).unwrap();
        let read = StateFile::read(&path).unwrap();
        assert_eq!((read.state, read.run), (state.state, state.run));
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            assert!(StateFile::read(&path).is_err(), "bit {bit}");
        }
    }
}
