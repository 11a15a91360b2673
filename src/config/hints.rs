//! What was probably meant: the nearest known name, the section a key belongs in, how to write a value.

use super::node::{Node, Value, shorten};
use super::schema::{SectionShape, Shape};

/// Names listed where none is near.
const MAX_LISTED: usize = 20;
/// Places named where a key is known in another section.
const MAX_PLACES: usize = 3;

/// `, did you mean …?`, or the known names where none is near; `wanted` is not among `known`.
pub(crate) fn suggestion<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = known.take(1000).collect();
    meant(wanted, &names)
        .or_else(|| longer(wanted, &names))
        .unwrap_or_else(|| listed(&names))
}

/// What to do with a key that `section` of a document of the shape `root` does not have: where it belongs, or which one
/// was meant.
pub(crate) fn unknown_key(wanted: &str, section: &SectionShape, root: &Shape) -> String {
    let names: Vec<&str> = section.fields.iter().map(|field| field.name).collect();
    let below = || placed(wanted, section, |place| format!("{place} here"));
    let elsewhere = || match root {
        Shape::Section(root) => placed(wanted, &root(), str::to_owned),
        _ => None,
    };
    below()
        .or_else(|| meant(wanted, &names))
        .or_else(elsewhere)
        .or_else(|| longer(wanted, &names))
        .unwrap_or_else(|| listed(&names))
}

fn meant(wanted: &str, names: &[&str]) -> Option<String> {
    Some(format!(", did you mean {}?", nearest(wanted, names)?))
}

/// The few names that contain `wanted`.
fn longer(wanted: &str, names: &[&str]) -> Option<String> {
    let longer = names.iter().filter(|name| name.contains(wanted));
    let longer: Vec<&str> = longer.copied().collect();
    let are_few = (1..=MAX_PLACES).contains(&longer.len());
    (are_few && wanted.len() > 4).then(|| format!(", did you mean {}?", longer.join(" or ")))
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let shown = names[..names.len().min(MAX_LISTED)].join(", ");
    let more = if names.len() > MAX_LISTED {
        ", …"
    } else {
        ""
    };
    format!(", known here: {shown}{more}")
}

/// `, it belongs in …` for the sections nearest below `section` that have the key `wanted`.
fn placed(wanted: &str, section: &SectionShape, name: impl Fn(&str) -> String) -> Option<String> {
    let mut places = Vec::new();
    places_of(wanted, section, "", &mut places);
    let depth = |place: &String| place.matches(['.', '[']).count();
    let least = places.iter().map(depth).min()?;
    places.retain(|place| depth(place) == least);
    places.dedup();
    let more = places.len() > MAX_PLACES;
    places.truncate(MAX_PLACES);
    let names: Vec<String> = places.iter().map(|place| name(place)).collect();
    let more = if more { " or elsewhere" } else { "" };
    Some(format!(", it belongs in {}{more}", names.join(" or ")))
}

/// The sections below `section` that have the key `wanted`, by their path from it.
fn places_of(wanted: &str, section: &SectionShape, here: &str, places: &mut Vec<String>) {
    if !here.is_empty() && section.fields.iter().any(|field| field.name == wanted) {
        places.push(here.to_owned());
    }
    // Nobody should be sent to what is not supported.
    let is_supported = |name: &str| name != "large_embeddings";
    let fields = section.fields.iter();
    for field in fields.filter(|field| is_supported(field.name)) {
        let mut path = match here {
            "" => field.name.to_owned(),
            _ => format!("{here}.{}", field.name),
        };
        let mut shape = &field.shape;
        loop {
            match shape {
                Shape::Map(value) => {
                    path.push_str(".<name>");
                    shape = value;
                }
                Shape::List(item) => {
                    path.push_str("[i]");
                    shape = item;
                }
                Shape::Section(section) => break places_of(wanted, &section(), &path, places),
                Shape::Scalar(_) | Shape::Any => break,
            }
        }
    }
}

