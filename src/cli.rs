//! What can be typed: clap types, and the spellings of the original's flag library.

mod places;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::places::{data_place, local_path};

/// Version of this program and of the libtorch it was built with.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (libtorch ",
    env!("RECAP_LIBTORCH"),
    ")"
);

/// What `--version` says: everything about the build that can explain a difference.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let or = |text: &'static str, other| if text.is_empty() { other } else { text };
    let nccl = match env!("RECAP_CUDA_SHIM") {
        "" => "not built in",
        _ => "built in",
    };
    format!(
        "{VERSION}\ncommit {}\ncuda {}\nnccl {nccl}\n{}",
        option_env!("RECAP_COMMIT").unwrap_or("unknown (make tells it to the build)"),
        or(env!("RECAP_CUDA"), "not in this libtorch"),
        env!("RECAP_RUSTC"),
    )
});

const AFTER_HELP: &str = "\
Results go to stdout, logs and progress to stderr. RUST_LOG filters the log (error, warn, info, debug, trace).

Exit codes:
  0   done
  1   failed while running
  2   bad usage or config
  3   bad data
  4   diverged: a loss or gradient was not finite
  75  interrupted by a signal, state saved; the same command goes on
  101 a bug in this program

Examples:
  recap-train --config_path=configs/local_prod.yaml generate
  recap-train --config_path=configs/local_prod.yaml check --dry_run
  recap-train --config_path=configs/local_prod.yaml
  recap-train --config_path=configs/local_prod.yaml --debug_loop --set training.num_train_steps=3";

/// Trains the heavy ranker of the For You timeline: TFRecord files and one YAML config in, checkpoints out.
///
/// Without a command it trains: from the newest checkpoint in training.save_dir if there is one, else from
/// training.initial_checkpoint_dir if it is set, else from the start.
#[derive(Debug, Parser)]
#[command(name = "recap-train", version = VERSION, long_version = LONG_VERSION.as_str(), after_help = AFTER_HELP, max_term_width = 100)]
#[command(args_override_self = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Train step by step, without overlap and without checkpoints, and say more of each step
    #[arg(long = "debug_loop", value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_value_t = false, default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    #[arg(hide_possible_values = true)]
    pub debug_loop: bool,

    /// Start N processes on this machine that train together, one GPU each where there are GPUs
    #[arg(long = "nproc_per_node", value_name = "N", value_parser = parse_threads)]
    pub nproc_per_node: Option<NonZeroUsize>,

    /// Record these steps as a Chrome trace in training.save_dir/profile: from when A are done until B are done
    #[arg(long = "profile_steps", value_name = "A..B", value_parser = parse_step_range)]
    pub profile_steps: Option<StepRange>,

    /// What to do; nothing: train.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// The YAML file that describes the run
    #[arg(long = "config_path", value_name = "FILE", global = true, value_parser = local_path())]
    pub config_path: Option<PathBuf>,

    /// Override one value of the config; keys with dots in double quotes; repeatable
    #[arg(long = "set", value_name = "A.B[0].C=VALUE", global = true, action = clap::ArgAction::Append)]
    pub overrides: Vec<String>,

    /// How log lines look
    #[arg(
        long = "log_format",
        value_name = "FORMAT",
        global = true,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything but training.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make training data, a schema and a config of CSV or Parquet tables
    Convert(ConvertArgs),
    /// Write random data that fits the config, for a first run or a test
    Generate(GenerateArgs),
    /// Decode batches exactly as training would see them, and say what is in them
    Inspect(InspectArgs),
    /// Look at a run before it starts: config, schema, layers, memory, data
    Check(CheckArgs),
    /// Measure a checkpoint on validation_data: a table on stdout, JSON and curves in files
    Evaluate(EvaluateArgs),
    /// Write what a checkpoint predicts of each row, in the order of the input
    Predict(PredictArgs),
    /// Look at the machine: libtorch, GPUs, threads, memory, disk; say what to do where it is wrong
    Doctor,
    /// Print the script that completes this program's command lines in a shell
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the manual page: recap-train man | man -l -
    Man,
}

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Print the config as it will be used first, with the origin of each value
    #[arg(long = "print")]
    pub print: bool,

    /// Train one step as well, and take a checkpoint through a temporary folder
    #[arg(long = "dry_run")]
    pub dry_run: bool,

    /// Compute what z_score_log_config needs over every row of train_data first, and write it; nothing: to its
    /// analysis_path
    #[arg(long = "write_stats", value_name = "FILE.json", num_args = 0..=1, require_equals = true, value_parser = local_path())]
    pub write_stats: Option<Option<PathBuf>>,

    /// Write the findings as JSON, beside the tables on stdout
    #[arg(long = "output", value_name = "FILE.json", value_parser = local_path())]
    pub output: Option<PathBuf>,
}

