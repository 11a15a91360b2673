//! The loader: order, threads, ranks, positions, bad input. Shared helpers for tests over data.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recap_train::config::{self, RecapDataConfig};
use recap_train::data::random::{Compression, GenerateOptions, generate};
use recap_train::data::{DataError, Fault, LoadedBatch, Loader, LoaderOptions, Mode, Position};

/// `tests/fixtures`: `${GOLDEN_DIR}` of the fixtures' configs.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Options for the files in sorted order, once.
pub(crate) fn in_order(mode: Mode) -> LoaderOptions {
    LoaderOptions {
        seed: 0,
        rank: 0,
        world_size: 1,
        local_world_size: 1,
        any_labels: true,
        mode,
        threads: Some(2),
        in_order: true,
        repeat: false,
        drop_remainder: true,
    }
}

/// A config over `inputs` with the small schema.
pub(crate) fn small_config(inputs: &str, batch: usize, window: usize) -> RecapDataConfig {
    let yaml = std::fs::read_to_string(fixtures().join("data/variants/plain.yaml")).unwrap();
    let yaml = yaml
        .replace("${GOLDEN_DIR}/data/small/*.gz", inputs)
        .replace("${GOLDEN_DIR}", &fixtures().display().to_string())
        .replace(
            "global_batch_size: 16",
            &format!("global_batch_size: {batch}"),
        );
    config::parse(&format!("{yaml}examples_shuffle_buffer_size: {window}\n")).unwrap()
}

/// Everything a loader yields.
pub(crate) fn drain(mut loader: Loader) -> Result<Vec<LoadedBatch>, DataError> {
    let mut batches = Vec::new();
    while let Some(batch) = loader.next_batch()? {
        batches.push(batch);
    }
    Ok(batches)
}

/// `files` files of 40 to 60 random examples in all but the last, which has few.
fn random_files(folder: &Path, files: usize, examples: usize) -> String {
    let inputs = format!("{}/*.gz", folder.display());
    let options = GenerateOptions {
        n_examples: examples,
        n_files: files,
        seed: 5,
        noise: false,
        output_dir: None,
        compression: Compression::Gzip,
        beside_others: false,
    };
    generate(&small_config(&inputs, 16, 0), &options).unwrap();
    inputs
}

fn training(seed: u64) -> LoaderOptions {
    LoaderOptions {
        seed,
        repeat: true,
        in_order: false,
        ..in_order(Mode::Train)
    }
}

fn take(loader: &mut Loader, count: usize) -> Vec<LoadedBatch> {
    let batch = |_| loader.next_batch().unwrap().unwrap();
    (0..count).map(batch).collect()
}

fn assert_same(left: &[LoadedBatch], right: &[LoadedBatch]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left.records, right.records);
        assert_eq!(left.batch, right.batch);
        assert_eq!(left.position, right.position);
    }
}

#[test]
fn batches_do_not_depend_on_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 20, 700), 16, 100);
    let run = |threads| {
        let options = LoaderOptions {
            threads: Some(threads),
            ..training(3)
        };
        take(&mut Loader::open(&config, options, None).unwrap(), 100)
    };
    let one = run(1);
    assert_same(&one, &run(2));
    assert_same(&one, &run(8));
}

#[test]
fn another_seed_gives_another_order() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 3, 100), 16, 50);
    let run = |seed| take(&mut Loader::open(&config, training(seed), None).unwrap(), 1);
    assert_ne!(run(1)[0].records, run(2)[0].records);
}

/// How often each record was used: by file and number.
type Uses = BTreeMap<(PathBuf, u64), usize>;

fn count(uses: &mut Uses, batches: &[LoadedBatch]) {
    for id in batches.iter().flat_map(|batch| &batch.records) {
        *uses.entry((id.file.to_path_buf(), id.record)).or_default() += 1;
    }
}

#[test]
fn an_epoch_is_the_same_records_for_any_number_of_ranks() {
    let folder = tempfile::tempdir().unwrap();
    for (files, examples) in [(5, 240), (1, 60), (2, 61)] {
        let folder = folder.path().join(files.to_string());
        let inputs = random_files(&folder, files, examples);
        for world_size in [1, 2, 3] {
            let mut uses = Uses::new();
            for rank in 0..world_size {
                let config = small_config(&inputs, world_size, 30);
                let options = LoaderOptions {
                    rank,
                    world_size,
                    local_world_size: 1,
                    any_labels: true,
                    repeat: false,
                    ..training(1)
                };
                count(
                    &mut uses,
                    &drain(Loader::open(&config, options, None).unwrap()).unwrap(),
                );
            }
            assert_eq!(uses.len(), examples, "{files} files, {world_size} ranks");
            assert!(
                uses.values().all(|&n| n == 1),
                "{files} files, {world_size} ranks"
            );
        }
    }
}

