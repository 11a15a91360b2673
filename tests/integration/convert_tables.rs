//! Tables as people have them: quotes that never close, times that are none, numbers that are none, other encodings and
//! delimiters, several files, folders that are columns.

use std::io::Write;

use recap_train::convert::{ConvertError, ConvertOptions};
use recap_train::data::Fault;

use crate::convert::{Place, floats, ints};

const MAPPING: &str = "continuous: [x]\none_hot: [{columns: [c]}]\nlabels: {y: y == 1}\n";

/// The message of a conversion that must fail, and leave nothing behind.
fn refused(place: &Place, yaml: &str, inputs: &str, fault: Fault) -> String {
    let error = place.convert(yaml, inputs, "out", 2).unwrap_err();
    assert_eq!(error.fault(), fault, "{error}");
    assert!(!place.path("out").exists(), "{error}");
    error.to_string()
}

#[test]
fn a_quote_that_never_closes_is_refused_with_its_line() {
    let place = Place::new();
    let mut rows: Vec<String> = (0..40)
        .map(|row| format!("{row},{},item {row}\n", row % 2))
        .collect();
    let table = |rows: &[String]| format!("x,y,c\n{}", rows.concat());
    rows[10] = "10,0,\"24 inch monitor\n".to_owned();
    place.write("t.csv", table(&rows));
    let message = refused(&place, MAPPING, "t.csv", Fault::Data);
    assert!(
        message.ends_with("csv.quote to null if all quotes are text"),
        "{message}"
    );
    assert!(
        message.contains("t.csv: line 12: a quote opens here and never closes"),
        "{message}"
    );
    // Without meaning for quotes all rows are there.
    let unquoted = format!("{MAPPING}csv: {{quote: null}}\n");
    let made = place.convert(&unquoted, "t.csv", "all", 1).unwrap();
    assert_eq!(made.parts["train"].rows, 40);
    // Another stray quote closes it: in front of text, or where rows may end.
    rows[30] = "30,0,27\" monitor\n".to_owned();
    place.write("t.csv", table(&rows));
    let message = refused(&place, MAPPING, "t.csv", Fault::Data);
    let expected =
        "line 12: the quote that opens a cell here is closed in line 32 with text behind it";
    assert!(message.contains(expected), "{message}");
    rows[30] = "30,0,27\"\n".to_owned();
    place.write("t.csv", table(&rows));
    let message = refused(&place, MAPPING, "t.csv", Fault::Data);
    let expected =
        "line 12: a cell begins here that has 21 lines, which have the delimiters of rows";
    assert!(message.contains(expected), "{message}");
    let limited = format!("{MAPPING}csv: {{max_cell_lines: 20}}\n");
    let message = refused(&place, &limited, "t.csv", Fault::Data);
    assert!(
        message.contains("line 12: a cell begins here that has 21 lines, more than"),
        "{message}"
    );
    let allowed = format!("{MAPPING}csv: {{max_cell_lines: 21}}\n");
    let made = place.convert(&allowed, "t.csv", "allowed", 1).unwrap();
    assert_eq!(made.parts["train"].rows, 20);
}

/// A mapping with `label`, and what becomes of rows without one.
fn labelled(label: &str, missing: &str) -> String {
    format!(
        "continuous: [x]\none_hot: [{{columns: [c]}}]\nlabels: {{y: '{label}'}}\nids: {{meta__row: {{}}}}\n{missing}"
    )
}

