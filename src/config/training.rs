//! `training`: how long to train, where to save, when to log.

use super::value::{PositiveFloat, PositiveInt, Seconds, positive};

section! {
    /// How long to train, where to save, when to log.
    pub struct TrainingConfig {
        /// Folder of the run: checkpoints, `run.json`, events. A run that finds a checkpoint here goes on from it;
        /// one folder per experiment.
        pub save_dir: String = "/tmp/model".to_owned(),
        /// Batches to train on in all, those before a resume included. A run whose checkpoint is there already ends
        /// at once.
        pub num_train_steps: PositiveInt = positive(1_000_000),
        /// A checkpoint folder (ours or the original's) whose weights, and optimizer state if there is any, start a
        /// run that has no checkpoint of its own; the step starts at 0.
        pub initial_checkpoint_dir: Option<String> = None,
        /// Batches between checkpoints. Few: less work lost in a crash, more time spent writing.
        pub checkpoint_every_n: PositiveInt = positive(1000),
        /// How many checkpoints to keep, the newest first (null: all, which fills a disk in a long run).
        pub checkpoint_max_to_keep: Option<PositiveInt> = None,
        /// Batches between log lines. Each line waits for the device once; 1 slows a fast device down.
        pub train_log_every_n: PositiveInt = positive(1000),
        /// Batches per evaluation of one partition; negative: the whole data set.
        pub num_eval_steps: i64 = 16384,
        /// Batches between progress lines of an evaluation.
        pub eval_log_every_n: PositiveInt = positive(5000),
        /// Seconds to wait for a new checkpoint when an evaluation follows a run.
        pub eval_timeout_in_s: Seconds = Seconds::literal(3600.0),
        /// Batches whose gradients are averaged before one optimizer step (null: 1): as if the batch were so many
        /// times larger, in the memory of one. Steps still count batches. Range: 1 to 65536.
        pub gradient_accumulation: Option<i64> = None,
        /// Own key: seeds initial parameters, dropout and the order of the data. The same seed, data and number of
        /// processes give the same run.
        pub seed: i64 = 0,
        /// Own key: forward pass in bfloat16 where it is safe; loss, parameters and optimizer stay f32. Faster on a
        /// GPU that has bfloat16; losses differ a little.
        pub mixed_precision: bool = false,
        /// Own key: gradients are scaled down to this global L2 norm before the update (null: never). Near the usual
        /// norm it slows learning, far above it only stops spikes.
        pub max_grad_norm: Option<PositiveFloat> = None,
        /// Own key: seconds after which a checkpoint is due, whichever of this and `checkpoint_every_n` comes first
        /// (null: steps only).
        pub checkpoint_every_secs: Option<Seconds> = None,
        /// Own key: seconds after which a process that died or stopped answering ends the others. Short: a slow
        /// disk or network passes for a death; long: the others wait in vain.
        pub distributed_timeout_in_s: Seconds = Seconds::literal(600.0),
        /// Own key: how many batches with a loss or gradient that is not finite may be skipped before the run stops
        /// with exit code 4. Range: 0 and up.
        pub max_skipped_steps: i64 = 0,
        /// Own key: adds the loss of every task to the log lines.
        pub log_task_losses: bool = false,
        /// Own key: adds loss, AUROC, RCE and calibration of every task over the last so many batches to the log lines,
        /// from the logits they were trained with, dropout and all (null: none). They are kept on the device until
        /// then; ranking them takes a moment at each log line.
        pub log_metrics_window: Option<PositiveInt> = None,
        /// Own key: adds the learning rate of every parameter group to the log lines.
        pub log_learning_rates: bool = false,
        /// Own key: evaluates the partitions of `validation_data` each `eval_log_every_n` steps while training.
        pub evaluate: bool = false,
        /// Own key: the partitions of `validation_data` to evaluate while training (null: all of them); another one,
        /// such as test data, waits for the command `evaluate`.
        pub evaluate_partitions: Option<Vec<String>> = None,
        /// Own key: writes curves for TensorBoard to `save_dir/tensorboard`, a point each `train_log_every_n` steps and
        /// at every evaluation.
        pub tensorboard: bool = true,
        /// Own key: batches between histograms of every parameter in TensorBoard (null: none). Each reads the whole
        /// model once.
        pub histogram_every_n: Option<PositiveInt> = None,
        /// Own key: keeps a copy of the checkpoint that was best by this metric in `save_dir/best`:
        /// `PARTITION/TASK/METRIC`, `PARTITION/loss`, or `mean METRIC` over all partitions and tasks. Needs `evaluate`.
        pub keep_best_metric: Option<String> = None,
        /// Own key: ends training after so many evaluations in a row that `keep_best_metric` did not get better in
        /// (null: never). A larger number, and the run goes on where it ended. Needs `keep_best_metric`.
        pub early_stopping_patience: Option<PositiveInt> = None,
    }
    at_most_one "initialization": initial_checkpoint_dir;
}

impl Default for TrainingConfig {
    fn default() -> Self {
        <Self as super::Decode>::placeholder()
    }
}
