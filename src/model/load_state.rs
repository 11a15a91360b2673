//! Reading a state into a model: which names fit, and exactly what does not.

use std::collections::HashSet;
use std::fmt;

use super::ModelError;
use crate::torch::named::{NamedTensors, TensorSource};

/// How to load a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Refuse, before anything is changed, unless every tensor fits.
    pub strict: bool,
    /// Load only tensors whose name is, or continues after a dot, one of these; the others are neither missing nor
    /// unexpected. `None`: all.
    pub subset: Option<Vec<String>>,
    /// Pairs of (beginning of a name in the source, what stands there in the model); the first that fits counts.
    pub rename: Vec<(String, String)>,
}

impl Default for LoadOptions {
    /// Strict, everything, under the same names.
    fn default() -> Self {
        Self {
            strict: true,
            subset: None,
            rename: Vec::new(),
        }
    }
}

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

/// What was loaded and what was not, by name in the model; in the order of the model, then of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Loaded.
    pub loaded: Vec<String>,
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
        if separator.is_empty() {
            write!(f, "all {} tensors fit", self.loaded.len())?;
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

/// Copies from `source` into `state` what fits; the copies take the element type and device of `state`.
pub(super) fn load(
    state: &NamedTensors,
    source: &impl TensorSource,
    options: &LoadOptions,
) -> Result<LoadReport, ModelError> {
    let (report, plan) = compare(state, source, options);
    if options.strict && !report.is_complete() {
        return Err(ModelError::State(report));
    }
    for (name, source_name) in plan {
        let read = source
            .read(&source_name)
            .map_err(|source| ModelError::Read {
                name: source_name,
                source,
            })?;
        if let Some(entry) = state.get(&name) {
            tch::no_grad(|| entry.tensor.shallow_clone().f_copy_(&read))?;
        }
    }
    Ok(report)
}

/// The report, and pairs of names (in the model, in the source) of what fits.
fn compare(
    state: &NamedTensors,
    source: &impl TensorSource,
    options: &LoadOptions,
) -> (LoadReport, Vec<(String, String)>) {
    let wanted = |name: &str| match &options.subset {
        Some(subset) => subset.iter().any(|part| is_within(name, part)),
        None => true,
    };
    let mut report = LoadReport::default();
    let mut plan = Vec::new();
    let mut seen = HashSet::new();
    for source_name in source.names() {
        let name = rename(&source_name, &options.rename);
        if !wanted(&name) {
            continue;
        }
        let Some(entry) = state.get(&name) else {
            report.unexpected.push(name);
            continue;
        };
        let expected = entry.tensor.size();
        let found = source.shape(&source_name).unwrap_or_default();
        seen.insert(name.clone());
        if expected == found {
            plan.push((name, source_name));
        } else {
            report.mismatched.push(ShapeMismatch {
                name,
                expected,
                found,
            });
        }
    }
    let fits: HashSet<&String> = plan.iter().map(|(name, _)| name).collect();
    for (name, _) in state.iter().filter(|(name, _)| wanted(name)) {
        if fits.contains(&name.to_owned()) {
            report.loaded.push(name.to_owned());
        } else if !seen.contains(name) {
            report.missing.push(name.to_owned());
        }
    }
    (report, plan)
}

fn is_within(name: &str, part: &str) -> bool {
    let part = part.strip_suffix('.').unwrap_or(part);
    let rest = name.strip_prefix(part);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn rename(name: &str, rules: &[(String, String)]) -> String {
    for (from, to) in rules {
        if let Some(rest) = name.strip_prefix(from.as_str()) {
            return format!("{to}{rest}");
        }
    }
    name.to_owned()
}
