//! `configs/REFERENCE.md` is what the types say; `RECAP_UPDATE=1` writes it anew.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use recap_train::config::{ConversionConfig, Decode, Field, RecapConfig, SectionShape, Shape};

const HEAD: &str = "\
# Every key of a configuration

Generated from the types in `src/config` (`RECAP_UPDATE=1 cargo test --test integration config_reference`); a test
compares the two.

A key without a default is required. `null` means: not given. Keys marked **own** are this program's; the original
trainer does not know them, and a file without them means what it meant there. `<name>` stands for a name of your
choice, `[i]` for an entry of a list. Steps count batches.

Text is substituted before anything is read: `$NAME` and `${NAME}` by the environment, `$$` by `$`; `$USER` is the login
name. `--set path=value` changes one value, such as
`--set 'model.tasks.\"recap.engagement.is_replied\".pos_weight=2'`; `check --print` shows where each value comes from.
";

/// The sections in the order in which they are met, each with the paths that lead to it.
fn sections() -> Vec<(SectionShape, Vec<String>)> {
    let mut found: Vec<(SectionShape, Vec<String>)> = Vec::new();
    visit(&RecapConfig::shape(), "", &mut found);
    visit(&ConversionConfig::shape(), "", &mut found);
    found
}

fn visit(shape: &Shape, path: &str, found: &mut Vec<(SectionShape, Vec<String>)>) {
    match shape {
        Shape::Section(section) => {
            let section = section();
            match found
                .iter_mut()
                .find(|(known, _)| known.name == section.name)
            {
                Some((_, paths)) => paths.push(path.to_owned()),
                None => found.push((section.clone(), vec![path.to_owned()])),
            }
            let dot = if path.is_empty() { "" } else { "." };
            for field in &section.fields {
                visit(&field.shape, &format!("{path}{dot}{}", field.name), found);
            }
        }
        Shape::Map(value) => visit(value, &format!("{path}.<name>"), found),
        Shape::List(item) => visit(item, &format!("{path}[i]"), found),
        Shape::Scalar(_) | Shape::Any => {}
    }
}

/// The type of a value in words, with a link to its section.
fn type_of(shape: &Shape) -> String {
    match shape {
        Shape::Scalar(words) => match *words {
            words if words.starts_with("an integer") => "integer".to_owned(),
            words if words.starts_with("a number") => "number".to_owned(),
            choices => choices.to_owned(),
        },
        Shape::Section(section) => {
            let name = section().name;
            format!("[{name}](#{})", name.to_lowercase())
        }
        Shape::Map(value) => format!("map of name to {}", type_of(value)),
        Shape::List(item) => format!("list of {}", type_of(item)),
        Shape::Any => "anything".to_owned(),
    }
}

/// The range by the type alone.
fn range_of(shape: &Shape) -> &'static str {
    match shape {
        Shape::Scalar("an integer of at least 1") => "1 and up",
        Shape::Scalar("a number above 0") => "above 0",
        Shape::Scalar("a number of seconds above 0, at most 1e9") => "above 0, at most 1e9",
        Shape::Scalar(words) => words.strip_prefix("an integer from ").unwrap_or_default(),
        Shape::List(item) | Shape::Map(item) => range_of(item),
        _ => "",
    }
}

fn row(text: &mut String, field: &Field) {
    let doc = field.doc.trim();
    let (doc, range) = match doc.split_once(" Range: ") {
        Some((doc, range)) => (doc, range.trim_end_matches('.')),
        None => (doc, range_of(&field.shape)),
    };
    let meaning = match doc.strip_prefix("Own key: ") {
        Some(doc) => format!("**own** {doc}"),
        None => doc.to_owned(),
    };
    let meaning = meaning.replace('|', "\\|");
    let default = match &field.default {
        None => "required".to_owned(),
        // A section as default is described in its own table.
        Some(text) if text.starts_with('{') => "`{}`".to_owned(),
        Some(text) => format!("`{text}`"),
    };
    let (name, shape) = (field.name, type_of(&field.shape));
    let _ = writeln!(
        text,
        "| `{name}` | {shape} | {default} | {range} | {meaning} |"
    );
}

fn reference() -> String {
    let mut text = HEAD.to_owned();
    for (section, paths) in sections() {
        let _ = writeln!(text, "\n## {}\n\n{}", section.name, section.doc.trim());
        let mut paths: Vec<String> = paths.into_iter().filter(|path| !path.is_empty()).collect();
        let more = paths.len().saturating_sub(4);
        paths.truncate(4);
        if !paths.is_empty() {
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let _ = writeln!(text, "\nAt `{}`{more}.", paths.join("`, `"));
        }
        for rule in &section.rules {
            let _ = writeln!(text, "\nRule: {rule}.");
        }
        if section.fields.is_empty() {
            continue;
        }
        text.push_str("\n| key | type | default | range | meaning |\n|---|---|---|---|---|\n");
        section
            .fields
            .iter()
            .for_each(|field| row(&mut text, field));
    }
    text
}

#[test]
fn the_reference_is_what_the_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/REFERENCE.md");
    let expected = reference();
    if std::env::var_os("RECAP_UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert!(
        found == expected,
        "configs/REFERENCE.md is out of date, RECAP_UPDATE=1 writes it; first difference: {difference:?}"
    );
}

#[test]
fn every_key_says_what_it_means() {
    let mut names = HashSet::new();
    for (section, _) in sections() {
        assert!(
            names.insert(section.name),
            "{} is there twice",
            section.name
        );
        for field in &section.fields {
            let doc = field.doc.trim();
            let is_sentence = doc.len() > 8 && doc.ends_with('.');
            assert!(is_sentence, "{}.{}: {doc:?}", section.name, field.name);
        }
    }
    assert!(names.len() > 35, "{names:?}");
}
