//! The mapping of `convert`: which columns of a table become which features, labels, weights, ids and parts.

use indexmap::IndexMap;

use super::patterns::Patterns;
use super::value::{PositiveInt, Size, positive};

section! {
    /// How `convert` makes training data of tables; a YAML file of its own (`convert --mapping=FILE`). Columns go by
    /// the name in the header, in `csv.names` or in the Parquet file; without any names by their number from 0. Names are
    /// what is written, in quotes or not: `no`, `01`, `2024_05` and `12:30` stay what they are.
    pub struct ConversionConfig {
        /// The tables: a glob or a list of globs, of paths or addresses (`s3://`, `gs://`, `https://`), with braces
        /// (`{2023,2024}/*.csv`); a folder is everything in it. Read in the order of the list, those of one glob sorted.
        /// CSV (plain, gzip, zstd) or Parquet, told from their first bytes. Folders `name=value` above a table are
        /// columns of it (null: `--inputs` says it).
        pub inputs: Option<Patterns> = None,
        /// The folder to make; it must not exist yet (null: `--output_dir` says it).
        pub output_dir: Option<String> = None,
        /// How the CSV files are written.
        pub csv: CsvConfig = CsvConfig::default(),
        /// Rows per file of records. Small: more files, better spread over threads and ranks; as many rows per thread
        /// are held in memory. A file ends earlier where the used cells of its rows reach 256 MiB.
        pub rows_per_file: Size = Size::literal(8192),
        /// Numeric columns, in order, for the feature `continuous`. A column of times is seconds since 1970 (of times of
        /// day: since midnight), whatever the unit it is stored in; in 32 bits they are exact to two minutes alone.
        pub continuous: Vec<String> = Vec::new(),
        /// What stands for an empty cell of a continuous column, and for one that says NaN. Range: finite, as f32 (null: the
        /// median of the column over the rows that are trained on, or some thousands of them).
        pub missing: Option<f64> = None,
        /// Categorical columns, one column of the feature `binary` per value of the vocabulary, the first for unknown
        /// values.
        pub one_hot: Vec<CategoryConfig> = Vec::new(),
        /// Numeric columns cut into ranges, one column of the feature `binary` per range, after those of `one_hot`.
        pub buckets: Vec<BucketConfig> = Vec::new(),
        /// Categorical columns as ids for embedding tables, one column of the feature `discrete` each; 0 is every
        /// unknown value.
        pub discrete: Vec<CategoryConfig> = Vec::new(),
        /// The tasks: name, then when the label is 1, such as `income == "50000+."`, `age >= 18`, `clicked == true` or
        /// `day < "2024-05-31"`; a column, an operator (==, !=, <, <=, >, >=) and a value: a number, true or false, or
        /// in double quotes text or a time. Numbers compare exactly with what is stored; times as instants (UTC where no
        /// zone is given), and with times as ISO 8601 writes them alone; text is equal or not, and has no order. `== ""`
        /// asks for a cell that is empty or says NaN.
        pub labels: IndexMap<String, String>,
        /// What becomes of a row in which the cell that a label is compared from is empty, or says NaN where a number or a
        /// truth value is compared. A label that asks for that itself (`== ""`) is never missing.
        pub missing_label: MissingLabel = MissingLabel::Error,
        /// Whether a label that is the same in all rows that are trained on is only warned of. It is refused otherwise,
        /// as nothing can be learned of it.
        pub allow_one_class: bool = false,
        /// By task: the numeric column that its rows are weighted with. Range of its cells: 0 to 1e9.
        pub weights: IndexMap<String, String> = IndexMap::new(),
        /// Features that identify a row, kept for `predict`; their names begin with `meta__`, and `meta__user_id` is the
        /// group of the metric `gauc`.
        pub ids: IndexMap<String, IdConfig> = IndexMap::new(),
        /// Which rows are trained on, and which are kept apart (null: all but those of `validation_share` are trained
        /// on).
        pub split: Option<SplitConfig> = None,
        /// The share of the rows of the first part that becomes a part `validation`, by which training is stopped and
        /// its best checkpoint chosen; rows that `split.hash` keeps together stay together (null: 0.1 where at least
        /// 1,000 rows are trained on, no other part is called `val…` or `dev`, and no `--vocabulary` is given; else
        /// 0). Range: 0 to 0.9.
        pub validation_share: Option<f64> = None,
    }
    scalars Written;
}

