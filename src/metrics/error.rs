//! What can be wrong with the rows or the choice of metrics.

/// Why metrics cannot be built or updated.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum MetricError {
    /// Two columns of one batch have different numbers of values.
    #[error("{column} has {found} values where the scores call for {expected}")]
    Length {
        /// Which column.
        column: String,
        /// How many values it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// A label is NaN or infinite.
    #[error("label {found} of row {row} is not finite")]
    Label {
        /// Row within the batch, from 0.
        row: usize,
        /// The label.
        found: f32,
    },
    /// A weight is negative, NaN or infinite.
    #[error("weight {found} of row {row} must be finite and at least 0")]
    Weight {
        /// Row within the batch, from 0.
        row: usize,
        /// The weight.
        found: f32,
    },
    /// `which_metrics` names something that is no metric.
    #[error("unknown metric `{name}`: choose from {choices}")]
    UnknownMetric {
        /// The name as written.
        name: String,
        /// The names that there are.
        choices: String,
    },
    /// `which_metrics` names nothing.
    #[error("no metric is chosen: name some of {choices}, or leave it out for the default ones")]
    NoMetric {
        /// The names that there are.
        choices: String,
    },
    /// A task to evaluate is none of the tasks there are.
    #[error("unknown evaluation task `{name}`: the tasks are {}", known.join(", "))]
    UnknownTask {
        /// The name as written.
        name: String,
        /// The tasks there are.
        known: Vec<String>,
    },
    /// Grouped metrics are chosen, and the batch has no group ids.
    #[error(
        "metric `gauc` needs the group id of every row: name an id feature, or choose other metrics"
    )]
    MissingGroups,
    /// A stratum looks at a column that the batch lacks.
    #[error("stratum `{column}={value}` needs column `{column}`, which the batch does not have")]
    MissingColumn {
        /// Name of the column.
        column: String,
        /// The value that selects rows.
        value: i64,
    },
    /// Two sets to merge were built with different tasks, metrics or strata.
    #[error(
        "metric sets differ in their tasks, metrics or strata and cannot be merged: build all with one config"
    )]
    Layout,
}
