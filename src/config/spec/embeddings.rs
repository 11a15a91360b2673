//! Embeddings over discrete columns: tables with names of their own that every process can hold.

use std::collections::HashSet;

use super::number::Probability;
use super::{Path, Rules};
use crate::config::reports::path;
use crate::config::value::Size;
use crate::config::{ModelConfig, PositionDebiasConfig};

/// The most values of an embedding table, each of which every process holds whole: 4 GiB of f32.
const MAX_TABLE_VALUES: u64 = 1 << 30;

/// A table over a discrete column.
#[derive(Clone, Debug, PartialEq)]
pub struct SmallEmbeddingSpec {
    /// Its name.
    pub name: String,
    /// Rows of the table.
    pub rows: Size,
    /// Width of a row.
    pub width: Size,
    /// The discrete column.
    pub column: usize,
}

/// The embedding of the position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PositionSpec {
    /// The last position with a row of its own.
    pub max_position: Size,
    /// Width of a row.
    pub width: Size,
    /// How often the position of a row is hidden in training.
    pub drop_probability: Probability,
    /// The discrete column.
    pub column: usize,
}

/// Reads the embedding of the position.
pub(super) fn position_debias(
    config: &PositionDebiasConfig,
    here: &Path,
    rules: &mut Rules<'_>,
) -> PositionSpec {
    // One row each for 0, for the last position and for the unknown one.
    let rows = config.max_position.get() + 2;
    fits_whole(rows, config.num_dims, &here.key("max_position"), rules);
    PositionSpec {
        max_position: config.max_position,
        width: config.num_dims,
        drop_probability: Probability::read(
            config.drop_probability,
            &here.key("drop_probability"),
            "a probability from 0 to 1",
            rules,
        ),
        column: column(config.position_feature_index),
    }
}

/// Reads the tables over discrete columns.
pub(super) fn small_embeddings(
    config: &ModelConfig,
    here: &Path,
    rules: &mut Rules<'_>,
) -> Vec<SmallEmbeddingSpec> {
    let here = here.key("small_embeddings").key("tables");
    let small = config.small_embeddings.iter();
    let tables = small.flat_map(|small| &small.tables).enumerate();
    let mut taken: HashSet<String> = config.tasks.keys().map(|task| safe_name(task)).collect();
    let mut specs = Vec::new();
    for (i, table) in tables {
        let here = here.index(i);
        let name = safe_name(&table.name);
        rules.expect(
            !name.is_empty() && taken.insert(name),
            &here.key("name"),
            "a name that no other table and no task has",
            format!("`{}`", table.name),
        );
        fits_whole(
            table.num_embeddings.get(),
            table.embedding_dim,
            &here,
            rules,
        );
        specs.push(SmallEmbeddingSpec {
            name: table.name.clone(),
            rows: table.num_embeddings,
            width: table.embedding_dim,
            column: column(table.index),
        });
    }
    specs
}

/// `name` as parameter names hold it: a dot there begins a part.
pub(super) fn safe_name(name: &str) -> String {
    name.replace('.', "__")
}

/// The columns of the discrete features that the model names, with the path of each.
pub(in crate::config) fn discrete_columns(config: &ModelConfig) -> Vec<(Path, i64)> {
    let here = path(&["model"]);
    let mut columns = Vec::new();
    for (i, stratifier) in config.stratifiers.iter().flatten().enumerate() {
        let path = here.key("stratifiers").index(i).key("index");
        columns.push((path, stratifier.index));
    }
    if let Some(position) = &config.position_debias_config {
        let path = here
            .key("position_debias_config")
            .key("position_feature_index");
        columns.push((path, position.position_feature_index));
    }
    let small = config.small_embeddings.iter();
    for (i, table) in small.flat_map(|small| &small.tables).enumerate() {
        let path = here.key("small_embeddings").key("tables");
        columns.push((path.index(i).key("index"), table.index));
    }
    columns
}

/// Every process holds a table whole and updates all of it every step, so it must be small.
fn fits_whole(rows: u64, width: Size, here: &Path, rules: &mut Rules<'_>) {
    let width = width.get();
    if rows.saturating_mul(width) > MAX_TABLE_VALUES {
        rules.broken(
            here,
            format!("{rows} rows of {width} are too many for a table held whole"),
        );
    }
}

/// An index, which is reported where it is negative.
fn column(index: i64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use crate::config::{ModelConfig, parse};

    /// What is said of a model with these small embeddings.
    fn said(tables: &str) -> String {
        let config = format!(
            "{{tasks: {{t.a: {{mlp_config: {{layer_sizes: [1]}}}}}}, featurization_config: {{log1p_abs_config: {{}}}}, \
             small_embeddings: {{tables: [{tables}]}}}}"
        );
        let config: ModelConfig = parse(&config).unwrap();
        let spec = config.spec();
        spec.map_or_else(|error| error.to_string(), |_| "fits".to_owned())
    }

    #[test]
    fn tables_have_names_of_their_own_and_fit_every_process() {
        let table = |name: &str, rows: u64| {
            format!("{{name: {name}, num_embeddings: {rows}, embedding_dim: 1024, index: 0}}")
        };
        assert_eq!(said(&table("a", 1 << 20)), "fits");
        for (tables, expected) in [
            (
                table("a", (1 << 20) + 1),
                "model.small_embeddings.tables[0]: 1048577 rows of 1024 are too many for a table held whole",
            ),
            (
                [table("a", 1), table("a", 1)].join(", "),
                "tables[1].name: expected a name that no other table and no task has, found `a`",
            ),
            (
                table("t.a", 1),
                "tables[0].name: expected a name that no other table and no task has, found `t.a`",
            ),
        ] {
            assert!(said(&tables).contains(expected), "{}", said(&tables));
        }
    }
}
