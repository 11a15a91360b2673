//! What a machine may rely on in the JSON records: the version, the keys of every record, the named events.

use Type::{Integer, Number, Text, Truth};

/// Version of the records. It rises when a key that is documented here goes away or changes its meaning; new events and
/// new keys do not raise it.
pub const SCHEMA: u64 = 1;

/// What a value is in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number that may have a fraction; null where it is not finite.
    Number,
    /// A whole number.
    Integer,
    /// A string.
    Text,
    /// `true` or `false`.
    Truth,
}

impl Type {
    /// The word for it in the documentation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Number => "number",
            Integer => "integer",
            Text => "text",
            Truth => "true or false",
        }
    }
}

/// A key of a record.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in the record.
    pub name: &'static str,
    /// Of its value.
    pub kind: Type,
    /// What it says, with its unit.
    pub doc: &'static str,
    /// Whether every such record has it.
    pub always: bool,
}

/// A kind of record that has a name.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Value of `event`.
    pub name: &'static str,
    /// When it is written.
    pub doc: &'static str,
    /// Its own keys, beside [`COMMON`].
    pub keys: &'static [Key],
}

const fn key(name: &'static str, kind: Type, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        doc,
        always: true,
    }
}

const fn may(name: &'static str, kind: Type, doc: &'static str) -> Key {
    Key {
        always: false,
        ..key(name, kind, doc)
    }
}

/// Keys of every record. Records without `event` are for people: their other keys may change.
pub const COMMON: &[Key] = &[
    key("schema", Integer, "version of this description"),
    key("timestamp", Text, "UTC, RFC 3339 with microseconds"),
    key("level", Text, "`ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`"),
    may("event", Text, "name of the event, one of those below"),
    may("message", Text, "the words a person reads"),
    may(
        "similar",
        Integer,
        "of a warning that comes often: how many came so far; after the first ones only every 10th, 100th, 1,000th, … is written",
    ),
    key("target", Text, "the part of the program that speaks"),
];

const GLOBAL_STEP: Key = key(
    "global_step",
    Integer,
    "steps so far, counted over all ranks; names checkpoint folders",
);
const DATA_WAIT_SHARE: Key = key(
    "data_wait_share",
    Number,
    "share of the time since the line before that was spent waiting for data, 0 to 1",
);
const ETA_SECS: Key = key("eta_secs", Number, "seconds to the last step at this speed");
const PARTITION: Key = key("partition", Text, "key of `validation_data`");
const TASK: Key = key("task", Text, "name of the task");

