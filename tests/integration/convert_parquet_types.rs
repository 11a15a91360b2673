//! Types and compressions of Parquet: an instant is an instant, a number what its digits say, an id what it is.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
    FloatType, Int32Type, Int64Type, Int96, Int96Type,
};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use recap_train::batch::HostValues;
use recap_train::convert::ConvertError;
use recap_train::data::Fault;

use crate::convert::{Place, floats, ints};
use crate::convert_parquet::{Group, column};

const SCHEMA: &str = "message t {
  REQUIRED DOUBLE x;
  REQUIRED BOOLEAN clicked;
  REQUIRED INT32 d (DATE);
  REQUIRED INT64 ms (TIMESTAMP_MILLIS);
  REQUIRED INT64 us (TIMESTAMP(MICROS,false));
  REQUIRED INT64 ns (TIMESTAMP(NANOS,true));
  REQUIRED INT96 spark;
  REQUIRED BYTE_ARRAY iso (UTF8);
  REQUIRED INT32 price (DECIMAL(9,2));
  REQUIRED INT64 amount (DECIMAL(18,3));
  REQUIRED FIXED_LEN_BYTE_ARRAY(16) exact (DECIMAL(38,4));
  REQUIRED INT64 hash (INTEGER(64,false));
  REQUIRED INT64 plain;
  OPTIONAL DOUBLE whole;
  REQUIRED FLOAT single;
  REQUIRED INT32 clock (TIME_MILLIS);
}";

const ROWS: i64 = 8;
/// 2024-05-01, in days.
const MAY: i32 = 19_844;
const DAY_MS: i64 = 86_400_000;

fn write_columns(group: &mut Group<'_>) {
    let rows = || 0..ROWS;
    let days = || (0..8).map(|row| MAY + row);
    let ms = || rows().map(|row| (i64::from(MAY) + row) * DAY_MS);
    let as_column = |scale: i64| ms().map(|ms| ms * scale).collect::<Vec<i64>>();
    let spark = days().map(|day| {
        let mut time = Int96::new();
        time.set_data(0, 0, u32::try_from(day + 2_440_588).unwrap());
        time
    });
    let iso = (1..9).map(|day| ByteArray::from(format!("2024-05-0{day}T02:00:00+02:00").as_str()));
    let exact = rows().map(|row| {
        let digits = -12_345_678_901_234_567_890_i128 * i128::from(row);
        FixedLenByteArray::from(digits.to_be_bytes().to_vec())
    });
    let floats: Vec<f64> = (0..8).map(f64::from).collect();
    column::<DoubleType>(group, &floats, None);
    let clicked: Vec<bool> = rows().map(|row| row % 3 == 0).collect();
    column::<BoolType>(group, &clicked, None);
    column::<Int32Type>(group, &days().collect::<Vec<_>>(), None);
    column::<Int64Type>(group, &as_column(1), None);
    column::<Int64Type>(group, &as_column(1000), None);
    column::<Int64Type>(group, &as_column(1_000_000), None);
    column::<Int96Type>(group, &spark.collect::<Vec<_>>(), None);
    column::<ByteArrayType>(group, &iso.collect::<Vec<_>>(), None);
    column::<Int32Type>(
        group,
        &(0..8).map(|row| 1230 + row).collect::<Vec<_>>(),
        None,
    );
    column::<Int64Type>(group, &rows().map(|row| -row).collect::<Vec<_>>(), None);
    column::<FixedLenByteArrayType>(group, &exact.collect::<Vec<_>>(), None);
    let hashes: Vec<i64> = rows()
        .map(|row| (u64::MAX - row as u64).cast_signed())
        .collect();
    column::<Int64Type>(group, &hashes, None);
    let beyond: Vec<i64> = rows().map(|row| 9_007_199_254_740_990 + row).collect();
    column::<Int64Type>(group, &beyond, None);
    column::<DoubleType>(group, &floats[1..], Some(&[1, 1, 1, 1, 1, 1, 1, 0]));
    column::<FloatType>(
        group,
        &(0..8).map(|row| 0.1 * row as f32).collect::<Vec<_>>(),
        None,
    );
    let noon = |row: i32| 43_200_000 + row - 4;
    column::<Int32Type>(group, &(0..8).map(noon).collect::<Vec<_>>(), None);
}

fn write(path: &Path, properties: WriterProperties) {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    write_columns(&mut group);
    group.close().unwrap();
    writer.close().unwrap();
}

fn place() -> Place {
    let place = Place::new();
    write(&place.path("t.parquet"), WriterProperties::default());
    place
}

