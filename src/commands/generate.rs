//! Writes random data that fits a config.

use std::io::Write;

use crate::cli::{CompressionArg, GenerateArgs};
use crate::config::RecapConfig;
use crate::data::random::{Compression, GenerateOptions, generate};
use crate::printable;

/// Generates and prints the path of every file.
///
/// # Errors
/// When the schema cannot be read or a file cannot be written.
pub(super) fn run(config: &RecapConfig, args: &GenerateArgs) -> anyhow::Result<()> {
    let options = GenerateOptions {
        n_examples: args.n_examples,
        n_files: args.n_files,
        seed: args.seed,
        noise: args.noise,
        output_dir: args.output_dir.clone(),
        compression: match args.compression {
            CompressionArg::Gzip => Compression::Gzip,
            CompressionArg::None => Compression::None,
            CompressionArg::Zstd => Compression::Zstd,
        },
        beside_others: args.beside,
    };
    let mut stdout = printable::stdout();
    for path in generate(&config.train_data, &options)? {
        writeln!(stdout, "{}", printable::line(&path.to_string_lossy()))?;
    }
    Ok(())
}
