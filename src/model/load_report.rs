//! What of a state does not fit a model.

use std::fmt;

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
