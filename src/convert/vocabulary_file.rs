//! Reads `vocabulary.json`: whatever of it is not as a conversion writes it is refused by its key, since a value more
//! or less shifts every column behind it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::number;
use super::plan::Plan;
use super::ranges::Ranges;
use super::vocabulary::{VERSION, Values, Vocabulary};
use crate::regular_file;

/// The most bytes that a vocabulary may have.
const MAX_BYTES: u64 = 1 << 30;

/// The file as it stands on the disk.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, rename = "version")]
    _version: u64,
    rows: Option<u64>,
    binary_width: Option<usize>,
    medians: Option<Columns<f64>>,
    one_hot: Columns<Values>,
    buckets: Columns<Vec<f64>>,
    discrete: Columns<Values>,
}

/// A JSON object, no key of which stands there twice.
struct Columns<V>(IndexMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Columns<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Keys<V> {
            type Value = Columns<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a key per column")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut columns = IndexMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if columns.contains_key(&key) {
                        return Err(A::Error::custom(format!(
                            "the column `{key}` is there twice"
                        )));
                    }
                    columns.insert(key, map.next_value()?);
                }
                Ok(Columns(columns))
            }
        }
        deserializer.deserialize_map(Keys(PhantomData))
    }
}

/// The vocabulary in the file at `path`, if it is one for `plan`; the error says what is wrong, and where.
pub(super) fn read(path: &Path, plan: &Plan) -> Result<Vocabulary, String> {
    let text = regular_file::read(path, MAX_BYTES).map_err(|error| error.to_string())?;
    check_version(&text)?;
    let written: Written = serde_json::from_slice(&text).map_err(|error| {
        format!("not a vocabulary as convert writes it: {error}; convert again without --vocabulary to make one")
    })?;
    let vocabulary = Vocabulary {
        version: VERSION,
        rows: written.rows,
        binary_width: written.binary_width,
        medians: written.medians.map(|medians| medians.0),
        one_hot: written.one_hot.0,
        buckets: written.buckets.0,
        discrete: written.discrete.0,
    };
    check_columns(&vocabulary, plan)?;
    check_medians(&vocabulary)?;
    check_values("one_hot", &vocabulary.one_hot, vocabulary.rows)?;
    check_values("discrete", &vocabulary.discrete, vocabulary.rows)?;
    check_ranges(&vocabulary, plan)?;
    let width = vocabulary.width();
    match vocabulary.binary_width {
        Some(claimed) if claimed != width => Err(format!(
            "binary_width: the file says {claimed}, its values and ranges amount to {width}: it was changed by hand"
        )),
        _ => Ok(vocabulary),
    }
}

/// A file of a later version may have keys that are unknown here, so its version comes first.
fn check_version(text: &[u8]) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: Option<u64>,
    }
    match serde_json::from_slice(text) {
        Ok(Version {
            version: Some(found),
        }) if found > VERSION => Err(format!(
            "version: expected at most {VERSION}, found {found}: use the program that wrote it, or a newer one"
        )),
        // What else is wrong is found by whoever reads the whole.
        _ => Ok(()),
    }
}

fn check_columns(vocabulary: &Vocabulary, plan: &Plan) -> Result<(), String> {
    fn names<'a>(columns: impl Iterator<Item = &'a String>) -> String {
        columns.map(String::as_str).collect::<Vec<_>>().join(", ")
    }
    let one_hot = names(plan.one_hot.iter().map(|c| &c.column.name));
    let buckets = names(plan.buckets.iter().map(|b| &b.column.name));
    let discrete = names(plan.discrete.iter().map(|c| &c.column.name));
    let continuous = names(plan.continuous.iter().map(|c| &c.name));
    let medians = vocabulary.medians.as_ref();
    if medians.is_none() && plan.missing.is_none() && !plan.continuous.is_empty() {
        return Err(
            "medians, which stand for empty cells of continuous columns, are missing: convert again without \
             --vocabulary, or say in the mapping what stands for them (missing)"
                .to_owned(),
        );
    }
    let medians = medians.map_or_else(|| continuous.clone(), |medians| names(medians.keys()));
    for (key, expected, found) in [
        ("medians", continuous, medians),
        ("one_hot", one_hot, names(vocabulary.one_hot.keys())),
        ("buckets", buckets, names(vocabulary.buckets.keys())),
        ("discrete", discrete, names(vocabulary.discrete.keys())),
    ] {
        if expected != found {
            return Err(format!(
                "{key} is of the columns [{found}], the mapping has [{expected}]"
            ));
        }
    }
    Ok(())
}

