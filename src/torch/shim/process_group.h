// c10d, the C++ library behind torch.distributed, for the bridge in ../sys_process_group.rs.
#pragma once
#include <cstdint>
#include <memory>

#include "shim.h"

namespace recap {

// The store of the ranks, which Rust keeps.
struct SharedStore;

// The ranks and the ways between them: Gloo for tensors on the CPU, NCCL, once added, for those on a GPU.
// The calls block until the result is there, except that NCCL orders it on the GPU's stream.
class Group {
 public:
  struct State;
  explicit Group(std::unique_ptr<State> state);
  ~Group();

  void add_nccl(rust::Str shared_object) const;
  void all_reduce_mean(const Tensor& tensor) const;
  // Those of `rank` for all.
  void broadcast(int32_t rank, const TensorList& tensors) const;
  // [n] becomes [world_size, n]; CPU tensors only.
  std::unique_ptr<Tensor> all_gather(const Tensor& tensor) const;
  void barrier() const;

  const State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};
// `address` or, if not empty, `interface` is where this rank listens for the others.
std::unique_ptr<Group> connect_group(rust::Box<SharedStore> store, int32_t rank, int32_t world_size, uint64_t timeout_ms,
                                     rust::Str address, rust::Str interface);

// Averages gradients in buckets while backward still runs: the C++ core of DistributedDataParallel.
class Reducer {
 public:
  struct State;
  explicit Reducer(std::unique_ptr<State> state);
  ~Reducer();

  void prepare_for_backward() const;
  // From `start` to `stop` the group and the parameters note what happens: four numbers each, namely what (0: a gradient
  // is ready, 1: an all-reduce sets off, 2: it is done), which parameter or all-reduce, its bytes, nanoseconds.
  void start_timeline() const;
  rust::Vec<uint64_t> stop_timeline() const;

 private:
  std::unique_ptr<State> state_;
};
std::unique_ptr<Reducer> new_reducer(const Group& group, const TensorList& parameters, uint64_t bucket_bytes);

}  // namespace recap
