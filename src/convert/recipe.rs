//! How a first model of a table is trained: every number follows from rows, columns and labels.
//!
//! `make tables` compares what comes of it with logistic regression and gradient boosting.

/// What is known of a table.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Rows that are trained on.
    pub(super) rows: u64,
    /// Columns of the features `continuous` and `binary`.
    pub(super) dense: usize,
    /// Rows that training is stopped by; 0 without them.
    pub(super) validation_rows: u64,
    /// Of all tasks, the fewest rows of one class among those.
    pub(super) validation_rarest: u64,
}

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recipe {
    /// Rows per step.
    pub(super) batch: u64,
    /// Steps, if nothing stops training earlier.
    pub(super) steps: u64,
    /// Steps between evaluations.
    pub(super) every: u64,
    /// Evaluations without a better one that end training; `None` where there is nothing to evaluate on.
    pub(super) patience: Option<u64>,
    /// Whether ranking (AUROC) decides which checkpoint is the best, or the loss.
    pub(super) by_ranking: bool,
    pub(super) learning_rate: f64,
    /// Widths of the network beside the linear part; none for a linear model.
    pub(super) layers: Vec<u64>,
    /// Behind every layer but the last; `None` where there is none to put it behind.
    pub(super) dropout: Option<f64>,
    /// `None`: the optimizer's own.
    pub(super) adam_epsilon: Option<f64>,
}

/// Fewer rows than this, and a linear model is all they bear.
const MIN_ROWS_OF_A_NETWORK: u64 = 800;
/// Fewer rows than this, and a second layer learns them by heart.
const MIN_ROWS_OF_TWO_LAYERS: u64 = 2000;
/// With fewer rows of a class than this to choose by, AUROC picks a checkpoint by chance; the loss is steadier.
const MIN_ROWS_TO_RANK: u64 = 200;
/// Where there are fewer rows than this for each column, chance looks like a relation.
const FEW_ROWS_PER_COLUMN: u64 = 8;

impl Recipe {
    pub(super) fn of(facts: &Facts) -> Self {
        let (rows, dense) = (facts.rows.max(1), facts.dense.max(1) as u64);
        let batch = (rows / 40).next_power_of_two().clamp(16, 512).min(rows);
        let epoch = (rows / batch).max(1);
        let epochs = (4000 / epoch).clamp(10, 60);
        let has_validation = facts.validation_rows > 0;
        let recipe = Self {
            batch,
            steps: epoch * epochs,
            every: (epoch / 2).max(epoch * epochs / 60).max(1),
            patience: has_validation.then_some(15),
            by_ranking: facts.validation_rarest >= MIN_ROWS_TO_RANK,
            learning_rate: 0.002,
            layers: vec![128, 64],
            dropout: Some(0.3),
            adam_epsilon: None,
        };
        if rows < MIN_ROWS_OF_A_NETWORK {
            return Self {
                steps: (epoch * 60).max(600),
                learning_rate: 0.02,
                layers: Vec::new(),
                dropout: None,
                ..recipe
            };
        }
        if rows < FEW_ROWS_PER_COLUMN * dense {
            // Plain gradient steps, which an epsilon this large makes of Adam's, find what many rows share first; by
            // Adam's own ones every column of noise moves as far as the others.
            return Self {
                learning_rate: 0.03,
                adam_epsilon: Some(1.0),
                layers: Vec::new(),
                dropout: None,
                ..recipe
            };
        }
        if rows < MIN_ROWS_OF_TWO_LAYERS {
            return Self {
                layers: vec![64],
                dropout: None,
                ..recipe
            };
        }
        recipe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(rows: u64, dense: usize, validation_rows: u64) -> Recipe {
        Recipe::of(&Facts {
            rows,
            dense,
            validation_rows,
            validation_rarest: validation_rows / 10,
        })
    }

    #[test]
    fn the_recipe_follows_from_rows_and_columns() {
        let tiny = recipe(160, 8, 0);
        assert!(
            tiny.layers.is_empty() && tiny.patience.is_none(),
            "{tiny:?}"
        );
        assert!(tiny.steps >= 600, "{tiny:?}");
        let wide = recipe(2160, 2000, 240);
        assert!(
            wide.layers.is_empty() && wide.adam_epsilon.is_some(),
            "{wide:?}"
        );
        let large = recipe(200_000, 20, 20_000);
        assert!(large.by_ranking && large.patience.is_some(), "{large:?}");
        assert!(large.steps * large.batch >= 10 * 199_000, "{large:?}");
    }

    #[test]
    fn dropout_is_asked_for_only_where_it_does_something() {
        for (rows, layers) in [(500, 0), (1440, 1), (10_000, 2)] {
            let found = recipe(rows, 8, rows / 10);
            assert_eq!(found.layers.len(), layers, "{found:?}");
            assert_eq!(found.dropout.is_some(), layers > 1, "{found:?}");
        }
    }

    #[test]
    fn every_number_of_rows_gives_a_config_that_can_train() {
        for rows in [0, 1, 2, 3, 17, 599, 600, 1999, 1 << 20, u64::MAX >> 8] {
            let found = recipe(rows, 1, rows / 10);
            assert!(
                found.batch >= 1 && found.batch <= rows.max(1),
                "{rows} {found:?}"
            );
            assert!(
                found.every >= 1 && found.every <= found.steps,
                "{rows} {found:?}"
            );
        }
    }
}
