//! Paths on the command line, as the shell would give them: it leaves the `~` in `--output=~/x` alone.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, StringValueParser, TypedValueParser};

use crate::place;

/// A file or folder of this machine: only data may lie in a store.
pub(super) fn local_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|path| match path.to_str() {
        Some(text) => place::local(text, home().as_deref()).map(PathBuf::from),
        None => Ok(path.into()),
    })
}

/// A file or a pattern of files, here or in a store.
pub(super) fn data_place() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().try_map(|text| place::data(&text, home().as_deref()))
}

fn home() -> Option<String> {
    std::env::var("HOME").ok()
}
