// Kineto, libtorch's profiler, for the bridge in ../sys_profile.rs. Exceptions become `Result` there.
#pragma once
#include <ATen/record_function.h>

#include <memory>

#include "rust/cxx.h"

namespace recap {

// A named span of time in the trace; costs next to nothing while nothing is recorded.
struct Range {
  at::RecordFunction function{at::RecordScope::USER_SCOPE};
};
std::unique_ptr<Range> begin_range(rust::Str name);

void start_profile(bool cuda);
// Writes what happened since then to `path`, as a Chrome trace.
void stop_profile(rust::Str path);

}  // namespace recap
