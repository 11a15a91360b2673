//! The bridge to `shim/process_group.cc`: the second file with `unsafe` in it.

#![allow(unsafe_code, reason = "the door to c10d")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the blocks are those that cxx writes"
)]
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "the bridge repeats process_group.h"
)]

use super::process_group::SharedStore;

#[cxx::bridge(namespace = "recap")]
pub(super) mod ffi {
    extern "Rust" {
        type SharedStore;
        fn another(self: &SharedStore) -> Box<SharedStore>;
        fn set(self: &SharedStore, key: &str, value: &[u8]) -> Result<()>;
        fn compare_set(
            self: &SharedStore,
            key: &str,
            expected: &[u8],
            desired: &[u8],
        ) -> Result<Vec<u8>>;
        fn get(self: &SharedStore, key: &str, within_ms: u64) -> Result<Vec<u8>>;
        fn add(self: &SharedStore, key: &str, amount: i64) -> Result<i64>;
        fn has(self: &SharedStore, key: &str) -> Result<bool>;
        fn wait(self: &SharedStore, key: &str, within_ms: u64) -> Result<()>;
        fn remove(self: &SharedStore, key: &str) -> Result<bool>;
        fn count(self: &SharedStore) -> Result<i64>;
    }

    unsafe extern "C++" {
        include!("process_group.h");

        type Tensor = crate::torch::sys::ffi::Tensor;
        type TensorList = crate::torch::sys::ffi::TensorList;

        type Group;
        fn connect_group(
            store: Box<SharedStore>,
            rank: i32,
            world_size: i32,
            timeout_ms: u64,
            address: &str,
            interface: &str,
        ) -> Result<UniquePtr<Group>>;
        fn add_nccl(self: &Group, shared_object: &str) -> Result<()>;
        fn all_reduce_mean(self: &Group, tensor: &Tensor) -> Result<()>;
        fn broadcast(self: &Group, rank: i32, tensors: &TensorList) -> Result<()>;
        fn all_gather(self: &Group, tensor: &Tensor) -> Result<UniquePtr<Tensor>>;
        fn barrier(self: &Group) -> Result<()>;

        type Reducer;
        fn new_reducer(
            group: &Group,
            parameters: &TensorList,
            bucket_bytes: u64,
        ) -> Result<UniquePtr<Reducer>>;
        fn prepare_for_backward(self: &Reducer) -> Result<()>;
        fn start_timeline(self: &Reducer);
        fn stop_timeline(self: &Reducer) -> Vec<u64>;
    }
}
