//! A conversion of one table that ends in a folder that can be trained on, or in a message and nothing.

use std::collections::HashSet;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::config::{self, ConversionConfig};
use crate::convert::{ConvertOptions, Converted, convert};
use crate::data::schema::Schema;
use crate::data::tfrecord::{ReadOptions, RecordReader, Share};

/// Converts `table` as `mapping` says, wherever it wants to read and write.
pub fn check(mapping: &ConversionConfig, table: &[u8]) {
    let folder = folder();
    let (input, output) = (folder.join("table"), folder.join("made"));
    fs::write(&input, table).expect("the temporary folder can be written");
    let options = ConvertOptions {
        inputs: vec![input.display().to_string()],
        output_dir: Some(output.clone()),
        vocabulary: None,
        threads: NonZeroUsize::new(2),
    };
    match convert(mapping, &options) {
        Ok(converted) => {
            check_folder(&output, &converted);
            fs::remove_dir_all(&output).expect("the folder can be removed");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let left = fs::read_dir(folder).expect("the temporary folder can be read");
    assert_eq!(left.count(), 1, "something was left behind");
}

/// The mapping that `choice` falls on when `texts` are counted over and over.
#[allow(dead_code, reason = "some targets make a mapping of their bytes")]
pub fn choose(texts: &[&str], choice: u8) -> &'static ConversionConfig {
    static MAPPINGS: OnceLock<Vec<ConversionConfig>> = OnceLock::new();
    let parse = |text: &&str| config::parse(text).expect("the mapping can be used");
    let mappings = MAPPINGS.get_or_init(|| texts.iter().map(parse).collect());
    &mappings[usize::from(choice) % mappings.len()]
}

/// A folder of this process, in memory where there is one: a conversion waits for the disk.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let above = memory.is_dir().then(|| memory.to_owned());
        let above = above.unwrap_or_else(std::env::temp_dir);
        let folder = above.join(format!("recap-fuzz-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the temporary folder can be made");
        folder
    })
}

/// The config and the schema can be used, and every row is there.
fn check_folder(folder: &Path, converted: &Converted) {
    let read = |name: &str| fs::read(folder.join(name)).expect("the file is there");
    let config = String::from_utf8(read("config.yaml")).expect("a config is text");
    config::parse_recap(Path::new("config.yaml"), &config, &[], &|_| None)
        .unwrap_or_else(|error| panic!("{error}\n{config}"));
    let schema = read("segdense.json");
    Schema::parse(Path::new("segdense.json"), &schema).unwrap_or_else(|error| panic!("{error}"));
    let schema: serde_json::Value = serde_json::from_slice(&schema).expect("a schema is JSON");
    let features = schema["schema"].as_array().expect("a list of features");
    let names: HashSet<&str> = features
        .iter()
        .filter_map(|f| f["feature_name"].as_str())
        .collect();
    assert_eq!(names.len(), features.len(), "a feature is there twice");
    for (name, part) in &converted.parts {
        let files = fs::read_dir(folder.join(name)).expect("the part is there");
        let files: Vec<PathBuf> = files.map(|file| file.expect("a name").path()).collect();
        assert_eq!(files.len() as u64, part.files);
        let rows: u64 = files.iter().map(|file| count(file)).sum();
        assert!(rows > 0 && rows == part.rows);
    }
}

/// The records of a file.
fn count(path: &Path) -> u64 {
    let options = ReadOptions {
        share: Share { first: 0, step: 1 },
        start: 0,
        skip_damaged: false,
    };
    let mut reader = RecordReader::new(Arc::from(path), options);
    let (mut count, mut chunk) = (0, Vec::new());
    loop {
        let frames = reader.read_chunk(&mut chunk);
        assert!(frames.failure.is_none());
        count += frames.found.len() as u64;
        if frames.is_last {
            return count;
        }
    }
}