#[test]
fn a_row_without_a_label_is_refused_dropped_or_negative_as_the_mapping_says() {
    let place = Place::new();
    let (drop, negative) = ("missing_label: drop\n", "missing_label: negative\n");
    for (label, one, zero, gap) in [
        ("y == \"a\"", "a", "b", ""),
        ("y != \"a\"", "b", "a", ""),
        ("y == 1", "1", "0", ""),
        ("y > 0.5", "1", "0", "NaN"),
        ("y == true", "True", "0", ""),
        ("y < \"2024-05-05\"", "2024-05-04", "2024-05-05T00:00Z", ""),
    ] {
        place.write(
            "t.csv",
            format!("x,c,y\n1,p,{one}\n2,only,{gap}\n3,q,{zero}\n4,q,{gap}\n"),
        );
        let message = refused(&place, &labelled(label, ""), "t.csv", Fault::Data);
        let expected = "line 3, column `y`: expected a value that the label can be told by";
        assert!(
            message.contains(expected) && message.contains("missing_label"),
            "{label}: {message}"
        );
        let name = |kind: &str| format!("{kind}{}", label.replace(['"', ' ', '='], ""));
        let made = place
            .convert(&labelled(label, drop), "t.csv", &name("drop"), 2)
            .unwrap();
        assert_eq!(
            (made.unlabelled.dropped, made.unlabelled.negative),
            (2, 0),
            "{label}"
        );
        assert_eq!(made.widths[1], 3, "no row that is dropped is learned of");
        let rows = place.rows(&name("drop"), "train");
        assert_eq!(ints(&rows, "meta__row"), [0, 2], "{label}");
        let made = place
            .convert(&labelled(label, negative), "t.csv", &name("negative"), 2)
            .unwrap();
        assert_eq!(
            (made.unlabelled.dropped, made.unlabelled.negative),
            (0, 2),
            "{label}"
        );
        assert_eq!(
            (made.parts["train"].rows, made.parts["train"].positives["y"]),
            (4, 1),
            "{label}"
        );
    }
}

#[test]
fn whether_a_cell_is_empty_can_be_asked() {
    let place = Place::new();
    place.write("t.csv", "x,c,y\n1,p,a\n2,p,\n3,p,nan\n");
    for (label, missing, positives) in [
        ("y == \"\"", "", 2),
        ("y != \"\"", "missing_label: drop\n", 1),
        ("y == \"a\"", "csv: {nulls: [x]}\n", 1),
    ] {
        let made = place.convert(
            &labelled(label, missing),
            "t.csv",
            &format!("empty{positives}{}", missing.len()),
            1,
        );
        assert_eq!(
            made.unwrap().parts["train"].positives["y"],
            positives,
            "{label}"
        );
    }
}

#[test]
fn rows_are_told_by_the_lines_of_the_file() {
    let place = Place::new();
    place.write(
        "t.csv",
        "\u{feff}x,c,y\r\n1,\"a\r\nb\",1\r\n\r\n2,b,0\r\nbad,c,0\r\n",
    );
    let message = refused(&place, MAPPING, "t.csv", Fault::Data);
    assert!(
        message.ends_with("t.csv: line 6, column `x`: expected a number, found `bad`"),
        "{message}"
    );
}

#[test]
fn a_time_that_is_none_has_no_part() {
    let place = Place::new();
    let yaml = "continuous: [x]\nlabels: {y: y == 1}\n\
                split: {time: {column: d, before: {train: \"2024-05-05\", test: null}}}\n";
    for (bad, found) in [
        ("", "an empty cell"),
        ("N/A", "`N/A`"),
        ("05/10/2024", "`05/10/2024`"),
        ("2024-02-30", "`2024-02-30`"),
        ("nan", "`nan`"),
    ] {
        place.write(
            "t.csv",
            format!("x,y,d\n1,1,2024-05-01\n2,0,{bad}\n3,1,2024-05-09\n"),
        );
        let message = refused(&place, yaml, "t.csv", Fault::Data);
        let expected = "t.csv: line 3, column `d`: expected a time such as 2024-05-31 or 2024-05-31T23:59:59Z, found ";
        assert!(
            message.ends_with(&format!("{expected}{found}")),
            "{message}"
        );
    }
    let numbers = yaml.replace("\"2024-05-05\"", "\"20\"");
    for bad in ["", "NaN", "inf", "2024-05-01"] {
        place.write("t.csv", format!("x,y,d\n1,1,10\n2,0,{bad}\n3,1,30\n"));
        let message = refused(&place, &numbers, "t.csv", Fault::Data);
        assert!(
            message.contains("line 3, column `d`: expected a number"),
            "{message}"
        );
    }
}

