//! Which files a config names: a glob, or the folders of the last hours or days.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{Days, NaiveDate, NaiveDateTime, TimeDelta};

use super::error::DataError;
use super::hidden::{is_hidden, is_hidden_name};
use super::remote;
use super::source::{Stands, stands_at};
use crate::config::{ExplicitDateInputs, ExplicitDatetimeInputs, RecapDataConfig};

/// The files, sorted, cut to `num_files_to_keep`; at least one.
pub(crate) fn list(config: &RecapDataConfig) -> Result<Vec<Arc<Path>>, DataError> {
    let mut files = match (
        &config.inputs,
        &config.explicit_datetime_inputs,
        &config.explicit_date_inputs,
    ) {
        (Some(pattern), ..) => matching(pattern)?,
        (_, Some(inputs), _) => in_folders(&hours(inputs)?, inputs.num_missing_hours_tol)?,
        (.., Some(inputs)) => in_folders(&days(inputs)?, inputs.num_missing_days_tol)?,
        _ => return Err(DataError::setting("inputs", "no inputs are given")),
    };
    files.sort();
    files.dedup();
    if let Some(keep) = config.num_files_to_keep {
        files.truncate(usize::try_from(keep.get()).unwrap_or(usize::MAX));
    }
    if !config.ignore_data_errors {
        // Else it is passed over when it is opened, and counted.
        files.iter().try_for_each(|file| check_regular(file))?;
    }
    Ok(files.into_iter().map(Arc::from).collect())
}

