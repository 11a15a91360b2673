// Linear layers in f32 on CPUs that MKL leaves half asleep.
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <torch/csrc/autograd/custom_function.h>

#include <atomic>

namespace recap {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// MKL asks for the maker of the CPU before it uses AVX-512; oneDNN, the other library inside libtorch, asks for the
// instructions alone.
static bool onednn_is_faster() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  return at::hasMKLDNN() && __builtin_cpu_is("amd") && __builtin_cpu_supports("avx512f");
#else
  return false;
#endif
}

static std::atomic<bool>& onednn() {
  static std::atomic<bool> on{onednn_is_faster()};
  return on;
}

bool uses_onednn() { return onednn(); }
void use_onednn(bool on) { onednn() = on && at::hasMKLDNN(); }

// `a bᵀ` plus `bias`; rows or columns of either may be next to each other in memory.
static Tensor product(const Tensor& a, const Tensor& b, const std::optional<Tensor>& bias) {
  using Signature = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
                           c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Signature>();
  return op.call(a, b, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

namespace {

// Gradients as at::linear has them, each computed only where it is wanted.
struct OnednnLinear : torch::autograd::Function<OnednnLinear> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, const Tensor& bias) {
    context->save_for_backward({x, weight});
    const at::AutoDispatchBelowAutograd below;
    return product(x, weight, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto gradient = gradients[0].contiguous();
    const at::NoGradGuard no_grad;
    variable_list result(3);
    if (context->needs_input_grad(0)) result[0] = product(gradient, saved[1].t(), std::nullopt);
    if (context->needs_input_grad(1)) result[1] = product(gradient.t(), saved[0].t(), std::nullopt);
    if (context->needs_input_grad(2)) result[2] = gradient.sum(0);
    return result;
  }
};

}  // namespace

std::unique_ptr<Tensor> linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto serves = [](const Tensor& tensor) { return tensor.is_cpu() && tensor.scalar_type() == at::kFloat; };
  const bool plain = !uses_onednn() || at::autocast::is_autocast_enabled(at::kCPU) || x.dim() != 2 || x.numel() == 0 ||
                     weight.numel() == 0 || !serves(x) || !serves(weight) || !serves(bias);
  return std::make_unique<Tensor>(plain ? at::linear(x, weight, bias) : OnednnLinear::apply(x, weight, bias));
}

}  // namespace recap
