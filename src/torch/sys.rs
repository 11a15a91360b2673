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

        fn manual_seed(seed: i64) -> Result<()>;
        fn set_tf32(on: bool) -> Result<()>;
        fn set_autocast(cuda: bool, on: bool) -> Result<()>;
        fn load_cuda() -> Result<String>;
        fn keep_freed_memory();
        fn cpu_capability() -> String;

        #[allow(
            clippy::too_many_arguments,
            reason = "the signature of libtorch's kernel"
        )]
        unsafe fn fused_adam(
            params: &TensorList,
            exp_avgs: &TensorList,
            exp_avg_sqs: &TensorList,
            steps: &TensorList,
            learning_rate: f64,
            beta_1: f64,
            beta_2: f64,
            epsilon: f64,
            found_inf: *const Tensor,
        ) -> Result<()>;
        fn gradients(params: &TensorList) -> UniquePtr<TensorList>;
        fn clear_gradients(params: &TensorList);
        fn foreach_add_one(tensors: &TensorList) -> Result<()>;
        fn global_norm(tensors: &TensorList) -> Result<UniquePtr<Tensor>>;
        fn global_norm_cpu(tensors: &TensorList) -> Result<UniquePtr<Tensor>>;
        fn foreach_scale(tensors: &TensorList, factor: &Tensor) -> Result<()>;

        fn uses_onednn() -> bool;
        fn use_onednn(on: bool);
        fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<UniquePtr<Tensor>>;

        type Arrival;
        fn join(self: &Arrival, tensors: &TensorList) -> Result<()>;
        type CopyStream;
        fn copy_stream(device: i32) -> Result<UniquePtr<CopyStream>>;
        fn upload_f32(
            self: &CopyStream,
            values: &[f32],
            shape: &[i64],
        ) -> Result<UniquePtr<Tensor>>;
        fn upload_i64(
            self: &CopyStream,
            values: &[i64],
            shape: &[i64],
        ) -> Result<UniquePtr<Tensor>>;
        fn upload_bool(
            self: &CopyStream,
            values: &[bool],
            shape: &[i64],
        ) -> Result<UniquePtr<Tensor>>;
        fn upload_u8(self: &CopyStream, values: &[u8], shape: &[i64]) -> Result<UniquePtr<Tensor>>;
        fn arrival(self: &CopyStream) -> Result<UniquePtr<Arrival>>;
        type Readback;
        fn read_back(tensor: &Tensor) -> Result<UniquePtr<Readback>>;
        fn is_there(self: &Readback) -> Result<bool>;
        fn wait(self: &Readback) -> Result<UniquePtr<Tensor>>;
    }
}

// SAFETY: an event may be used from any thread, one at a time; libtorch's events are made for handing over.
unsafe impl Send for ffi::Arrival {}

/// One fused update; see `fused::adam`.
pub(super) fn fused_adam(
    [params, exp_avgs, exp_avg_sqs, steps]: [&ffi::TensorList; 4],
    learning_rate: f64,
    [beta_1, beta_2]: [f64; 2],
    epsilon: f64,
    found_inf: Option<&Tensor>,
) -> Result<(), cxx::Exception> {
    let found_inf = found_inf.map_or(std::ptr::null(), |tensor| {
        std::ptr::from_ref(as_cxx(tensor))
    });
    // SAFETY: null, or a tensor that is borrowed for the whole call.
    unsafe {
        ffi::fused_adam(
            params,
            exp_avgs,
            exp_avg_sqs,
            steps,
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            found_inf,
        )
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
