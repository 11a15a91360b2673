//! What limits `predict`: the whole command, the loader alone and the model's forward pass alone, in turn, on random
//! data of the production shape.
//!
//!     cargo bench --bench predict -- [--examples 4096] [--batch 128] [--rounds 3]

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::panic,
    missing_docs,
    reason = "a bench that cannot go on should panic, and its numbers are small"
)]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use recap_train::batch::HostBatch;
use recap_train::config::{self, RecapConfig};
use recap_train::data::{Loader, LoaderOptions, Mode};
use recap_train::model::{self, Ranker};
use recap_train::torch::batch::Batch;
use recap_train::torch::memory;
use recap_train::train::setup::{Place, build_device, build_ranker};

#[derive(Parser)]
struct Args {
    /// Examples to predict
    #[arg(long, default_value_t = 4096)]
    examples: usize,
    /// Rows of a batch
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let overrides = [
        format!("train_data.inputs={}/*.gz", data.display()),
        format!("train_data.global_batch_size={}", args.batch),
        format!("training.save_dir={}", folder.path().join("run").display()),
        "training.num_train_steps=1".to_owned(),
    ];
    let config = Path::new("configs/local_prod.yaml");
    let program = |more: &[String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recap-train"));
        let set = overrides.iter().map(|change| format!("--set={change}"));
        command.arg(format!("--config_path={}", config.display()));
        command.arg("--log_format=json").args(set).args(more);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let examples = format!("--n_examples={}", args.examples);
    program(&["generate".to_owned(), examples, "--n_files=4".to_owned()]);
    program(&[]);
    let output = folder.path().join("predictions.parquet");
    let predict = [
        "predict".to_owned(),
        format!("--output={}", output.display()),
    ];
    memory::keep_freed();
    let config = config::load_recap(config, &overrides).unwrap().config;
    let device = build_device(Place::ALONE).unwrap();
    let ranker = build_ranker(&config, device).unwrap();
    let mut rates = [(); 3].map(|()| Vec::new());
    for _ in 0..args.rounds {
        rates[0].push(predicted(&program(&predict)));
        let (loaded, first) = load(&config);
        rates[1].push(loaded);
        rates[2].push(forward(&ranker, &first, args.examples));
    }
    let [whole, loader, model] = rates.map(median);
    println!(
        "| examples/s, batch {} | predict | loader alone | forward alone |",
        args.batch
    );
    println!(
        "|---|---|---|---|\n| median of {} | {whole:.0} | {loader:.0} | {model:.0} |",
        args.rounds
    );
    println!(
        "predict / the slower of the two: {:.2}",
        whole / loader.min(model)
    );
}

/// The examples per second in the log of `predict`, which begin when model and files are open.
fn predicted(log: &str) -> f64 {
    let records = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let rate = |record: serde_json::Value| {
        let fields = [
            &record["examples_per_s"],
            &record["fields"]["examples_per_s"],
        ];
        fields.into_iter().find_map(serde_json::Value::as_f64)
    };
    match records.filter_map(rate).next_back() {
        Some(rate) => rate,
        None => panic!("no rate in\n{log}"),
    }
}

/// Examples per second of the loader as `predict` opens it, and the first batch.
fn load(config: &RecapConfig) -> (f64, HostBatch) {
    let options = LoaderOptions {
        seed: 0,
        rank: 0,
        world_size: 1,
        local_world_size: 1,
        any_labels: false,
        mode: Mode::Predict,
        threads: None,
        in_order: true,
        repeat: false,
        drop_remainder: false,
    };
    let begin = Instant::now();
    let mut loader = Loader::open(&config.train_data, options, None).unwrap();
    let (mut rows, mut first) = (0, None);
    while let Some(next) = loader.next_batch().unwrap() {
        rows += next.batch.rows;
        first.get_or_insert(next.batch);
    }
    (rows as f64 / begin.elapsed().as_secs_f64(), first.unwrap())
}

/// Examples per second of the forward pass over `batch`, from the host's numbers to probabilities.
fn forward(ranker: &Ranker, batch: &HostBatch, examples: usize) -> f64 {
    let device = ranker.state().parameters().next().unwrap().1.device();
    let begin = Instant::now();
    let mut rows = 0;
    while rows < examples {
        let batch = Batch::from_host(batch, device).unwrap();
        let outputs = ranker.forward(&batch, model::Mode::Evaluate).unwrap();
        // Reading one number waits for the device.
        outputs.probabilities().unwrap().double_value(&[0, 0]);
        rows += usize::try_from(batch.rows()).unwrap();
    }
    rows as f64 / begin.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}