/// Options of `evaluate`.
#[derive(Clone, Debug, Args)]
pub struct EvaluateArgs {
    /// The checkpoint to measure; default: the best in training.save_dir where keep_best_metric keeps one, else the
    /// newest valid one
    #[arg(long = "checkpoint", value_name = "DIR", value_parser = local_path())]
    pub checkpoint: Option<PathBuf>,

    /// The partition of validation_data; nothing: all of them
    #[arg(long = "partition", value_name = "NAME")]
    pub partition: Option<String>,

    /// Write every number to this file as JSON
    #[arg(long = "output", value_name = "FILE.json", value_parser = local_path())]
    pub output: Option<PathBuf>,

    /// Draw ROC, precision-recall and reliability of every task to this file, .svg or .png
    #[arg(long = "plot", value_name = "FILE", value_parser = local_path())]
    pub plot: Option<PathBuf>,

    /// Measure every checkpoint of training.save_dir, then wait up to training.eval_timeout_in_s for each new one
    #[arg(long = "watch", conflicts_with = "checkpoint")]
    pub watch: bool,
}

/// Options of `predict`.
#[derive(Clone, Debug, Args)]
pub struct PredictArgs {
    /// The records to predict, a glob; nothing: those of train_data
    #[arg(long = "inputs", value_name = "GLOB", value_parser = data_place())]
    pub inputs: Option<String>,

    /// The checkpoint that predicts; default: the best in training.save_dir where keep_best_metric keeps one, else the
    /// newest valid one
    #[arg(long = "checkpoint", value_name = "DIR", value_parser = local_path())]
    pub checkpoint: Option<PathBuf>,

    /// Where predictions go: .csv, .jsonl, .safetensors or .parquet
    #[arg(long = "output", value_name = "FILE", value_parser = local_path())]
    pub output: PathBuf,

    /// Add the labels and weights that the records have
    #[arg(long = "labels")]
    pub labels: bool,
}

/// Options of `convert`.
#[derive(Clone, Debug, Args)]
pub struct ConvertArgs {
    /// The YAML file that says which columns become what; its keys are in configs/REFERENCE.md
    #[arg(long = "mapping", value_name = "FILE", value_parser = local_path())]
    pub mapping: PathBuf,

    /// The tables: a glob, with braces or without, a folder or an address; may be given several times (default: those of
    /// the mapping)
    #[arg(long = "inputs", value_name = "GLOB", value_parser = data_place())]
    pub inputs: Vec<String>,

    /// The folder to make; nothing: that of the mapping
    #[arg(long = "output_dir", value_name = "DIR", value_parser = local_path())]
    pub output_dir: Option<PathBuf>,

    /// The vocabulary of an earlier conversion to use; nothing: learn one
    #[arg(long = "vocabulary", value_name = "FILE.json", value_parser = local_path())]
    pub vocabulary: Option<PathBuf>,

    /// Threads that make examples; nothing: one per core
    #[arg(long = "threads", value_name = "N", value_parser = parse_threads)]
    pub threads: Option<NonZeroUsize>,
}

