//! Reading a state into a model: which names fit, and exactly what does not.

use std::collections::HashSet;

use super::ModelError;
use super::load_report::{LoadReport, ShapeMismatch};
use crate::torch::named::{NamedTensors, TensorSource};

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
