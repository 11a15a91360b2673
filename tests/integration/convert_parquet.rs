//! What only Parquet has: empty cells that are no text, truth values, dates, nested columns.

use std::sync::Arc;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use recap_train::batch::HostValues;
use recap_train::convert::ConvertError;
use recap_train::data::Fault;

use crate::convert::{Place, floats, ints};
use crate::support::fixtures;

const SCHEMA: &str = "message people {
  REQUIRED group nested { REQUIRED INT32 x; }
  OPTIONAL DOUBLE age;
  OPTIONAL BYTE_ARRAY city (UTF8);
  REQUIRED BOOLEAN paid;
  REQUIRED INT32 day (DATE);
}";

const MAPPING: &str = "
continuous: [age]
missing: -1
discrete: [{columns: [city]}]
labels: {paid: paid == 1}
split: {time: {column: day, before: {train: 2024-01-02, test: null}}}
";

pub(crate) type Group<'a> = SerializedRowGroupWriter<'a, std::fs::File>;

/// Writes the next column of a row group.
pub(crate) fn column<T: parquet::data_type::DataType>(
    group: &mut Group<'_>,
    values: &[T::T],
    levels: Option<&[i16]>,
) {
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<T>()
        .write_batch(values, levels, None)
        .unwrap();
    column.close().unwrap();
}

/// Two row groups of two rows; the second and the third row lack age and city.
fn write(path: &std::path::Path) {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let text = |text: &str| ByteArray::from(text);
    for (age, city, levels, days) in [
        (30.5, "Rome", [1, 0], [19_722, 19_723]),
        (50.0, "Oslo", [0, 1], [19_723, 19_724]),
    ] {
        let mut group = writer.next_row_group().unwrap();
        column::<Int32Type>(&mut group, &[1, 2], None);
        column::<DoubleType>(&mut group, &[age], Some(&levels));
        column::<ByteArrayType>(&mut group, &[text(city)], Some(&levels));
        column::<BoolType>(&mut group, &[true, false], None);
        column::<Int32Type>(&mut group, &days, None);
        group.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn empty_cells_truth_values_and_dates_of_parquet_are_understood() {
    let place = Place::new();
    write(&place.path("t.parquet"));
    place.convert(MAPPING, "t.parquet", "out", 2).unwrap();
    let train = place.rows("out", "train");
    assert_eq!(floats(&train, "continuous"), [30.5, -1.0, -1.0]);
    // The empty city is the commonest value.
    assert_eq!(ints(&train, "discrete"), [2, 1, 1]);
    let labels = &train.labels.as_ref().unwrap().values;
    assert_eq!(*labels, HostValues::I64(vec![1, 0, 1]));
    let test = place.rows("out", "test");
    assert_eq!(floats(&test, "continuous"), [50.0]);
    assert_eq!(ints(&test, "discrete"), [0], "Oslo was not trained on");
}

#[test]
fn nested_columns_and_damaged_files_are_refused() {
    let place = Place::new();
    write(&place.path("t.parquet"));
    let nested = MAPPING.replace("[age]", "[nested]");
    let error = place.convert(&nested, "t.parquet", "out", 1).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("column `nested`, only one that is nested"),
        "{error}"
    );
    let bytes = std::fs::read(place.path("t.parquet")).unwrap();
    let damaged = |bytes: &[u8]| {
        place.write("t.parquet", bytes);
        let error = place.convert(MAPPING, "t.parquet", "out", 1).unwrap_err();
        assert_eq!(error.fault(), Fault::Data, "{error}");
        assert!(!place.path("out").exists());
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    };
    let message = damaged(&bytes[..bytes.len() - 9]);
    let expected = "t.parquet: cannot be read as Parquet: Parquet error: it does not end with `PAR1`: is it cut off?";
    assert!(message.ends_with(expected), "{message}");
}

/// One byte of the footer makes sizes of what is none.
#[test]
fn a_footer_that_claims_too_much_is_refused() {
    let place = Place::new();
    place.write(
        "t.parquet",
        include_bytes!("../fixtures/convert/footer.parquet"),
    );
    let yaml = "continuous: [a, b]\none_hot: [{columns: [k]}]\nlabels: {fav: y == 1}\n";
    let error = place.convert(yaml, "t.parquet", "out", 1).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("t.parquet: cannot be read as Parquet"),
        "{error}"
    );
    assert_eq!(error.fault(), Fault::Data);
}

/// No byte of a file decides more than what its rows are: nothing panics, and no memory is taken that is not there.
#[test]
fn every_byte_may_be_damaged() {
    let place = Place::new();
    write(&place.path("t.parquet"));
    let bytes = std::fs::read(place.path("t.parquet")).unwrap();
    for at in 4..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= if at % 2 == 0 { 0xff } else { 0x41 };
        place.write("t.parquet", damaged);
        let output = format!("out{at}");
        match place.convert(MAPPING, "t.parquet", &output, 1) {
            Ok(_) => std::fs::remove_dir_all(place.path(&output)).unwrap(),
            Err(error) => assert!(
                error.to_string().contains("t.parquet")
                    || matches!(
                        error,
                        ConvertError::EmptyPart { .. } | ConvertError::OneClass { .. }
                    ),
                "{at}: {error}"
            ),
        }
    }
}

#[test]
fn a_page_that_is_not_as_its_checksum_says_is_refused() {
    // Written by pyarrow with `write_page_checksum=True`; x is 0.5, 1.5, … and y whole.
    let whole = std::fs::read(fixtures().join("convert/checksums.parquet")).unwrap();
    let place = Place::new();
    let yaml = "continuous: [x]\nlabels: {y: y == 1}\n";
    std::fs::write(place.path("t.parquet"), &whole).unwrap();
    place.convert(yaml, "t.parquet", "out", 1).unwrap();
    let value = 20.5_f64.to_le_bytes();
    let at = whole.windows(8).position(|bytes| bytes == value).unwrap();
    let mut damaged = whole;
    damaged[at + 6] ^= 1;
    std::fs::write(place.path("t.parquet"), damaged).unwrap();
    let error = place.convert(yaml, "t.parquet", "bad", 1).unwrap_err();
    assert_eq!(error.fault(), Fault::Data, "{error}");
}
