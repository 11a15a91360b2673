//! Stratifiers: rows to report on separately, chosen by the value of a discrete feature.

use std::collections::HashSet;

use tch::Tensor;

use super::ModelError;
use super::features::{discrete_column, discrete_of};
use super::scope::Scope;
use crate::batch::Batch;
use crate::config::StratifierConfig;

/// Some rows of a batch.
#[derive(Debug)]
pub struct Stratum {
    /// Name in reports.
    pub name: String,
    /// `[B]` bool: whether a row belongs.
    pub rows: Tensor,
}

/// Chooses rows.
#[derive(Debug)]
pub(super) struct Stratifier {
    name: String,
    column: i64,
    value: i64,
}

impl Stratifier {
    /// `discrete` is the number of discrete columns.
    pub(super) fn build_all(
        discrete: usize,
        config: Option<&[StratifierConfig]>,
    ) -> Result<Vec<Self>, ModelError> {
        let mut names = HashSet::new();
        let mut stratifiers = Vec::new();
        for (i, config) in config.unwrap_or_default().iter().enumerate() {
            let scope = Scope::new("", format!("model.stratifiers[{i}]"));
            if !names.insert(&config.name) {
                let problem = format!(
                    "expected a name that no other stratifier has, found `{}`",
                    config.name
                );
                return Err(scope.error("name", problem));
            }
            stratifiers.push(Self {
                name: config.name.clone(),
                column: discrete_column(&scope, "index", config.index, discrete)?,
                value: config.value,
            });
        }
        Ok(stratifiers)
    }

    /// The rows of `batch` whose discrete feature has the value.
    pub(super) fn stratum(&self, batch: &Batch) -> Result<Stratum, ModelError> {
        let column = discrete_of(batch)?.f_select(1, self.column)?;
        Ok(Stratum {
            name: self.name.clone(),
            rows: column.f_eq(self.value)?,
        })
    }
}
