// What the program reads bytes from outside with, for a fuzz target to include: the program's modules name each other
// from the root of their crate, so that each target has them there. All of it builds without libtorch.

#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../src/config/mod.rs"]
mod config;
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../src/convert/mod.rs"]
mod convert;
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../src/data/mod.rs"]
mod data;

#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../src"]
mod leaves {
    pub mod batch;
    pub mod interrupt;
    pub mod machine;
    pub mod place;
    pub mod printable;
    pub mod protobuf;
    pub mod redact;
    pub mod regular_file;
    pub mod splitmix;
    pub mod whole_file;
}

use leaves::{
    batch, interrupt, machine, place, printable, protobuf, redact, regular_file, splitmix, whole_file,
};
