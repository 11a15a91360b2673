// What process_group.cc and the shared object made from cuda.cc agree on.
#pragma once
#include <cstdint>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

// Returns a new NCCL backend that the caller owns; throws what c10d throws.
using NewNccl = c10d::Backend*(c10d::Store* store, int rank, int world_size, int64_t timeout_ms);
constexpr const char* NEW_NCCL = "recap_new_nccl";