#[test]
fn numbers_that_are_none_are_missing_and_those_that_do_not_fit_are_told() {
    let place = Place::new();
    let yaml = "continuous: [x]\nmissing: -7\nbuckets: [{columns: [b], boundaries: [2]}]\nlabels: {y: y == 1}\n";
    place.write("t.csv", "x,b,y\nnan,1,1\n-NaN,nan,0\n1e38,3,0\n,,1\n");
    place.convert(yaml, "t.csv", "good", 1).unwrap();
    let rows = place.rows("good", "train");
    assert_eq!(floats(&rows, "continuous"), [-7.0, -7.0, 1e38, -7.0]);
    assert_eq!(ints(&rows, "binary"), [1, 0, 0, 0, 0, 1, 0, 0]);
    for (row, expected) in [
        (
            "inf,1,0",
            "column `x`: expected a finite number, found `inf`",
        ),
        ("-Infinity,1,0", "column `x`: expected a finite number"),
        (
            "1e400,1,0",
            "column `x`: expected a finite number, found `1e400`",
        ),
        (
            "1e39,1,0",
            "column `x`: expected a number that fits 32 bits, at most 3.4e38, found `1e39`",
        ),
        ("1,inf,0", "column `b`: expected a finite number"),
        ("N/A,1,0", "column `x`: expected a number, found `N/A`"),
        ("1,1,N/A", "column `y`: expected a number to compare"),
        (
            "1,1,nan",
            "column `y`: expected a value that the label can be told by",
        ),
        (
            "1,1,",
            "column `y`: expected a value that the label can be told by",
        ),
        ("\x1b[2J,1,0", "expected a number, found `\\x1b[2J`"),
    ] {
        place.write("t.csv", format!("x,b,y\n0,0,1\n{row}\n"));
        let message = refused(&place, yaml, "t.csv", Fault::Data);
        assert!(
            message.contains("line 3") && message.contains(expected),
            "{message}"
        );
    }
    let message = refused(&place, &yaml.replace("-7", ".inf"), "t.csv", Fault::Config);
    assert!(
        message.contains("missing: expected a number that fits 32 bits"),
        "{message}"
    );
}

#[test]
fn numbers_of_csv_compare_exactly_and_truth_values_as_such() {
    let place = Place::new();
    place.write(
        "t.csv",
        "x,id,click\n1,9007199254740992,True\n2,9007199254740993,false\n3,9007199254740994,TRUE\n",
    );
    for (label, positives) in [
        ("id == 9007199254740993", 1),
        ("id > 9007199254740992", 2),
        ("click == true", 2),
        ("click == \\\"True\\\"", 1),
    ] {
        let yaml = format!("continuous: [x]\nlabels: {{y: \"{label}\"}}\n");
        let made = place.convert(&yaml, "t.csv", &positives.to_string(), 1);
        let made = made.unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(made.parts["train"].positives["y"], positives, "{label}");
        std::fs::remove_dir_all(place.path(&positives.to_string())).unwrap();
    }
    let yaml = "continuous: [x]\nlabels: {y: click == \"true\"}\n";
    let message = refused(&place, yaml, "t.csv", Fault::Data);
    assert!(
        message.contains("`click == \"true\"` holds in none of the 3 rows"),
        "{message}"
    );
}

/// A name, what is in the file, the message that must come, and whose fault it is.
type Odd = (&'static str, &'static [u8], &'static str, Fault);

const ODD: [Odd; 11] = [
    ("empty.csv", b"", "no rows: ", Fault::Data),
    (
        "blank.csv",
        b"x,c,y\n",
        "blank.csv holds no row",
        Fault::Data,
    ),
    (
        "wrong.csv",
        b"x,c\n",
        "there is no column `y`, there are x, c",
        Fault::Config,
    ),
    (
        "semicolon.csv",
        b"x;c;y\n1,5;a;1\n",
        "there is one, `x;c;y`: is csv.delimiter \";\"?",
        Fault::Config,
    ),
    (
        "tabs.csv",
        b"x\tc\ty\n1\ta\t1\n",
        "is csv.delimiter \"\\t\"?",
        Fault::Config,
    ),
    (
        "utf16.csv",
        b"\xff\xfex\0,\0c\0,\0y\0\n\0",
        "its text is UTF-16: write it as UTF-8: iconv",
        Fault::Data,
    ),
    (
        "page.csv",
        b"<!DOCTYPE html><html>",
        "it is an HTML or XML page",
        Fault::Data,
    ),
    (
        "sheet.csv",
        b"PK\x03\x04\x14\0",
        "a ZIP archive, as Excel's files are",
        Fault::Data,
    ),
    (
        "lfs.csv",
        b"version https://git-lfs.github.com/spec/v1\n",
        "git lfs pull",
        Fault::Data,
    ),
    (
        "text.parquet",
        b"x,c,y\n1,a,1\n",
        "instead of `PAR1`",
        Fault::Data,
    ),
    (
        "cut.parquet",
        b"PAR1",
        "cannot be read as Parquet",
        Fault::Data,
    ),
];

#[test]
fn a_column_that_a_folder_is_called_like_is_refused() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("t/c=2024")).unwrap();
    place.write("t/c=2024/a.csv", "x,c,y\n1,2023,1\n2,2022,0\n");
    let message = refused(&place, MAPPING, "t", Fault::Config);
    let expected =
        "no column `c`, both a column of the file and the folder `c=…` above it have that name";
    assert!(message.contains(expected), "{message}");
    let other = MAPPING.replace("one_hot: [{columns: [c]}]\n", "");
    place.convert(&other, "t", "out", 1).unwrap();
}

