//! Small embeddings: learned tables over columns of the discrete features.

use tch::Tensor;

use super::ModelError;
use super::embedding_table::EmbeddingTable;
use super::scope::{Builder, Scope};
use super::width::discrete_column;
use crate::config::SmallEmbeddingSpec;
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
    /// Table number `i` of the configuration; `discrete` is the number of discrete columns.
    pub(super) fn build(
        builder: &mut Builder,
        i: usize,
        discrete: usize,
        spec: &SmallEmbeddingSpec,
    ) -> Result<Self, ModelError> {
        let scope = Scope::new(
            format!("model._small_embeddings.{}", component(&spec.name)),
            format!("model.small_embeddings.tables[{i}]"),
        );
        let [rows, width] = [spec.rows.to_i64(), spec.width.to_i64()];
        Ok(Self {
            name: spec.name.clone(),
            width,
            rows,
            column: discrete_column(&scope, "index", spec.column, discrete)?,
            table: EmbeddingTable::build(builder, &scope, rows, width)?,
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
    use crate::config::Size;

    fn spec(column: usize) -> SmallEmbeddingSpec {
        let size = |size| Size::new(size).unwrap();
        SmallEmbeddingSpec {
            name: "a".to_owned(),
            rows: size(3),
            width: size(2),
            column,
        }
    }

    fn build(builder: &mut Builder, column: usize) -> Result<SmallEmbedding, ModelError> {
        SmallEmbedding::build(builder, 1, 2, &spec(column))
    }

    #[test]
    fn ids_outside_the_table_take_its_edges() {
        let mut builder = builder();
        let embedding = build(&mut builder, 1).unwrap();
        fill(
            &builder,
            "model._small_embeddings.a.weight",
            &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5],
        );
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
        let embedding = build(&mut builder, 0).unwrap();
        let parameters = double(&builder);
        let discrete = Tensor::from_slice(&[0_i64, 0, 2, 0, 2, 0]).view([3, 2]);
        check_gradients(&parameters, || {
            let output = embedding.forward(&discrete).unwrap();
            output.exp().sum(Kind::Double)
        });
    }

    #[test]
    fn what_cannot_be_looked_up_is_refused_by_its_key() {
        assert_eq!(
            build(&mut builder(), 2).unwrap_err().to_string(),
            "model.small_embeddings.tables[1].index: expected one of the 2 columns of the discrete features, from 0, \
             found 2"
        );
    }
}