#[test]
fn an_instant_is_an_instant_in_labels_and_splits() {
    let place = place();
    for column in ["d", "ms", "us", "ns", "spark", "iso"] {
        let yaml = format!(
            "continuous: [x]\nlabels: {{y: {column} >= \"2024-05-05T02:00:00+02:00\"}}\nallow_one_class: true\n\
             split: {{time: {{column: {column}, before: {{train: \"2024-05-05\", test: null}}}}}}\n"
        );
        let made = place.convert(&yaml, "t.parquet", column, 1).unwrap();
        let parts: Vec<(u64, u64)> = made
            .parts
            .values()
            .map(|p| (p.rows, p.positives["y"]))
            .collect();
        assert_eq!(parts, [(4, 0), (4, 4)], "{column}");
    }
}

#[test]
fn comparisons_have_the_type_of_the_column() {
    let place = place();
    for (place_of_label, (label, positives)) in [
        ("clicked == true", 3),
        ("clicked == \\\"true\\\"", 3),
        ("clicked == 1", 3),
        ("clicked != TRUE", 5),
        ("d == \\\"2024-05-03\\\"", 1),
        ("d < \\\"2024-05-03\\\"", 2),
        ("ms < \\\"2024-05-05\\\"", 4),
        ("clock < \\\"12:00\\\"", 4),
        ("plain > 9007199254740992", 5),
        ("hash == 18446744073709551615", 1),
        ("price == 12.3", 1),
        ("amount < -0.0049", 3),
        ("exact == -1234567890123456.7890", 1),
        ("single == 0.1", 1),
        ("whole == \\\"\\\"", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let yaml = format!("continuous: [x]\nlabels: {{y: \"{label}\"}}\n");
        let made = place.convert(&yaml, "t.parquet", &format!("o{place_of_label}"), 1);
        let made = made.unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(made.parts["train"].positives["y"], positives, "{label}");
    }
}

#[test]
fn what_can_never_hold_or_holds_always_is_refused_before_anything_is_written() {
    let place = place();
    let refused = |label: &str, expected: &str, fault: Fault| {
        // With a vocabulary to learn and without one.
        for more in ["", "one_hot: [{columns: [single]}]\n"] {
            let yaml = format!("continuous: [price]\nlabels: {{y: \"{label}\"}}\n{more}");
            let error = place.convert(&yaml, "t.parquet", "out", 1).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.fault(), fault, "{error}");
            assert_eq!(
                std::fs::read_dir(place.path("")).unwrap().count(),
                1,
                "{label}"
            );
        }
    };
    refused(
        "clicked == \\\"yes\\\"",
        "column `clicked` holds truth values",
        Fault::Config,
    );
    refused(
        "plain == \\\"red\\\"",
        "column `plain` holds numbers",
        Fault::Config,
    );
    refused("ms == true", "column `ms` holds times", Fault::Config);
    let none = "labels.y: `x > 100` holds in none of the 8 rows of the part `train`";
    refused("x > 100", none, Fault::Data);
    refused("x >= 0", "holds in all of the 8 rows", Fault::Data);
    refused(
        "iso == \\\"2024-05-20\\\"",
        "`iso == \"2024-05-20\"` holds in",
        Fault::Data,
    );
    let numbers = "continuous: [price]\nlabels: {y: x > 1}\n\
                   split: {time: {column: plain, before: {train: \"2024-05-05\", test: null}}}\n";
    let error = place.convert(numbers, "t.parquet", "out", 1).unwrap_err();
    assert!(
        matches!(
            error,
            ConvertError::Comparison {
                holds: "numbers",
                ..
            }
        ),
        "{error}"
    );
    let allowed = "continuous: [price]\nlabels: {y: x > 100}\nallow_one_class: true\n";
    place.convert(allowed, "t.parquet", "out", 1).unwrap();
}

