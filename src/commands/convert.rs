//! Makes training data of tables.

use std::io::Write;
use std::time::Instant;

use tracing::info;

use crate::cli::ConvertArgs;
use crate::config::{self, ConversionConfig};
use crate::convert::{ConvertOptions, convert};
use crate::printable;

/// Converts and prints what was made.
///
/// # Errors
/// When the mapping or a table cannot be used, or the folder cannot be written; then none is left behind.
pub(super) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    let mapping: ConversionConfig = config::load(&args.mapping)?;
    let options = ConvertOptions {
        inputs: args.inputs.clone(),
        output_dir: args.output_dir.clone(),
        vocabulary: args.vocabulary.clone(),
        threads: args.threads,
    };
    let begin = Instant::now();
    let converted = convert(&mapping, &options)?;
    let rows: u64 = converted.parts.values().map(|part| part.rows).sum();
    let seconds = begin.elapsed().as_secs_f64();
    info!(
        rows,
        seconds,
        rows_per_s = rows as f64 / seconds,
        "converted"
    );
    let mut out = printable::stdout();
    let [continuous, binary, discrete] = converted.widths;
    writeln!(
        out,
        "continuous {continuous}, binary {binary}, discrete {discrete} columns"
    )?;
    for (name, part) in &converted.parts {
        let positives = part.positives.iter().map(|(task, positives)| {
            let share = 100.0 * *positives as f64 / part.rows as f64;
            format!(", {task} {share:.3} %")
        });
        let positives: String = positives.collect();
        writeln!(
            out,
            "{name}: {} rows in {} files{positives}",
            part.rows, part.files
        )?;
    }
    if converted.left_out > 0 {
        writeln!(out, "left out: {} rows", converted.left_out)?;
    }
    writeln!(out, "{}", converted.folder.join("config.yaml").display())?;
    Ok(())
}
