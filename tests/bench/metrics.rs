//! Memory of an evaluation, however long it is: feeds synthetic predictions to every metric and prints, as it goes, what
//! they keep and what the process takes.
//!
//!     cargo bench --bench metrics -- [--rows 50000000] [--tasks 1]

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench that cannot go on should panic, and its numbers are small"
)]

use std::time::Instant;

use clap::Parser;
use recap_train::metrics::{MetricSet, Scores, SetBatch};
use recap_train::splitmix;

/// Rows of a batch.
const BATCH: usize = 1 << 14;
/// Rows of a group of `gauc`.
const GROUP: usize = 100;
/// Lines of the table.
const LINES: usize = 10;

#[derive(Parser)]
struct Args {
    /// Predictions per task
    #[arg(long, default_value_t = 50_000_000)]
    rows: usize,
    /// Tasks
    #[arg(long, default_value_t = 1)]
    tasks: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Uniform in [0, 1) with 24 bits.
fn unit(counter: u64) -> f32 {
    (splitmix::draw(counter) >> 40) as f32 / (1_u32 << 24) as f32
}

fn main() {
    let args = Args::parse();
    let names: Vec<String> = (0..args.tasks).map(|task| format!("task_{task}")).collect();
    let mut set = MetricSet::build(&names, None, Some("all"), &[]).unwrap();
    let begin = Instant::now();
    println!(
        "| predictions per task | rankings keep MB | peak RSS MB | seconds |\n|---|---|---|---|"
    );
    let mut done = 0;
    for line in 1..=LINES {
        while done < args.rows * line / LINES {
            let rows = BATCH.min(args.rows * line / LINES - done);
            update(&mut set, done, rows, args.tasks);
            done += rows;
        }
        let kept: usize = set
            .tasks()
            .filter_map(|(_, metrics)| Some(metrics.ranking()?.stored_bytes()))
            .sum();
        println!(
            "| {done} | {:.1} | {:.1} | {:.1} |",
            kept as f64 / 1e6,
            peak_bytes() / 1e6,
            begin.elapsed().as_secs_f64()
        );
    }
    for (name, value) in set.compute() {
        println!("{name} {value:.6}");
    }
}

/// Rows `first` on: scores that are right about the labels, as distinct as floats can be.
fn update(set: &mut MetricSet, first: usize, rows: usize, tasks: usize) {
    let cells = first * tasks..(first + rows) * tasks;
    let scores: Vec<f32> = cells.clone().map(|cell| unit(cell as u64)).collect();
    let draws = cells.map(|cell| unit(!(cell as u64)));
    let labels: Vec<f32> = scores
        .iter()
        .zip(draws)
        .map(|(score, draw)| f32::from(u8::from(draw < *score)))
        .collect();
    let groups: Vec<i64> = (first..first + rows)
        .map(|row| i64::try_from(row / GROUP).unwrap())
        .collect();
    set.update(&SetBatch {
        scores: Scores::Probabilities(&scores),
        labels: &labels,
        weights: None,
        groups: Some(&groups),
        columns: &[],
    })
    .unwrap();
}

/// The most memory this process has had.
fn peak_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1024.0)
}
