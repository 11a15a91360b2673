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

#[cxx::bridge(namespace = "recap")]
pub(super) mod ffi {
    unsafe extern "C++" {
        include!("process_group.h");

        type Tensor = crate::torch::sys::ffi::Tensor;
        type TensorList = crate::torch::sys::ffi::TensorList;

        type Store;
        fn connect_store(
            host: &str,
            port: u16,
            is_server: bool,
            prefix: &str,
            timeout_ms: u64,
        ) -> Result<UniquePtr<Store>>;
        fn set(self: &Store, key: &str, value: &str) -> Result<()>;
        fn compare_set(self: &Store, key: &str, expected: &str, desired: &str) -> Result<String>;
        fn add(self: &Store, key: &str, amount: i64) -> Result<i64>;
        fn has(self: &Store, key: &str) -> Result<bool>;
        fn get_all(self: &Store, keys: &[String]) -> Result<Vec<String>>;
        fn port(self: &Store) -> u16;

        type Group;
        fn connect_group(
            store: &Store,
            rank: i32,
            world_size: i32,
            timeout_ms: u64,
            address: &str,
            interface: &str,
        ) -> Result<UniquePtr<Group>>;
        fn add_nccl(self: &Group, shared_object: &str) -> Result<()>;
        fn all_reduce_mean(self: &Group, tensor: &Tensor) -> Result<()>;
        fn broadcast(self: &Group, tensors: &TensorList) -> Result<()>;
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

// SAFETY: the C++ object owns a socket and a mutex that guards it, and knows no thread: a `c10d::Store` may be used from
// any thread, and here it is only moved to one.
unsafe impl Send for ffi::Store {}
