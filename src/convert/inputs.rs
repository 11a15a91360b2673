//! Which tables `inputs` names: globs, braces, folders, addresses in stores; and what the names of their folders say.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::error::ConvertError;
use crate::data::{is_hidden, is_hidden_name, is_remote, matching_objects};

/// The most patterns that the braces of one may stand for.
const MAX_PATTERNS: usize = 10_000;
/// What Hive and Spark call a folder whose column is empty.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";
/// A `*` crosses no folder.
const MATCH: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// A table, and the columns that its folders stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) path: Arc<Path>,
    /// Names and values of the folders `name=value` above it; `None` for no value.
    pub(super) partitions: Vec<(String, Option<String>)>,
}

/// Files that were found, and how many were passed over.
#[derive(Debug, Default)]
struct Search {
    found: Vec<PathBuf>,
    hidden: usize,
    folders: usize,
}

/// The tables that `patterns` name: in the order of the patterns, those of one sorted, each once.
pub(super) fn find(patterns: &[String]) -> Result<Vec<Table>, ConvertError> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for pattern in patterns {
        let mut search = Search::default();
        for part in parts(pattern)? {
            search.take(find_part(&part, pattern)?);
        }
        if search.hidden + search.folders > 0 {
            let (hidden, folders) = (search.hidden, search.folders);
            tracing::warn!(pattern, hidden, folders, "inputs passed over");
        }
        search.found.sort();
        files.extend(
            search
                .found
                .into_iter()
                .filter(|file| seen.insert(file.clone())),
        );
    }
    let table = |path: PathBuf| Table {
        partitions: partitions(&path),
        path: path.into(),
    };
    Ok(files.into_iter().map(table).collect())
}

/// The patterns that `pattern` stands for. A name that is there is meant as it stands, whatever signs are in it.
fn parts(pattern: &str) -> Result<Vec<String>, ConvertError> {
    if !is_remote(Path::new(pattern)) && Path::new(pattern).exists() {
        return Ok(vec![pattern.to_owned()]);
    }
    expand(pattern)
}

/// What `part` names, which is all of `pattern` or one of the choices of its braces: each must be there.
fn find_part(part: &str, pattern: &str) -> Result<Search, ConvertError> {
    let mut search = Search::default();
    search.add(part)?;
    if !search.found.is_empty() {
        return Ok(search);
    }
    let origin = if part == pattern {
        String::new()
    } else {
        format!(", a part of `{pattern}`,")
    };
    Err(ConvertError::NoFiles {
        pattern: part.to_owned(),
        origin,
        passed: search.passed_over(),
    })
}

impl Search {
    fn take(&mut self, other: Self) {
        self.found.extend(other.found);
        self.hidden += other.hidden;
        self.folders += other.folders;
    }

    fn add(&mut self, pattern: &str) -> Result<(), ConvertError> {
        if is_remote(Path::new(pattern)) {
            return self.add_objects(pattern);
        }
        // A name that is there is meant as it stands, whatever signs are in it.
        if Path::new(pattern).exists() {
            return self.add_named(Path::new(pattern));
        }
        let paths = glob::glob_with(pattern, MATCH)
            .map_err(|error| ConvertError::setting("inputs", format!("no glob: {error}")))?;
        for path in paths {
            let path = path.map_err(|error| {
                let path = error.path().to_owned();
                ConvertError::io("list", &path)(error.into())
            })?;
            if is_hidden(pattern, &path.to_string_lossy()) {
                self.hidden += 1;
            } else if path.is_dir() && !is_partition(&path) {
                self.folders += 1;
            } else {
                self.add_named(&path)?;
            }
        }
        Ok(())
    }

    /// A file, or everything in a folder.
    fn add_named(&mut self, path: &Path) -> Result<(), ConvertError> {
        let metadata = std::fs::metadata(path).map_err(ConvertError::io("open", path))?;
        if metadata.is_file() {
            self.found.push(path.to_owned());
            return Ok(());
        }
        if !metadata.is_dir() {
            let reason = format!(
                "{} is no regular file, and a table is read more than once: write it to a file",
                path.display()
            );
            return Err(ConvertError::setting("inputs", reason));
        }
        let entries = std::fs::read_dir(path).map_err(ConvertError::io("list", path))?;
        for entry in entries {
            let entry = entry.map_err(ConvertError::io("list", path))?;
            if is_hidden_name(&entry.file_name().to_string_lossy()) {
                self.hidden += 1;
            } else {
                self.add_named(&entry.path())?;
            }
        }
        Ok(())
    }