#[test]
fn every_epoch_uses_every_record_once_and_batches_cross_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 4, 50), 20, 32);
    let mut loader = Loader::open(&config, training(2), None).unwrap();
    let batches = take(&mut loader, 5);
    let mut uses = Uses::new();
    count(&mut uses, &batches);
    assert_eq!(uses.len(), 50);
    assert!(uses.values().all(|&n| n == 2));
    assert_eq!(batches[1].position.epoch(), 0);
    assert_eq!(batches[2].position.epoch(), 1);
    assert_eq!(batches[4].position.batches(), 5);
    assert_eq!(batches[4].position.records(), 100);
}

#[test]
fn a_restored_loader_continues_bit_for_bit_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 18, 900), 16, 200);
    let all = take(&mut Loader::open(&config, training(4), None).unwrap(), 150);
    // Ten places spread over two and a half epochs, on both sides of their ends.
    for place in [0, 1, 17, 40, 54, 55, 56, 80, 111, 141] {
        let saved = serde_json::to_string(&all[place].position).unwrap();
        let position: Position = serde_json::from_str(&saved).unwrap();
        let options = LoaderOptions {
            threads: Some(place % 3 + 1),
            ..training(4)
        };
        let mut loader = Loader::open(&config, options, Some(&position)).unwrap();
        assert_same(&take(&mut loader, 5), &all[place + 1..place + 6]);
    }
}

#[test]
fn a_restart_reads_only_the_shuffle_buffer_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 1, 4000), 16, 64);
    let all = take(&mut Loader::open(&config, training(4), None).unwrap(), 200);
    let mut loader = Loader::open(&config, training(4), Some(&all[198].position)).unwrap();
    assert_same(&take(&mut loader, 1), &all[199..]);
    let saved = serde_json::to_string(&all[198].position).unwrap();
    assert!(saved.len() < 1000, "{saved}");
}

#[test]
fn a_position_of_another_world_begins_its_epoch_anew() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = random_files(folder.path(), 4, 50);
    let config = small_config(&inputs, 20, 32);
    let batches = take(&mut Loader::open(&config, training(2), None).unwrap(), 4);
    let mut uses = Uses::new();
    for rank in 0..2 {
        let options = LoaderOptions {
            rank,
            world_size: 2,
            local_world_size: 1,
            any_labels: true,
            repeat: false,
            ..training(2)
        };
        let config = small_config(&inputs, 2, 32);
        let loader = Loader::open(&config, options, Some(&batches[3].position)).unwrap();
        let batches = drain(loader).unwrap();
        assert_eq!(batches[0].position.epoch(), 1);
        count(&mut uses, &batches);
    }
    assert_eq!(uses.len(), 50);
    assert!(uses.values().all(|&n| n == 1));
}

#[test]
fn a_loader_can_be_dropped_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 4, 200), 4, 50);
    for taken in 0..4 {
        let mut loader = Loader::open(&config, training(1), None).unwrap();
        take(&mut loader, taken);
    }
}

fn odd_file(name: &str) -> PathBuf {
    fixtures().join(format!("data/odd/{name}.tfrecord.gz"))
}

#[test]
fn bad_records_are_skipped_and_counted_on_request() {
    let folder = tempfile::tempdir().unwrap();
    // A good file, one with a damaged payload in the middle, one that is no tf.Example, one cut short.
    let names = [
        "file_two_gzip_members",
        "file_bad_data_crc",
        "garbage_record",
        "file_truncated_gzip",
    ];
    for name in names {
        std::fs::copy(odd_file(name), folder.path().join(name)).unwrap();
    }
    let mut config = small_config(&format!("{}/*", folder.path().display()), 1, 0);
    assert_eq!(
        drain(Loader::open(&config, in_order(Mode::Train), None).unwrap())
            .unwrap_err()
            .fault(),
        Fault::Data
    );
    config.ignore_data_errors = true;
    let mut loader = Loader::open(&config, in_order(Mode::Train), None).unwrap();
    let mut rows = 0;
    while loader.next_batch().unwrap().is_some() {
        rows += 1;
    }
    let counters = loader.counters();
    assert_eq!((rows, counters.skipped), (3 + 3 + 4, 3));
    assert_eq!(counters.records, 10);
    assert!(counters.bytes > 10_000);
}

