//! One checkpoint on the disk, opened to be read.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::format::{MODEL_FILE, OPTIMIZER_FILE, STATE_FILE};
use super::state_file::StateFile;
use super::tensor_file::TensorFile;
use super::{CheckpointError, regular};

/// A checkpoint folder that has been opened.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    /// Absent where a folder holds `model.safetensors` alone.
    state: Option<StateFile>,
}

impl Checkpoint {
    /// Opens a folder that has at least `model.safetensors`; reads `state.json` if it is there.
    ///
    /// # Errors
    /// When there is no model, when `state.json` is damaged or comes from a newer version, or when one of them cannot be
    /// read.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let path = folder.join(STATE_FILE);
        let state = match fs::symlink_metadata(&path) {
            Ok(_) => Some(StateFile::read(&path)?),
            Err(error) if regular::is_absence(&error) => None,
            Err(error) => return Err(CheckpointError::io("read", path)(error)),
        };
        if regular::open_if_there(&folder.join(MODEL_FILE))?.is_none() {
            return Err(CheckpointError::NotACheckpoint {
                path: folder.to_owned(),
            });
        }
        Ok(Self {
            folder: folder.to_owned(),
            state,
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The global step that the folder is named after, if it is.
    pub(super) fn step_of_name(&self) -> Option<u64> {
        self.folder.file_name()?.to_str()?.parse().ok()
    }

    /// The global step that was saved, where the folder is named after another one: it was copied or renamed.
    pub(super) fn step_of_another_name(&self) -> Option<u64> {
        let saved = self.state.as_ref()?.global_step?;
        self.step_of_name()
            .filter(|named| *named != saved)
            .map(|_| saved)
    }

    /// What the run stored in `state.json`.
    #[must_use]
    pub fn state(&self) -> Option<&Value> {
        self.state.as_ref().map(|file| &file.state)
    }

    /// What made it, as `run.json` tells it; checkpoints of the first format do not say.
    #[must_use]
    pub fn run(&self) -> Option<&Value> {
        self.state.as_ref()?.run.as_ref()
    }

    /// Compares every file with the checksums in `state.json`.
    ///
    /// # Errors
    /// When a file is missing or not as it was written, or cannot be read.
    pub fn verify(&self) -> Result<(), CheckpointError> {
        let files = self.state.iter().flat_map(|state| &state.files);
        for (name, expected) in files {
            expected.verify(&self.folder.join(name))?;
        }
        Ok(())
    }

    /// Parameters and buffers.
    ///
    /// # Errors
    /// When the file cannot be read or is no safetensors file.
    pub fn model(&self) -> Result<TensorFile, CheckpointError> {
        TensorFile::open(&self.folder.join(MODEL_FILE))
    }

    /// Optimizer state; `None` where the folder has none.
    ///
    /// # Errors
    /// When the file cannot be read or is no safetensors file.
    pub fn optimizer(&self) -> Result<Option<TensorFile>, CheckpointError> {
        TensorFile::open_if_there(&self.folder.join(OPTIMIZER_FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Snapshot;
    use super::super::publish;
    use super::*;
    use crate::torch::named::TensorSource;
    use tch::Tensor;

    fn snapshot(global_step: u64) -> Snapshot {
        let weight = Tensor::from_slice(&[1.5_f32, -2.0, 0.25]).view([3, 1]);
        let steps = Tensor::from_slice(&[7_i64]);
        Snapshot {
            global_step,
            model: vec![("model.weight".to_owned(), weight.copy())],
            optimizer: vec![
                ("model.weight/exp_avg".to_owned(), weight),
                ("model.weight/step".to_owned(), steps),
            ],
            state: serde_json::json!({ "step": global_step }),
            run: Some(serde_json::json!({ "seed": 7 })),
        }
    }

    fn publish(save_dir: &Path, snapshot: &Snapshot) -> Result<PathBuf, CheckpointError> {
        let name = snapshot.global_step.to_string();
        publish::stage(save_dir, &name, snapshot)?.publish()
    }

    #[test]
    fn what_is_published_reads_back_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), &snapshot(4)).unwrap();
        assert_eq!(folder, dir.path().join("4"));
        let checkpoint = Checkpoint::open(&folder).unwrap();
        checkpoint.verify().unwrap();
        assert_eq!(checkpoint.state().unwrap()["step"], 4);
        assert_eq!(checkpoint.run().unwrap()["seed"], 7);
        let model = checkpoint.model().unwrap();
        assert_eq!(model.names(), ["model.weight"]);
        assert_eq!(model.shape("model.weight").unwrap(), [3, 1]);
        let weight = model.read("model.weight").unwrap();
        assert_eq!(
            Vec::<f32>::try_from(weight.view(-1)).unwrap(),
            [1.5, -2.0, 0.25]
        );
        let optimizer = checkpoint.optimizer().unwrap().unwrap();
        assert_eq!(
            optimizer.read("model.weight/step").unwrap().kind(),
            tch::Kind::Int64
        );
        assert!(optimizer.read("model.weight/max_exp_avg").is_err());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing but the checkpoint is left"
        );
    }

    #[test]
    fn every_flipped_bit_of_every_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), &snapshot(1)).unwrap();
        for name in [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE] {
            let path = folder.join(name);
            let good = fs::read(&path).unwrap();
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                fs::write(&path, &bad).unwrap();
                let checked = Checkpoint::open(&folder).and_then(|opened| opened.verify());
                let error = checked.unwrap_err();
                assert!(
                    error.is_damage() || matches!(error, CheckpointError::Newer { .. }),
                    "bit {bit} of {name}: {error}"
                );
            }
            fs::write(&path, &good).unwrap();
        }
    }

    #[test]
    fn a_step_that_is_there_already_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), &snapshot(3)).unwrap();
        fs::write(folder.join("stray"), "x").unwrap();
        publish(dir.path(), &snapshot(3)).unwrap();
        assert!(!folder.join("stray").exists());
        Checkpoint::open(&folder).unwrap().verify().unwrap();
    }

    #[test]
    fn a_folder_with_a_model_alone_opens_and_one_without_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), &snapshot(1)).unwrap();
        fs::remove_file(folder.join(STATE_FILE)).unwrap();
        fs::remove_file(folder.join(OPTIMIZER_FILE)).unwrap();
        let bare = Checkpoint::open(&folder).unwrap();
        assert!(bare.state().is_none() && bare.optimizer().unwrap().is_none());
        fs::remove_file(folder.join(MODEL_FILE)).unwrap();
        assert!(matches!(
            Checkpoint::open(&folder),
            Err(CheckpointError::NotACheckpoint { .. })
        ));
    }

    #[test]
    fn what_is_no_checkpoint_is_moved_aside_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("1")).unwrap();
        fs::write(path("1/notes.txt"), "mine").unwrap();
        fs::write(path("1/state.json"), "{}").unwrap();
        fs::write(path("2"), "a file").unwrap();
        fs::write(path("2.aside"), "taken").unwrap();
        for step in [1, 2] {
            let folder = publish(dir.path(), &snapshot(step)).unwrap();
            Checkpoint::open(&folder).unwrap().verify().unwrap();
        }
        assert_eq!(fs::read(path("1.aside/notes.txt")).unwrap(), b"mine");
        assert_eq!(fs::read(path("2.aside-2")).unwrap(), b"a file");
    }

    #[test]
    fn a_pipe_among_the_files_is_damage_and_nobody_waits_for_it() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        let folder = publish(dir.path(), &snapshot(1)).unwrap();
        for name in [STATE_FILE, MODEL_FILE, OPTIMIZER_FILE] {
            let path = folder.join(name);
            let kept = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
            let checked = Checkpoint::open(&folder).and_then(|opened| opened.verify());
            assert!(checked.unwrap_err().is_damage(), "{name}");
            fs::remove_file(&path).unwrap();
            fs::write(&path, kept).unwrap();
        }
    }
}