/// The events.
pub const EVENTS: &[Event] = &[
    Event {
        name: "config",
        doc: "the config is read; the message holds it as YAML",
        keys: &[key("source", Text, "its file")],
    },
    Event {
        name: "device",
        doc: "the device is chosen",
        keys: &[
            key("device", Text, "`Cpu` or `Cuda(n)`"),
            key("threads", Integer, "threads of libtorch's operations"),
        ],
    },
    Event {
        name: "model",
        doc: "the model is built",
        keys: &[
            key("parameters", Integer, "numbers that are trained"),
            key("tasks", Integer, "tasks"),
        ],
    },
    Event {
        name: "resumed",
        doc: "a checkpoint is restored",
        keys: &[
            key("checkpoint", Text, "its folder"),
            key("step", Integer, "batches trained before"),
        ],
    },
    Event {
        name: "step",
        doc: "every `train_log_every_n` steps",
        keys: &[
            GLOBAL_STEP,
            key("loss", Number, "mean over ranks"),
            key("steps_per_s", Number, "since the line before"),
            key("global_example_per_s", Number, "over all ranks"),
            key("worker_examples_per_s", Number, "of each rank"),
            key(
                "active_training_walltime",
                Number,
                "seconds of training, over all resumed runs",
            ),
            DATA_WAIT_SHARE,
            ETA_SECS,
        ],
    },
    Event {
        name: "progress",
        doc: "when half a minute passed without a `step` record",
        keys: &[
            key("step", Integer, "batches trained"),
            GLOBAL_STEP,
            key("global_example_per_s", Number, "over all ranks"),
            DATA_WAIT_SHARE,
            ETA_SECS,
        ],
    },
    Event {
        name: "task_loss",
        doc: "with `training.log_task_losses`, beside `step`",
        keys: &[GLOBAL_STEP, TASK, key("loss", Number, "mean over ranks")],
    },
    Event {
        name: "learning_rate",
        doc: "with `training.log_learning_rates`, beside `step`",
        keys: &[
            GLOBAL_STEP,
            key("group", Text, "parameter group"),
            key("learning_rate", Number, "that the step was made with"),
        ],
    },
    Event {
        name: "last_batches",
        doc: "with `training.log_metrics_window`, a task over the last batches of all ranks, beside `step`",
        keys: &[
            GLOBAL_STEP,
            TASK,
            key("batches", Integer, "how many, of each rank"),
            key("loss", Number, "mean"),
            key("count", Number, "sum of labels times weights"),
            key("ctr", Number, "mean label"),
            key("pctr", Number, "mean probability"),
            key("calibration", Number, "`pctr / ctr`"),
            key("rce", Number, "relative cross entropy, percent"),
            key("auroc", Number, "area under the ROC curve"),
        ],
    },
    Event {
        name: "skipped_step",
        doc: "a loss or gradient was not finite and `training.max_skipped_steps` allowed to go on",
        keys: &[
            key("step", Integer, "batches trained before"),
            GLOBAL_STEP,
            key(
                "skipped_steps",
                Integer,
                "skipped so far, this one included",
            ),
            key("rank", Integer, "the process whose batch it was"),
        ],
    },
    Event {
        name: "evaluated",
        doc: "a partition is evaluated",
        keys: &[
            GLOBAL_STEP,
            PARTITION,
            key("eval_loss", Number, "mean training loss of its rows"),
            key("batches", Integer, "batches looked at"),
            key("examples", Integer, "rows looked at"),
            key("seconds", Number, "that it took"),
        ],
    },
    Event {
        name: "evaluation",
        doc: "the metrics of one task, beside `evaluated`",
        keys: &[
            GLOBAL_STEP,
            PARTITION,
            TASK,
            may("count", Number, "rows with this label"),
            may("ctr", Number, "mean label"),
            may("pctr", Number, "mean prediction"),
            may("log_loss", Number, "cross entropy"),
            may("rce", Number, "relative cross entropy, percent"),
            may("nrce", Number, "the same after the mean is put right"),
            may("auroc", Number, "area under the ROC curve"),
            may("pr_auc", Number, "area under the precision-recall curve"),
        ],
    },
    Event {
        name: "best",
        doc: "`training.keep_best_metric` was computed",
        keys: &[
            GLOBAL_STEP,
            key("metric", Text, "its name"),
            key("value", Number, "now"),
            may("best", Number, "before"),
            key("is_better", Truth, "whether the checkpoint goes to `best`"),
        ],
    },
    Event {
        name: "saving",
        doc: "a checkpoint, or the best one, is handed to the background",
        keys: &[
            GLOBAL_STEP,
            key("stalled_secs", Number, "that the training stood still"),
        ],
    },
    Event {
        name: "saved",
        doc: "a checkpoint is complete on the disk",
        keys: &[key("checkpoint", Text, "its folder")],
    },
    Event {
        name: "interrupted",
        doc: "a signal asks the run to end; it saves first",
        keys: &[
            GLOBAL_STEP,
            key(
                "signal",
                Text,
                "its name, and the rank it came to where that is another one: `SIGTERM to rank 1`",
            ),
        ],
    },
    Event {
        name: "finished",
        doc: "the last step is trained and saved",
        keys: &[
            key("step", Integer, "batches trained"),
            GLOBAL_STEP,
            key(
                "stopped_early",
                Truth,
                "whether `training.early_stopping_patience` was what ended it",
            ),
        ],
    },
    Event {
        name: "verdict",
        doc: "the run has ended well or by a signal: where its time went, in shares of `total_secs`",
        keys: &[
            key("total_secs", Number, "from the start of the program's work"),
            key("steps", Integer, "that this process trained"),
            key("start", Number, "before the first step"),
            key("data_wait", Number, "waiting for batches"),
            key("forward", Number, "forward passes and losses"),
            key(
                "backward",
                Number,
                "backward passes, with the averaging over ranks",
            ),
            key("optimizer", Number, "norm, clipping, update"),
            key("checkpoint", Number, "standing still for checkpoints"),
            key("evaluation", Number, "evaluations"),
            key("other", Number, "everything else"),
            key(
                "inflate_secs",
                Number,
                "busy time of the loader's threads: reading, decompressing, checksums; decoding too where rows are kept",
            ),
            key(
                "parse_secs",
                Number,
                "busy time of the loader's threads: records into batches",
            ),
            key(
                "copy_secs",
                Number,
                "copying batches to the device, beside the training",
            ),
            key(
                "limit",
                Text,
                "what held the run back: `compute`, `data`, `checkpoint`, `evaluation`, `start`",
            ),
            key("advice", Text, "what would make it faster first"),
        ],
    },
    Event {
        name: "repeated",
        doc: "the program ends, and a warning came more often than it was written",
        keys: &[key("count", Integer, "how often it came in all")],
    },
    Event {
        name: "records_missing",
        doc: "the program ends, and the disk has not taken every record",
        keys: &[
            key("missing", Integer, "records that are not in the file"),
            key("file", Text, "the file"),
        ],
    },
    Event {
        name: "stopped",
        doc: "the program ends because a signal asked for it, with everything saved",
        keys: &[
            key("exit_code", Integer, "75"),
            may("rank", Integer, "of a rank other than 0"),
        ],
    },
    Event {
        name: "failed",
        doc: "the program ends with an error",
        keys: &[
            key("exit_code", Integer, "as the process will return it"),
            may("rank", Integer, "of a rank other than 0"),
        ],
    },
];