#[test]
fn odd_tables_are_called_what_they_are() {
    let place = Place::new();
    for (name, bytes, expected, fault) in ODD {
        place.write(name, bytes);
        let message = refused(&place, MAPPING, name, fault);
        assert!(message.contains(expected), "{name}: {message}");
        assert!(!message.contains("split"), "{message}");
        assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
    }
    let error = place
        .convert(MAPPING, "nowhere*.csv", "out", 1)
        .unwrap_err();
    assert!(matches!(error, ConvertError::NoFiles { .. }), "{error}");
}

#[test]
fn a_mapping_that_does_not_fit_the_file_is_said() {
    let place = Place::new();
    let named = format!("{MAPPING}csv: {{header: false, names: [x, c, y]}}\n");
    place.write("header.csv", "x,c,y\n1,a,1\n");
    let message = refused(&place, &named, "header.csv", Fault::Data);
    assert!(
        message.contains("line 1: these are the names of the columns"),
        "{message}"
    );
    place.write("rows.csv", "1;a;1\n");
    let message = refused(&place, &named, "rows.csv", Fault::Data);
    let expected = "expected 3 columns, found 1; is csv.delimiter \";\"?";
    assert!(message.contains(expected), "{message}");
    for (csv, expected) in [
        ("delimiter: \"||\"", "csv.delimiter: expected one character"),
        (
            "delimiter: '\"'",
            "csv.delimiter: cells cannot be separated by quotes",
        ),
        ("quote: \"\"", "csv.quote: expected one character"),
    ] {
        let yaml = format!("{MAPPING}csv: {{{csv}}}\n");
        let message = refused(&place, &yaml, "rows.csv", Fault::Config);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn lists_braces_and_partitions_are_tables_with_columns() {
    let place = Place::new();
    for (path, table) in [
        ("t/day=2024-05-02/city=Rome/b.csv", "x,y\n3,1\n"),
        ("t/day=2024-05-01/city=S%C3%A3o/a.csv", "x,y\n1,1\n2,0\n"),
        (
            "t/day=2024-05-03/city=__HIVE_DEFAULT_PARTITION__/c.csv",
            "x,y\n4,0\n",
        ),
        ("t/_SUCCESS", ""),
        ("t/day=2024-05-01/.a.csv.crc", "crc"),
    ] {
        let path = place.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, table).unwrap();
    }
    let yaml = "continuous: [x]\ndiscrete: [{columns: [city]}]\nlabels: {y: y == 1}\n\
                split: {time: {column: day, before: {train: \"2024-05-03\", test: null}}}\n";
    for (output, inputs) in [
        ("folder", "t"),
        ("globs", "t/*/*/*.csv"),
        ("braces", "t/day=2024-05-0{1,2,3}"),
    ] {
        place.convert(yaml, inputs, output, 1).unwrap();
        let train = place.rows(output, "train");
        assert_eq!(floats(&train, "continuous"), [1.0, 2.0, 3.0], "{inputs}");
        assert_eq!(ints(&train, "discrete"), [1, 1, 2], "{inputs}");
        assert_eq!(
            ints(&place.rows(output, "test"), "discrete"),
            [0],
            "{inputs}"
        );
    }
    let listed = format!(
        "{yaml}output_dir: {0}\ninputs: [\"{1}\", \"{2}\", \"{1}\"]\n",
        place.path("listed").display(),
        place.path("t/day=2024-05-02").display(),
        place.path("t/day=2024-05-0[13]").display()
    );
    let mapping = recap_train::config::parse(&listed).unwrap();
    recap_train::convert::convert(&mapping, &Default::default()).unwrap();
    assert_eq!(
        floats(&place.rows("listed", "train"), "continuous"),
        [3.0, 1.0, 2.0]
    );
}

#[test]
fn a_table_of_one_endless_cell_row_or_header_is_refused() {
    let place = Place::new();
    for (name, begin, byte) in [
        ("cell", "x,c,y\n1,\"", b'a'),
        ("row", "x,c,y\n1,", b','),
        ("header", "x", b'x'),
    ] {
        let file = std::fs::File::create(place.path("t.csv.gz")).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        gzip.write_all(begin.as_bytes()).unwrap();
        // More than a row may have; the file could be of any size, as it is read no further.
        for _ in 0..20 {
            gzip.write_all(&vec![byte; 1 << 20]).unwrap();
        }
        gzip.finish().unwrap();
        let message = refused(&place, MAPPING, "t.csv.gz", Fault::Data);
        let line = if name == "header" { 1 } else { 2 };
        let is_told = message.contains(&format!("line {line}: the row that begins here"));
        assert!(is_told, "{name}: {message}");
    }
}

#[test]
fn rows_without_labels_are_made_to_be_scored_with_the_vocabulary_there_is() {
    let place = Place::new();
    let days = "split: {time: {column: d, before: {train: '2024-05-05', rest: null}}}\n";
    let mapping = format!("{MAPPING}weights: {{y: w}}\nids: {{meta__row: {{}}}}\n{days}");
    let row = |i: usize| {
        format!(
            "{i}.5,{},{},1,2024-05-0{}\n",
            ["a", "b"][i % 2],
            i % 2,
            1 + i % 9
        )
    };
    let old: String = (0..40).map(row).collect();
    place.write("old.csv", format!("x,c,y,w,d\n{old}"));
    place.convert(&mapping, "old.csv", "old", 1).unwrap();
    place.write("new.csv", "c,x\nb,1.5\nz,2.5\n");
    let converted = |yaml: &str, inputs: &str, output: &str| {
        let options = ConvertOptions {
            inputs: vec![place.path(inputs).display().to_string()],
            output_dir: Some(place.path(output)),
            vocabulary: Some(place.path("old/vocabulary.json")),
            threads: None,
        };
        recap_train::convert::convert(&recap_train::config::parse(yaml).unwrap(), &options)
    };
    let unlabelled =
        "continuous: [x]\none_hot: [{columns: [c]}]\nlabels: {}\nids: {meta__row: {}}\n";
    for (output, yaml) in [("n1", &*mapping), ("n2", unlabelled)] {
        let made = converted(yaml, "new.csv", output).unwrap();
        assert_eq!(made.parts["rows"].rows, 2);
        assert_eq!(made.made, place.path(output).join("rows/*.tfrecord.gz"));
        assert!(!place.path(output).join("config.yaml").exists());
    }
    let config = format!("--config_path={}", place.path("old/config.yaml").display());
    let scores = format!("--output={}", place.path("p.csv").display());
    let inputs = format!("--inputs={}/rows/*.tfrecord.gz", place.path("n1").display());
    let predict: &[&str] = &["predict", &inputs, &scores];
    for args in [&[][..], predict] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_recap-train"));
        let output = command.arg(&config).args(args).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            crate::support::stderr(&output)
        );
    }
    let scored = std::fs::read_to_string(place.path("p.csv")).unwrap();
    assert_eq!(scored.lines().count(), 3, "{scored}");
    // Where a table has a label, all of them must.
    place.write("new.csv", "c,x,w\nb,1.5,1\n");
    assert!(
        converted(&mapping, "*.csv", "n3")
            .unwrap_err()
            .to_string()
            .contains("no column `y`")
    );
    let error = place
        .convert(unlabelled, "new.csv", "n4", 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("need --vocabulary"), "{error}");
}
