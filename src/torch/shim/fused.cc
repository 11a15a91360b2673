// Operations over many tensors in one call.
#include "shim.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

namespace recap {

std::unique_ptr<TensorList> tensor_list() { return std::make_unique<TensorList>(); }

// The gradients of those parameters that have one.
std::unique_ptr<TensorList> gradients(const TensorList& params) {
  auto list = tensor_list();
  for (const auto& param : params.tensors) {
    if (param.grad().defined()) list->push(param.grad());
  }
  return list;
}

// Lets go of the gradients: the next backward pass hands over its own buffers instead of adding to zeros.
void clear_gradients(const TensorList& params) {
  for (const auto& param : params.tensors) param.mutable_grad().reset();
}

// Parameters without a gradient stay as they are, as in torch.optim.Adam. With `found_inf`, an f32 scalar on their
// device, nothing changes where it holds 1; nobody waits for it.
void fused_adam(const TensorList& params, const TensorList& exp_avgs, const TensorList& exp_avg_sqs,
                const TensorList& steps, double learning_rate, double beta_1, double beta_2, double epsilon,
                const Tensor* found_inf) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> with_grad, grads, means, squares, counts;
  for (size_t i = 0; i < params.tensors.size(); ++i) {
    const auto& grad = params.tensors[i].grad();
    if (!grad.defined()) continue;
    with_grad.push_back(params.tensors[i]);
    grads.push_back(grad);
    means.push_back(exp_avgs.tensors.at(i));
    squares.push_back(exp_avg_sqs.tensors.at(i));
    counts.push_back(steps.tensors.at(i));
  }
  if (grads.empty()) return;
  std::optional<Tensor> found;
  if (found_inf != nullptr) {
    found = *found_inf;
    at::_foreach_add_(counts, at::rsub(*found, 1));
  } else {
    at::_foreach_add_(counts, 1);
  }
  at::_fused_adam_(with_grad, grads, means, squares, /*max_exp_avg_sqs=*/{}, counts, learning_rate, beta_1, beta_2,
                   /*weight_decay=*/0.0, epsilon, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/std::nullopt,
                   found);
}

void foreach_add_one(const TensorList& tensors) {
  if (tensors.tensors.empty()) return;
  const at::NoGradGuard no_grad;
  at::_foreach_add_(tensors.tensors, 1);
}

std::unique_ptr<Tensor> global_norm(const TensorList& tensors) {
  const at::NoGradGuard no_grad;
  if (tensors.tensors.empty()) throw std::invalid_argument("no tensor has a gradient");
  const auto norms = at::_foreach_norm(tensors.tensors, 2);
  return std::make_unique<Tensor>(at::linalg_vector_norm(at::stack(norms), 2));
}

namespace {

// Numbers that one thread squares in one go: the sums do not depend on how many threads there are.
constexpr int64_t CHUNK = 1 << 17;
// Partial sums side by side: the compiler makes vectors of them without changing any order.
constexpr int64_t LANES = 32;

double sum_of_squares(const float* values, int64_t count) {
  std::array<float, LANES> sums{};
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    for (int64_t lane = 0; lane < LANES; ++lane) sums[lane] += values[i + lane] * values[i + lane];
  }
  double sum = 0;
  for (; i < count; ++i) sum += double(values[i]) * double(values[i]);
  for (const float lane : sums) sum += lane;
  return sum;
}

struct Chunk {
  const float* values;
  int64_t count;
};

}  // namespace

// libtorch's own norm reads each tensor with one thread, and this pass is bound by memory.
std::unique_ptr<Tensor> global_norm_cpu(const TensorList& tensors) {
  const auto serves = [](const Tensor& tensor) {
    return tensor.is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_non_overlapping_and_dense();
  };
  if (!std::all_of(tensors.tensors.begin(), tensors.tensors.end(), serves)) return nullptr;
  if (tensors.tensors.empty()) throw std::invalid_argument("no tensor has a gradient");
  std::vector<Chunk> chunks;
  for (const auto& tensor : tensors.tensors) {
    const auto* values = tensor.const_data_ptr<float>();
    for (int64_t at = 0; at < tensor.numel(); at += CHUNK) {
      chunks.push_back({values + at, std::min(CHUNK, tensor.numel() - at)});
    }
  }
  std::vector<double> sums(chunks.size());
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sums[i] = sum_of_squares(chunks[i].values, chunks[i].count);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::make_unique<Tensor>(at::scalar_tensor(std::sqrt(total), at::kFloat));
}

void foreach_scale(const TensorList& tensors, const Tensor& factor) {
  const at::NoGradGuard no_grad;
  if (tensors.tensors.empty()) return;
  at::_foreach_mul_(tensors.tensors, factor);
}

}  // namespace recap
