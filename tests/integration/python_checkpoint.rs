//! A trained checkpoint in Python: a plain torch module of the same names gives the same logits.

use std::path::Path;
use std::process::Command;

use recap_train::checkpoint::{Checkpoint, tensor_file};
use recap_train::config::{self, RecapConfig};
use recap_train::data::feature_widths;
use recap_train::model::{Mode, Ranker};
use recap_train::torch::batch::Batch;
use tch::{Device, Kind, Tensor};

use crate::support::{Run, fixtures, stderr};

/// Says which Python to use: one with torch and safetensors.
const PYTHON: &str = "RECAP_PYTHON";

fn python() -> String {
    std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned())
}

/// Why the checkpoint cannot be loaded in Python here.
fn what_python_lacks() -> Option<String> {
    let probe = Command::new(python())
        .args(["-c", "import torch, safetensors.torch"])
        .output();
    match probe {
        Err(error) => Some(format!("{}: {error}", python())),
        Ok(output) if !output.status.success() => {
            let text = stderr(&output);
            Some(text.lines().last().unwrap_or("no message").to_owned())
        }
        Ok(_) => None,
    }
}

fn load(run: &Run) -> RecapConfig {
    let folder = |path: &Path| path.display().to_string();
    let environment = |name: &str| match name {
        "RUN_DIR" => Some(folder(&run.path(""))),
        "FIXTURES" => Some(folder(&fixtures())),
        _ => None,
    };
    let loaded = config::load_recap_with(&run.path("config.yaml"), &[], &environment);
    loaded.unwrap().config
}

/// Rows with everything that the model must cope with: infinities, ids outside of tables, unknown positions.
fn awkward_batch() -> Batch {
    let wave = |rows: i64, columns: i64, scale: f64| {
        let positions = Tensor::arange(rows * columns, (Kind::Float, Device::Cpu));
        (positions * 1.7).sin().view([rows, columns]) * scale
    };
    let rows = 33;
    let continuous = wave(rows, 9, 30.0);
    let odd = Tensor::from_slice(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 3e38]);
    continuous.get(4).narrow(0, 2, 5).copy_(&odd);
    Batch {
        continuous,
        binary: wave(rows, 5, 1.0).gt(0.0).to_kind(Kind::Float),
        discrete: Some(wave(rows, 3, 9.0).to_kind(Kind::Int64)),
        user_embedding: Some(wave(rows, 4, 2.0)),
        user_eng_embedding: None,
        author_embedding: None,
        labels: None,
        weights: None,
    }
}

/// Features and what the trainer makes of them, as the Python script reads them.
fn write(path: &Path, ranker: &Ranker, batch: &Batch) {
    let outputs = ranker.forward(batch, Mode::Evaluate).unwrap();
    let tensors = [
        ("continuous", &batch.continuous),
        ("binary", &batch.binary),
        ("discrete", batch.discrete.as_ref().unwrap()),
        ("user_embedding", batch.user_embedding.as_ref().unwrap()),
        ("logits", &outputs.logits),
        ("calibrated", &outputs.calibrated_probabilities().unwrap()),
    ];
    let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor.contiguous()));
    tensor_file::write(path, &tensors.into()).unwrap();
}

#[test]
fn a_trained_checkpoint_gives_the_same_logits_in_python() {
    if let Some(reason) = what_python_lacks() {
        println!("skipped, set {PYTHON} to a Python with torch and safetensors: {reason}");
        return;
    }
    let run = Run::with_data();
    run.ok(&[]);
    let config = load(&run);
    let widths = feature_widths(&config.train_data).unwrap();
    let spec = config.model.spec().unwrap();
    let ranker = Ranker::build(&spec, &widths, &|_| 1.0, 99, Device::Cpu).unwrap();
    let folder = run.path("save/12");
    let source = Checkpoint::open(&folder).unwrap().model().unwrap();
    ranker.load_state(&source).unwrap();
    let batch = run.path("batch.safetensors");
    write(&batch, &ranker, &awkward_batch());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/load_checkpoint.py");
    let output = Command::new(python())
        .arg(script)
        .args([folder.join("model.safetensors"), batch])
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        stderr(&output)
    );
}