/// Options of `generate`.
#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    /// Examples over all files
    #[arg(long = "n_examples", value_name = "N", default_value_t = 4096)]
    pub n_examples: usize,

    /// Files
    #[arg(long = "n_files", value_name = "N", default_value_t = 4, value_parser = parse_files)]
    pub n_files: usize,

    /// Seed of the random numbers
    #[arg(long = "seed", value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Labels without any relation to the features, as the original makes them
    #[arg(long = "noise")]
    pub noise: bool,

    /// Where the files go; nothing: the folder of train_data.inputs
    #[arg(long = "output_dir", value_name = "DIR", value_parser = local_path())]
    pub output_dir: Option<PathBuf>,

    /// Compression of the files; all kinds can be read
    #[arg(long = "compression", value_name = "KIND", default_value = "gzip")]
    pub compression: CompressionArg,

    /// Write into a folder that holds other data, too (default: refuse it)
    #[arg(long = "beside")]
    pub beside: bool,
}

/// Compression of generated files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionArg {
    /// As the original reads: slowest.
    Gzip,
    /// Fastest to read.
    None,
    /// Faster to read than gzip.
    Zstd,
}

/// Options of `inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Batches to decode
    #[arg(long = "batches", value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub batches: u64,

    /// Write the tensors there, each name followed by `.` and the number of its batch
    #[arg(long = "output", value_name = "FILE.safetensors", value_parser = local_path())]
    pub output: Option<PathBuf>,

    /// Read the sorted files once, one after the other, nothing shuffled, to compare with other readers
    #[arg(long = "in_order")]
    pub in_order: bool,
}

/// What was typed cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Boolean flags: these may be written `--name`, `--noname` and `--name=true|false`.
const BOOLEAN_FLAGS: [&str; 1] = ["debug_loop"];

/// Flags that take a value: these may be written with one dash or two, with underscores or hyphens.
const VALUE_FLAGS: [&str; 5] = [
    "config_path",
    "set",
    "log_format",
    "nproc_per_node",
    "profile_steps",
];

/// Rewrites the spellings that the original's flag library accepts into the one that clap knows.
///
/// `-config_path`, `--config-path`, `-debug_loop`, `--debug-loop` and `--nodebug_loop` all work; what follows `--` is
/// left alone.
pub fn normalize(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut options = true;
    args.into_iter()
        .map(|arg| {
            options &= arg != "--";
            let spelt = if options {
                arg.to_str().and_then(normalize_flag)
            } else {
                None
            };
            spelt.map_or(arg, OsString::from)
        })
        .collect()
}

fn normalize_flag(arg: &str) -> Option<String> {
    let flag = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    let (name, value) = flag
        .split_once('=')
        .map_or((flag, None), |(name, value)| (name, Some(value)));
    let double = arg.starts_with("--");
    let name = name.replace('-', "_");
    if let Some(positive) = name
        .strip_prefix("no")
        .filter(|name| BOOLEAN_FLAGS.contains(name))
    {
        return value.is_none().then(|| format!("--{positive}=false"));
    }
    let known = BOOLEAN_FLAGS.contains(&name.as_str()) || VALUE_FLAGS.contains(&name.as_str());
    (known || double && name.len() > 1).then(|| match value {
        Some(value) => format!("--{name}={value}"),
        None => format!("--{name}"),
    })
}

/// `args` without the flag `name` and its value, in whatever spelling.
pub fn without_flag(args: impl IntoIterator<Item = OsString>, name: &str) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut args = normalize(args).into_iter();
    while let Some(arg) = args.next() {
        let flag = arg.to_str().and_then(|arg| arg.strip_prefix("--"));
        match flag.and_then(|flag| flag.strip_prefix(name)) {
            Some("") => drop(args.next()),
            Some(value) if value.starts_with('=') => {}
            _ => kept.push(arg),
        }
    }
    kept
}

/// Steps of a training: those from when `after` are done until `until` are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRange {
    /// Steps done before the first one of the range.
    pub after: u64,
    /// Steps done after the last one; more than `after`.
    pub until: u64,
}

/// `A..B` with A below B.
fn parse_step_range(text: &str) -> Result<StepRange, String> {
    let (after, until) = text
        .split_once("..")
        .ok_or("expected A..B, such as 10..20")?;
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|error| format!("`{text}`: {error}"))
    };
    let range = StepRange {
        after: number(after)?,
        until: number(until)?,
    };
    if range.after < range.until {
        Ok(range)
    } else {
        Err("the second number must be above the first".to_owned())
    }
}

