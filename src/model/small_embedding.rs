//! Small embeddings: learned tables over columns of the discrete features.

use std::collections::HashSet;

use indexmap::IndexMap;
use tch::Tensor;

use super::ModelError;
use super::embedding_table::EmbeddingTable;
use super::features::discrete_column;
use super::input::size;
use super::scope::{Builder, Scope};
use crate::config::{SmallEmbeddingTable, SmallEmbeddingsConfig, TaskModel};
use crate::torch::TorchError;
use crate::torch::named::component;

/// One table.
#[derive(Debug)]
pub(super) struct SmallEmbedding {
    /// Its name in the configuration.
    pub(super) name: String,
    /// Columns of the embedding.
    pub(super) width: i64,
    rows: i64,
    column: i64,
    table: EmbeddingTable,
}

impl SmallEmbedding {
    /// All tables in the order of the configuration; `discrete` is the number of discrete columns.
    pub(super) fn build_all(
        builder: &mut Builder,
        discrete: usize,
        config: Option<&SmallEmbeddingsConfig>,
        tasks: &IndexMap<String, TaskModel>,
    ) -> Result<Vec<Self>, ModelError> {
        let tables = config.map_or(&[][..], |config| &config.tables);
        let mut names: HashSet<String> = tasks.keys().map(|task| component(task)).collect();
        let mut embeddings = Vec::with_capacity(tables.len());
        for (i, table) in tables.iter().enumerate() {
            let name = component(&table.name);
            let key = format!("model.small_embeddings.tables[{i}]");
            let scope = Scope::new(format!("model._small_embeddings.{name}"), key);
            if name.is_empty() || !names.insert(name) {
                let problem = format!(
                    "expected a name that no other table and no task has, found `{}`",
                    table.name
                );
                return Err(scope.error("name", problem));
            }
            embeddings.push(Self::build(builder, &scope, discrete, table)?);
        }
        Ok(embeddings)
    }

    fn build(
        builder: &mut Builder,
        scope: &Scope,
        discrete: usize,
        config: &SmallEmbeddingTable,
    ) -> Result<Self, ModelError> {
        let [rows, width] = [size(config.num_embeddings), size(config.embedding_dim)];
        Ok(Self {
            name: config.name.clone(),
            width,
            rows,
            column: discrete_column(scope, "index", config.index, discrete)?,
            table: EmbeddingTable::build(builder, scope, rows, width)?,
        })
    }

    /// `[B, Fd]` i64 → `[B, width]`. Ids below 0 count as 0, ids past the table as its last row.
    pub(super) fn forward(&self, discrete: &Tensor) -> Result<Tensor, TorchError> {
        let ids = discrete.f_select(1, self.column)?;
        self.table.forward(&ids.f_clamp(0, self.rows - 1)?)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::test_support::{builder, check_gradients, double, fill};
    use super::*;

    fn config(name: &str, index: i64) -> SmallEmbeddingTable {
        let text = format!("{{name: {name}, num_embeddings: 3, embedding_dim: 2, index: {index}}}");
        crate::config::parse(&text).unwrap()
    }

    fn build(tables: Vec<SmallEmbeddingTable>) -> Result<Vec<SmallEmbedding>, ModelError> {
        let config = SmallEmbeddingsConfig { tables };
        let tasks = IndexMap::new();
        SmallEmbedding::build_all(&mut builder(), 2, Some(&config), &tasks)
    }

    #[test]
    fn ids_outside_the_table_take_its_edges() {
        let mut builder = builder();
        let scope = Scope::new("t", "t");
        let embedding = SmallEmbedding::build(&mut builder, &scope, 2, &config("a", 1)).unwrap();
        fill(&builder, "t.weight", &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
        let discrete = Tensor::from_slice(&[9_i64, -7, 9, 0, 9, 1, 9, 2, 9, 3, 9, i64::MAX]);
        let found = embedding.forward(&discrete.view([6, 2])).unwrap();
        let expected = [
            0.0, 0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 2.0, 2.5, 2.0, 2.5_f32,
        ];
        assert_eq!(found, Tensor::from_slice(&expected).view([6, 2]));
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let mut builder = builder();
        let scope = Scope::new("t", "t");
        let embedding = SmallEmbedding::build(&mut builder, &scope, 2, &config("a", 0)).unwrap();
        let parameters = double(&builder);
        let discrete = Tensor::from_slice(&[0_i64, 0, 2, 0, 2, 0]).view([3, 2]);
        check_gradients(&parameters, || {
            let output = embedding.forward(&discrete).unwrap();
            output.exp().sum(Kind::Double)
        });
    }

    #[test]
    fn what_cannot_be_looked_up_is_refused_by_its_key() {
        let message = build(vec![config("a", 0), config("b", 2)]).unwrap_err();
        assert_eq!(
            message.to_string(),
            "model.small_embeddings.tables[1].index: expected one of the 2 columns of the discrete features, from 0, \
             found 2"
        );
        let message = build(vec![config("a", 0), config("a", 1)]).unwrap_err();
        assert!(
            message
                .to_string()
                .starts_with("model.small_embeddings.tables[1].name: ")
        );
    }
}