    fn add_objects(&mut self, pattern: &str) -> Result<(), ConvertError> {
        // Stores have no folders: what a name with a slash behind it holds is everything that begins with it.
        let all = pattern.ends_with('/').then(|| format!("{pattern}**"));
        let pattern = all.as_deref().unwrap_or(pattern);
        for path in matching_objects(pattern)? {
            if is_hidden(pattern, &path.to_string_lossy()) {
                self.hidden += 1;
            } else {
                self.found.push(path);
            }
        }
        Ok(())
    }

    fn passed_over(&self) -> String {
        let mut passed = String::new();
        if self.hidden > 0 {
            passed +=
                "; hidden files and marks such as _SUCCESS are passed over, name them to read them";
        }
        if self.folders > 0 {
            passed += "; folders are passed over by globs, name them to read all that is in them";
        }
        passed
    }
}

fn is_partition(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.contains('='))
}

/// The columns that the folders above `path` stand for.
fn partitions(path: &Path) -> Vec<(String, Option<String>)> {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let pair = |component| match component {
        Component::Normal(name) => {
            let (name, value) = name.to_str()?.split_once('=')?;
            let value = unescaped(value);
            (!name.is_empty()).then(|| (unescaped(name), is_value(&value).then_some(value)))
        }
        _ => None,
    };
    folders.filter_map(pair).collect()
}

/// Whether a folder of this value stands for anything but an empty cell.
fn is_value(value: &str) -> bool {
    !value.is_empty() && value != NO_VALUE
}

/// `text` with `%2F` and its like as the characters that they stand for.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| byte == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The patterns that `pattern` stands for: one for each of the parts between the commas of `{a,b}`, which may hold others.
fn expand(pattern: &str) -> Result<Vec<String>, ConvertError> {
    let mut done = Vec::new();
    let mut waiting = vec![pattern.to_owned()];
    while let Some(next) = waiting.pop() {
        match braces(&next) {
            None => done.push(next),
            Some((begin, parts, end)) => {
                let parts = parts.iter().rev();
                waiting.extend(parts.map(|part| format!("{begin}{part}{end}")));
            }
        }
        if done.len() + waiting.len() > MAX_PATTERNS {
            let reason = format!("the braces stand for more than {MAX_PATTERNS} patterns");
            return Err(ConvertError::setting("inputs", reason));
        }
    }
    Ok(done)
}

