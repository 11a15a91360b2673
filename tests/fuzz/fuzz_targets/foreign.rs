//! Any bytes as the beginning of a file: it is called something, or nothing, and what is said is one line.

#![no_main]

use data::tfrecord::Foreign;
use libfuzzer_sys::fuzz_target;

include!("../program.rs");

fuzz_target!(|bytes: &[u8]| {
    for compression in [None, Some("gzip")] {
        if let Some(found) = Foreign::recognise(bytes, compression) {
            let said = found.to_string();
            assert!(!said.contains(char::is_control), "{said:?}");
        }
    }
});
