//! Random data of a config's shape: to try a set-up without real data, and to see a model learn.

mod files;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

pub use self::files::GenerateOptions;
use self::files::{Drafts, check_found, check_room, failed, folder, names};
use super::draw::{Draw, Purpose};
use super::encode::ExampleWriter;
use super::error::DataError;
use super::remote::is_remote;
use super::schema::{Dtype, Feature, Length, Schema};
pub use super::tfrecord::Compression;
use super::tfrecord::{MAX_RECORD_BYTES, RecordWriter};
use crate::config::RecapDataConfig;

/// Hidden numbers per example that features and labels have in common.
const NUM_LATENTS: u64 = 8;
/// One in so many floats of a feature carries a hidden number.
const CARRIER_EVERY: u64 = 4;
/// How sharply a hidden number decides a label.
const STEEPNESS: f32 = 8.0;

/// Writes random examples of the features that `config` uses: integers 0 to 9, floats in `[0, 1)`, integer labels that
/// are 0 or 1. Files appear under their names together, when all of them are complete.
///
/// # Errors
/// When the config does not fit its schema, its `inputs` would not find the files, one of them is there already, the
/// folder holds other data, or they cannot be written; then no new file is left behind.
pub fn generate(
    config: &RecapDataConfig,
    options: &GenerateOptions,
) -> Result<Vec<PathBuf>, DataError> {
    let schema = Schema::of(config)?;
    let features = schema.used(config)?;
    check_record(&features)?;
    let folder = folder(config, options)?;
    if is_remote(&folder) {
        return Err(DataError::setting(
            "inputs",
            "lie in a store, which is only read: name a folder with --output_dir",
        ));
    }
    let paths = names(options).map(|name| folder.join(name));
    let paths: Vec<PathBuf> = paths.collect();
    check_found(config, options, &paths)?;
    check_room(config, options, &folder, &paths)?;
    std::fs::create_dir_all(&folder).map_err(|source| failed("create", &folder, source))?;
    let mut drafts = Drafts::new();
    for (index, path) in paths.iter().enumerate() {
        let draft = drafts.open(path)?;
        let examples = share(options.n_examples, paths.len(), index);
        let maker = Maker {
            features: &features,
            num_labels: config.tasks.len(),
            options,
        };
        maker
            .write(draft, examples)
            .map_err(|source| failed("write", path, source))?;
    }
    drafts.publish()?;
    Ok(paths)
}

/// The examples of file `index` of `files`.
fn share(examples: usize, files: usize, index: usize) -> std::ops::Range<u64> {
    let start = |index: usize| {
        let start = examples as u128 * index as u128 / files as u128;
        u64::try_from(start).unwrap_or(u64::MAX)
    };
    start(index)..start(index + 1)
}

/// A record that would not be read again is not written.
fn check_record(features: &[Feature]) -> Result<(), DataError> {
    let bytes = features.iter().map(|feature| match feature.length {
        Length::Fixed(length) if feature.dtype == Dtype::Float => 4 * length as u64,
        Length::Fixed(length) => length as u64,
        Length::Variable => 0,
    });
    let bytes: u64 = bytes.fold(0, u64::saturating_add);
    if bytes <= MAX_RECORD_BYTES {
        return Ok(());
    }
    let reason = format!(
        "the features used would make a record of at least {bytes} bytes, at most {MAX_RECORD_BYTES} are accepted"
    );
    Err(DataError::setting("seg_dense_schema", reason))
}

/// Makes examples.
struct Maker<'a> {
    features: &'a [Feature],
    /// The first features are labels.
    num_labels: usize,
    options: &'a GenerateOptions,
}

