//! `train_data` and `validation_data`: files, schema, preprocessing.

use indexmap::IndexMap;

use super::value::{NumOpenFiles, NumThreads, PositiveInt, Size, positive};

section! {
    /// One data set.
    pub struct RecapDataConfig {
        /// A glob of TFRecord files, gzip or plain; `*` does not cross a `/`, `**` does. Files may lie in stores: `gs://`,
        /// `s3://`, or one `https://` file, with credentials from the usual variables (`GOOGLE_...`, `AWS_...`).
        pub inputs: Option<String> = None,
        /// The `.gz` files of hourly folders.
        pub explicit_datetime_inputs: Option<ExplicitDatetimeInputs> = None,
        /// The `.gz` files of daily folders.
        pub explicit_date_inputs: Option<ExplicitDateInputs> = None,
        /// Rows per step over all processes; a multiple of their number. Activations grow with it; learning rates
        /// usually have to as well.
        pub global_batch_size: Size,
        /// Use only the first so many files in sorted order (null: all). For debugging.
        pub num_files_to_keep: Option<PositiveInt> = None,
        /// Deprecated, no effect: training always starts the next epoch where one ends.
        pub repeat_files: bool = true,
        /// Files per unit of work of the original's data service; no effect here.
        pub file_batch_size: PositiveInt = positive(16),
        /// Keep decoded rows, so that later epochs read no records. The order and content of batches are the same.
        pub cache: bool = false,
        /// Own key: with `cache`, keep the rows in files of this folder, for later runs too (null: in memory). They
        /// are found again as long as data files, schema and columns are the same; old ones are yours to delete.
        pub cache_dir: Option<String> = None,
        /// Own key: with `cache` in memory, the most megabytes to keep on this machine, shared evenly by its processes
        /// (null: half of the memory that they may use). Files beyond it are read again in every epoch.
        pub cache_memory_in_mb: Option<PositiveInt> = None,
        /// Address of the original's data service; no effect here, records are read by this process.
        pub data_service_dispatcher: Option<String> = None,
        /// Skip damaged records, counting and logging them; else the first one ends the run with exit code 3.
        pub ignore_data_errors: bool = false,
        /// Compression of the original's data service; no effect here.
        pub dataset_service_compression: Option<Compression> = None,
        /// Records in the shuffle buffer of each process. 0 or 1: not shuffled within files; large: better mixed,
        /// more memory, a slower start. Part of the order: a resumed run needs the same. Range: 0 and up.
        pub examples_shuffle_buffer_size: i64 = 1024,
        /// Threads that inflate and decode (null: one per core, at most 32; processes of one machine share its cores).
        /// Batches do not depend on it.
        pub map_num_parallel_calls: Option<NumThreads> = None,
        /// Files open at once (null: 16), four records of each in turn. Part of the order, not a number of threads or
        /// cores: another value gives other batches, and a resumed run needs the same. 1 reads file after file.
        pub interleave_num_parallel_calls: Option<NumOpenFiles> = None,
        /// Which features a record holds and which are used.
        pub seg_dense_schema: SegDenseSchema,
        /// The labels to read: each name is a feature of the record. Labels meet the tasks of the model by name; more
        /// may be listed than the model has.
        pub tasks: IndexMap<String, TaskData>,
        /// Tasks to report on, each one of `tasks` (empty: all).
        pub evaluation_tasks: Vec<String> = Vec::new(),
        /// What happens to a batch before the model sees it (null: nothing).
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
        /// The folder that holds the years.
        pub data_root: String,
        /// The first hour that is not read any more. Range: written `%Y/%m/%d/%H`.
        pub end_datetime: String,
        /// How many hours before `end_datetime` to read. Range: 1 to 876000, a century.
        pub hours: i64,
        /// How many of these hours may be missing or hold no `.gz` file. Range: 0 and up.
        pub num_missing_hours_tol: i64 = 0,
    }
}

section! {
    /// Folders `data_root/%Y/%m/%d`.
    pub struct ExplicitDateInputs {
        /// The folder that holds the years.
        pub data_root: String,
        /// The last day that is read. Range: written `%Y/%m/%d`.
        pub end_date: String,
        /// How many days to read, `end_date` being the last. Range: 1 to 36500, a century.
        pub days: i64,
        /// How many of these days may be missing or hold no `.gz` file. Range: 0 and up.
        pub num_missing_days_tol: i64 = 0,
    }
}

section! {
    /// How a task's rows were sampled.
    pub struct TaskData {
        /// Share of the positive rows that were kept when the data was made. With the negative rate it corrects
        /// calibrated probabilities; it does not change the loss. Range: above 0, at most 1.
        pub pos_downsampling_rate: f64 = 1.0,
        /// Share of the negative rows that were kept when the data was made. 0.1 makes calibrated probabilities about
        /// ten times smaller. Range: above 0, at most 1.
        pub neg_downsampling_rate: f64 = 1.0,
        /// Own key: the (renamed) feature of floats, one per row, that weighs the task's rows in loss and metrics, on
        /// top of the rates (null: none).
        pub weight_feature: Option<String> = None,
        /// Own key: labels may be any number from 0 to 1, such as a probability; else one that is neither 0 nor 1 is bad
        /// data.
        pub soft_labels: bool = false,
    }
}