choice! {
    /// What becomes of a row without a label.
    pub enum MissingLabel {
        /// It is bad data, and ends the conversion.
        Error = "error",
        /// It is left out, and counted.
        Drop = "drop",
        /// The label is 0, and counted.
        Negative = "negative",
    }
}

section! {
    /// How CSV files are written.
    pub struct CsvConfig {
        /// Whether the first line of every file holds the names of the columns.
        pub header: bool = true,
        /// Names for files without a header, one per column (null: columns go by number).
        pub names: Option<Vec<String>> = None,
        /// What separates cells. Range: one character of ASCII.
        pub delimiter: String = ",".to_owned(),
        /// What stands around cells that hold a delimiter or a line break (null: quotes are text like any other). Range:
        /// one character of ASCII.
        pub quote: Option<String> = Some("\"".to_owned()),
        /// A cell of more lines than this is refused: a quote that is missing makes such cells (null: one of more than 1,000
        /// lines, and one whose lines may be rows between two stray quotes: the first line has the delimiters that the
        /// row lacks behind the cell, the last one those in front of it).
        pub max_cell_lines: Option<PositiveInt> = None,
        /// Whether blanks around cells are dropped.
        pub trim: bool = true,
        /// Cells that count as empty.
        pub nulls: Vec<String> = vec![String::new()],
    }
}

impl Default for CsvConfig {
    fn default() -> Self {
        <Self as super::Decode>::placeholder()
    }
}

section! {
    /// Categorical columns whose values are looked up in a vocabulary, counted over the rows that are trained on:
    /// the commonest first, equally common ones in the order of their bytes. An empty cell is a value like any other.
    pub struct CategoryConfig {
        /// The columns, each with a vocabulary of its own.
        pub columns: Vec<String>,
        /// How often a value must occur to be in the vocabulary; rarer ones are unknown.
        pub min_count: PositiveInt = positive(1),
        /// The most values a vocabulary may have (null: no limit); the rarest are unknown.
        pub max_values: Option<PositiveInt> = None,
    }
}

section! {
    /// Numeric columns cut into ranges. An empty cell is in none, nor is NaN. Times are seconds since 1970 or midnight.
    pub struct BucketConfig {
        /// The columns.
        pub columns: Vec<String>,
        /// Into about so many ranges that are equally frequent among the rows that are trained on; a value that fills
        /// one alone gets it, and the others share so many. Counted over 65,536 of them, chosen by hash.
        pub count: Option<Size> = None,
        /// The lower ends of all ranges but the lowest, ascending. Not for columns of times.
        pub boundaries: Option<Vec<f64>> = None,
    }
    exactly_one "ranges": count, boundaries;
}

section! {
    /// A feature that identifies a row.
    pub struct IdConfig {
        /// The column (null: the number of the row over all files, from 0).
        pub column: Option<String> = None,
        /// What it holds.
        pub kind: IdKind = IdKind::Integer,
    }
}

choice! {
    /// What an id is.
    pub enum IdKind {
        /// A 64-bit integer; a whole float such as `3.0` is one too. One of 2^63 and more is taken by its two's complement
        /// where the column holds unsigned integers by its type, and refused elsewhere. Of a time, the microseconds since
        /// 1970 or midnight. The groups of grouped metrics are integers.
        Integer = "integer",
        /// Text.
        Text = "text",
    }
}

section! {
    /// Which rows go into which part. The first part is trained on, the others are partitions of `validation_data`.
    pub struct SplitConfig {
        /// By the number of the row.
        pub index: Option<IndexSplit> = None,
        /// By the hash of a column: rows that share a value stay together.
        pub hash: Option<HashSplit> = None,
        /// By a column that tells the time.
        pub time: Option<TimeSplit> = None,
    }
    exactly_one "split": index, hash, time;
}

