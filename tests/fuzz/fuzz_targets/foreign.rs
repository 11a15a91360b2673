//! Any bytes as the beginning of a file: it is called something, or nothing, and what is said is one line.

#![no_main]

use data::tfrecord::Foreign;
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
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../../src/printable.rs"]
mod printable;

fuzz_target!(|bytes: &[u8]| {
    for compression in [None, Some("gzip")] {
        if let Some(found) = Foreign::recognise(bytes, compression) {
            let said = found.to_string();
            assert!(!said.contains(char::is_control), "{said:?}");
        }
    }
});
