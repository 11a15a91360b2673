//! Any bytes as a file of records: reading must end, in memory that does not follow what the file declares.
//!
//! The first byte chooses the share and whether damage is skipped.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use data::tfrecord::{ReadOptions, RecordReader, Share};
use libfuzzer_sys::fuzz_target;

include!("../program.rs");

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, file)) = bytes.split_first() else {
        return;
    };
    let path = std::env::temp_dir().join(format!("recap-fuzz-{}", std::process::id()));
    std::fs::write(&path, file).expect("the temporary folder can be written");
    let step = u64::from(choice & 3) + 1;
    let share = Share {
        first: u64::from(choice >> 2) % step,
        step,
    };
    let options = ReadOptions {
        share,
        start: u64::from(choice >> 6),
        skip_damaged: choice & 32 != 0,
    };
    let mut reader = RecordReader::new(Arc::from(Path::new(&path)), options);
    let (mut last, mut chunk) = (None, Vec::new());
    loop {
        let frames = reader.read_chunk(&mut chunk);
        for record in &frames.found {
            assert!(last < Some(record.record) && record.record % step == share.first);
            last = Some(record.record);
        }
        assert!(frames.failure.is_none() || frames.is_last && !options.skip_damaged);
        if frames.is_last {
            break;
        }
    }
});