#[test]
fn a_number_is_no_time() {
    let place = place();
    let refused = |yaml: &str, expected: &str| {
        let error = place.convert(yaml, "t.parquet", "out", 1).unwrap_err();
        assert_eq!(error.fault(), Fault::Config, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    for column in ["d", "ms", "us", "ns", "spark"] {
        let holds = format!("column `{column}` holds times: ");
        let label = format!("continuous: [x]\nlabels: {{y: {column} >= 1714867200000}}\n");
        let remedy = "compare it with one in quotes, such as \"2024-05-31\"";
        refused(&label, &format!("{holds}{remedy}"));
        let more = |more: &str| {
            let yaml = format!("continuous: [x]\nlabels: {{y: clicked == true}}\n{more}\n");
            yaml.replace("COLUMN", column)
        };
        let ends = more("buckets: [{columns: [COLUMN], boundaries: [1714521600000]}]");
        refused(&ends, &format!("{holds}give a `count` of ranges"));
        let split = more("split: {time: {column: COLUMN, before: {train: 20240505, test: null}}}");
        refused(&split, &format!("{holds}write the ends as such"));
    }
    let noon = "continuous: [x]\nlabels: {y: clock < 43200}\n";
    refused(noon, "column `clock` holds times of day");
}

#[test]
fn a_time_is_the_same_feature_and_id_whatever_its_unit_is() {
    let place = place();
    let read = |column: &str| {
        let yaml = format!(
            "continuous: [{column}]\nbuckets: [{{columns: [{column}], count: 4}}]\n\
             discrete: [{{columns: [{column}]}}]\nlabels: {{y: clicked == true}}\n\
             ids: {{meta__t: {{column: {column}}}}}\n"
        );
        place.convert(&yaml, "t.parquet", column, 1).unwrap();
        place.rows(column, "train")
    };
    let days = || (0..8_u8).map(|row| MAY + i32::from(row));
    let seconds: Vec<f32> = days().map(|day| (day * 86_400) as f32).collect();
    let micros: Vec<i64> = days().map(|day| i64::from(day) * DAY_MS * 1000).collect();
    let ranges: Vec<i64> = (0..32)
        .map(|place| i64::from(place / 8 == place % 4))
        .collect();
    for column in ["ms", "us", "ns", "spark", "d"] {
        let rows = read(column);
        assert_eq!(floats(&rows, "continuous"), seconds, "{column}");
        assert_eq!(ints(&rows, "meta__t"), micros, "{column}");
        assert_eq!(ints(&rows, "binary"), ranges, "{column}");
        assert_eq!(
            ints(&rows, "discrete"),
            [1, 2, 3, 4, 5, 6, 7, 8],
            "{column}"
        );
    }
    // Of times of day, since midnight.
    let rows = read("clock");
    assert_eq!(ints(&rows, "meta__t")[4], 43_200_000_000);
    assert_eq!(floats(&rows, "continuous")[4..5], [43_200.0]);
}

#[test]
fn names_and_times_without_quotes_are_what_is_written() {
    let place = place();
    let yaml = "continuous: [x]\nlabels: {y: clicked == true}\n\
                split: {time: {column: clock, before: {01: 12:00:00, no: null}}}\n";
    let made = place.convert(yaml, "t.parquet", "out", 1).unwrap();
    let rows: Vec<_> = made
        .parts
        .iter()
        .map(|(name, part)| (name.as_str(), part.rows))
        .collect();
    assert_eq!(rows, [("01", 4), ("no", 4)]);
}

#[test]
fn ids_and_decimals_are_what_they_are() {
    let place = place();
    let yaml = "continuous: [price, amount, exact]\nlabels: {y: clicked == true}\nids:\n  meta__user_id: {column: hash}\n\
                \x20 meta__text: {column: hash, kind: text}\n  meta__plain: {column: plain}\n";
    place.convert(yaml, "t.parquet", "out", 1).unwrap();
    let rows = place.rows("out", "train");
    assert_eq!(
        ints(&rows, "meta__user_id"),
        [-1, -2, -3, -4, -5, -6, -7, -8]
    );
    assert_eq!(ints(&rows, "meta__plain")[3], 9_007_199_254_740_993);
    let HostValues::Bytes(texts) = &rows.feature("meta__text").unwrap().values else {
        panic!("no text");
    };
    assert_eq!(texts[1], b"18446744073709551614");
    assert_eq!(
        floats(&rows, "continuous")[3..6],
        [12.31, -0.001, -1_234_567_890_123_456.8]
    );
    // Only where nothing is negative is there room for what lies beyond.
    let beyond = yaml.replace("column: plain}", "column: exact}");
    let error = place
        .convert(&beyond, "t.parquet", "far", 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("row 2, column `exact`: expected an integer from -2^63"),
        "{error}"
    );
    // A gap has no id.
    let gap = "continuous: [x]\nlabels: {y: clicked == true}\nids: {meta__id: {column: whole}}\n";
    let error = place
        .convert(gap, "t.parquet", "gap", 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("row 8, column `whole`: expected an integer, found an empty cell"),
        "{error}"
    );
    let split =
        format!("{gap}split: {{index: {{modulo: 8, parts: {{train: [0, 1, 2, 3, 4, 5, 6]}}}}}}\n");
    place.convert(&split, "t.parquet", "whole", 1).unwrap();
    assert_eq!(
        ints(&place.rows("whole", "train"), "meta__id"),
        [1, 2, 3, 4, 5, 6, 7]
    );
}

#[test]
fn every_compression_and_version_gives_the_same_bytes() {
    let place = place();
    let yaml = "continuous: [x, price, whole]\nmissing: -1\none_hot: [{columns: [iso, d]}]\nlabels: {y: clicked == true}\n";
    place.convert(yaml, "t.parquet", "plain", 1).unwrap();
    let expected = place.files("plain");
    for (name, compression) in [
        ("snappy", Compression::SNAPPY),
        ("gzip", Compression::GZIP(GzipLevel::default())),
        ("brotli", Compression::BROTLI(BrotliLevel::default())),
        ("lz4", Compression::LZ4),
        ("lz4_raw", Compression::LZ4_RAW),
        ("zstd", Compression::ZSTD(ZstdLevel::default())),
    ] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let properties = WriterProperties::builder().set_compression(compression);
            let properties = properties.set_writer_version(version);
            let with_dictionary = version == WriterVersion::PARQUET_1_0;
            let properties = properties.set_dictionary_enabled(with_dictionary).build();
            let table = format!("{name}.pq");
            write(&place.path(&table), properties);
            let output = format!("{name}{}", version.as_num());
            place.convert(yaml, &table, &output, 1).unwrap();
            assert!(place.files(&output) == expected, "{output}");
        }
    }
}

