// Stand-in for gloo's headers, which no pip package of PyTorch brings although ProcessGroupGloo.hpp includes them.
// It declares what that header mentions and defines nothing: gloo itself is inside libtorch_cpu. Our code only
// passes pointers to these types along, so their size and members are of no account.
#pragma once
#include <chrono>

namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
}  // namespace gloo
