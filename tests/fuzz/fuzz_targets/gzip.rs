//! Any bytes as a gzip stream: ours and another decoder agree on what is in it and on whether it is whole.

#![no_main]

use std::io::{Cursor, Read};

use data::tfrecord::gzip::GzipReader;
use libfuzzer_sys::fuzz_target;

// Without the device part of the batch the data room builds without libtorch, as a module of this crate.
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "."]
mod batch {
    #[path = "../../../src/batch/host.rs"]
    mod host;
    pub use host::*;
}
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../../src/config/mod.rs"]
mod config;
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../../src/data/mod.rs"]
mod data;

/// What a bomb may become here.
const LIMIT: u64 = 4 << 20;

fuzz_target!(|bytes: &[u8]| {
    // Headers are checked by the decoders in different depth; what is compared is what they hold.
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend_from_slice(bytes);
    let mut ours = Vec::new();
    let our_end = GzipReader::new(Box::new(Cursor::new(file.clone())))
        .take(LIMIT)
        .read_to_end(&mut ours);
    let mut theirs = Vec::new();
    let their_end = flate2::read::GzDecoder::new(file.as_slice())
        .take(LIMIT)
        .read_to_end(&mut theirs);
    if our_end.is_ok() {
        assert!(their_end.is_ok() && ours.starts_with(&theirs));
    } else if their_end.is_ok() {
        // Theirs ends after the first member, ours reads on.
        assert!(ours.starts_with(&theirs));
    }
});
