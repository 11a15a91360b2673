//! What is asked of random data, and its files: where they go, what else lies there, and how they appear.

use std::fs::File;
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

/// Files of an earlier call that the new ones do not replace by their names.
pub(super) struct Stale(Vec<PathBuf>);

impl Stale {
    /// Those in `folder`, to which `paths` are written.
    pub(super) fn find(
        config: &RecapDataConfig,
        options: &GenerateOptions,
        folder: &Path,
        paths: &[PathBuf],
    ) -> Result<Self, DataError> {
        let pattern = config.inputs.as_deref().map(glob::Pattern::new);
        let pattern = pattern.and_then(Result::ok);
        let is_data = |path: &Path, name: &str| {
            let is_named_so = [".gz", ".zst"].iter().any(|ending| name.ends_with(ending));
            let is_found = pattern.as_ref().is_some_and(|all| all.matches_path(path));
            !is_hidden_name(name) && (is_named_so || is_found || name.contains(".tfrecord"))
        };
        let (mut stale, mut others) = (Vec::new(), Vec::new());
        // Whoever writes there reports a folder that cannot be read.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() || paths.contains(&path) {
                continue;
            }
            if is_generated(&name) {
                stale.push(path);
            } else if is_data(&path, &name) {
                others.push(path);
            }
        }
        stale.sort();
        match others.iter().min() {
            Some(first) if !options.beside_others => {
                let reason = format!(
                    "{} holds other data ({} files, such as {}), which would be read together with random data: name \
                     an empty folder with --output_dir, or allow it with --beside",
                    folder.display(),
                    others.len(),
                    first.display()
                );
                Err(DataError::setting("generate", reason))
            }
            _ => Ok(Self(stale)),
        }
    }
}

/// What the names of generated files begin with.
const STEM: &str = "random";

/// Whether [`names`] makes this one for some options.
fn is_generated(name: &str) -> bool {
    let Some((stem, ending)) = name.split_once(".tfrecord") else {
        return false;
    };
    let number = stem.strip_prefix(STEM);
    let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|b| b.is_ascii_digit());
    let is_stem = number.is_some_and(|rest| match rest.strip_prefix('-') {
        Some(number) => is_number(number),
        None => rest.is_empty(),
    });
    is_stem && matches!(ending, "" | ".gz" | ".zst")
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
        1 => format!("{STEM}.tfrecord{ending}"),
        _ => format!("{STEM}-{index:05}.tfrecord{ending}"),
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

    /// Gives the files their names, all of them or none, and removes what they replace.
    pub(super) fn publish(self, stale: &Stale) -> Result<(), DataError> {
        let published = Draft::publish_all(self.0, &stale.0);
        published.map_err(|(path, source)| failed("publish", &path, source))?;
        if let Some(first) = stale.0.first() {
            tracing::info!(files = stale.0.len(), first = %first.display(), "removed what was generated there before");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_called_so_counts_as_generated() {
        for name in [
            "random.tfrecord",
            "random.tfrecord.gz",
            "random-00012.tfrecord.zst",
            "random-100000.tfrecord",
        ] {
            assert!(is_generated(name), "{name}");
        }
        for name in [
            "random-1.tfrecord",
            "random-00012.tfrecord.bz2",
            "myrandom.tfrecord",
            "random-.tfrecord.gz",
            "random.gz",
        ] {
            assert!(!is_generated(name), "{name}");
        }
    }
}