section! {
    /// Parts by the number of the row over all files, from 0.
    pub struct IndexSplit {
        /// The number is divided by this.
        pub modulo: PositiveInt,
        /// The remainders of each part; rows with another one are left out. Range: 0 up to `modulo`.
        pub parts: IndexMap<String, Vec<i64>>,
    }
}

section! {
    /// Parts by the hash of a column.
    pub struct HashSplit {
        /// The column.
        pub column: String,
        /// Another number gives other parts.
        pub seed: i64 = 0,
        /// The share of each part; rows beyond a sum of 1 are left out. Range: above 0, together at most 1.
        pub parts: IndexMap<String, f64>,
    }
}

section! {
    /// Parts by time.
    pub struct TimeSplit {
        /// The column: numbers, or times as ISO 8601 writes them, all of one form: dates or instants (2024-05-31,
        /// 2024-05-31T23:59:59+02:00, those of Parquet; UTC where no zone is given), times of day (23:59), months
        /// (2024-05) or weeks (2024-W05). A row without such a time is refused.
        pub column: String,
        /// The first time that is not in the part any more, parts in the order of time (null: no end). Rows after the
        /// last one are left out. Range: all of one kind.
        pub before: IndexMap<String, Option<String>>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RecapConfig, load, parse};

    #[test]
    fn names_are_what_is_written_and_none_becomes_another() {
        let names = [
            "yes",
            "no",
            "on",
            "true",
            "01",
            "1",
            "1.0",
            "1.50",
            "12:30",
            "0x1F",
            "010",
            "2024_05",
            ".inf",
            ".nan",
            "~",
            "null",
            "1e3",
            "+1",
            "2024-05-01",
            "é",
        ];
        let keys =
            |value: &str| -> String { names.map(|name| format!("  {name}: {value}\n")).concat() };
        let text = format!(
            "continuous: [{list}]\nlabels:\n{labels}weights:\n{weights}split: {{index: {{modulo: 2, parts:\n{{{parts}}}}}}}\n\
             csv: {{header: false, names: [{list}], nulls: [{list}]}}\n",
            list = names.join(", "),
            labels = keys("y == 1"),
            weights = keys("2024_05"),
            parts = names.map(|name| format!("{name}: [0]")).join(", "),
        );
        let mapping: ConversionConfig = parse(&text).unwrap();
        assert_eq!(mapping.continuous, names);
        assert_eq!(mapping.labels.keys().collect::<Vec<_>>(), names);
        assert!(mapping.weights.values().all(|column| column == "2024_05"));
        let parts = mapping.split.unwrap().index.unwrap().parts;
        assert_eq!(parts.keys().collect::<Vec<_>>(), names);
        assert_eq!(mapping.csv.names.unwrap(), names);
        assert_eq!(mapping.csv.nulls, names);
    }

    #[test]
    fn overrides_are_read_as_the_file_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            "labels: {01: a == 1}\nsplit: {time: {column: no, before: {on: 12:00:00, rest: ~}}}\n";
        std::fs::write(file.path(), text).unwrap();
        let set = [
            "labels.01=on == 1",
            "output_dir=2024_05",
            "split.time.before.off=2024-05-01",
        ];
        let (mapping, _): (ConversionConfig, _) =
            load(file.path(), &set.map(str::to_owned)).unwrap();
        assert_eq!(mapping.labels["01"], "on == 1");
        assert_eq!(mapping.output_dir.as_deref(), Some("2024_05"));
        let time = mapping.split.unwrap().time.unwrap();
        assert_eq!(time.column, "no");
        let before: Vec<_> = time.before.values().map(Option::as_deref).collect();
        assert_eq!(before, [Some("12:00:00"), None, Some("2024-05-01")]);
        assert!(time.before.keys().eq(["on", "rest", "off"]));
    }

    #[test]
    fn a_name_that_is_not_there_is_no_text() {
        let message = parse::<ConversionConfig>("continuous: [a, ]\nlabels: {y: }\n");
        let message = message.unwrap_err().to_string();
        assert!(message.contains("labels.y: expected text"), "{message}");
        assert_eq!(
            <RecapConfig as super::super::Decode>::SCALARS,
            super::super::node::Scalars::Read
        );
    }
}
