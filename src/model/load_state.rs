//! Reading a state into a model: which names fit, and exactly what does not.

use std::collections::HashSet;
use std::fmt;

use super::ModelError;
use crate::torch::named::{NamedTensors, TensorSource};

/// A tensor whose sizes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// Its name in the model.
    pub name: String,
    /// Sizes in the model.
    pub expected: Vec<i64>,
    /// Sizes in the source.
    pub found: Vec<i64>,
}

/// What does not fit, by name; in the order of the model, then of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// In the model, but not in the source.
    pub missing: Vec<String>,
    /// In the source, but not in the model.
    pub unexpected: Vec<String>,
    /// In both, of different shape.
    pub mismatched: Vec<ShapeMismatch>,
}

impl LoadReport {
    /// Whether every tensor fits.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mismatched: Vec<String> = self.mismatched.iter().map(describe).collect();
        let mut separator = "";
        for (title, names) in [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &mismatched),
        ] {
            if !names.is_empty() {
                write!(
                    f,
                    "{separator}{} {title}: {}",
                    names.len(),
                    names.join(", ")
                )?;
                separator = "; ";
            }
        }
        Ok(())
    }
}

fn describe(mismatch: &ShapeMismatch) -> String {
    let ShapeMismatch {
        name,
        expected,
        found,
    } = mismatch;
    format!("{name} (expected {expected:?}, found {found:?})")
}

/// Copies `source` into `state`, or nothing where not every tensor fits; the copies take the element type and device
/// of `state`.
pub(super) fn load(state: &NamedTensors, source: &impl TensorSource) -> Result<(), ModelError> {
    let report = compare(state, source);
    if !report.is_complete() {
        return Err(ModelError::State(report));
    }
    for (name, entry) in state.iter() {
        let read = source.read(name).map_err(|source| ModelError::Read {
            name: name.to_owned(),
            source,
        })?;
        tch::no_grad(|| entry.tensor.shallow_clone().f_copy_(&read))?;
    }
    Ok(())
}

fn compare(state: &NamedTensors, source: &impl TensorSource) -> LoadReport {
    let mut report = LoadReport::default();
    let mut seen = HashSet::new();
    for name in source.names() {
        let Some(entry) = state.get(&name) else {
            report.unexpected.push(name);
            continue;
        };
        let expected = entry.tensor.size();
        let found = source.shape(&name).unwrap_or_default();
        seen.insert(name.clone());
        if expected != found {
            report.mismatched.push(ShapeMismatch {
                name,
                expected,
                found,
            });
        }
    }
    let names = state.iter().map(|(name, _)| name);
    let missing = names.filter(|name| !seen.contains(*name));
    report.missing = missing.map(str::to_owned).collect();
    report
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    fn state(entries: &[(&str, i64, f32)]) -> NamedTensors {
        let mut state = NamedTensors::new();
        for &(name, size, value) in entries {
            let tensor = Tensor::from_slice(&[value]).repeat([size]);
            state.push(name.to_owned(), tensor, true).unwrap();
        }
        state
    }

    fn value(state: &NamedTensors, name: &str) -> i64 {
        state.get(name).unwrap().tensor.int64_value(&[0])
    }

    fn target() -> NamedTensors {
        state(&[
            ("a.x", 2, 0.0),
            ("a.y", 3, 0.0),
            ("ab", 1, 0.0),
            ("c", 1, 0.0),
        ])
    }

    #[test]
    fn a_load_names_everything_that_does_not_fit_and_changes_nothing() {
        let target = target();
        let source = state(&[
            ("a.x", 2, 1.0),
            ("a.y", 4, 1.0),
            ("ab", 1, 1.0),
            ("d", 1, 1.0),
        ]);
        let error = load(&target, &source).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the state does not fit the model: 1 missing: c; 1 unexpected: d; \
             1 of another shape: a.y (expected [3], found [4])"
        );
        assert_eq!(value(&target, "a.x"), 0);
    }

    #[test]
    fn a_state_that_fits_is_copied_whole() {
        let target = target();
        let source = state(&[
            ("ab", 1, 3.0),
            ("a.x", 2, 1.0),
            ("a.y", 3, 2.0),
            ("c", 1, 4.0),
        ]);
        load(&target, &source).unwrap();
        let values = ["a.x", "a.y", "ab", "c"].map(|name| value(&target, name));
        assert_eq!(values, [1, 2, 3, 4]);
    }
}
