//! Our training step at the production shape, for `compare_steps.py`: answers one JSON line for every line `N` on
//! standard input, the milliseconds of N steps as `[[forward, backward, optimizer], ...]`.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;

use recap_train::batch::Batch;
use recap_train::config;
use recap_train::torch::memory;
use recap_train::train::setup::{Place, build_device, build_stepper};
use recap_train::train::step::StepTimes;
use tch::{Device, Kind, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` itself asks nothing of this program: it is driven by the script.
    if !args.iter().any(|arg| arg == "--batch") {
        return Ok(());
    }
    let value = |name: &str| {
        args.iter()
            .position(|arg| arg == name)
            .and_then(|at| args.get(at + 1))
    };
    let rows: i64 = value("--batch").ok_or("--batch N")?.parse()?;
    let mixed = args.iter().any(|arg| arg == "--bf16");
    memory::keep_freed();
    let overrides = [format!("training.mixed_precision={mixed}")];
    let config = config::load_recap(Path::new("configs/local_prod.yaml"), &overrides)?.config;
    let device = build_device(Place::ALONE)?;
    let mut stepper = build_stepper(&config, device, Place::ALONE)?;
    let batch = random_batch(rows, device);
    let mut step = 0;
    for line in std::io::stdin().lock().lines() {
        let mut times = Vec::new();
        for _ in 0..line?.trim().parse()? {
            times.push(milliseconds(stepper.run(step, &batch)?.times));
            step += 1;
        }
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{}", serde_json::to_string(&times)?)?;
        stdout.flush()?;
    }
    Ok(())
}

fn milliseconds(times: StepTimes) -> [f64; 3] {
    [times.forward, times.backward, times.update].map(|part| 1e3 * part.as_secs_f64())
}

fn random_batch(rows: i64, device: Device) -> Batch {
    let floats = |columns: i64| Tensor::randn([rows, columns], (Kind::Float, device));
    let bits = |columns: i64| floats(columns).gt(0.0).to_kind(Kind::Float);
    Batch {
        continuous: floats(2117),
        binary: bits(59),
        discrete: None,
        user_embedding: Some(floats(200)),
        user_eng_embedding: Some(floats(200)),
        author_embedding: Some(floats(200)),
        labels: Some(bits(13)),
        weights: None,
    }
}