/// A number of threads or processes.
fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    bounded(text, 4096)
}

/// A number of files.
fn parse_files(text: &str) -> Result<usize, String> {
    bounded(text, 100_000).map(NonZeroUsize::get)
}

/// A number from 1 to `most`.
fn bounded(text: &str, most: usize) -> Result<NonZeroUsize, String> {
    let number = text.parse::<NonZeroUsize>().ok();
    let number = number.filter(|number| number.get() <= most);
    number.ok_or_else(|| format!("expected an integer from 1 to {most}"))
}

/// Booleans as the original's flag library reads them.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Ok(true),
        "false" | "f" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = std::iter::once("recap-train").chain(line.split_whitespace());
        Cli::try_parse_from(normalize(words.map(OsString::from)))
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn every_spelling_of_the_original_is_understood() {
        for line in [
            "--config_path=a.yaml --debug_loop",
            "--config_path a.yaml --debug_loop=true",
            "-config_path=a.yaml -debug_loop",
            "-config_path a.yaml -debug_loop=True",
            "--config-path=a.yaml --debug-loop",
            "--debug_loop=1 --config-path a.yaml",
            "--nodebug_loop --debug_loop --config_path=b.yaml --config_path=a.yaml",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(
                cli.common.config_path.as_deref(),
                Some("a.yaml".as_ref()),
                "{line}"
            );
            assert!(cli.debug_loop, "{line}");
        }
        for line in [
            "",
            "--nodebug_loop",
            "-nodebug_loop",
            "--debug_loop=false",
            "--debug_loop --debug_loop=0",
        ] {
            assert!(!parse(line).unwrap().debug_loop, "{line}");
        }
    }

    #[test]
    fn common_options_work_before_and_after_a_command() {
        for line in [
            "--config_path=a.yaml --set x=1 generate --n_examples=7",
            "generate --n-examples 7 --config_path=a.yaml --set x=1",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(
                cli.common.config_path.as_deref(),
                Some("a.yaml".as_ref()),
                "{line}"
            );
            assert_eq!(cli.common.overrides, ["x=1"], "{line}");
            assert!(
                matches!(
                    cli.command,
                    Some(Command::Generate(GenerateArgs { n_examples: 7, .. }))
                ),
                "{line}"
            );
        }
    }

    #[test]
    fn options_of_a_command_may_have_hyphens() {
        for line in [
            "check --dry-run --output=f.json",
            "check --output f.json --dry_run",
        ] {
            let Some(Command::Check(args)) = parse(line).unwrap().command else {
                panic!("{line}")
            };
            assert!(args.dry_run && !args.print, "{line}");
            assert_eq!(args.output.as_deref(), Some("f.json".as_ref()), "{line}");
        }
    }

    #[test]
    fn overrides_add_up_and_keep_their_hyphens() {
        let cli = parse("--set a-b=c-d --set e=-1").unwrap();
        assert_eq!(cli.common.overrides, ["a-b=c-d", "e=-1"]);
        let cli = parse("--config_path=my-run/the-config.yaml").unwrap();
        assert_eq!(
            cli.common.config_path.as_deref(),
            Some("my-run/the-config.yaml".as_ref())
        );
    }

    #[test]
    fn a_flag_is_taken_out_in_every_spelling() {
        for line in [
            "--nproc_per_node=2",
            "--nproc-per-node 2",
            "-nproc_per_node=2",
        ] {
            let args = format!("--config_path=a {line} --debug_loop");
            let kept = without_flag(args.split(' ').map(OsString::from), "nproc_per_node");
            assert_eq!(kept, ["--config_path=a", "--debug_loop"], "{line}");
        }
    }

    #[test]
    fn wrong_flags_are_refused() {
        for line in [
            "--nproc_per_node=0",
            "--nproc_per_node=18446744073709551615",
            "generate --n_files=0",
            "generate --n_files=4000000000000",
            "generate --n_examples=1e19",
            "convert --mapping=a --threads=400000",
            "inspect --batches=0",
            "--debug_loop=maybe",
            "--nodebug_loop=true",
            "--config",
            "--no_such_flag",
            "train",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
