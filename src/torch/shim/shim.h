// What tch lacks, for the bridge in ../sys.rs. Exceptions become `Result` there.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "rust/cxx.h"

namespace recap {

using Tensor = at::Tensor;

// A list of tensor handles; every handle shares ownership of its tensor.
struct TensorList {
  std::vector<at::Tensor> tensors;
  bool is_empty() const { return tensors.empty(); }
  void push(const at::Tensor& tensor) { tensors.push_back(tensor); }
};
std::unique_ptr<TensorList> tensor_list();

// context.cc
void manual_seed(int64_t seed);
void set_tf32(bool on);
void set_autocast(bool cuda, bool on);
rust::String load_cuda();
void keep_freed_memory();
rust::String cpu_capability();

// fused.cc
std::unique_ptr<TensorList> gradients(const TensorList& params);
void clear_gradients(const TensorList& params);
void fused_adam(const TensorList& params, const TensorList& exp_avgs, const TensorList& exp_avg_sqs,
                const TensorList& steps, double learning_rate, double beta_1, double beta_2, double epsilon,
                const Tensor* found_inf);
void foreach_add_one(const TensorList& tensors);
std::unique_ptr<Tensor> global_norm(const TensorList& tensors);
// With all threads; null where the tensors are not f32 on the CPU.
std::unique_ptr<Tensor> global_norm_cpu(const TensorList& tensors);
void foreach_scale(const TensorList& tensors, const Tensor& factor);

// linear.cc

// Whether f32 Linear layers on the CPU go to oneDNN instead of MKL.
bool uses_onednn();
void use_onednn(bool on);
// `x weightᵀ + bias`, as at::linear.
std::unique_ptr<Tensor> linear(const Tensor& x, const Tensor& weight, const Tensor& bias);

// transfer.cc

// A point in the work of a GPU's stream.
struct Arrival {
  c10::Event event;
  // The calling thread's stream goes on only after that point, and the memory of `tensors`, which belongs to another
  // stream, is not reused before this stream is done with it. The thread itself waits for nothing.
  void join(const TensorList& tensors) const;
};

// A GPU's stream for copies beside the computation: all work of the thread that made it runs there.
struct CopyStream {
  c10::Stream stream;
  std::unique_ptr<Tensor> upload_f32(rust::Slice<const float> values, rust::Slice<const int64_t> shape) const;
  std::unique_ptr<Tensor> upload_i64(rust::Slice<const int64_t> values, rust::Slice<const int64_t> shape) const;
  std::unique_ptr<Tensor> upload_bool(rust::Slice<const bool> values, rust::Slice<const int64_t> shape) const;
  std::unique_ptr<Tensor> upload_u8(rust::Slice<const uint8_t> values, rust::Slice<const int64_t> shape) const;
  // After everything uploaded so far.
  std::unique_ptr<Arrival> arrival() const;
};
std::unique_ptr<CopyStream> copy_stream(int32_t device);

// A small tensor on its way to the host.
struct Readback {
  Tensor host;
  std::optional<c10::Event> event;
  bool is_there() const;
  std::unique_ptr<Tensor> wait() const;
};
std::unique_ptr<Readback> read_back(const Tensor& tensor);

}  // namespace recap
