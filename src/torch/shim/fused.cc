// Operations over many tensors in one call.
#include "shim.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

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

// Parameters without a gradient stay as they are, as in torch.optim.Adam.
void fused_adam(const TensorList& params, const TensorList& exp_avgs, const TensorList& exp_avg_sqs,
                const TensorList& steps, double learning_rate, double beta_1, double beta_2, double epsilon) {
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
  at::_foreach_add_(counts, 1);
  at::_fused_adam_(with_grad, grads, means, squares, /*max_exp_avg_sqs=*/{}, counts, learning_rate, beta_1, beta_2,
                   /*weight_decay=*/0.0, epsilon, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/std::nullopt,
                   /*found_inf=*/std::nullopt);
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

void foreach_scale(const TensorList& tensors, const Tensor& factor) {
  const at::NoGradGuard no_grad;
  if (tensors.tensors.empty()) return;
  at::_foreach_mul_(tensors.tensors, factor);
}

}  // namespace recap