impl Maker<'_> {
    fn write(&self, file: File, examples: std::ops::Range<u64>) -> io::Result<()> {
        let mut writer = RecordWriter::new(BufWriter::new(file), self.options.compression)?;
        let mut payload = Vec::new();
        let mut example_writer = ExampleWriter::default();
        for example in examples {
            payload.clear();
            self.example(example, &mut example_writer, &mut payload);
            writer.write(&payload)?;
        }
        let mut buffer = writer.finish()?;
        buffer.flush()?;
        buffer.get_ref().sync_all()
    }

    fn draw(&self, purpose: Purpose, example: u64) -> Draw {
        Draw::new(self.options.seed, purpose).at(example)
    }

    fn example(&self, example: u64, writer: &mut ExampleWriter, payload: &mut Vec<u8>) {
        for (index, feature) in self.features.iter().enumerate() {
            if index < self.num_labels {
                self.label(example, index, feature, writer);
            } else {
                self.values(example, index, feature, writer);
            }
        }
        writer.finish(payload);
    }

    fn label(&self, example: u64, index: usize, feature: &Feature, writer: &mut ExampleWriter) {
        let draw = self.draw(Purpose::Label, example).at(index as u64).unit();
        let chance = if self.options.noise {
            0.5
        } else {
            let latent = self.latent(example, index as u64 % NUM_LATENTS);
            1.0 / (1.0 + (-STEEPNESS * (latent - 0.5)).exp())
        };
        let is_positive = draw < chance;
        match feature.dtype {
            // Of either kind: integers, as those who have no schema write them.
            _ if feature.parts.is_some() => writer.ints(&feature.key, &[i64::from(is_positive)]),
            Dtype::Float => writer.floats(&feature.key, &[f32::from(u8::from(is_positive))]),
            Dtype::Int64 | Dtype::Bytes => {
                writer.ints(&feature.key, &[i64::from(is_positive)]);
            }
        }
    }

    fn values(&self, example: u64, index: usize, feature: &Feature, writer: &mut ExampleWriter) {
        let draw = self.draw(Purpose::Feature, example).at(index as u64);
        let count = match feature.length {
            Length::Fixed(count) => count as u64,
            Length::Variable => draw.at(u64::MAX).below(4),
        };
        let digit = |place| u8::try_from(draw.at(place).below(10)).unwrap_or(0);
        let key = &feature.key;
        if let Some(parts) = &feature.parts {
            // Ids and flags are written as integers, whatever they are read as.
            let is_whole = matches!(&*feature.name, "binary" | "discrete");
            let floats = match is_whole {
                true => Vec::new(),
                false => self.floats(example, draw, count),
            };
            for (place, key) in parts.keys.iter().enumerate() {
                match floats.get(place) {
                    Some(&value) => writer.floats(key, &[value]),
                    None => writer.ints(key, &[i64::from(digit(place as u64))]),
                }
            }
            return;
        }
        match feature.dtype {
            Dtype::Float => writer.floats(key, &self.floats(example, draw, count)),
            Dtype::Int64 => {
                let values: Vec<i64> = (0..count).map(|place| i64::from(digit(place))).collect();
                writer.ints(key, &values);
            }
            Dtype::Bytes => {
                let values: Vec<[u8; 1]> = (0..count).map(|place| [b'0' + digit(place)]).collect();
                writer.strings(key, values.iter().map(<[u8; 1]>::as_slice));
            }
        }
    }

    fn floats(&self, example: u64, draw: Draw, count: u64) -> Vec<f32> {
        let latents: Vec<f32> = (0..NUM_LATENTS).map(|l| self.latent(example, l)).collect();
        let value = |place: u64| {
            let value = draw.at(place).unit();
            if self.options.noise || !place.is_multiple_of(CARRIER_EVERY) {
                return value;
            }
            let carried = usize::try_from(place / CARRIER_EVERY % NUM_LATENTS).unwrap_or(0);
            0.5 * (value + latents[carried])
        };
        (0..count).map(value).collect()
    }

    fn latent(&self, example: u64, latent: u64) -> f32 {
        self.draw(Purpose::Latent, example).at(latent).unit()
    }
}
