//! What is asked of random data, and its files: where they go, what else lies there, and how they appear.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::RecapDataConfig;
use crate::data::error::DataError;
use crate::data::hidden::is_hidden_name;
use crate::data::tfrecord::Compression;
use crate::whole_file::Draft;

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Examples over all files.
    pub n_examples: usize,
    /// Files to spread them over; at least 1.
    pub n_files: usize,
    /// The same seed gives the same files.
    pub seed: u64,
    /// Labels that depend on nothing, instead of on the features.
    pub noise: bool,
    /// Folder to write to (`None`: that of the config's `inputs`).
    pub output_dir: Option<PathBuf>,
    /// Of every file; decides the ending of their names.
    pub compression: Compression,
    /// Write into a folder that holds other data, too.
    pub beside_others: bool,
}

/// Where the files go.
pub(super) fn folder(
    config: &RecapDataConfig,
    options: &GenerateOptions,
) -> Result<PathBuf, DataError> {
    if let Some(folder) = &options.output_dir {
        return Ok(folder.clone());
    }
    let inputs = config.inputs.as_deref().map(Path::new);
    let folder = inputs.and_then(Path::parent).filter(|folder| {
        !folder.as_os_str().is_empty() && !folder.to_string_lossy().contains(['*', '?', '['])
    });
    folder.map(Path::to_owned).ok_or_else(|| {
        DataError::setting(
            "inputs",
            "names no single folder: say where to write the data",
        )
    })
}

/// Refuses to write over a file that is there, whoever made it, and into a folder with other data, unless that is wanted.
pub(super) fn check_room(
    config: &RecapDataConfig,
    options: &GenerateOptions,
    folder: &Path,
    paths: &[PathBuf],
) -> Result<(), DataError> {
    let refuse = |reason: String| Err(DataError::setting("generate", reason));
    if let Some(path) = paths.iter().find(|path| fs::symlink_metadata(path).is_ok()) {
        return refuse(format!(
            "{} is there already: remove it, or name an empty folder with --output_dir",
            path.display()
        ));
    }
    if options.beside_others {
        return Ok(());
    }
    let pattern = config.inputs.as_deref().map(glob::Pattern::new);
    let pattern = pattern.and_then(Result::ok);
    let is_data = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_named_so = [".gz", ".zst"].iter().any(|ending| name.ends_with(ending));
        let is_found = pattern.as_ref().is_some_and(|all| all.matches_path(path));
        let is_data = is_named_so || is_found || name.contains(".tfrecord");
        is_data && !is_hidden_name(&name) && !path.is_dir()
    };
    // Whoever writes there reports a folder that cannot be read.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let others = entries.map(|entry| entry.path()).filter(is_data);
    let others: Vec<PathBuf> = others.collect();
    match others.iter().min() {
        None => Ok(()),
        Some(first) => refuse(format!(
            "{} holds other data ({} files, such as {}), which would be read together with random data: name an empty \
             folder with --output_dir, or allow it with --beside",
            folder.display(),
            others.len(),
            first.display()
        )),
    }
}

/// Their names.
pub(super) fn names(options: &GenerateOptions) -> impl Iterator<Item = String> {
    let count = options.n_files.max(1);
    let ending = match options.compression {
        Compression::Gzip => ".gz",
        Compression::None => "",
        Compression::Zstd => ".zst",
    };
    (0..count).map(move |index| match count {
        1 => format!("random.tfrecord{ending}"),
        _ => format!("random-{index:05}.tfrecord{ending}"),
    })
}

/// Data written where the config says must be found by the config.
pub(super) fn check_found(
    config: &RecapDataConfig,
    options: &GenerateOptions,
    paths: &[PathBuf],
) -> Result<(), DataError> {
    let (Some(inputs), None) = (&config.inputs, &options.output_dir) else {
        return Ok(());
    };
    let pattern = glob::Pattern::new(inputs).map_err(|source| DataError::Pattern {
        pattern: inputs.clone(),
        source,
    })?;
    match paths.iter().find(|path| !pattern.matches_path(path)) {
        Some(path) => {
            let reason = format!(
                "`{inputs}` does not match {}, where the data would be written",
                path.display()
            );
            Err(DataError::setting("inputs", reason))
        }
        None => Ok(()),
    }
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> DataError {
    DataError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Unpublished files; removed when dropped.
pub(super) struct Drafts(Vec<Draft>);

impl Drafts {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn open(&mut self, path: &Path) -> Result<File, DataError> {
        let draft = Draft::file(path);
        let (draft, file) = draft.map_err(|source| failed("create", path, source))?;
        self.0.push(draft);
        Ok(file)
    }

    /// Gives the files their names: all of them, or none.
    pub(super) fn publish(self) -> Result<(), DataError> {
        let published = Draft::publish_all(self.0);
        published.map_err(|(path, source)| failed("publish", &path, source))
    }
}
