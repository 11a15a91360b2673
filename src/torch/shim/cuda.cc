// What needs the CUDA and NCCL headers: its own shared object, which process_group.cc loads after libtorch_cuda.
// One program thus serves machines with and without a GPU.
#include <chrono>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <type_traits>

#include "nccl_entry.h"

extern "C" c10d::Backend* recap_new_nccl(c10d::Store* store, int rank, int world_size, int64_t timeout_ms) {
  // The high-priority stream lets a full bucket travel while backward's kernels fill the GPU.
  const auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
  options->timeout = std::chrono::milliseconds(timeout_ms);
  const auto shared = c10::intrusive_ptr<c10d::Store>::reclaim_copy(store);
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(shared, rank, world_size, options).release();
}
static_assert(std::is_same_v<decltype(recap_new_nccl), NewNccl>);