#[test]
fn bad_records_leave_no_trace_in_the_rows_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let good = plain_file();
    // Each is noticed at another place, some after part of a row has been read.
    let bad = [
        "garbage_record",
        "truncated_proto",
        "too_short_float",
        "too_long_float",
        "float_where_int",
        "label_len2",
    ];
    let open = |name: &str, parts: &[&[u8]], ignore: bool| {
        let path = folder.path().join(name);
        std::fs::write(&path, parts.concat()).unwrap();
        let mut config = small_config(&path.display().to_string(), 1, 0);
        config.ignore_data_errors = ignore;
        Loader::open(&config, in_order(Mode::Train), None).unwrap()
    };
    let text = |batches: &[LoadedBatch]| -> Vec<String> {
        // Some values are NaN.
        let batches = batches.iter();
        batches
            .map(|loaded| format!("{:?}", loaded.batch))
            .collect()
    };
    let expected = text(&drain(open("good", &[&good, &good], false)).unwrap());
    assert_eq!(expected.len(), 8);
    for name in bad {
        let parts = [&good[..], &plain(name), &good];
        let mut loader = open(name, &parts, false);
        assert_eq!(text(&take(&mut loader, 4)), expected[..4], "{name}");
        let error = loader.next_batch().unwrap_err().to_string();
        let place = format!("{name}: record 4 at byte {}", good.len());
        assert!(error.ends_with(&place), "{error}");
        let mut loader = open(name, &parts, true);
        assert_eq!(text(&take(&mut loader, 8)), expected, "{name}");
        assert!(loader.next_batch().unwrap().is_none());
        assert_eq!(loader.counters().skipped, 1, "{name}");
    }
}

#[test]
fn an_error_names_file_record_offset_and_cause() {
    let config = small_config(&odd_file("file_bad_data_crc").display().to_string(), 1, 0);
    let mut loader = Loader::open(&config, in_order(Mode::Train), None).unwrap();
    take(&mut loader, 2);
    let error = loader.next_batch().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    let message = error.to_string();
    assert!(
        message.ends_with("file_bad_data_crc.tfrecord.gz: record 2 at byte 2474"),
        "{message}"
    );
    assert!(cause.contains("checksum of the payload"), "{cause}");
    assert!(
        loader.next_batch().unwrap().is_none(),
        "the stream has ended"
    );
}

#[test]
fn files_without_records_are_an_error_when_repeating() {
    let config = small_config(
        &odd_file("file_gzip_of_nothing").display().to_string(),
        1,
        0,
    );
    let error = Loader::open(&config, training(0), None)
        .unwrap()
        .next_batch()
        .unwrap_err();
    assert!(
        matches!(&error, DataError::NoRecords(none) if none.files.len() == 1 && error.to_string().contains("file_gzip_of_nothing")),
        "{error}"
    );
}

#[test]
fn a_declared_length_does_not_become_memory() {
    let folder = tempfile::tempdir().unwrap();
    for (name, length) in [("huge", u64::MAX), ("large", 60 << 20)] {
        let header = length.to_le_bytes();
        let crc = crc32c::crc32c(&header)
            .rotate_right(15)
            .wrapping_add(0xa282_ead8);
        let path = folder.path().join(name);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&header).unwrap();
        file.write_all(&crc.to_le_bytes()).unwrap();
        file.write_all(b"little follows").unwrap();
        let config = small_config(&path.display().to_string(), 1, 0);
        let mut loader = Loader::open(&config, in_order(Mode::Train), None).unwrap();
        let error = loader.next_batch().unwrap_err();
        assert_eq!(error.fault(), Fault::Data, "{error}");
    }
}

