// Kineto, libtorch's profiler: what this thread and the threads of its backward passes do, and what the GPU does.
#include "profile.h"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <set>
#include <stdexcept>
#include <string>

namespace recap {

using torch::profiler::impl::ActivityType;
using torch::profiler::impl::ProfilerConfig;
using torch::profiler::impl::ProfilerState;

std::unique_ptr<Range> begin_range(rust::Str name) {
  auto range = std::make_unique<Range>();
  if (range->function.isActive()) range->function.before(std::string(name));
  return range;
}

void start_profile(bool cuda) {
  const ProfilerConfig config(ProfilerState::KINETO, /*report_input_shapes=*/true);
  std::set<ActivityType> activities{ActivityType::CPU};
  if (cuda) activities.insert(ActivityType::CUDA);
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
}

void stop_profile(rust::Str path) {
  const auto result = torch::autograd::profiler::disableProfiler();
  if (result == nullptr) throw std::runtime_error("nothing was recorded");
  result->save(std::string(path));
}

}  // namespace recap
