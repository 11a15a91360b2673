//! What stands among the data and is none of it: called by its name, passed over, or refused before anything waits.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use recap_train::data::random::{Compression, GenerateOptions, generate};
use recap_train::data::{DataError, Fault, LoadedBatch, Loader, LoaderOptions, Mode, file_names};

use crate::data::{drain, in_order, small_config};

fn good_file(folder: &Path, name: &str) -> PathBuf {
    let options = GenerateOptions {
        n_examples: 16,
        n_files: 1,
        seed: 3,
        noise: false,
        output_dir: Some(folder.join("made")),
        compression: Compression::Gzip,
        beside_others: false,
    };
    let made = generate(&small_config("unused", 16, 0), &options).unwrap();
    let path = folder.join(name);
    std::fs::copy(&made[0], &path).unwrap();
    std::fs::remove_dir_all(folder.join("made")).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn read(folder: &Path, pattern: &str) -> Result<Vec<LoadedBatch>, DataError> {
    let config = small_config(&format!("{}/{pattern}", folder.display()), 16, 0);
    drain(Loader::open(&config, in_order(Mode::Train), None)?)
}

fn refused(folder: &Path, pattern: &str) -> String {
    let error = read(folder, pattern).unwrap_err();
    assert_eq!(error.fault(), Fault::Data, "{error}");
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

#[test]
fn what_is_no_tfrecord_is_called_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read(good_file(folder.path(), "good.gz")).unwrap();
    let zlib = {
        let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(&good).unwrap();
        writer.finish().unwrap()
    };
    let cases: [(&str, Vec<u8>, &str); 8] = [
        (
            "page.gz",
            b"<html><body>404".to_vec(),
            "an HTML page that begins with `<html><body>404`",
        ),
        (
            "lfs.gz",
            b"version https://git-lfs.github.com/spec/v1\noid".to_vec(),
            "`git lfs pull`",
        ),
        (
            "a.parquet",
            b"PAR1\x15\x04\x15\x10".to_vec(),
            "is a Parquet file",
        ),
        ("a.zz", zlib, "is a zlib stream"),
        ("twice.gz", gzip(&good), "compressed twice with gzip"),
        (
            "table.csv.gz",
            gzip(b"a,b\n1,2\n"),
            "under its gzip compression is a text, perhaps CSV",
        ),
        (
            "tiny.gz",
            b"no\n".to_vec(),
            "is a text that begins with `no`",
        ),
        (
            "page.zst",
            zstd::encode_all(&b"<?xml version='1.0'?>"[..], 1).unwrap(),
            "under its zstd compression is an XML",
        ),
    ];
    for (name, bytes, expected) in cases {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let said = refused(folder.path(), name);
        let is = format!("{name} is no TFRecord file: ");
        assert!(said.contains(&is) && said.contains(expected), "{said}");
        assert!(!said.contains("checksum"), "{said}");
    }
    let mut damaged = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&good[..]), &mut damaged).unwrap();
    damaged[9] ^= 1;
    std::fs::write(folder.path().join("damaged"), damaged).unwrap();
    let said = refused(folder.path(), "damaged");
    assert!(
        said.contains("record 0 at byte 0: checksum of the length"),
        "{said}"
    );
}

#[test]
fn a_foreign_file_is_counted_where_damage_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    good_file(folder.path(), "a.gz");
    std::fs::write(folder.path().join("b.gz"), "<html>").unwrap();
    let mut config = small_config(&format!("{}/*", folder.path().display()), 16, 0);
    config.ignore_data_errors = true;
    let mut loader = Loader::open(&config, in_order(Mode::Train), None).unwrap();
    while loader.next_batch().unwrap().is_some() {}
    let counters = loader.counters();
    assert_eq!((counters.records, counters.skipped), (16, 1));
}

#[test]
fn hidden_files_are_passed_over_unless_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let hidden = good_file(folder.path(), ".a.gz");
    for name in ["._a.gz", ".a.gz.crc", "_SUCCESS", "_committed_7"] {
        std::fs::write(folder.path().join(name), "none of the data").unwrap();
    }
    let said = refused(folder.path(), "*");
    assert!(
        said.contains("matches hidden files alone (5, such as "),
        "{said}"
    );
    assert_eq!(read(folder.path(), ".a.gz").unwrap().len(), 1);
    std::fs::rename(hidden, folder.path().join("_a.gz")).unwrap();
    assert_eq!(
        read(folder.path(), "*").unwrap().len(),
        1,
        "an underscore alone hides nothing"
    );
}

#[test]
fn a_folder_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    good_file(folder.path(), "a.gz");
    let said = refused(folder.path(), "");
    assert!(
        said.contains("is a folder, say `") && said.contains("/*`"),
        "{said}"
    );
}

#[test]
fn empty_files_are_no_data_if_there_is_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.gz", "c.gz"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let config = small_config(&format!("{}/*", folder.path().display()), 16, 0);
    let options = LoaderOptions {
        repeat: true,
        in_order: false,
        ..in_order(Mode::Train)
    };
    let said = Loader::open(&config, options, None)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("all 2 data files are empty (0 bytes)") && said.contains("b.gz"),
        "{said}"
    );
    good_file(folder.path(), "a.gz");
    assert_eq!(read(folder.path(), "*").unwrap().len(), 1);
}

#[test]
fn a_pipe_is_refused_at_once_through_links_too() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("b.gz");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::os::unix::fs::symlink(&pipe, folder.path().join("link")).unwrap();
    let begin = Instant::now();
    let said = refused(folder.path(), "*.gz");
    assert!(said.contains("b.gz: a pipe, no regular file; "), "{said}");
    assert!(refused(folder.path(), "link").contains("link: a link to a pipe"));
    assert!(refused(Path::new("/dev"), "null").contains("/dev/null: a device"));
    // Where damage is passed over it is not opened either.
    good_file(folder.path(), "a.gz");
    let mut config = small_config(&format!("{}/*.gz", folder.path().display()), 16, 0);
    config.ignore_data_errors = true;
    let mut loader = Loader::open(&config, in_order(Mode::Train), None).unwrap();
    while loader.next_batch().unwrap().is_some() {}
    assert_eq!(loader.counters().skipped, 1);
    assert!(
        begin.elapsed() < Duration::from_secs(60),
        "nothing waited for a writer"
    );
}

#[test]
fn a_link_to_nowhere_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let target = "../.git/annex/objects/XX/a.gz";
    std::os::unix::fs::symlink(target, folder.path().join("a.gz")).unwrap();
    let said = refused(folder.path(), "*");
    assert!(
        said.contains(target) && said.contains("git annex get"),
        "{said}"
    );
    let mut config = small_config(&format!("{}/*", folder.path().display()), 16, 0);
    config.ignore_data_errors = true;
    assert_eq!(
        file_names(&config).unwrap().len(),
        1,
        "it is counted when it is opened"
    );
}