#[test]
fn compression_is_told_from_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let part = fixtures().join("data/small/part-00001.tfrecord.gz");
    let mut plain = Vec::new();
    let gzip = std::fs::read(&part).unwrap();
    std::io::copy(
        &mut flate2::read::MultiGzDecoder::new(&gzip[..]),
        &mut plain,
    )
    .unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    let mut batches = Vec::new();
    for (name, bytes) in [("gzip", &gzip), ("plain", &plain), ("zstd", &zstd)] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let config = small_config(&path.display().to_string(), 2, 0);
        let loader = Loader::open(&config, in_order(Mode::Train), None).unwrap();
        let read: Vec<_> = drain(loader)
            .unwrap()
            .into_iter()
            .map(|loaded| loaded.batch)
            .collect();
        assert_eq!(read.len(), 11);
        batches.push(read);
    }
    // Compared as text: some values are NaN.
    assert_eq!(format!("{:?}", batches[0]), format!("{:?}", batches[1]));
    assert_eq!(format!("{:?}", batches[0]), format!("{:?}", batches[2]));
}

/// A file of four small records, uncompressed.
fn plain_file() -> Vec<u8> {
    plain("file_two_gzip_members")
}

/// The bytes of an odd file, uncompressed.
fn plain(name: &str) -> Vec<u8> {
    let mut plain = Vec::new();
    let gzip = std::fs::read(odd_file(name)).unwrap();
    std::io::copy(
        &mut flate2::read::MultiGzDecoder::new(&gzip[..]),
        &mut plain,
    )
    .unwrap();
    plain
}

fn read_bytes(path: &Path, bytes: &[u8]) -> Result<usize, DataError> {
    std::fs::write(path, bytes).unwrap();
    let config = small_config(&path.display().to_string(), 1, 0);
    Ok(drain(Loader::open(&config, in_order(Mode::Train), None)?)?.len())
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    let plain = plain_file();
    assert_eq!(read_bytes(&path, &plain).unwrap(), 4);
    for at in (0..plain.len()).step_by(17).chain(0..16) {
        let mut damaged = plain.clone();
        damaged[at] ^= 1 << (at % 8);
        let error = read_bytes(&path, &damaged).unwrap_err();
        assert_eq!(error.fault(), Fault::Data, "byte {at}: {error}");
    }
}

#[test]
fn a_file_cut_anywhere_but_between_records_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    let plain = plain_file();
    let gzip = std::fs::read(odd_file("file_two_gzip_members")).unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    let mut ends = 0;
    for len in (1..plain.len()).step_by(11) {
        ends += usize::from(read_bytes(&path, &plain[..len]).is_ok());
    }
    assert!(ends <= 3, "{ends} cuts went unnoticed");
    for len in (1..gzip.len()).step_by(13) {
        // Between two members of gzip there is nothing to notice.
        ends += usize::from(read_bytes(&path, &gzip[..len]).is_ok());
    }
    assert!(ends <= 4, "{ends} cuts went unnoticed");
    for len in (1..zstd.len()).step_by(13) {
        assert!(
            read_bytes(&path, &zstd[..len]).is_err(),
            "zstd cut at {len}"
        );
    }
}

#[test]
fn missing_files_are_the_fault_of_the_data_and_a_missing_schema_of_the_config() {
    let mut config = small_config("/nowhere/*.gz", 16, 0);
    let error = Loader::open(&config, training(0), None).unwrap_err();
    assert!(error.to_string().contains("/nowhere/*.gz"), "{error}");
    assert_eq!(error.fault(), Fault::Data);
    config.seg_dense_schema.schema_path = Some("/nowhere/schema.json".to_owned());
    let error = Loader::open(&config, training(0), None).unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/schema.json"),
        "{error}"
    );
    assert_eq!(error.fault(), Fault::Config);
}

/// `config` with rows kept after the first epoch.
fn cached(config: &RecapDataConfig) -> RecapDataConfig {
    RecapDataConfig {
        cache: true,
        ..config.clone()
    }
}

#[test]
fn a_cache_changes_neither_batches_nor_positions() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 7, 300), 16, 50);
    // Three epochs and a half.
    let plain = take(&mut Loader::open(&config, training(3), None).unwrap(), 65);
    for threads in [1, 3] {
        let options = LoaderOptions {
            threads: Some(threads),
            ..training(3)
        };
        let mut loader = Loader::open(&cached(&config), options, None).unwrap();
        assert_same(&take(&mut loader, 65), &plain);
    }
    // A position of one is a position of the other.
    for place in [3, 17, 40] {
        let position = Some(&plain[place].position);
        let mut loader = Loader::open(&cached(&config), training(3), position).unwrap();
        assert_same(&take(&mut loader, 24), &plain[place + 1..place + 25]);
    }
}

