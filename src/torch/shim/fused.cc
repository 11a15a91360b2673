// Operations over many tensors in one call.
#include "shim.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

namespace recap {

std::unique_ptr<TensorList> tensor_list() { return std::make_unique<TensorList>(); }

void fused_adam(TensorList& params, const TensorList& grads, TensorList& exp_avgs, TensorList& exp_avg_sqs,
                const TensorList& steps, double learning_rate, double beta_1, double beta_2, double epsilon) {
  const at::NoGradGuard no_grad;
  at::_fused_adam_(params.tensors, grads.tensors, exp_avgs.tensors, exp_avg_sqs.tensors, /*max_exp_avg_sqs=*/{},
                   steps.tensors, learning_rate, beta_1, beta_2, /*weight_decay=*/0.0, epsilon, /*amsgrad=*/false,
                   /*maximize=*/false, /*grad_scale=*/std::nullopt, /*found_inf=*/std::nullopt);
}

void foreach_add_one(TensorList& tensors) {
  const at::NoGradGuard no_grad;
  at::_foreach_add_(tensors.tensors, 1);
}

std::unique_ptr<Tensor> global_norm(const TensorList& tensors) {
  const at::NoGradGuard no_grad;
  const auto norms = at::_foreach_norm(tensors.tensors, 2);
  return std::make_unique<Tensor>(at::linalg_vector_norm(at::stack(norms), 2));
}

void foreach_scale(TensorList& tensors, const Tensor& factor) {
  const at::NoGradGuard no_grad;
  at::_foreach_mul_(tensors.tensors, factor);
}

}  // namespace recap
