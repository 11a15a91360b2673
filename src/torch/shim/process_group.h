// c10d, the C++ library behind torch.distributed, for the bridge in ../sys_process_group.rs.
#pragma once
#include <cstdint>
#include <memory>

#include "shim.h"

namespace recap {

// A client of the key-value store at which the ranks meet; in one rank also its server.
class Store {
 public:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  ~Store();

  void set(rust::Str key, rust::Str value) const;
  // The value afterwards: `desired` if the key had the value `expected`.
  rust::String compare_set(rust::Str key, rust::Str expected, rust::Str desired) const;
  int64_t add(rust::Str key, int64_t amount) const;
  bool has(rust::Str key) const;
  // Waits until all keys are there; throws after the store's timeout.
  rust::Vec<rust::String> get_all(rust::Slice<const rust::String> keys) const;
  uint16_t port() const;

  const State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};
std::unique_ptr<Store> connect_store(rust::Str host, uint16_t port, bool is_server, rust::Str prefix,
                                     uint64_t timeout_ms);

// The ranks and the ways between them: Gloo for tensors on the CPU, NCCL, once added, for those on a GPU.
// The calls block until the result is there, except that NCCL orders it on the GPU's stream.
class Group {
 public:
  struct State;
  explicit Group(std::unique_ptr<State> state);
  ~Group();

  void add_nccl(rust::Str shared_object) const;
  void all_reduce_mean(const Tensor& tensor) const;
  void broadcast(const TensorList& tensors) const;
  // [n] becomes [world_size, n]; CPU tensors only.
  std::unique_ptr<Tensor> all_gather(const Tensor& tensor) const;
  void barrier() const;

  const State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};
// `address` or, if not empty, `interface` is where this rank listens for the others.
std::unique_ptr<Group> connect_group(const Store& store, int32_t rank, int32_t world_size, uint64_t timeout_ms,
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