fn check_regular(path: &Path) -> Result<(), DataError> {
    match stands_at(path) {
        Stands::Other(source) if !remote::is_remote(path) => Err(DataError::NotRegular {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// A `*` crosses no folder.
const MATCH: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

fn matching(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let files = if remote::is_remote(Path::new(pattern)) {
        matching_objects(pattern)?
    } else {
        matching_files(pattern)?
    };
    let is_data = |file: &PathBuf| !is_hidden(pattern, &file.to_string_lossy());
    let (files, hidden): (Vec<_>, Vec<_>) = files.into_iter().partition(is_data);
    if files.is_empty() {
        return Err(no_match(pattern, &hidden));
    }
    if let Some(first) = hidden.first() {
        tracing::info!(count = hidden.len(), first = %first.display(), "passing over hidden files");
    }
    Ok(files)
}

fn no_match(pattern: &str, hidden: &[PathBuf]) -> DataError {
    let searched = match hidden {
        [first, ..] => format!(
            "inputs `{pattern}` matches hidden files alone ({}, such as {}), which a glob passes over unless it names \
            them",
            hidden.len(),
            first.display()
        ),
        [] if !remote::is_remote(Path::new(pattern)) && Path::new(pattern).is_dir() => {
            format!(
                "inputs `{pattern}` is a folder, say `{}/*`",
                pattern.trim_end_matches('/')
            )
        }
        [] => format!("inputs `{pattern}` matches no file"),
    };
    DataError::NoFiles { searched }
}

fn no_pattern(pattern: &str) -> impl FnOnce(glob::PatternError) -> DataError {
    |source| DataError::Pattern {
        pattern: pattern.to_owned(),
        source,
    }
}

/// The objects of stores that `pattern` matches; none is no error.
pub(crate) fn matching_objects(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let glob = glob::Pattern::new(pattern).map_err(no_pattern(pattern))?;
    let files = remote::matching(pattern, |address| glob.matches_with(address, MATCH));
    files.map_err(|source| DataError::Remote {
        address: pattern.to_owned(),
        source,
    })
}

fn matching_files(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    // A `**` at the end matches folders alone; what is meant is all that lies in them.
    let within = match pattern.strip_suffix("**") {
        Some(before) if before.is_empty() || before.ends_with('/') => format!("{pattern}/*"),
        _ => pattern.to_owned(),
    };
    let paths = glob::glob_with(&within, MATCH).map_err(no_pattern(pattern))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| DataError::Io {
            action: "list",
            path: error.path().to_owned(),
            source: error.into(),
        })?;
        if !matches!(stands_at(&path), Stands::Folder) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The `.gz` files of `folders`, of which `tolerated` may be missing or empty.
fn in_folders(folders: &[PathBuf], tolerated: i64) -> Result<Vec<PathBuf>, DataError> {
    let tolerated = usize::try_from(tolerated).unwrap_or(0);
    let mut files = Vec::new();
    let mut missing = Vec::new();
    for folder in folders {
        let found = gz_files(folder)?;
        if found.is_empty() {
            missing.push(folder.clone());
        }
        files.extend(found);
    }
    if missing.len() > tolerated {
        return Err(DataError::MissingFolders {
            folders: missing,
            tolerated,
        });
    }
    for folder in &missing {
        tracing::warn!(folder = %folder.display(), "dated input folder is missing or holds no .gz file");
    }
    if files.is_empty() {
        let searched = folders.first().map(|folder| folder.display().to_string());
        return Err(DataError::NoFiles {
            searched: searched.map_or_else(
                || "an empty range of dates".to_owned(),
                |first| format!("no .gz file in the folders from {first} on"),
            ),
        });
    }
    Ok(files)
}

fn gz_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_gz = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".gz") && !is_hidden_name(&name)
    };
    if remote::is_remote(folder) {
        let listed = remote::list(folder, false);
        let mut files = listed.map_err(|source| DataError::Remote {
            address: folder.display().to_string(),
            source,
        })?;
        files.retain(is_gz);
        return Ok(files);
    }
    let failed = |source| DataError::Io {
        action: "list",
        path: folder.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if is_gz(&path) && !path.is_dir() {
            files.push(path);
        }
    }
    Ok(files)
}

/// The folders of the hours before `end_datetime`, latest first.
fn hours(inputs: &ExplicitDatetimeInputs) -> Result<Vec<PathBuf>, DataError> {
    const KEY: &str = "explicit_datetime_inputs.end_datetime";
    let text = inputs.end_datetime.trim();
    // chrono parses a time of day only with its minutes.
    let end = NaiveDateTime::parse_from_str(&format!("{text}:00"), "%Y/%m/%d/%H:%M");
    let end = end.map_err(|_| date_error(KEY, text, "%Y/%m/%d/%H"))?;
    let hour = |back: i64| end.checked_sub_signed(TimeDelta::try_hours(back)?);
    let folders = (1..=inputs.hours).map(|back| {
        let hour = hour(back).ok_or_else(|| date_error(KEY, text, "a date this calendar has"))?;
        Ok(Path::new(&inputs.data_root).join(hour.format("%Y/%m/%d/%H").to_string()))
    });
    folders.collect()
}

/// The folders of the days up to `end_date`, which is one of them, latest first.
fn days(inputs: &ExplicitDateInputs) -> Result<Vec<PathBuf>, DataError> {
    const KEY: &str = "explicit_date_inputs.end_date";
    let text = inputs.end_date.trim();
    let end = NaiveDate::parse_from_str(text, "%Y/%m/%d");
    let end = end.map_err(|_| date_error(KEY, text, "%Y/%m/%d"))?;
    let folders = (0..inputs.days).map(|back| {
        let day = u64::try_from(back)
            .ok()
            .and_then(|back| end.checked_sub_days(Days::new(back)));
        let day = day.ok_or_else(|| date_error(KEY, text, "a date this calendar has"))?;
        Ok(Path::new(&inputs.data_root).join(day.format("%Y/%m/%d").to_string()))
    });
    folders.collect()
}

fn date_error(key: &str, found: &str, expected: &str) -> DataError {
    DataError::setting(key, format!("`{found}`, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, name: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    fn names(files: &[PathBuf], root: &Path) -> Vec<String> {
        let relative = files.iter().map(|file| file.strip_prefix(root).unwrap());
        let mut names: Vec<_> = relative.map(|file| file.display().to_string()).collect();
        names.sort();
        names
    }

    fn hourly(root: &Path, hours: i64) -> ExplicitDatetimeInputs {
        ExplicitDatetimeInputs {
            data_root: root.display().to_string(),
            end_datetime: "2023/01/02/01".to_owned(),
            hours,
            num_missing_hours_tol: 0,
        }
    }

    #[test]
    fn hours_end_before_end_datetime_and_take_gz_files_only() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "2023/01/02/01/late.gz");
        touch(root.path(), "2023/01/02/00/a.gz");
        touch(root.path(), "2023/01/02/00/a.txt");
        touch(root.path(), "2023/01/01/23/b.gz");
        let folders = hours(&hourly(root.path(), 2)).unwrap();
        let files = in_folders(&folders, 0).unwrap();
        assert_eq!(
            names(&files, root.path()),
            ["2023/01/01/23/b.gz", "2023/01/02/00/a.gz"]
        );
    }

    #[test]
    fn missing_and_empty_hours_count_and_are_named() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "2023/01/02/00/a.gz");
        touch(root.path(), "2023/01/01/23/only.txt");
        let folders = hours(&hourly(root.path(), 3)).unwrap();
        assert_eq!(in_folders(&folders, 2).unwrap().len(), 1);
        let message = in_folders(&folders, 1).unwrap_err().to_string();
        assert!(
            message.contains("2023/01/01/23") && message.contains("2023/01/01/22"),
            "{message}"
        );
        assert!(message.contains("1 tolerated"), "{message}");
    }

    #[test]
    fn days_include_the_end_date() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "2023/03/01/a.gz");
        touch(root.path(), "2023/02/28/b.gz");
        touch(root.path(), "2023/02/27/c.gz");
        let inputs = ExplicitDateInputs {
            data_root: root.path().display().to_string(),
            end_date: "2023/03/01".to_owned(),
            days: 2,
            num_missing_days_tol: 0,
        };
        let files = in_folders(&days(&inputs).unwrap(), 0).unwrap();
        assert_eq!(
            names(&files, root.path()),
            ["2023/02/28/b.gz", "2023/03/01/a.gz"]
        );
    }

    #[test]
    fn a_date_of_another_form_is_refused() {
        let mut inputs = hourly(Path::new("/nowhere"), 1);
        inputs.end_datetime = "2023-01-02".to_owned();
        let message = hours(&inputs).unwrap_err().to_string();
        assert!(
            message.contains("end_datetime") && message.contains("%Y/%m/%d/%H"),
            "{message}"
        );
    }

    #[test]
    fn an_address_that_cannot_be_listed_is_refused_with_the_reason() {
        let error = matching("https://host/*.gz").unwrap_err();
        assert_eq!(error.fault(), crate::data::Fault::Config);
        assert_eq!(error.to_string(), "cannot find https://host/*.gz");
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert!(reason.contains("do not list"), "{reason}");
    }

    #[test]
    fn two_stars_at_the_end_are_all_files_below() {
        let root = tempfile::tempdir().unwrap();
        [
            "a.gz",
            "day/b.gz",
            "day/hour/c.gz",
            "day/.c.gz.crc",
            "day/_SUCCESS",
        ]
        .iter()
        .for_each(|name| touch(root.path(), name));
        let pattern = format!("{}/**", root.path().display());
        assert_eq!(
            names(&matching(&pattern).unwrap(), root.path()),
            ["a.gz", "day/b.gz", "day/hour/c.gz"]
        );
    }

    #[test]
    fn a_glob_does_not_cross_folders_and_skips_them() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "b.gz");
        touch(root.path(), "a.gz");
        touch(root.path(), "sub.gz/c.gz");
        let pattern = format!("{}/*.gz", root.path().display());
        assert_eq!(
            names(&matching(&pattern).unwrap(), root.path()),
            ["a.gz", "b.gz"]
        );
    }
}
