// What tch lacks, for the bridge in ../sys.rs. Exceptions become `Result` there.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
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
void set_tf32(bool on);
void set_autocast(bool cuda, bool on);
rust::String load_cuda();
void keep_freed_memory();

// fused.cc
std::unique_ptr<TensorList> gradients(const TensorList& params);
void clear_gradients(const TensorList& params);
void fused_adam(const TensorList& params, const TensorList& exp_avgs, const TensorList& exp_avg_sqs,
                const TensorList& steps, double learning_rate, double beta_1, double beta_2, double epsilon);
void foreach_add_one(const TensorList& tensors);
std::unique_ptr<Tensor> global_norm(const TensorList& tensors);
void foreach_scale(const TensorList& tensors, const Tensor& factor);

}  // namespace recap
