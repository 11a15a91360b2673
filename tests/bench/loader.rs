//! Speed of the loader over files of the production shape, for `compare_loaders.py`.
//!
//!     loader --inputs GLOB [--batch N] [--threads N] [--columns N] [--files N] [--cache [--cache-dir DIR]] [--inflate]
//!     loader --keys --inputs FOLDER/*.gz [--generate FILES]
//!
//! Stays up, and answers every line `N` on standard input with one line of JSON about the next N batches: seconds,
//! seconds of CPU, examples, and uncompressed bytes. With `--inflate` nothing is parsed or shuffled: the same files are
//! only inflated, one thread a file, as many at once as there are threads.
//! With `--keys` the records have a key for every column instead of lists; `--generate` writes such files.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench that cannot go on should panic"
)]

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use recap_train::config::{self, RecapDataConfig};
use recap_train::data::random::{Compression, GenerateOptions, generate};
use recap_train::data::{Loader, LoaderOptions, Mode, uncompressed};
use recap_train::torch::memory;

/// Bytes around the payload of a record.
const FRAME_BYTES: u64 = 16;
/// Read at once by the inflating contestant.
const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Parser)]
struct Args {
    /// A glob of record files
    #[arg(long)]
    inputs: String,
    /// Rows of a batch
    #[arg(long, default_value_t = 1024)]
    batch: usize,
    /// Threads; nothing: as training would choose
    #[arg(long)]
    threads: Option<usize>,
    /// Continuous columns that are used
    #[arg(long, default_value_t = 2117)]
    columns: usize,
    /// Read only the first so many files
    #[arg(long, default_value_t = 100_000)]
    files: usize,
    /// Keep decoded rows
    #[arg(long)]
    cache: bool,
    /// In this folder; nothing: in memory
    #[arg(long, requires = "cache")]
    cache_dir: Option<PathBuf>,
    /// Only inflate
    #[arg(long)]
    inflate: bool,
    /// The records have a key for each of the continuous and of 59 binary columns
    #[arg(long)]
    keys: bool,
    /// Write so many such files of 1,024 records into the folder of the glob, and end
    #[arg(long, requires = "keys")]
    generate: Option<usize>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What N batches took.
struct Work {
    examples: u64,
    bytes: u64,
}

fn main() {
    let args = Args::parse();
    // As training does.
    memory::keep_freed();
    if let Some(files) = args.generate {
        return generate_keys(&args, files);
    }
    let mut contestant: Box<dyn FnMut(usize) -> Work> = if args.inflate {
        inflater(&args)
    } else {
        loader(&args)
    };
    for line in std::io::stdin().lock().lines() {
        let count = line.unwrap().trim().parse().unwrap();
        let (cpu, begin) = (cpu_seconds(), Instant::now());
        let Work { examples, bytes } = contestant(count);
        let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        println!(
            r#"{{"seconds": {seconds}, "cpu_seconds": {cpu}, "examples": {examples}, "bytes": {bytes}}}"#
        );
        std::io::stdout().flush().unwrap();
    }
}

/// The data of `--keys`: no schema, two features made of columns.
fn keys(args: &Args) -> RecapDataConfig {
    let names = |letter: char, count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("{letter}{n:04}")).collect();
        names.join(", ")
    };
    let mut text = format!(
        "{{inputs: {:?}, num_files_to_keep: {}, global_batch_size: {}, cache: {}, tasks: {{label: {{}}}}, \
         seg_dense_schema: {{columns: {{continuous: [{}], binary: [{}]}}}}",
        args.inputs,
        args.files,
        args.batch,
        args.cache,
        names('c', args.columns),
        names('b', 59),
    );
    if let Some(folder) = &args.cache_dir {
        text += &format!(", cache_dir: {:?}", folder.display().to_string());
    }
    config::parse(&format!("{text}}}")).unwrap()
}

fn generate_keys(args: &Args, files: usize) {
    let options = GenerateOptions {
        n_examples: 1024 * files,
        n_files: files,
        seed: 1,
        noise: true,
        output_dir: Path::new(&args.inputs).parent().map(Path::to_owned),
        compression: match args.inputs.ends_with(".gz") {
            true => Compression::Gzip,
            false => Compression::None,
        },
        beside_others: false,
    };
    generate(&keys(args), &options).unwrap();
}

