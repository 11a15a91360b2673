//! The bridge to `shim/*.cc`: the only room with `unsafe` in it.
//!
//! tch holds an `at::Tensor` behind a raw pointer; here that pointer becomes a C++ reference and back.

#![allow(unsafe_code, reason = "the one door to C++")]
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "the bridge repeats shim.h"
)]

use tch::Tensor;

#[allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "cxx writes the blocks of the bridge"
)]
#[cxx::bridge(namespace = "recap")]
pub(super) mod ffi {
    unsafe extern "C++" {
        include!("shim.h");

        type Tensor;
        type TensorList;
        fn tensor_list() -> UniquePtr<TensorList>;
        fn push(self: Pin<&mut TensorList>, tensor: &Tensor);
        fn is_empty(self: &TensorList) -> bool;

        fn set_tf32(on: bool) -> Result<()>;
        fn set_autocast(cuda: bool, on: bool) -> Result<()>;
        fn load_cuda() -> Result<String>;
        fn keep_freed_memory();

        #[allow(
            clippy::too_many_arguments,
            reason = "the signature of libtorch's kernel"
        )]
        fn fused_adam(
            params: &TensorList,
            exp_avgs: &TensorList,
            exp_avg_sqs: &TensorList,
            steps: &TensorList,
            learning_rate: f64,
            beta_1: f64,
            beta_2: f64,
            epsilon: f64,
        ) -> Result<()>;
        fn gradients(params: &TensorList) -> UniquePtr<TensorList>;
        fn clear_gradients(params: &TensorList);
        fn foreach_add_one(tensors: &TensorList) -> Result<()>;
        fn global_norm(tensors: &TensorList) -> Result<UniquePtr<Tensor>>;
        fn foreach_scale(tensors: &TensorList, factor: &Tensor) -> Result<()>;
    }
}

/// The C++ tensor behind `tensor`.
pub(super) fn as_cxx(tensor: &Tensor) -> &ffi::Tensor {
    // SAFETY: tch keeps a valid, non-null `at::Tensor*` for as long as `tensor` lives, and the
    // returned reference borrows `tensor`.
    unsafe { &*tensor.as_ptr().cast::<ffi::Tensor>() }
}

/// Takes over a tensor that C++ made.
pub(super) fn from_cxx(tensor: cxx::UniquePtr<ffi::Tensor>) -> Tensor {
    // SAFETY: the pointer is an `at::Tensor` allocated with `new`, owned by nobody else; tch frees it
    // with `delete`.
    unsafe { Tensor::from_ptr(tensor.into_raw().cast()) }
}

/// Handles that share ownership of `tensors`.
pub(super) fn list<'a>(
    tensors: impl IntoIterator<Item = &'a Tensor>,
) -> cxx::UniquePtr<ffi::TensorList> {
    let mut list = ffi::tensor_list();
    for tensor in tensors {
        list.pin_mut().push(as_cxx(tensor));
    }
    list
}