/// What stands for empty cells fits where it goes.
fn check_medians(vocabulary: &Vocabulary) -> Result<(), String> {
    for (column, median) in vocabulary.medians.iter().flatten() {
        if !median.is_finite() || median.abs() > f64::from(f32::MAX) {
            return Err(format!(
                "medians.{column}: {median} does not fit a 32-bit float: it was changed by hand"
            ));
        }
    }
    Ok(())
}

/// Every value has one id and one count, all were counted on the rows there were, and stand as convert writes them: the
/// place of a value is its id, so that another order would give it another.
fn check_values(
    key: &str,
    columns: &IndexMap<String, Values>,
    rows: Option<u64>,
) -> Result<(), String> {
    for (column, Values { values, counts }) in columns {
        let at = format!("{key}.{column}");
        if values.len() != counts.len() {
            let (values, counts) = (values.len(), counts.len());
            return Err(format!("{at}: {values} values, but {counts} counts"));
        }
        let mut ids = HashMap::with_capacity(values.len());
        for (id, value) in (1_usize..).zip(values) {
            if let Some(first) = ids.insert(value.as_str(), id) {
                let value = shown(value);
                return Err(format!(
                    "{at}: the value `{value}` has two ids, {first} and {id}"
                ));
            }
        }
        if number::are_numbers(values.iter().map(String::as_str)) {
            check_numbers(&at, values)?;
        }
        let pairs: Vec<_> = counts.iter().zip(values).collect();
        let is_behind = |pair: &[(&u64, &String)]| (pair[1].0, pair[0].1) > (pair[0].0, pair[1].1);
        if let Some(place) = pairs.windows(2).position(is_behind) {
            let [one, other] = [place, place + 1].map(|place| shown(&values[place]));
            return Err(format!(
                "{at}: `{one}` stands before `{other}`: expected the commonest first, equally common ones in the order of \
                 their bytes, as ids follow the order: it was changed by hand"
            ));
        }
        let sum = counts
            .iter()
            .try_fold(0_u64, |sum, count| sum.checked_add(*count));
        if sum.is_none_or(|sum| rows.is_some_and(|rows| sum > rows)) {
            return Err(format!("{at}.counts: more than there were rows"));
        }
    }
    Ok(())
}

/// Where all values are numbers, each stands there once, however it is written.
fn check_numbers(at: &str, values: &[String]) -> Result<(), String> {
    let mut known: HashMap<Cow<'_, str>, &str> = HashMap::with_capacity(values.len());
    for value in values {
        let Some(short) = number::short(value) else {
            continue;
        };
        if let Some(first) = known.insert(short, value) {
            return Err(format!(
                "{at}: `{}` and `{}` are one number with two ids",
                shown(first),
                shown(value)
            ));
        }
    }
    Ok(())
}

/// The beginning of a value.
fn shown(value: &str) -> String {
    value.chars().take(40).collect()
}

/// Ranges ascend, and are those of the mapping where it names them.
fn check_ranges(vocabulary: &Vocabulary, plan: &Plan) -> Result<(), String> {
    for (bucketed, (column, ends)) in plan.buckets.iter().zip(&vocabulary.buckets) {
        let is_ascending = ends.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ascending || ends.iter().any(|end| !end.is_finite()) {
            return Err(format!(
                "buckets.{column}: the ends of ranges do not ascend"
            ));
        }
        match &bucketed.ranges {
            Ranges::At(expected) if expected != ends => {
                return Err(format!(
                    "buckets.{column}: the ends of ranges are not the boundaries of the mapping"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
