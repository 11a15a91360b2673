//! Tables to training data: every kind of feature, label and part; the same bytes whatever the threads; mistakes.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use recap_train::batch::{HostBatch, HostValues};
use recap_train::config::{self, ConversionConfig};
use recap_train::convert::{ConvertError, ConvertOptions, Converted, convert};
use recap_train::data::{Fault, Loader, Mode};
use recap_train::output::{Column, TableWriter, Values};

use crate::data::in_order;
use crate::support::{Run, fixtures, stderr};

const TABLE: &str = "\
user, age, city, pay, weight, day, kind, spent, born
7, 30, Rome, 1.5, 2, 2024-01-01, a, 1, Rome
8, , Oslo, 2.5, 0.5, 2024-01-02, b, 2, Bonn
7, 50,\"Rome\", 0, 1, 2024-01-03, a, 0,\"Rome\"
9, 20, Bern, 0, 1, 2024-01-04,, 0, Bern
8, 40, Oslo, 9, 3, 2024-02-01, c, 9, Oslo
6, 41, Lima, 8, 4, 2024-02-02, a, 8, Lima
";

const MAPPING: &str = "
continuous: [age, pay]
missing: -1
one_hot: [{columns: [city], min_count: 2}]
buckets: [{columns: [age], boundaries: [25, 40]}]
discrete: [{columns: [kind]}]
labels:
  paid: spent >= 2
  roman: born == \"Rome\"
weights: {paid: weight}
ids:
  meta__row: {}
  meta__user: {column: user}
  meta__day: {column: day, kind: text}
split: {time: {column: day, before: {train: 2024-02-01x, late: null}}}
";

/// A mapping without what a table of labels alone does not need.
fn mapping(yaml: &str) -> ConversionConfig {
    // YAML takes a bare date for a date; `x` keeps the constant above legible as text.
    config::parse(&yaml.replace("2024-02-01x", "\"2024-02-01\"")).unwrap()
}

/// A folder for tables and what is made of them; gone when dropped.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn convert(
        &self,
        yaml: &str,
        inputs: &str,
        output: &str,
        threads: usize,
    ) -> Result<Converted, ConvertError> {
        let options = ConvertOptions {
            inputs: vec![self.path(inputs).display().to_string()],
            output_dir: Some(self.path(output)),
            vocabulary: None,
            threads: NonZeroUsize::new(threads),
        };
        convert(&mapping(yaml), &options)
    }

    /// Every file below `name`, by its path in it; the config without the name of the folder.
    pub(crate) fn files(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        fn visit(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    visit(root, &path, files);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    files.insert(path.strip_prefix(root).unwrap().to_owned(), bytes);
                }
            }
        }
        let mut files = BTreeMap::new();
        visit(&self.path(name), &self.path(name), &mut files);
        let config = files.remove(Path::new("config.yaml")).unwrap();
        let config = String::from_utf8(config).unwrap();
        let config = config.replace(&self.path(name).display().to_string(), "HERE");
        files.insert("config.yaml".into(), config.into_bytes());
        files
    }

    /// All rows of a part as one batch, read with the config that was written.
    pub(crate) fn rows(&self, output: &str, part: &str) -> HostBatch {
        let path = self.path(output).join("config.yaml");
        let loaded = config::load_recap(&path, &[]).unwrap().config;
        let mut data = loaded.train_data;
        if let Some(other) = loaded.validation_data.get(part) {
            data = other.clone();
        }
        let rows = 1000;
        data.global_batch_size = config::Size::new(rows).unwrap();
        let options = recap_train::data::LoaderOptions {
            drop_remainder: false,
            ..in_order(Mode::Evaluate)
        };
        let mut loader = Loader::open(&data, options, None).unwrap();
        loader.next_batch().unwrap().unwrap().batch
    }
}