/// The data of the production shape.
fn lists(args: &Args) -> RecapDataConfig {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = root.join("configs/home_recap_2022.segdense.json");
    let mut overrides = vec![
        format!("train_data.inputs={}", args.inputs),
        format!("train_data.num_files_to_keep={}", args.files),
        format!(
            "train_data.preprocess.truncate_and_slice.continuous_feature_truncation={}",
            args.columns
        ),
        format!("train_data.global_batch_size={}", args.batch),
        format!("train_data.cache={}", args.cache),
        format!(
            "train_data.seg_dense_schema.schema_path={}",
            schema.display()
        ),
    ];
    if let Some(folder) = &args.cache_dir {
        overrides.push(format!("train_data.cache_dir={}", folder.display()));
    }
    let config = config::load_recap(&root.join("configs/local_prod.yaml"), &overrides).unwrap();
    config.config.train_data
}

fn loader(args: &Args) -> Box<dyn FnMut(usize) -> Work> {
    let config = if args.keys { keys(args) } else { lists(args) };
    let options = LoaderOptions {
        seed: 1,
        rank: 0,
        world_size: 1,
        local_world_size: 1,
        any_labels: false,
        mode: Mode::Train,
        threads: args.threads,
        in_order: false,
        repeat: true,
        drop_remainder: true,
    };
    let mut loader = Loader::open(&config, options, None).unwrap();
    Box::new(move |count| {
        let mut examples = 0;
        for _ in 0..count {
            examples += loader.next_batch().unwrap().unwrap().batch.rows as u64;
        }
        let counters = loader.counters();
        let mean = counters.bytes as f64 / (counters.records as f64).max(1.0);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of bytes"
        )]
        let bytes = (mean as u64 + FRAME_BYTES) * examples;
        Work { examples, bytes }
    })
}

/// A file that one thread inflates, and where it goes on afterwards.
struct Lane {
    files: Vec<PathBuf>,
    next: usize,
    stream: Option<Box<dyn Read + Send>>,
}

impl Lane {
    /// Inflates a chunk; how many bytes came.
    fn step(&mut self, buffer: &mut [u8]) -> u64 {
        loop {
            let stream = self.stream.get_or_insert_with(|| {
                let path = &self.files[self.next % self.files.len()];
                self.next += 1;
                uncompressed(path).unwrap()
            });
            match stream.read(buffer).unwrap() {
                0 => self.stream = None,
                read => return read as u64,
            }
        }
    }
}

fn inflater(args: &Args) -> Box<dyn FnMut(usize) -> Work> {
    let files: Vec<PathBuf> = glob::glob(&args.inputs)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let record = record_bytes(&files[0]);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or_else(cores).min(files.len());
    let mut lanes: Vec<Lane> = (0..threads)
        .map(|lane| Lane {
            files: files.iter().skip(lane).step_by(threads).cloned().collect(),
            next: 0,
            stream: None,
        })
        .collect();
    let batch = args.batch;
    Box::new(move |count| {
        let wanted = (count * batch) as u64 * record;
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for lane in &mut lanes {
                let done = &done;
                scope.spawn(move || {
                    let mut buffer = vec![0; CHUNK_BYTES];
                    while done.load(Ordering::Relaxed) < wanted {
                        done.fetch_add(lane.step(&mut buffer), Ordering::Relaxed);
                    }
                });
            }
        });
        let bytes = done.into_inner();
        Work {
            examples: bytes / record,
            bytes,
        }
    })
}

/// Bytes of the first record of `path` with its frame: those of generated files differ little.
fn record_bytes(path: &Path) -> u64 {
    let mut length = [0; 8];
    uncompressed(path).unwrap().read_exact(&mut length).unwrap();
    u64::from_le_bytes(length) + FRAME_BYTES
}

/// Seconds of CPU this process has used, all threads together.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    // The 14th and 15th field of the line, in ticks of 10 ms.
    let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
    (ticks(14) + ticks(15)) / 100.0
}