/// The name most like `wanted`, if one is like it at all.
fn nearest<'a>(wanted: &str, known: &[&'a str]) -> Option<&'a str> {
    if wanted.len() > 200 {
        return None;
    }
    let wanted = wanted.to_lowercase();
    // Task names share their first parts, which say nothing.
    let prefix = wanted.rfind('.').map_or(0, |dot| dot + 1);
    let likeness = |name: &str| {
        let (wanted, name) = match name.strip_prefix(&wanted[..prefix]) {
            Some(name) => (&wanted[prefix..], name),
            None => (wanted.as_str(), name),
        };
        let edits = strsim::damerau_levenshtein(wanted, name);
        let close = edits * 3 <= wanted.chars().count();
        let likeness = strsim::jaro_winkler(wanted, name);
        (close || likeness > 0.88).then_some(likeness)
    };
    known
        .iter()
        .filter(|name| name.len() <= 200)
        .filter_map(|name| Some((likeness(&name.to_lowercase())?, *name)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// What a required key of this shape holds.
pub(crate) fn missing(shape: &Shape) -> String {
    let words = shape.expected();
    match shape {
        Shape::Section(section) => {
            let names: Vec<&str> = section().fields.iter().map(|field| field.name).collect();
            format!("{words} of {}", names.join(", "))
        }
        _ => words.to_owned(),
    }
}

/// How to write `node` as the list it should be.
pub(crate) fn list(node: &Node) -> String {
    match &node.value {
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
            format!(" (write [{}])", node.describe())
        }
        Value::Str(text) if !text.is_empty() => format!(" (write [{}])", shorten(text)),
        Value::Map(_) => " (put it in brackets, or `- ` before it)".to_owned(),
        _ => String::new(),
    }
}

/// How to write `node` as the map of `value` that it should be.
pub(crate) fn map(node: &Node, value: &Shape) -> String {
    let name = match &node.value {
        Value::List(items) => items.first().and_then(Node::as_str),
        _ => node.as_str(),
    };
    let name = name.filter(|name| !name.is_empty()).map(shorten);
    match (name, value) {
        (Some(name), Shape::Section(section)) if is_optional(&section()) => {
            format!(" (write each as {name}: {{}})")
        }
        (Some(name), _) => format!(" (write each as {name}: and its value)"),
        (None, _) if node.is_null() => " (write {} for none)".to_owned(),
        _ => String::new(),
    }
}

/// How to write `node` as the section it should be.
pub(crate) fn section(node: &Node, section: &SectionShape, is_root: bool) -> String {
    if is_root && node.is_null() {
        return ": the file is empty".to_owned();
    }
    if node.is_null() && is_optional(section) {
        return " (write {} for its defaults)".to_owned();
    }
    let first = section.fields.first();
    if let Some((name, Shape::Scalar(words))) = first.map(|field| (field.name, &field.shape)) {
        let fits = match node.value {
            Value::Bool(_) => *words == "true or false",
            Value::Int(_) => words.starts_with("an integer") || words.starts_with("a number"),
            Value::Float(_) => words.starts_with("a number"),
            _ => false,
        };
        if fits {
            return format!(" (write {{{name}: {}}})", node.describe());
        }
    }
    let names: Vec<&str> = section.fields.iter().map(|field| field.name).collect();
    listed(&names)
}

fn is_optional(section: &SectionShape) -> bool {
    let is_given = section.fields.iter().all(|field| field.default.is_some());
    is_given
        && !section
            .rules
            .iter()
            .any(|rule| rule.starts_with("exactly one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RecapConfig;
    use crate::config::decode::Decode;

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let known = [
            "layer_sizes",
            "batch_norm",
            "dropout",
            "final_layer_activation",
        ];
        assert_eq!(nearest("layer_size", &known), Some("layer_sizes"));
        assert_eq!(nearest("layers", &known), Some("layer_sizes"));
        assert_eq!(nearest("batchnorm", &known), Some("batch_norm"));
        assert_eq!(nearest("DROPOUT", &known), Some("dropout"));
        assert_eq!(nearest("optimizer", &known), None);
        let tasks = [
            "recap.engagement.is_favorited",
            "recap.engagement.is_replied",
        ];
        assert_eq!(
            nearest("recap.engagement.is_favourited", &tasks),
            Some(tasks[0])
        );
        assert_eq!(nearest("recap.engagement.nope", &tasks), None);
        let hint = |wanted: &str| suggestion(wanted, known.into_iter());
        assert_eq!(hint("activation"), ", did you mean final_layer_activation?");
        assert_eq!(hint("x").matches("layer").count(), 2);
    }

    #[test]
    fn a_key_of_another_section_is_sent_there() {
        let Shape::Section(training) = crate::config::TrainingConfig::shape() else {
            panic!("a section")
        };
        let hint = |key: &str| unknown_key(key, &training(), &RecapConfig::shape());
        assert_eq!(hint("adam"), ", it belongs in optimizer");
        assert!(hint("global_batch_size").starts_with(", it belongs in train_data"));
        assert!(hint("nothing_like_it").starts_with(", known here: save_dir"));
        let Shape::Section(root) = RecapConfig::shape() else {
            panic!("a section")
        };
        assert_eq!(
            unknown_key("num_train_steps", &root(), &RecapConfig::shape()),
            ", it belongs in training here"
        );
    }
}