/// `config` with rows kept in `folder`.
fn kept(config: &RecapDataConfig, folder: &Path) -> RecapDataConfig {
    RecapDataConfig {
        cache_dir: Some(folder.display().to_string()),
        ..cached(config)
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn kept_rows_change_neither_batches_nor_positions() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 7, 300), 16, 50);
    let plain = take(&mut Loader::open(&config, training(3), None).unwrap(), 65);
    for threads in [1, 3] {
        let rows = folder.path().join(format!("rows-{threads}"));
        let options = LoaderOptions {
            threads: Some(threads),
            ..training(3)
        };
        // The first run keeps, the second one finds.
        for _ in 0..2 {
            let mut loader = Loader::open(&kept(&config, &rows), options.clone(), None).unwrap();
            assert_same(&take(&mut loader, 65), &plain);
        }
        assert_eq!(names(&rows).len(), 7);
        for place in [3, 17, 40] {
            let position = Some(&plain[place].position);
            let mut loader = Loader::open(&kept(&config, &rows), training(3), position).unwrap();
            assert_same(&take(&mut loader, 24), &plain[place + 1..place + 25]);
        }
    }
}

#[test]
fn kept_rows_serve_a_later_run_and_neither_other_columns_nor_replaced_files() {
    let folder = tempfile::tempdir().unwrap();
    let rows = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 3, 100), 20, 10);
    let kept_config = kept(&config, rows.path());
    let plain = take(&mut Loader::open(&config, training(3), None).unwrap(), 25);
    take(
        &mut Loader::open(&kept_config, training(3), None).unwrap(),
        15,
    );
    let mut loader = Loader::open(&kept_config, training(3), None).unwrap();
    assert_same(&take(&mut loader, 25), &plain);
    assert_eq!(
        loader.counters().inflate_busy,
        Duration::ZERO,
        "nobody reads"
    );
    drop(loader);
    // Other columns: the rows do not fit, and the data is read.
    let mut other = kept_config.clone();
    let renamed = &mut other.seg_dense_schema.mask_mantissa_features;
    renamed.insert("continuous".to_owned(), 3);
    let mut loader = Loader::open(&other, training(3), None).unwrap();
    take(&mut loader, 1);
    assert!(loader.counters().inflate_busy > Duration::ZERO);
    drop(loader);
    // Other files of the same names, sizes and times are not taken for the ones that were kept.
    empty_under_the_same_time(folder.path());
    let mut loader = Loader::open(&kept_config, training(3), None).unwrap();
    assert_eq!(loader.next_batch().unwrap_err().fault(), Fault::Data);
}

#[test]
fn damaged_rows_and_abandoned_parts_are_noticed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let rows = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 2, 400), 16, 30);
    let kept_config = kept(&config, rows.path());
    // Two epochs and a half, and ten.
    let plain = take(&mut Loader::open(&config, training(3), None).unwrap(), 250);
    let run = |batches: usize| {
        let mut loader = Loader::open(&kept_config, training(3), None).unwrap();
        assert_same(&take(&mut loader, batches), &plain[..batches]);
    };
    run(60);
    assert_eq!(names(rows.path()).len(), 2);
    let first = rows.path().join(&names(rows.path())[0]);
    let good = std::fs::read(&first).unwrap();
    for at in [0, 9, 20, 40, good.len() / 2, good.len() - 12] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&first, &bytes).unwrap();
        run(60);
        assert!(std::fs::read(&first).map_or(true, |kept| kept != bytes));
        std::fs::write(&first, &good[..at]).unwrap();
        run(60);
        assert!(std::fs::read(&first).map_or(true, |kept| kept.len() != at));
    }
    let left = rows.path().join(".0123.rows.7-0@elsewhere.recap-draft");
    std::fs::write(left, "by a run that was killed").unwrap();
    // What was removed is kept again in one of the next epochs.
    run(250);
    assert_eq!(names(rows.path()).len(), 2, "{:?}", names(rows.path()));
    assert!(std::fs::read(&first).unwrap() == good);
}

#[test]
fn a_cache_folder_that_cannot_be_used_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 1, 20), 4, 0);
    let file = folder.path().join("no-folder");
    std::fs::write(&file, "").unwrap();
    let error = Loader::open(&kept(&config, &file), training(0), None).unwrap_err();
    assert!(error.to_string().contains("no-folder"), "{error}");
}

