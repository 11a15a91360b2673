//! Makes training data of tables.

use std::io::Write;
use std::time::Instant;

use tracing::{info, warn};

use crate::cli::{CommonArgs, ConvertArgs, UsageError};
use crate::config::{self, ConversionConfig};
use crate::convert::{ConvertOptions, Converted, UnknownShare, UnknownValues, Unlabelled, convert};
use crate::printable;

/// Columns with unknown values that are named one by one.
const MAX_COLUMNS: usize = 20;

/// Converts and prints what was made; `--set` changes the mapping.
///
/// # Errors
/// When the mapping or a table cannot be used, or the folder cannot be written; then none is left behind.
pub(super) fn run(common: &CommonArgs, args: &ConvertArgs) -> anyhow::Result<()> {
    if common.config_path.is_some() {
        let usage = "convert reads no config: remove --config_path, the mapping goes by --mapping";
        return Err(UsageError(usage.to_owned()).into());
    }
    let (mapping, warnings): (ConversionConfig, _) =
        config::load(&args.mapping, &common.overrides)?;
    for warning in &warnings {
        warn!("{warning}");
    }
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
    warn_of_unknown(&converted.unknown);
    print(&converted, args.vocabulary.is_some())
}

/// A jump in the share of unknown values says that they are written in another way than they were.
fn warn_of_unknown(columns: &[UnknownValues]) {
    let jumps = columns.iter().flat_map(|column| {
        let parts = column.parts.iter().filter(|(_, found)| found.is_jump);
        parts.map(move |(part, found)| (column, part, found))
    });
    let jumps: Vec<(&UnknownValues, &String, &UnknownShare)> = jumps.collect();
    for (column, part, found) in jumps.iter().take(MAX_COLUMNS) {
        let values: Vec<String> = found.examples.iter().map(|v| format!("`{v}`")).collect();
        let before = column.at_training.map_or_else(String::new, |share| {
            format!(
                " ({:.1} % were when the vocabulary was learned)",
                100.0 * share
            )
        });
        warn!(
            "{}: column `{}`: {:.1} % of the values of the part `{part}` are unknown{before}, the first are {}: \
             write them as they were written then, or learn a vocabulary of these rows",
            column.key,
            column.column,
            100.0 * found.share,
            values.join(", ")
        );
    }
    if let Some(more) = jumps
        .len()
        .checked_sub(MAX_COLUMNS)
        .filter(|more| *more > 0)
    {
        warn!("{more} more columns and parts have as many unknown values");
    }
}

fn print(converted: &Converted, has_old_vocabulary: bool) -> anyhow::Result<()> {
    let mut out = printable::stdout();
    let [continuous, binary, discrete] = converted.widths;
    out.line(format_args!(
        "continuous {continuous}, binary {binary}, discrete {discrete} columns"
    ))?;
    for (name, part) in &converted.parts {
        let positives = part.positives.iter().map(|(task, positives)| {
            let share = 100.0 * *positives as f64 / part.rows as f64;
            format!(", {task} {share:.3} %")
        });
        let positives: String = positives.collect();
        out.line(format_args!(
            "{name}: {} rows in {} files{positives}",
            part.rows, part.files
        ))?;
    }
    if converted.keeps_apart {
        out.line(format_args!(
            "validation: kept apart of the rows to train on, to stop training by (validation_share: 0 keeps none)"
        ))?;
    }
    if converted.left_out > 0 {
        out.line(format_args!("left out: {} rows", converted.left_out))?;
    }
    let Unlabelled { dropped, negative } = converted.unlabelled;
    if dropped > 0 {
        writeln!(out, "dropped: {dropped} rows without a label")?;
    }
    if negative > 0 {
        writeln!(out, "negative: {negative} labels whose cell is empty")?;
    }
    if has_old_vocabulary {
        print_unknown(&mut out, &converted.unknown)?;
    }
    out.line(format_args!("{}", converted.made.display()))?;
    Ok(())
}

/// The share of unknown values of every column that has some, beside the one at training.
fn print_unknown(
    out: &mut printable::Printer<impl Write>,
    columns: &[UnknownValues],
) -> std::io::Result<()> {
    let has_some = |column: &&UnknownValues| column.parts.values().any(|found| found.share > 0.0);
    let with_some: Vec<&UnknownValues> = columns.iter().filter(has_some).collect();
    for column in with_some.iter().take(MAX_COLUMNS) {
        let parts = column.parts.iter();
        let parts = parts.map(|(part, found)| format!("{part} {:.3} %", 100.0 * found.share));
        let before = match column.at_training {
            Some(share) => format!("{:.3} %", 100.0 * share),
            None => "not in the file".to_owned(),
        };
        out.line(format_args!(
            "unknown values of {}.{}: {}, when the vocabulary was learned {before}",
            column.key,
            column.column,
            parts.collect::<Vec<_>>().join(", ")
        ))?;
    }
    if with_some.len() > MAX_COLUMNS {
        out.line(format_args!(
            "unknown values of {} more columns",
            with_some.len() - MAX_COLUMNS
        ))?;
    }
    match columns.len() - with_some.len() {
        0 => Ok(()),
        known => out.line(format_args!("{known} columns without unknown values")),
    }
}