/// What stands before the first braces with a comma in them, the parts between their commas, and what stands behind.
fn braces(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let opens = pattern.match_indices('{');
    opens.map(|(at, _)| at).find_map(|open| {
        let (mut depth, mut begin, mut parts) = (0, open + 1, Vec::new());
        for (at, sign) in pattern[open..].match_indices(['{', '}', ',']) {
            let at = open + at;
            match sign {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ if depth == 1 => {
                    parts.push(&pattern[begin..at]);
                    begin = at + 1;
                }
                _ => {}
            }
            if depth == 0 {
                parts.push(&pattern[begin..at]);
                let is_choice = parts.len() > 1;
                return is_choice.then(|| (&pattern[..open], parts, &pattern[at + 1..]));
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_each_of_their_parts() {
        for (pattern, expected) in [
            ("a.csv", vec!["a.csv"]),
            ("{a,b}.csv", vec!["a.csv", "b.csv"]),
            ("x{1,2}{a,b}", vec!["x1a", "x1b", "x2a", "x2b"]),
            ("{a,b{c,d}}/*", vec!["a/*", "bc/*", "bd/*"]),
            ("a{,.gz}", vec!["a", "a.gz"]),
            ("{a}{b,c}", vec!["{a}b", "{a}c"]),
            ("a{b,c", vec!["a{b,c"]),
            ("a}b{", vec!["a}b{"]),
        ] {
            assert_eq!(expand(pattern).unwrap(), expected, "{pattern}");
        }
        let message = expand(&"{a,b}".repeat(20)).unwrap_err().to_string();
        assert!(message.contains("more than 10000"), "{message}");
    }

    #[test]
    fn folders_stand_for_columns() {
        let path = Path::new(
            "/t/day=2024-05-01/city=S%C3%A3o%20P%zz/=x/k=__HIVE_DEFAULT_PARTITION__/n=/a=b.csv",
        );
        let pair = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        let expected = [
            pair("day", Some("2024-05-01")),
            pair("city", Some("São P%zz")),
            pair("k", None),
            pair("n", None),
        ];
        assert_eq!(partitions(path), expected);
    }

    fn names(folder: &Path, patterns: &[&str]) -> Result<Vec<String>, String> {
        let patterns = patterns
            .iter()
            .map(|p| folder.join(p).display().to_string());
        let found = find(&patterns.collect::<Vec<_>>()).map_err(|error| error.to_string())?;
        let names = found
            .iter()
            .map(|table| table.path.strip_prefix(folder).unwrap());
        Ok(names.map(|name| name.display().to_string()).collect())
    }

    #[test]
    fn patterns_keep_their_order_and_pass_over_what_is_hidden() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "b/2.csv",
            "b/1.csv",
            "a.csv",
            "_SUCCESS",
            ".a.csv.part",
            "t/day=1/x.csv",
            "t/day=2/y.csv",
            "t/_temporary/z.csv",
            "odd[1].csv",
            "sub/c.csv",
        ] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let names = |patterns: &[&str]| names(root.path(), patterns);
        assert_eq!(
            names(&["b/*.csv", "*.csv"]).unwrap(),
            ["b/1.csv", "b/2.csv", "a.csv", "odd[1].csv"]
        );
        assert_eq!(
            names(&["{a,b/2}.csv", "a.csv"]).unwrap(),
            ["a.csv", "b/2.csv"]
        );
        assert_eq!(names(&["odd[1].csv"]).unwrap(), ["odd[1].csv"]);
        let table = ["t/day=1/x.csv", "t/day=2/y.csv"];
        for pattern in ["t", "t/*", "t/day=*", "t/*/*.csv"] {
            assert_eq!(names(&[pattern]).unwrap()[..2], table, "{pattern}");
        }
        assert_eq!(names(&["t"]).unwrap(), table);
        assert_eq!(names(&["_SUCCESS"]).unwrap(), ["_SUCCESS"]);
        assert_eq!(names(&[".*"]).unwrap(), [".a.csv.part"]);
        let message = names(&["_?UCCESS", "*.part"]).unwrap_err();
        assert!(
            message.contains("*.part` matches no file; hidden files"),
            "{message}"
        );
        let message = names(&["su?"]).unwrap_err();
        assert!(
            message.contains("folders are passed over by globs"),
            "{message}"
        );
    }

    #[test]
    fn every_choice_of_braces_must_be_there() {
        let root = tempfile::tempdir().unwrap();
        let names = |patterns: &[&str]| names(root.path(), patterns);
        for name in ["jan.csv", "mar.csv", "x{1,2}.csv"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        assert_eq!(names(&["{jan,mar}.csv"]).unwrap(), ["jan.csv", "mar.csv"]);
        for choices in ["{jan,feb,mar}", "{jan,fe?}", "{feb,mar}", "{jan,{mar,feb}}"] {
            let message = names(&[&format!("{choices}.csv")]).unwrap_err();
            let pattern = format!("{choices}.csv`, matches no file");
            assert!(message.contains("/fe"), "{message}");
            assert!(message.ends_with(&pattern), "{message}");
        }
        assert_eq!(names(&["x{1,2}.csv"]).unwrap(), ["x{1,2}.csv"]);
        std::fs::write(root.path().join("x1.csv"), "").unwrap();
        assert_eq!(names(&["x{1,2}.csv"]).unwrap(), ["x{1,2}.csv"]);
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let message = find(&["/dev/null".to_owned()]).unwrap_err().to_string();
        assert!(
            message.contains("/dev/null is no regular file"),
            "{message}"
        );
    }
}
