//! The bridge to `shim/profile.cc`: the third and last file with `unsafe` in it.

#![allow(unsafe_code, reason = "the door to the profiler")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the blocks are those that cxx writes"
)]
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "the bridge repeats profile.h"
)]

#[cxx::bridge(namespace = "recap")]
pub(super) mod ffi {
    unsafe extern "C++" {
        include!("profile.h");

        type Range;
        fn begin_range(name: &str) -> UniquePtr<Range>;
        fn start_profile(cuda: bool) -> Result<()>;
        fn stop_profile(path: &str) -> Result<()>;
    }
}
