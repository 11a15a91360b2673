//! Where files and folders lie, as a configuration writes it: `~` is the home, data alone may lie in stores, and no
//! address holds a secret. Looked at in the tree, before anything is decoded or shown.

use std::sync::Arc;

use super::decode::Decoder;
use super::error::ProblemKind;
use super::node::{Node, Value};
use super::path::Path;
use super::substitute::Lookup;
use crate::redact;

/// Keys of data, which may lie in stores.
const DATA: [&str; 2] = ["inputs", "data_root"];
/// Keys of what must lie in folders of this machine.
const LOCAL: [&str; 7] = [
    "save_dir",
    "initial_checkpoint_dir",
    "cache_dir",
    "output_dir",
    "schema_path",
    "continuous_feature_mask_path",
    "binary_feature_mask_path",
];
/// Stores that data is read from.
const STORES: [&str; 4] = ["gs", "s3", "http", "https"];

/// Puts the home in place of `~` below `root`, and reports what cannot be a place.
pub(super) fn settle(root: &mut Node, environment: Lookup<'_>, at: &mut Decoder) {
    let home = environment("HOME").filter(|home| !home.is_empty());
    walk(root, &Path::default(), "", &home, at);
}

fn walk(node: &mut Node, path: &Path, key: &str, home: &Option<String>, at: &mut Decoder) {
    match &mut node.value {
        Value::Str(text) => {
            let problem = problem_of(key, text).or_else(|| put_home(key, text, home.as_deref()));
            if let Some(problem) = problem {
                at.report(path.clone(), &node.mark, ProblemKind::Rule(problem));
            }
        }
        Value::List(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                walk(item, &path.index(i), key, home, at);
            }
        }
        Value::Map(entries) => {
            for (name, value) in entries {
                let name = name.as_str().unwrap_or_default().to_owned();
                walk(value, &path.key(&name), &name, home, at);
            }
        }
        _ => {}
    }
}

/// What is wrong with `text` as the value of `key`.
fn problem_of(key: &str, text: &str) -> Option<String> {
    if redact::is_needed(text) {
        return Some(format!(
            "{} holds a user, a password or a signed query, and would be logged: use the variables of the store \
             (AWS_..., GOOGLE_...)",
            redact::value(text)
        ));
    }
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_scheme {
        return None;
    }
    if LOCAL.contains(&key) {
        return Some(format!(
            "{text} is no folder or file of this machine: only data may lie in a store, write a path"
        ));
    }
    (DATA.contains(&key) && !STORES.contains(&scheme)).then(|| {
        format!(
            "{text} is in no store that is known: write gs://, s3://, http://, https:// or a path"
        )
    })
}

/// Puts the home in place of a `~` at the beginning; else says why that cannot be done.
fn put_home(key: &str, text: &mut Arc<str>, home: Option<&str>) -> Option<String> {
    if !(LOCAL.contains(&key) || DATA.contains(&key)) {
        return None;
    }
    let rest = text.strip_prefix('~')?;
    if !(rest.is_empty() || rest.starts_with('/')) {
        return Some(format!(
            "{text}: `~` is the home only before a `/`; write the path, or ./{text} for a name that begins so"
        ));
    }
    match home {
        Some(home) => *text = format!("{}{rest}", home.trim_end_matches('/')).into(),
        None => return Some(format!("{text}: HOME is not set, so write the path")),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(key: &str, text: &str) -> String {
        problem_of(key, text).unwrap_or_default()
    }

    #[test]
    fn only_data_lies_in_stores() {
        for key in LOCAL {
            for text in [
                "s3://b/x",
                "gs://b",
                "https://h/x",
                "hdfs://n/x",
                "file:///x",
                "S3://b",
            ] {
                assert!(problem(key, text).contains("write a path"), "{key} {text}");
            }
            assert_eq!(problem(key, "/a/b"), "");
        }
        assert_eq!(problem("inputs", "s3://b/*.gz"), "");
        assert_eq!(problem("inputs", "s3://b/year=202?/month=01/*.gz"), "");
        assert!(problem("data_root", "hdfs://n/x").contains("no store that is known"));
        assert_eq!(problem("labels", "a == \"x://y\""), "");
    }

    #[test]
    fn secrets_are_refused_under_any_key_and_not_repeated() {
        for text in [
            "https://me:pw1@host/a.gz",
            "https://h/a.gz?X-Amz-Signature=pw1",
            "https://h/a.gz#pw1",
            "https://me:a pw1@host/a.gz",
            "https://me:a\n\tpw1@host/a.gz",
            "https:me:pw1@host/a.gz",
            "http:/me:pw1@host/a.gz",
            "//me:pw1@host/a.gz",
        ] {
            for key in ["inputs", "save_dir", "anything"] {
                let problem = problem(key, text);
                assert!(
                    problem.contains("signed query") && !problem.contains("pw1"),
                    "{problem}"
                );
            }
        }
    }

    #[test]
    fn a_tilde_is_the_home() {
        let put = |text: &str, home| {
            let mut text: Arc<str> = text.into();
            let problem = put_home("save_dir", &mut text, home);
            (text.to_string(), problem.is_some())
        };
        assert_eq!(
            put("~/runs", Some("/home/me/")),
            ("/home/me/runs".to_owned(), false)
        );
        assert_eq!(put("~", Some("/home/me")), ("/home/me".to_owned(), false));
        assert_eq!(put("/a/~/b", Some("/h")), ("/a/~/b".to_owned(), false));
        assert!(put("~bob/runs", Some("/h")).1, "somebody else's home");
        assert!(put("~/runs", None).1);
    }
}
