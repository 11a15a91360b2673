//! `training`: how long to train, where to save, when to log.

use super::value::{PositiveFloat, PositiveInt, positive, positive_float};

section! {
    /// How long to train, where to save, when to log.
    pub struct TrainingConfig {
        /// Folder of the run: checkpoints, `run.json`, events.
        pub save_dir: String = "/tmp/model".to_owned(),
        /// Batches to train on in all, resumed steps included.
        pub num_train_steps: PositiveInt = positive(1_000_000),
        /// A checkpoint folder whose weights (and optimizer state, if there) start a run that has no checkpoint yet.
        pub initial_checkpoint_dir: Option<String> = None,
        /// Steps between checkpoints.
        pub checkpoint_every_n: PositiveInt = positive(1000),
        /// How many checkpoints to keep, newest first (null: all).
        pub checkpoint_max_to_keep: Option<PositiveInt> = None,
        /// Steps between log lines.
        pub train_log_every_n: PositiveInt = positive(1000),
        /// Batches per evaluation of one partition (negative: the whole data set).
        pub num_eval_steps: i64 = 16384,
        /// Steps between evaluations.
        pub eval_log_every_n: PositiveInt = positive(5000),
        /// Seconds to wait for a new checkpoint when following a run.
        pub eval_timeout_in_s: PositiveFloat = positive_float(3600.0),
        /// Batches whose gradients are averaged before one optimizer step (null: 1).
        pub gradient_accumulation: Option<i64> = None,
        /// Own key: seeds initialisation, dropout, shuffling and generated data.
        pub seed: i64 = 0,
        /// Own key: forward and loss in bfloat16 where it is safe; parameters stay f32.
        pub mixed_precision: bool = false,
        /// Own key: gradients are scaled down to this global L2 norm (null: never).
        pub max_grad_norm: Option<PositiveFloat> = None,
        /// Own key: seconds between checkpoints, beside `checkpoint_every_n` (null: steps only).
        pub checkpoint_every_secs: Option<PositiveFloat> = None,
        /// Own key: seconds after which a rank that died or stopped answering ends the other ranks.
        pub distributed_timeout_in_s: PositiveFloat = positive_float(600.0),
        /// Own key: how many steps with a non-finite loss or gradient may be skipped before the run stops.
        pub max_skipped_steps: i64 = 0,
        /// Own key: adds the loss of every task to the log lines.
        pub log_task_losses: bool = false,
        /// Own key: adds the learning rate of every group to the log lines.
        pub log_learning_rates: bool = false,
        /// Own key: evaluates every partition of `validation_data` each `eval_log_every_n` steps while training.
        pub evaluate: bool = false,
        /// Own key: keeps a copy of the checkpoint that was best by this metric in `save_dir/best`:
        /// `PARTITION/TASK/METRIC`, `PARTITION/loss`, or `mean METRIC` over all partitions and tasks. Needs `evaluate`.
        pub keep_best_metric: Option<String> = None,
    }
    at_most_one "initialization": initial_checkpoint_dir;
}

impl Default for TrainingConfig {
    fn default() -> Self {
        <Self as super::Decode>::placeholder()
    }
}
