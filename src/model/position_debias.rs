//! Position debias: the model learns how much of an engagement is due to the position a post was shown at, from an
//! embedding that it must do without when it ranks.

use tch::{Kind, Tensor};

use super::embedding_table::EmbeddingTable;
use super::scope::{Builder, Scope};
use super::width::discrete_column;
use super::{Mode, ModelError};
use crate::config::{PositionSpec, Probability};
use crate::torch::TorchError;

/// The embedding of the position: rows 0 to `max_position` are positions, the row after them is "unknown".
#[derive(Debug)]
pub(super) struct PositionDebias {
    /// Columns of the embedding.
    pub(super) width: i64,
    max_position: i64,
    drop_probability: Probability,
    column: i64,
    table: EmbeddingTable,
}

impl PositionDebias {
    /// `discrete` is the number of discrete columns.
    pub(super) fn build(
        builder: &mut Builder,
        discrete: usize,
        spec: PositionSpec,
    ) -> Result<Self, ModelError> {
        let scope = Scope::new("model._position_debias", "model.position_debias_config");
        let max_position = spec.max_position.to_i64();
        let width = spec.width.to_i64();
        let table = scope.child("_embedding", "");
        let column = discrete_column(&scope, "position_feature_index", spec.column, discrete)?;
        Ok(Self {
            width,
            max_position,
            drop_probability: spec.drop_probability,
            column,
            table: EmbeddingTable::build(builder, &table, max_position + 2, width)?,
        })
    }

    /// `[B, Fd]` i64 → `[B, width]`.
    ///
    /// Positions past `max_position` share its row; those below 0 are unknown. In training the position of each row
    /// is unknown with probability `drop_probability`, drawn from libtorch's generator; otherwise always.
    pub(super) fn forward(&self, discrete: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        let unknown = self.max_position + 1;
        let rows = discrete.size()[0];
        if !mode.is_train() {
            return self.table.repeat(unknown, rows);
        }
        let positions = discrete.f_select(1, self.column)?;
        let draws = Tensor::f_rand([rows], (Kind::Float, discrete.device()))?;
        let hidden = draws
            .f_lt(self.drop_probability.get())?
            .f_logical_or(&positions.f_lt(0)?)?;
        let ids = positions.f_clamp_max(self.max_position)?;
        self.table.forward(&ids.f_masked_fill(&hidden, unknown)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{builder, check_gradients, double, fill};
    use super::*;
    use crate::config::Size;

    /// Positions 0 to 2 have the rows 0, 1, 2; unknown is 3.
    fn debias(builder: &mut Builder, drop_probability: f64) -> PositionDebias {
        let size = |size| Size::new(size).unwrap();
        let spec = PositionSpec {
            max_position: size(2),
            width: size(1),
            drop_probability: Probability::new(drop_probability).unwrap(),
            column: 1,
        };
        PositionDebias::build(builder, 2, spec).unwrap()
    }

    const TABLE: &str = "model._position_debias._embedding.weight";

    fn lookup(drop_probability: f64, positions: &[i64], mode: Mode) -> Vec<f32> {
        let mut builder = builder();
        let debias = debias(&mut builder, drop_probability);
        fill(&builder, TABLE, &[0.0, 1.0, 2.0, 3.0]);
        let positions = Tensor::from_slice(positions);
        let discrete = Tensor::stack(&[positions.zeros_like(), positions], 1);
        let found = debias.forward(&discrete, mode).unwrap().view(-1);
        Vec::try_from(found.detach()).unwrap()
    }

    #[test]
    fn late_positions_share_the_last_bucket_and_negative_ones_are_unknown() {
        let found = lookup(0.0, &[0, 1, 2, 3, 1000, -1], Mode::Train);
        assert_eq!(found, [0.0, 1.0, 2.0, 2.0, 2.0, 3.0]);
    }

    #[test]
    fn the_position_is_unknown_outside_training_and_when_always_dropped() {
        assert_eq!(lookup(0.0, &[0, 1, 2], Mode::Evaluate), [3.0; 3]);
        assert_eq!(lookup(1.0, &[0, 1, 2], Mode::Train), [3.0; 3]);
    }

    #[test]
    fn rows_are_dropped_one_by_one_as_often_as_configured() {
        let found = lookup(0.25, &[1; 4000], Mode::Train);
        let dropped = found.iter().filter(|&&value| value > 2.0).count();
        // 1000 expected; the standard deviation is 27.
        assert!((840..1160).contains(&dropped), "{dropped}");
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let mut builder = builder();
        let debias = debias(&mut builder, 0.0);
        let parameters = double(&builder);
        let discrete = Tensor::from_slice(&[0_i64, 1, 0, 7, 0, -1]).view([3, 2]);
        check_gradients(&parameters, || {
            let output = debias.forward(&discrete, Mode::Train).unwrap();
            output.exp().sum(Kind::Double)
        });
    }
}