section! {
    /// Which features a record holds and which are used.
    pub struct SegDenseSchema {
        /// The segdense JSON file: name, type and length of every feature. It may be left out where `columns` names all
        /// that is read beside labels and weights, which are then one number each.
        pub schema_path: Option<String> = None,
        /// Features used under the name they have in the record.
        pub features: Vec<String> = Vec::new(),
        /// Features used under a new name: new name, then name in the record. The model reads `continuous`, `binary`,
        /// `discrete`, `user_embedding`, `user_eng_embedding` and `author_embedding`.
        pub renamed_features: IndexMap<String, String> = IndexMap::new(),
        /// How many of the low 23 mantissa bits of each float to clear, by (new) feature name: makes old and new data
        /// alike when one was stored with less precision. Range: 0 to 23.
        pub mask_mantissa_features: IndexMap<String, i64> = IndexMap::new(),
        /// Own key: makes features of keys that hold one number each, as Spark and most writers of tables write them
        /// (null: none).
        pub columns: Option<FeatureColumns> = None,
    }
    rule super::rules::schema_path;
}

section! {
    /// Features made of keys that hold one number each, float or integer. The order of the keys is that of the columns.
    pub struct FeatureColumns {
        /// The keys that make up `continuous`. Integers beyond 2^24 are rounded to f32, with a warning.
        pub continuous: Vec<String> = Vec::new(),
        /// The keys that make up `binary`.
        pub binary: Vec<String> = Vec::new(),
        /// The keys that make up `discrete`; their floats must be whole.
        pub discrete: Vec<String> = Vec::new(),
        /// What to do where a record lacks a key of these. A key that the first records all lack is warned of. A record
        /// without a label or a weight is bad data in any case.
        pub missing: MissingColumn = MissingColumn::Zero,
    }
}

choice! {
    /// What to do where a record lacks a key.
    pub enum MissingColumn {
        /// It counts as 0, as for lists.
        Zero = "zero",
        /// The record is bad.
        Error = "error",
    }
}

impl FeatureColumns {
    /// The features by name, each with its keys.
    #[must_use]
    pub fn features(&self) -> [(&'static str, &[String]); 3] {
        [
            ("continuous", &self.continuous),
            ("binary", &self.binary),
            ("discrete", &self.discrete),
        ]
    }
}

section! {
    /// What happens to a batch before training; at least one.
    pub struct Preprocess {
        /// Keep the first columns, then those of a mask.
        pub truncate_and_slice: Option<TruncateAndSlice> = None,
        /// Round features to a narrower type.
        pub downcast: Option<Downcast> = None,
        /// Set labels to 0 whose engagement came too late.
        pub rectify_labels: Option<RectifyLabels> = None,
        /// Copy single columns out as features of their own.
        pub extract_features: Option<ExtractFeatures> = None,
        /// Read more rows than are trained on and drop negatives.
        pub downsample_negatives: Option<DownsampleNegatives> = None,
    }
}

section! {
    /// Keep the first columns, then those of a mask.
    pub struct TruncateAndSlice {
        /// Keep the first so many continuous columns (null: all).
        pub continuous_feature_truncation: Option<Size> = None,
        /// Keep the first so many binary columns (null: all).
        pub binary_feature_truncation: Option<Size> = None,
        /// A NumPy `.npy` file of booleans, one for each truncated continuous column: true keeps it.
        pub continuous_feature_mask_path: Option<String> = None,
        /// A NumPy `.npy` file of booleans, one for each truncated binary column: true keeps it.
        pub binary_feature_mask_path: Option<String> = None,
    }
}

section! {
    /// Cast features.
    pub struct Downcast {
        /// The type of each feature, by (new) name.
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
        /// Hours after serving within which a post must have been seen and engaged with for the label to stay. Small:
        /// fewer positives; large: labels that later data would not have had yet.
        pub label_rectification_window_in_hours: f64 = 3.0,
        /// Feature with the time a post was served, in milliseconds.
        pub served_timestamp_field: String,
        /// Feature with the time a post was seen, in milliseconds.
        pub impressed_timestamp_field: String,
        /// By label: the feature with the time of its engagement, in milliseconds. Labels that are not named stay as
        /// they are.
        pub label_to_engaged_timestamp_field: IndexMap<String, String>,
    }
}

section! {
    /// Columns as features of their own.
    pub struct ExtractFeatures {
        /// The columns to copy out, in order.
        pub extract_feature_table: Vec<ExtractFeature> = Vec::new(),
    }
}

section! {
    /// One column as a feature of its own.
    pub struct ExtractFeature {
        /// Name of the new feature.
        pub name: String,
        /// The (renamed) feature it is a column of.
        pub source_tensor: String,
        /// The column; negative: counted from the end, -1 is the last. Range: within the width of the feature.
        pub index: i64,
    }
}

section! {
    /// Keep a part of the negatives.
    pub struct DownsampleNegatives {
        /// How many times more rows are read than trained on (null: 1). Reading costs grow with it; when positives
        /// alone fill the batch some are dropped, which is warned of.
        pub batch_multiplier: Option<Size> = None,
        /// Labels that make a row positive.
        pub engagements_list: Vec<String> = Vec::new(),
        /// How many weights each row gets, one per data task: the negatives that stay weigh more, in place of those
        /// that were dropped.
        pub num_engagements: Size,
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
