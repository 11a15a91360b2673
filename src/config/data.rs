//! `train_data` and `validation_data`: files, schema, preprocessing.

use indexmap::IndexMap;

use super::value::{PositiveInt, positive};

section! {
    /// One data set.
    pub struct RecapDataConfig {
        /// A glob of TFRecord files.
        pub inputs: Option<String> = None,
        /// Hourly folders.
        pub explicit_datetime_inputs: Option<ExplicitDatetimeInputs> = None,
        /// Daily folders.
        pub explicit_date_inputs: Option<ExplicitDateInputs> = None,
        /// Rows per step over all ranks.
        pub global_batch_size: PositiveInt,
        /// Use only the first files in sorted order.
        pub num_files_to_keep: Option<PositiveInt> = None,
        /// Deprecated, no effect: training always repeats.
        pub repeat_files: bool = true,
        /// Files per unit of work of the original's data service; no effect here.
        pub file_batch_size: PositiveInt = positive(16),
        /// Keep decoded rows in memory from the first epoch on.
        pub cache: bool = false,
        /// Address of the original's data service; not supported.
        pub data_service_dispatcher: Option<String> = None,
        /// Skip bad records, counting and logging them.
        pub ignore_data_errors: bool = false,
        /// Compression of the original's data service; no effect here.
        pub dataset_service_compression: Option<Compression> = None,
        /// Records in the shuffle buffer.
        pub examples_shuffle_buffer_size: i64 = 1024,
        /// Threads that decode (null: chosen from the cores).
        pub map_num_parallel_calls: Option<PositiveInt> = None,
        /// Files read at once (null: chosen from the cores).
        pub interleave_num_parallel_calls: Option<PositiveInt> = None,
        /// Which features a record holds and which are used.
        pub seg_dense_schema: SegDenseSchema,
        /// Labels in the record, by task name; the order decides the order of label columns.
        pub tasks: IndexMap<String, TaskData>,
        /// Tasks to report on (empty: all); each must be in `tasks`.
        pub evaluation_tasks: Vec<String> = Vec::new(),
        /// What happens to a batch before training.
        pub preprocess: Option<Preprocess> = None,
        /// Deprecated, accepted and not used.
        pub sampler: Option<Sampler> = None,
    }
    exactly_one "date_inputs_format": inputs, explicit_datetime_inputs, explicit_date_inputs;
    rule super::rules::evaluation_tasks;
}

choice! {
    /// Compression of the original's data service.
    pub enum Compression {
        /// Chosen by the service.
        Auto = "AUTO",
    }
}

section! {
    /// Folders `data_root/%Y/%m/%d/%H`.
    pub struct ExplicitDatetimeInputs {
        /// Root of the folders.
        pub data_root: String,
        /// `%Y/%m/%d/%H`, exclusive.
        pub end_datetime: String,
        /// Number of hours.
        pub hours: i64,
        /// Missing hours tolerated.
        pub num_missing_hours_tol: i64 = 0,
    }
}

section! {
    /// Folders `data_root/%Y/%m/%d`.
    pub struct ExplicitDateInputs {
        /// Root of the folders.
        pub data_root: String,
        /// `%Y/%m/%d`, inclusive.
        pub end_date: String,
        /// Number of days.
        pub days: i64,
        /// Missing days tolerated.
        pub num_missing_days_tol: i64 = 0,
    }
}

section! {
    /// How a task's rows were sampled.
    pub struct TaskData {
        /// Share of positives that were kept, in (0, 1].
        pub pos_downsampling_rate: f64 = 1.0,
        /// Share of negatives that were kept, in (0, 1].
        pub neg_downsampling_rate: f64 = 1.0,
    }
}

section! {
    /// Which features a record holds and which are used.
    pub struct SegDenseSchema {
        /// The segdense JSON file.
        pub schema_path: String,
        /// Features used under their own name.
        pub features: Vec<String> = Vec::new(),
        /// Features used under a new name: new name → name in the record.
        pub renamed_features: IndexMap<String, String> = IndexMap::new(),
        /// Low mantissa bits to clear, by feature.
        pub mask_mantissa_features: IndexMap<String, i64> = IndexMap::new(),
    }
}

section! {
    /// What happens to a batch before training; at least one.
    pub struct Preprocess {
        /// Keep the first columns, then those of a mask.
        pub truncate_and_slice: Option<TruncateAndSlice> = None,
        /// Cast features.
        pub downcast: Option<Downcast> = None,
        /// Drop labels that came too late.
        pub rectify_labels: Option<RectifyLabels> = None,
        /// Columns as features of their own.
        pub extract_features: Option<ExtractFeatures> = None,
        /// Keep a part of the negatives.
        pub downsample_negatives: Option<DownsampleNegatives> = None,
    }
}

section! {
    /// Keep the first columns, then those of a mask.
    pub struct TruncateAndSlice {
        /// Continuous columns to keep.
        pub continuous_feature_truncation: Option<PositiveInt> = None,
        /// Binary columns to keep.
        pub binary_feature_truncation: Option<PositiveInt> = None,
        /// `.npy` mask over the truncated continuous columns.
        pub continuous_feature_mask_path: Option<String> = None,
        /// `.npy` mask over the truncated binary columns.
        pub binary_feature_mask_path: Option<String> = None,
    }
}

section! {
    /// Cast features.
    pub struct Downcast {
        /// Type by feature.
        pub features: Option<IndexMap<String, DowncastType>> = None,
    }
}

choice! {
    /// A type a feature can be cast to.
    pub enum DowncastType {
        /// Rounded to bfloat16, ties to even.
        BFloat16 = "bfloat16",
        /// Non-zero is true.
        Bool = "bool",
        /// 32-bit float.
        Float32 = "float32",
        /// Rounded to 16-bit float.
        Float16 = "float16",
        /// 0 to 255.
        UInt8 = "uint8",
    }
}

section! {
    /// Drop labels whose engagement came too late.
    pub struct RectifyLabels {
        /// Length of the window.
        pub label_rectification_window_in_hours: f64 = 3.0,
        /// Feature with the time a post was served, in ms.
        pub served_timestamp_field: String,
        /// Feature with the time a post was seen, in ms.
        pub impressed_timestamp_field: String,
        /// Feature with the time of the engagement, in ms, by label.
        pub label_to_engaged_timestamp_field: IndexMap<String, String>,
    }
}

section! {
    /// Columns as features of their own.
    pub struct ExtractFeatures {
        /// What to extract.
        pub extract_feature_table: Vec<ExtractFeature> = Vec::new(),
    }
}

section! {
    /// One column as a feature of its own.
    pub struct ExtractFeature {
        /// The new feature.
        pub name: String,
        /// The feature it comes from.
        pub source_tensor: String,
        /// The column.
        pub index: i64,
    }
}

section! {
    /// Keep a part of the negatives.
    pub struct DownsampleNegatives {
        /// How many times more rows are read than kept.
        pub batch_multiplier: Option<i64> = None,
        /// Labels that make a row positive.
        pub engagements_list: Vec<String> = Vec::new(),
        /// Width of the weights this makes.
        pub num_engagements: i64,
    }
}

section! {
    /// Deprecated, accepted and not used.
    pub struct Sampler {
        /// Its name.
        pub name: String,
        /// Its arguments.
        pub kwargs: IndexMap<String, serde_yaml::Value>,
    }
}