#[test]
fn a_page_that_is_longer_or_shorter_than_its_header_says_is_refused() {
    let place = Place::new();
    let yaml = "continuous: [x]\nlabels: {y: clicked == true}\n";
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for compression in [Compression::SNAPPY, Compression::UNCOMPRESSED] {
            for change in [2_u8, 0_u8.wrapping_sub(2)] {
                let properties = WriterProperties::builder().set_compression(compression);
                let properties = properties.set_dictionary_enabled(false);
                write(
                    &place.path("t.parquet"),
                    properties.set_writer_version(version).build(),
                );
                let mut bytes = std::fs::read(place.path("t.parquet")).unwrap();
                // Behind the magic: the kind of the page, then its size without compression, 64 in one or two bytes.
                assert_eq!((bytes[4], bytes[6], bytes[7]), (0x15, 0x15, 0x80));
                let claim = u16::from(bytes[7] & 0x7f) | u16::from(bytes[8]) << 7;
                let claim = claim.wrapping_add_signed(i16::from(change.cast_signed()));
                bytes[7] = 0x80 | u8::try_from(claim & 0x7f).unwrap();
                bytes[8] = u8::try_from(claim >> 7).unwrap();
                place.write("t.parquet", &bytes);
                let error = place.convert(yaml, "t.parquet", "out", 1).unwrap_err();
                assert_eq!(error.fault(), Fault::Data, "{error}");
                let source = std::error::Error::source(&error).unwrap().to_string();
                let expected = format!("its header says {}", claim / 2);
                assert!(source.contains(&expected), "{source}");
            }
        }
    }
}

#[test]
fn numbers_that_are_none_or_too_large_are_told() {
    let place = Place::new();
    let schema = "message t { REQUIRED DOUBLE a; REQUIRED FLOAT b; REQUIRED FIXED_LEN_BYTE_ARRAY(2) c (FLOAT16); \
                  REQUIRED INT32 y; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let write = |a: f64, b: f32, c: half::f16| {
        let file = std::fs::File::create(place.path("t.parquet")).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema.clone(), Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        column::<DoubleType>(&mut group, &[1.0, a], None);
        column::<FloatType>(&mut group, &[2.0, b], None);
        let half = |value: half::f16| FixedLenByteArray::from(value.to_le_bytes().to_vec());
        column::<FixedLenByteArrayType>(&mut group, &[half(half::f16::ONE), half(c)], None);
        column::<Int32Type>(&mut group, &[0, 1], None);
        group.close().unwrap();
        writer.close().unwrap();
        let yaml = "continuous: [a, b, c]\nmissing: -7\nlabels: {y: y == 1}\n";
        place
            .convert(yaml, "t.parquet", "out", 1)
            .map_err(|error| error.to_string())
    };
    let (nan, one) = (half::f16::NAN, half::f16::ONE);
    for (outcome, expected) in [
        (
            write(f64::INFINITY, 1.0, one),
            "row 2, column `a`: expected a finite number, found inf",
        ),
        (
            write(1e300, 1.0, one),
            "row 2, column `a`: expected a number that fits 32 bits",
        ),
        (
            write(1.0, f32::NEG_INFINITY, one),
            "column `b`: expected a finite number, found -inf",
        ),
        (
            write(1.0, 1.0, half::f16::INFINITY),
            "column `c`: expected a finite number, found inf",
        ),
    ] {
        let message = outcome.unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    write(f64::NAN, f32::NAN, nan).unwrap();
    let rows = place.rows("out", "train");
    assert_eq!(
        floats(&rows, "continuous"),
        [1.0, 2.0, 1.0, -7.0, -7.0, -7.0]
    );
}
