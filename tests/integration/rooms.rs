//! The dependency rule of `src/lib.rs`: no room imports what it must not know.

use std::path::{Path, PathBuf};

/// Which rooms each room may import; `*` is every room.
const RULE: [(&str, &[&str]); 30] = [
    ("main", &["*"]),
    ("lib", &["*"]),
    ("build", &[]),
    ("exit", &["*"]),
    ("commands", &["*"]),
    ("cli", &[]),
    ("logging", &["cli", "distributed"]),
    (
        "train",
        &[
            "data",
            "model",
            "loss",
            "optim",
            "metrics",
            "checkpoint",
            "distributed",
            "torch",
            "config",
            "batch",
            "logging",
            "cli",
        ],
    ),
    ("data", &["config", "batch"]),
    ("convert", &["config", "data"]),
    ("model", &["config", "batch", "torch"]),
    ("loss", &["config", "batch", "torch"]),
    ("optim", &["config", "batch", "torch"]),
    ("metrics", &["config", "batch"]),
    ("output", &[]),
    ("plot", &["metrics"]),
    ("checkpoint", &["config", "batch", "torch"]),
    ("distributed", &["config", "batch", "torch"]),
    ("torch", &["config", "batch"]),
    ("config", &[]),
    ("batch", &[]),
    ("whole_file", &[]),
    ("regular_file", &[]),
    ("place", &[]),
    ("printable", &[]),
    ("machine", &[]),
    ("interrupt", &[]),
    ("redact", &[]),
    ("splitmix", &[]),
    ("protobuf", &[]),
];

/// Rooms that every room may import.
const LEAVES: [&str; 9] = [
    "whole_file",
    "regular_file",
    "place",
    "printable",
    "machine",
    "interrupt",
    "redact",
    "splitmix",
    "protobuf",
];

/// Rooms that do not know libtorch.
const WITHOUT_TCH: [&str; 9] = [
    "config", "batch", "data", "convert", "cli", "machine", "metrics", "output", "plot",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `(room, path, text without comments)` of every source file.
fn files() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    let read = |path: PathBuf| {
        let first = path
            .strip_prefix(&src)
            .unwrap()
            .components()
            .next()
            .unwrap();
        let room = Path::new(first.as_os_str())
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| format!("{line}\n"))
            .collect();
        (room, path, code)
    };
    found.into_iter().map(read).collect()
}

/// The rooms that `code` names after `crate::`.
fn imports(code: &str) -> Vec<String> {
    let name = |rest: &str| {
        rest.chars()
            .take_while(|&c| c.is_alphanumeric() || c == '_')
            .collect::<String>()
    };
    code.split("crate::")
        .skip(1)
        .map(name)
        .filter(|name| RULE.iter().any(|(room, _)| room == name))
        .collect()
}

/// Whether `code` names the crate, as opposed to a word that ends in its name.
fn knows_tch(code: &str) -> bool {
    let crates = code.match_indices("tch::").map(|(at, _)| &code[..at]);
    crates
        .map(|before| before.chars().next_back())
        .any(|c| !c.is_some_and(|c| c.is_alphanumeric() || c == '_'))
}

#[test]
fn no_room_imports_what_it_must_not_know() {
    let mut wrong = Vec::new();
    for (room, path, code) in files() {
        let Some((_, allowed)) = RULE.iter().find(|(known, _)| *known == room) else {
            wrong.push(format!(
                "{} is in a room that the rule does not name",
                path.display()
            ));
            continue;
        };
        for import in imports(&code) {
            let import_is_free = import == room || LEAVES.contains(&import.as_str());
            if !import_is_free && !allowed.contains(&"*") && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
        if WITHOUT_TCH.contains(&room.as_str()) && knows_tch(&code) {
            wrong.push(format!("{} knows tch", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_lives_behind_one_door() {
    let outside = files().into_iter().filter(|(_, path, _)| {
        !path.starts_with(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/torch"))
    });
    let wrong: Vec<_> = outside
        .filter(|(_, _, code)| code.contains("unsafe "))
        .map(|(_, path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_file_says_first_what_it_owns() {
    let missing = |path: &PathBuf| !std::fs::read_to_string(path).unwrap().starts_with("//!");
    let wrong: Vec<_> = files()
        .into_iter()
        .map(|(_, path, _)| path)
        .filter(missing)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