pub(crate) fn floats(batch: &HostBatch, name: &str) -> Vec<f32> {
    match &batch.feature(name).unwrap().values {
        HostValues::F32(values) => values.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

pub(crate) fn ints(batch: &HostBatch, name: &str) -> Vec<i64> {
    match &batch.feature(name).unwrap().values {
        HostValues::I64(values) => values.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn every_kind_of_column_becomes_what_the_mapping_says() {
    let place = Place::new();
    place.write("t.csv", TABLE);
    let converted = place.convert(MAPPING, "t.csv", "out", 2).unwrap();
    let rows: Vec<u64> = converted.parts.values().map(|part| part.rows).collect();
    assert_eq!((rows, converted.widths), (vec![4, 2], [2, 5, 1]));
    assert_eq!(converted.parts["late"].positives["paid"], 2);
    let train = place.rows("out", "train");
    assert_eq!(train.rows, 4);
    assert_eq!(
        floats(&train, "continuous"),
        [30.0, 1.5, -1.0, 2.5, 50.0, 0.0, 20.0, 0.0]
    );
    // Unknown, Rome; below 25, 25 to 40, 40 and more. Oslo and Bern are too rare in what is trained on.
    let binary = [
        [0, 1, 0, 1, 0],
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 1],
        [1, 0, 1, 0, 0],
    ];
    assert_eq!(ints(&train, "binary"), binary.concat());
    // By count, then by bytes: a, "", b.
    assert_eq!(ints(&train, "discrete"), [1, 3, 1, 2]);
    assert_eq!(ints(&train, "meta__row"), [0, 1, 2, 3]);
    assert_eq!(ints(&train, "meta__user"), [7, 8, 7, 9]);
    let days = &train.feature("meta__day").unwrap().values;
    assert!(matches!(days, HostValues::Bytes(days) if days[3] == b"2024-01-04"));
    let labels = &train.labels.as_ref().unwrap().values;
    assert_eq!(*labels, HostValues::I64(vec![0, 1, 1, 0, 0, 1, 0, 0]));
    let weights = &train.weights.as_ref().unwrap().values;
    let expected = vec![2.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0];
    assert_eq!(*weights, HostValues::F32(expected));
    let late = place.rows("out", "late");
    // Neither Oslo nor Lima nor `c` was seen often enough before February.
    assert_eq!(ints(&late, "binary"), [1, 0, 0, 0, 1, 1, 0, 0, 0, 1]);
    assert_eq!(ints(&late, "discrete"), [0, 1]);
}

/// The table of `TABLE` as Parquet.
fn write_parquet(path: &Path) {
    let texts =
        |texts: &[&str]| Values::Bytes(texts.iter().map(|text| text.as_bytes().to_vec()).collect());
    let mut columns = vec![
        (
            "city",
            texts(&["Rome", "Oslo", "Rome", "Bern", "Oslo", "Lima"]),
        ),
        ("user", Values::I64(vec![7, 8, 7, 9, 8, 6])),
        ("unused", Values::I64(vec![0; 6])),
        ("pay", Values::F32(vec![1.5, 2.5, 0.0, 0.0, 9.0, 8.0])),
        ("weight", Values::F32(vec![2.0, 0.5, 1.0, 1.0, 3.0, 4.0])),
        ("kind", texts(&["a", "b", "a", "", "c", "a"])),
        ("age", Values::F32(vec![30.0, -1.0, 50.0, 20.0, 40.0, 41.0])),
        ("spent", Values::I64(vec![1, 2, 0, 0, 9, 8])),
        (
            "born",
            texts(&["Rome", "Bonn", "Rome", "Bern", "Oslo", "Lima"]),
        ),
    ];
    let days = ["01-01", "01-02", "01-03", "01-04", "02-01", "02-02"];
    let days: Vec<String> = days.iter().map(|day| format!("2024-{day}")).collect();
    let days: Vec<&str> = days.iter().map(String::as_str).collect();
    columns.push(("day", texts(&days)));
    let mut writer = TableWriter::create(path).unwrap();
    let columns = columns.into_iter().map(|(name, values)| Column {
        name: name.to_owned(),
        values,
    });
    writer.write(columns.collect()).unwrap();
    writer.finish().unwrap();
}

#[test]
fn csv_gzip_parquet_and_files_without_a_header_give_the_same_bytes() {
    let place = Place::new();
    place.write("t.csv", TABLE);
    // Parquet as written here has no empty numbers.
    let mapping = MAPPING.replace("columns: [age], boundaries", "columns: [pay], boundaries");
    place.convert(&mapping, "t.csv", "csv", 1).unwrap();
    let expected = place.files("csv");
    write_parquet(&place.path("t.parquet"));
    place.convert(&mapping, "t.parquet", "parquet", 1).unwrap();
    assert!(place.files("parquet") == expected);
    let gzip = std::fs::File::create(place.path("t.csv.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(gzip, flate2::Compression::fast());
    let (header, body) = TABLE.split_once('\n').unwrap();
    gzip.write_all(body.as_bytes()).unwrap();
    gzip.finish().unwrap();
    let named = format!("{mapping}csv: {{header: false, names: [{header}]}}\n");
    place.convert(&named, "t.csv.gz", "named", 1).unwrap();
    assert!(place.files("named") == expected);
    // Two files are as one, and columns may go by number.
    let (first, second) = body.split_at(body.find("7, 50").unwrap());
    place.write("part-0.csv", first);
    place.write("part-1.csv", second);
    let numbered = "
csv: {header: false}
continuous: [1, 3]
labels: {paid: 7 >= 2, roman: 8 == \"Rome\"}
ids: {meta__row: {}}
";
    let converted = place
        .convert(numbered, "part-*.csv", "numbered", 1)
        .unwrap();
    assert_eq!(converted.parts["train"].rows, 6);
    let rows = place.rows("numbered", "train");
    assert_eq!(ints(&rows, "meta__row"), [0, 1, 2, 3, 4, 5]);
    assert_eq!(floats(&rows, "continuous")[4..6], [50.0, 0.0]);
}

/// 500 rows of two columns; `spoil` changes some of them.
fn long_table(spoil: impl Fn(usize) -> Option<&'static str>) -> String {
    let line = |i: usize| {
        let line = format!("{},{}\n", i * 37 % 101, ["x", "y", "z"][i % 3]);
        spoil(i).map_or(line, |bad| format!("{bad}\n"))
    };
    std::iter::once("n,c\n".to_owned())
        .chain((1..=500).map(line))
        .collect()
}

const LONG: &str = "
rows_per_file: 30
continuous: [n]
one_hot: [{columns: [c]}]
buckets: [{columns: [n], count: 7}]
labels: {big: d > 50}
split: {hash: {column: n, parts: {train: 0.5, test: 0.25}}}
";

#[test]
fn the_files_do_not_depend_on_the_threads() {
    let place = Place::new();
    let with_label = |table: String| {
        let lines = table.lines().enumerate();
        let label = |i: usize| ["d", "60", "40"][if i == 0 { 0 } else { 1 + i % 2 }];
        let lines = lines.map(|(i, line)| format!("{line},{}\n", label(i)));
        lines.collect::<String>()
    };
    place.write("t.csv", with_label(long_table(|_| None)));
    let one = place.convert(LONG, "t.csv", "one", 1).unwrap();
    let many = place.convert(LONG, "t.csv", "many", 7).unwrap();
    assert_eq!((&one.parts, one.left_out), (&many.parts, many.left_out));
    assert!(place.files("one") == place.files("many"));
    let rows = one.parts.values().map(|part| part.rows).sum::<u64>();
    assert_eq!(rows + one.left_out, 500);
    assert!((180..320).contains(&one.parts["train"].rows), "{one:?}");
    assert_eq!(
        one.parts["train"].files,
        one.parts["train"].rows.div_ceil(30)
    );
    // Rows that share a value of the hashed column stay together.
    let values = |part: &str| -> std::collections::BTreeSet<i64> {
        let numbers = floats(&place.rows("one", part), "continuous");
        numbers.into_iter().map(|number| number as i64).collect()
    };
    assert!(values("train").is_disjoint(&values("test")));
    assert!(values("train").len() > 20 && values("test").len() > 10);
}

#[test]
fn of_several_mistakes_the_first_row_is_told_and_nothing_is_left_behind() {
    let place = Place::new();
    let spoil = |i: usize| match i {
        123 => Some("1O,x,1"),
        124 => Some("5,x,60"),
        401 => Some("5,x"),
        _ => None,
    };
    let table = long_table(spoil);
    let lines = table.lines().enumerate().map(|(i, line)| match i {
        0 => format!("{line},d\n"),
        123 | 401 => format!("{line}\n"),
        124 => format!("{line}\n"),
        300 => format!("{line},none\n"),
        _ => format!("{line},60\n"),
    });
    place.write("t.csv", lines.collect::<String>());
    for threads in [1, 2, 8] {
        let error = place.convert(LONG, "t.csv", "out", threads).unwrap_err();
        let message = error.to_string();
        let expected = "t.csv: line 124, column `n`: expected a number, found `1O`";
        assert!(message.ends_with(expected), "{message}");
        assert_eq!(error.fault(), Fault::Data);
    }
    let left: Vec<_> = std::fs::read_dir(place.0.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// A change of the mapping, one of the table, the message that must come, and whose fault it is.
type Mistake = (
    (&'static str, &'static str),
    (&'static str, &'static str),
    &'static str,
    Fault,
);

const MISTAKES: [Mistake; 21] = [
    (
        ("", ""),
        ("8, 40,", "8, 40, 3,"),
        "t.csv: line 6: expected 9 columns, found 10",
        Fault::Data,
    ),
    (
        ("", ""),
        ("6, 41", "x, 41"),
        "t.csv: line 7, column `user`: expected an integer, found `x`",
        Fault::Data,
    ),
    (
        ("", ""),
        (", 3, 2024", ", -3, 2024"),
        "line 6, column `weight`: expected a weight from 0 to 1e9, found `-3`",
        Fault::Data,
    ),
    (
        ("", ""),
        (", 3, 2024", ", 3e38, 2024"),
        "line 6, column `weight`: expected a weight from 0 to 1e9, found `3e38`",
        Fault::Data,
    ),
    (
        ("born == \"Rome\"", "born < \"Rome\""),
        ("", ""),
        "labels.roman: \"Rome\" is text, which has no order",
        Fault::Config,
    ),
    (
        (
            "before: {train: 2024-02-01x",
            "before: {train: \"01/02/2024\"",
        ),
        ("", ""),
        "split.time.before: expected numbers, or times as ISO 8601 writes them",
        Fault::Config,
    ),
    (
        ("ids:", "ids:\n  meta__b: {column: born}"),
        ("", ""),
        "line 2, column `born`: expected an integer, found `Rome`",
        Fault::Data,
    ),
    (
        ("late: null", "late: 2024-02-01x, never: null"),
        ("", ""),
        "expected ascending times",
        Fault::Config,
    ),
    (
        ("spent >= 2", "spent >= much"),
        ("", ""),
        "labels.paid: `much` is no number and neither true nor false; text stands in double quotes",
        Fault::Config,
    ),
    (
        ("spent >= 2", "pays >= 2"),
        ("", ""),
        "there is no column `pays`, there are user, age, city",
        Fault::Config,
    ),
    (
        ("continuous: [age, pay]", "continuous: [age, city]"),
        ("", ""),
        "line 2, column `city`: expected a number, found `Rome`",
        Fault::Data,
    ),
    (
        ("missing: -1", "validation_share: 0.95"),
        ("", ""),
        "validation_share: expected a share from 0 to 0.9, found 0.95",
        Fault::Config,
    ),
    (
        ("continuous: [age, pay]", "continuous: [age, age]"),
        ("", ""),
        "continuous: column `age` is listed twice",
        Fault::Config,
    ),
    (
        ("weights: {paid", "weights: {fame"),
        ("", ""),
        "weights.fame: there is no label of that name",
        Fault::Config,
    ),
    (
        ("meta__row", "row"),
        ("", ""),
        "ids.row: expected a name that begins with meta__",
        Fault::Config,
    ),
    (
        ("[25, 40]", "[40, 25]"),
        ("", ""),
        "buckets[0].boundaries: expected ascending numbers",
        Fault::Config,
    ),
    (
        ("{train:", "{tr/ain:"),
        ("", ""),
        "split: `tr/ain` is no name for a folder",
        Fault::Config,
    ),
    (
        (
            "before: {train: 2024-02-01x",
            "before: {train: \"2023-12-31\"",
        ),
        ("", ""),
        "no row belongs to the part `train`",
        Fault::Data,
    ),
    (
        ("", ""),
        ("user, age", "city, age"),
        "there is no column `city`, two columns have that name",
        Fault::Config,
    ),
    (
        ("paid: spent >= 2", "paid: age >= 2"),
        ("", ""),
        "labels.paid: column `age` is an input as well",
        Fault::Config,
    ),
    (
        ("missing: -1", "csv: {header: true, names: [a]}"),
        ("", ""),
        "csv.names: files with a header have names already",
        Fault::Config,
    ),
];

#[test]
fn every_mistake_says_where_it_is() {
    for ((from, to), (cell, other), expected, fault) in MISTAKES {
        let place = Place::new();
        let yaml = MAPPING.replacen(from, to, usize::from(!from.is_empty()));
        let table = TABLE.replacen(cell, other, usize::from(!cell.is_empty()));
        place.write("t.csv", &table);
        let outcome = place.convert(&yaml, "t.csv", "out", 2);
        let error = outcome.expect_err(expected);
        let message = error.to_string();
        assert!(
            message.contains(expected),
            "expected {expected}, found {message}"
        );
        assert_eq!(error.fault(), fault, "{message}");
        assert!(!place.path("out").exists(), "{expected}");
    }
}

#[test]
fn a_vocabulary_serves_again_and_must_be_of_the_mapping() {
    let place = Place::new();
    place.write("t.csv", TABLE);
    // Nobody is born in Rome in the second table.
    let yaml = &format!("{MAPPING}allow_one_class: true\n");
    place.convert(yaml, "t.csv", "first", 2).unwrap();
    place.write("new.csv", TABLE.replace("Rome", "Oslo"));
    let again = |yaml: &str, output: &str| {
        let options = ConvertOptions {
            inputs: vec![place.path("new.csv").display().to_string()],
            output_dir: Some(place.path(output)),
            vocabulary: Some(place.path("first/vocabulary.json")),
            threads: None,
        };
        convert(&mapping(yaml), &options)
    };
    again(yaml, "second").unwrap();
    // Oslo is common here, but not in the vocabulary.
    let rows = place.rows("second", "train");
    let unknown = ints(&rows, "binary")
        .chunks(5)
        .filter(|row| row[0] == 1)
        .count();
    assert_eq!(unknown, 4);
    let files = [place.files("first"), place.files("second")];
    let vocabulary = Path::new("vocabulary.json");
    assert_eq!(files[0][vocabulary], files[1][vocabulary]);
    let error = again(&yaml.replace("[city]", "[kind]"), "third").unwrap_err();
    let message = error.to_string();
    assert!(message.ends_with("one_hot is of the columns [city], the mapping has [kind]"));
    assert!(matches!(error, ConvertError::Vocabulary { .. }));
}

#[test]
fn a_folder_that_is_there_is_left_alone() {
    let place = Place::new();
    place.write("t.csv", TABLE);
    std::fs::create_dir(place.path("out")).unwrap();
    place.write("out/mine", "");
    let error = place.convert(MAPPING, "t.csv", "out", 1).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 1);
}

#[test]
fn the_census_mapping_makes_data_that_is_ready_to_train() {
    let run = Run::new();
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/census_income.mapping.yaml");
    let inputs = fixtures().join("convert/census_200.csv.gz");
    let args = [
        "convert".to_owned(),
        format!("--mapping={}", mapping.display()),
        format!("--inputs={}", inputs.display()),
        format!("--output_dir={}", run.path("census").display()),
    ];
    let program = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_recap-train"));
        let output = command.args(args).env_remove("RUST_LOG").output().unwrap();
        assert!(output.status.success(), "{args:?}:\n{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = program(&args.each_ref().map(String::as_str));
    assert!(
        said.contains("train: 160 rows in 1 files, income_50k"),
        "{said}"
    );
    assert!(said.contains("test: 20 rows"), "{said}");
    let config = run.path("census/config.yaml");
    let config = format!("--config_path={}", config.display());
    let checked = program(&[&config, "check"]);
    assert!(checked.contains("never_married"), "{checked}");
    program(&[&config, "--set", "training.num_train_steps=3"]);
    let output = format!("--output={}", run.path("p.csv").display());
    let inputs = format!("--inputs={}/*.gz", run.path("census/test").display());
    program(&[&config, "predict", &output, &inputs]);
    let predicted = std::fs::read_to_string(run.path("p.csv")).unwrap();
    let rows: Vec<&str> = predicted
        .lines()
        .map(|line| line.split(',').next().unwrap())
        .collect();
    assert_eq!(rows[..3], ["meta__row", "9", "19"]);
}
