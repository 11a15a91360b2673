//! Paths on the command line, as the shell would give them: it leaves the `~` in `--output=~/x` alone.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, StringValueParser, TypedValueParser};

/// A file or folder of this machine: only data may lie in a store.
pub(super) fn local_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|path| match path.to_str() {
        Some(text) if text.contains("://") => {
            Err("only data may lie in a store: write a path of this machine")
        }
        Some(text) => Ok(at_home(text, std::env::var_os("HOME"))
            .map_or(path, PathBuf::into_os_string)
            .into()),
        None => Ok(path.into()),
    })
}

/// A file or a pattern of files, here or in a store.
pub(super) fn data_place() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().map(|text| {
        let place = at_home(&text, std::env::var_os("HOME"));
        place
            .and_then(|place| place.into_os_string().into_string().ok())
            .unwrap_or(text)
    })
}

/// The path behind `~/` in the home; `None` if `text` is none, or there is no home.
fn at_home(text: &str, home: Option<OsString>) -> Option<PathBuf> {
    let rest = text.strip_prefix("~/")?;
    let home = home.filter(|home| !home.is_empty())?;
    Some(PathBuf::from(home).join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home() {
        let put = |text, home: &str| at_home(text, Some(home.into()));
        assert_eq!(put("~/a/*.gz", "/home/me"), Some("/home/me/a/*.gz".into()));
        assert_eq!(put("/a/~/b", "/home/me"), None);
        assert_eq!(put("~bob", "/home/me"), None);
        assert_eq!(put("~/a", ""), None);
    }
}