/// Replaces every file of `folder` by nothing readable of the same size and time.
fn empty_under_the_same_time(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::metadata(&path).unwrap();
        let garbage = vec![0; usize::try_from(metadata.len()).unwrap()];
        let draft = path.with_extension("draft");
        std::fs::write(&draft, garbage).unwrap();
        let file = std::fs::File::options().write(true).open(&draft).unwrap();
        file.set_modified(metadata.modified().unwrap()).unwrap();
        std::fs::rename(&draft, &path).unwrap();
    }
}

#[test]
fn later_epochs_of_a_cache_read_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 3, 100), 20, 10);
    let mut loader = Loader::open(&cached(&config), training(3), None).unwrap();
    take(&mut loader, 10);
    let read = loader.counters().inflate_busy;
    let mut uses = Uses::new();
    count(&mut uses, &take(&mut loader, 50));
    assert_eq!(loader.counters().inflate_busy, read, "nobody reads");
    assert!(uses.len() == 100 && uses.values().all(|&n| n == 10));
}

#[test]
fn a_cached_file_that_changes_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&random_files(folder.path(), 3, 100), 20, 10);
    let mut loader = Loader::open(&cached(&config), training(3), None).unwrap();
    take(&mut loader, 10);
    let changed = folder.path().join("random-00001.tfrecord.gz");
    std::fs::write(&changed, b"no records any more").unwrap();
    let error = std::iter::from_fn(|| loader.next_batch().transpose())
        .find_map(Result::err)
        .unwrap();
    assert!(error.to_string().contains("random-00001"), "{error}");
    assert_eq!(error.fault(), Fault::Data);
}

#[test]
fn a_bad_record_stays_one_with_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "file_two_gzip_members",
        "garbage_record",
        "file_bad_data_crc",
    ] {
        std::fs::copy(odd_file(name), folder.path().join(name)).unwrap();
    }
    let mut config = cached(&small_config(
        &format!("{}/*", folder.path().display()),
        1,
        0,
    ));
    let mut loader = Loader::open(&config, training(0), None).unwrap();
    let mut batches = std::iter::from_fn(|| loader.next_batch().transpose());
    let error = batches.find_map(Result::err).unwrap();
    assert_eq!(error.fault(), Fault::Data);
    config.ignore_data_errors = true;
    let mut plain = config.clone();
    plain.cache = false;
    let run = |config| take(&mut Loader::open(config, training(0), None).unwrap(), 30);
    assert_same(&run(&config), &run(&plain));
}

#[test]
fn a_label_that_is_none_is_bad_data_with_its_place() {
    let inputs = format!("{}/data/small/part-00000*.gz", fixtures().display());
    let mut config = small_config(&inputs, 4, 0);
    for mode in [Mode::Train, Mode::Evaluate] {
        let options = LoaderOptions {
            any_labels: false,
            ..in_order(mode)
        };
        let error = drain(Loader::open(&config, options, None).unwrap()).unwrap_err();
        assert_eq!(error.fault(), Fault::Data);
        let (text, cause) = (
            error.to_string(),
            std::error::Error::source(&error).unwrap(),
        );
        assert!(
            text.contains("part-00000") && text.contains("record 11 at"),
            "{text}"
        );
        assert!(
            cause
                .to_string()
                .starts_with("label `recap.engagement.is_favorited` is 7, expected 0 or 1"),
            "{cause}"
        );
    }
    config.ignore_data_errors = true;
    let options = LoaderOptions {
        any_labels: false,
        drop_remainder: false,
        ..in_order(Mode::Train)
    };
    let mut loader = Loader::open(&config, options, None).unwrap();
    let mut rows = 0;
    while let Some(batch) = loader.next_batch().unwrap() {
        rows += batch.batch.rows;
    }
    let skipped = loader.counters().skipped;
    let all = LoaderOptions {
        drop_remainder: false,
        ..in_order(Mode::Train)
    };
    let all = drain(Loader::open(&config, all, None).unwrap()).unwrap();
    let all: usize = all.iter().map(|batch| batch.batch.rows).sum();
    assert!(
        skipped > 0 && rows + skipped as usize == all,
        "{rows} + {skipped}, {all}"
    );
}
