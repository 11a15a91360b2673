//! Where files and folders lie, as a configuration writes it: `~` is the home, data alone may lie in stores, and no
//! address holds a secret. Looked at in the tree, before anything is decoded or shown.

use std::sync::Arc;

use super::decode::Decoder;
use super::error::ProblemKind;
use super::node::{Node, Value};
use super::path::Path;
use super::substitute::Lookup;
use crate::{place, redact};

/// Keys of data, which may lie in stores.
const DATA: [&str; 2] = ["inputs", "data_root"];
/// Keys of what must lie in folders of this machine.
const LOCAL: [&str; 8] = [
    "save_dir",
    "initial_checkpoint_dir",
    "cache_dir",
    "output_dir",
    "schema_path",
    "analysis_path",
    "continuous_feature_mask_path",
    "binary_feature_mask_path",
];
/// Puts the home in place of `~` below `root`, and reports what cannot be a place.
pub(super) fn settle(root: &mut Node, environment: Lookup<'_>, at: &mut Decoder) {
    let home = environment("HOME");
    walk(root, &Path::default(), "", &home, at);
}

fn walk(node: &mut Node, path: &Path, key: &str, home: &Option<String>, at: &mut Decoder) {
    match &mut node.value {
        Value::Str(text) => {
            if let Err(problem) = settle_one(key, text, home.as_deref()) {
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

/// Settles `text`, the value of `key`, if that is a place; else says what is wrong with it.
fn settle_one(key: &str, text: &mut Arc<str>, home: Option<&str>) -> Result<(), String> {
    if redact::is_needed(text) {
        return Err(format!(
            "{} holds a user, a password or a signed query, and would be logged: use the variables of the store \
             (AWS_..., GOOGLE_...)",
            redact::value(text)
        ));
    }
    let settled = if LOCAL.contains(&key) {
        place::local(text, home)?
    } else if DATA.contains(&key) {
        place::data(text, home)?
    } else {
        return Ok(());
    };
    if *settled != **text {
        *text = settled.into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(key: &str, text: &str) -> String {
        let settled = settle_one(key, &mut text.into(), Some("/home/me"));
        settled.err().unwrap_or_default()
    }

    #[test]
    fn only_data_lies_in_stores() {
        for key in LOCAL {
            for text in ["s3://b/x", "s3:/b/x", "file:///x", "S3://b"] {
                assert!(problem(key, text).contains("write a path"), "{key} {text}");
            }
            assert_eq!(problem(key, "/a/b"), "");
        }
        assert_eq!(problem("inputs", "s3://b/*.gz"), "");
        assert!(problem("data_root", "hdfs://n/x").contains("no store that is known"));
        assert_eq!(problem("labels", "a == \"x://y\""), "");
        assert_eq!(problem("labels", "~bob"), "");
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
        let mut text: Arc<str> = "~/runs".into();
        settle_one("save_dir", &mut text, Some("/home/me")).unwrap();
        assert_eq!(&*text, "/home/me/runs");
        assert!(problem("save_dir", "~bob/runs").contains("in full"));
    }
}
