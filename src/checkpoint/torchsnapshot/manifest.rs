//! The manifest of a snapshot: text to entries, in time that grows with its length alone.

use std::fmt;

use indexmap::IndexMap;
use indexmap::map::Entry as Place;
use saphyr_parser::{Event, Parser};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Longest manifest that is read: 64 ranks of the production model need about a tenth.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// Nesting that no manifest comes near.
const MAX_DEPTH: usize = 64;

#[derive(Deserialize)]
struct Metadata {
    #[serde(deserialize_with = "each_once")]
    manifest: IndexMap<String, Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Entry {
    Tensor(TensorEntry),
    ChunkedTensor(ChunkedEntry),
    #[serde(other)]
    Other,
}

/// One tensor, a part of a file or all of it.
#[derive(Debug, Deserialize)]
pub(super) struct TensorEntry {
    pub(super) location: String,
    pub(super) serializer: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<i64>,
    pub(super) byte_range: Option<(u64, u64)>,
}

/// A large tensor in pieces along its first dimension.
#[derive(Debug, Deserialize)]
pub(super) struct ChunkedEntry {
    pub(super) dtype: String,
    pub(super) shape: Vec<i64>,
    pub(super) chunks: Vec<Chunk>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    pub(super) offsets: Vec<i64>,
    pub(super) sizes: Vec<i64>,
    pub(super) tensor: TensorEntry,
}

/// Entries under their keys, which a parser by itself would let overwrite one another.
fn each_once<'de, D: Deserializer<'de>>(from: D) -> Result<IndexMap<String, Entry>, D::Error> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = IndexMap<String, Entry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("entries under their keys")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = IndexMap::new();
            while let Some((key, entry)) = map.next_entry::<String, Entry>()? {
                match entries.entry(key) {
                    Place::Vacant(place) => drop(place.insert(entry)),
                    Place::Occupied(place) => {
                        let key = place.key();
                        return Err(A::Error::custom(format!("key {key:?} is there twice")));
                    }
                }
            }
            Ok(entries)
        }
    }

    from.deserialize_map(Entries)
}

/// The entries of a manifest, in their order; says what is wrong with one that is none.
pub(super) fn parse(text: Vec<u8>) -> Result<IndexMap<String, Entry>, String> {
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    // Most manifests are JSON, whose parser has a limit of depth; the others are YAML, whose parser takes a time that
    // grows with the square of the depth.
    if let Ok(metadata) = serde_json::from_str::<Metadata>(&text) {
        return Ok(metadata.manifest);
    }
    expect_shallow(&text)?;
    let metadata: Metadata = serde_yaml::from_str(&text).map_err(|error| error.to_string())?;
    Ok(metadata.manifest)
}

/// Refuses a text that is nested too deep. Events come one by one, so that it is not read further than that.
fn expect_shallow(text: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        match event.map_err(|error| error.to_string())?.0 {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("values are nested more than {MAX_DEPTH} deep"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_yaml_or_json() {
        let yaml = "version: 0.1.0\nmanifest:\n  0/model:\n    type: OrderedDict\n    keys: [a]\n";
        let json = r#"{"manifest": {"0/model": {"type": "OrderedDict", "keys": ["a"]}}}"#;
        for text in [yaml, json] {
            let entries = parse(text.into()).unwrap();
            assert!(matches!(entries["0/model"], Entry::Other), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        let yaml = "manifest:\n  a: {type: dict}\n  b: {type: dict}\n  a: {type: list}\n";
        let json = r#"{"manifest": {"a": {"type": "dict"}, "a": {"type": "list"}}}"#;
        for text in [yaml, json] {
            let problem = parse(text.into()).unwrap_err();
            assert!(problem.contains("\"a\""), "{problem}");
        }
    }

    #[test]
    fn deep_nesting_of_every_kind_is_refused_at_once() {
        for open in ["[", "{a: ", "- ", "? ", "[[], "] {
            let text = format!("manifest: {}", open.repeat(200_000));
            let text = text
                .replace("manifest: -", "manifest:\n -")
                .replace("manifest: ?", "? ");
            assert!(parse(text.into()).is_err(), "{open}");
        }
        let json = format!(r#"{{"manifest": {}"#, "[".repeat(200_000));
        assert!(parse(json.into()).is_err());
    }

    #[test]
    fn aliases_do_not_multiply() {
        let mut text = "manifest:\n  b0: &a0 {type: dict, keys: [x, x]}\n".to_owned();
        for level in 1..20 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            let entry = format!("  b{level}: &a{level} {{type: dict, keys: [{before}]}}\n");
            text.push_str(&entry);
        }
        assert!(parse(text.into()).is_err());
    }
}
