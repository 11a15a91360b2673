// Process groups and the gradient reducer of c10d.
#include "process_group.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "nccl_entry.h"
#include "recap-train/src/torch/sys_process_group.rs.h"

namespace recap {

static std::string text(rust::Str from) { return std::string(from.data(), from.size()); }

namespace {

// The store as c10d wants it. What goes wrong in Rust becomes the error that c10d knows.
class RankStore : public c10d::Store {
 public:
  RankStore(rust::Box<SharedStore> inner, std::chrono::milliseconds timeout)
      : c10d::Store(timeout), inner_(std::move(inner)) {}

  c10::intrusive_ptr<c10d::Store> clone() override {
    return c10::make_intrusive<RankStore>(inner_->another(), timeout_);
  }

  void set(const std::string& key, const std::vector<uint8_t>& value) override {
    asked([&] { inner_->set(key, slice(value)); });
  }

  std::vector<uint8_t> compareSet(const std::string& key, const std::vector<uint8_t>& expected,
                                  const std::vector<uint8_t>& desired) override {
    return asked([&] { return bytes(inner_->compare_set(key, slice(expected), slice(desired))); });
  }

  std::vector<uint8_t> get(const std::string& key) override {
    return asked([&] { return bytes(inner_->get(key, timeout_.count())); });
  }

  int64_t add(const std::string& key, int64_t value) override {
    return asked([&] { return inner_->add(key, value); });
  }

  bool deleteKey(const std::string& key) override {
    return asked([&] { return inner_->remove(key); });
  }

  bool check(const std::vector<std::string>& keys) override {
    return asked([&] {
      return std::all_of(keys.begin(), keys.end(), [&](const std::string& key) { return inner_->has(key); });
    });
  }

  int64_t getNumKeys() override {
    return asked([&] { return inner_->count(); });
  }

  void wait(const std::vector<std::string>& keys) override { wait(keys, timeout_); }

  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override {
    const auto within = timeout == kNoTimeout ? timeout_ : timeout;
    asked([&] {
      for (const auto& key : keys) inner_->wait(key, within.count());
    });
  }

  bool hasExtendedApi() const override { return false; }

 private:
  static rust::Slice<const uint8_t> slice(const std::vector<uint8_t>& from) {
    return rust::Slice<const uint8_t>(from.data(), from.size());
  }

  static std::vector<uint8_t> bytes(const rust::Vec<uint8_t>& from) {
    return std::vector<uint8_t>(from.begin(), from.end());
  }

  template <typename Ask>
  static auto asked(Ask ask) -> decltype(ask()) {
    try {
      return ask();
    } catch (const rust::Error& error) {
      C10_THROW_ERROR(DistStoreError, error.what());
    }
  }

  rust::Box<SharedStore> inner_;
};

}  // namespace

namespace {

// What happens in a backward and when, while somebody watches; written by the threads of autograd and of Gloo.
class Timeline {
 public:
  enum Kind : uint64_t { GRADIENT, LAUNCHED, REDUCED };

  void start() {
    const std::lock_guard<std::mutex> lock(mutex_);
    begin_ = std::chrono::steady_clock::now();
    events_.clear();
    launched_ = 0;
    reduced_ = 0;
    is_watched_ = true;
  }

  // Whoever waits for an all-reduce may wake before its end is noted: waits for that, but not for what never ends.
  rust::Vec<uint64_t> stop() {
    std::unique_lock<std::mutex> lock(mutex_);
    all_reduced_.wait_for(lock, std::chrono::seconds(1), [this] { return launched_ == reduced_; });
    is_watched_ = false;
    return events_;
  }

  bool is_watched() const { return is_watched_; }

  void gradient(uint64_t number, uint64_t bytes) {
    if (!is_watched_) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    note(GRADIENT, number, bytes);
  }

  uint64_t launched(uint64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    note(LAUNCHED, launched_, bytes);
    return launched_++;
  }

  void reduced(uint64_t number, uint64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    note(REDUCED, number, bytes);
    ++reduced_;
    all_reduced_.notify_all();
  }

 private:
  void note(Kind kind, uint64_t number, uint64_t bytes) {
    const auto since = std::chrono::steady_clock::now() - begin_;
    const auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
    for (const uint64_t value : {uint64_t{kind}, number, bytes, static_cast<uint64_t>(nanos)}) events_.push_back(value);
  }

  std::mutex mutex_;
  std::condition_variable all_reduced_;
  std::atomic<bool> is_watched_{false};
  uint64_t launched_ = 0;
  uint64_t reduced_ = 0;
  std::chrono::steady_clock::time_point begin_;
  rust::Vec<uint64_t> events_;
};

// Tells the timeline when an all-reduce sets off and, of CPU tensors, when it is done.
class TimedGroup : public c10d::ProcessGroup {
 public:
  using ProcessGroup::ProcessGroup;

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions& options = {}) override {
    if (!timeline->is_watched()) return ProcessGroup::allreduce(tensors, options);
    uint64_t bytes = 0;
    for (const auto& tensor : tensors) bytes += tensor.nbytes();
    const uint64_t number = timeline->launched(bytes);
    auto work = ProcessGroup::allreduce(tensors, options);
    work->getFuture()->addCallback(
        [timeline = timeline, number, bytes](c10::ivalue::Future&) { timeline->reduced(number, bytes); });
    return work;
  }

  const std::shared_ptr<Timeline> timeline = std::make_shared<Timeline>();
};

// Tells the timeline that a parameter has its gradient.
class GradientHook : public torch::autograd::FunctionPostHook {
 public:
  GradientHook(std::shared_ptr<Timeline> timeline, uint64_t number, uint64_t bytes)
      : timeline_(std::move(timeline)), number_(number), bytes_(bytes) {}

  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list&) override {
    timeline_->gradient(number_, bytes_);
    return outputs;
  }

 private:
  std::shared_ptr<Timeline> timeline_;
  uint64_t number_;
  uint64_t bytes_;
};

}  // namespace

struct Group::State {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<TimedGroup> group;
  int rank;
  int world_size;
  std::chrono::milliseconds timeout;
};

Group::Group(std::unique_ptr<State> state) : state_(std::move(state)) {}
Group::~Group() = default;

std::unique_ptr<Group> connect_group(rust::Box<SharedStore> store, int32_t rank, int32_t world_size,
                                     uint64_t timeout_ms, rust::Str address, rust::Str interface) {
  Group::State state;
  state.rank = rank;
  state.world_size = world_size;
  state.timeout = std::chrono::milliseconds(timeout_ms);
  state.store = c10::make_intrusive<c10d::PrefixStore>(
      "process_group", c10::make_intrusive<RankStore>(std::move(store), state.timeout));
  state.group = c10::make_intrusive<TimedGroup>(state.store, rank, world_size);

  const auto options = c10d::ProcessGroupGloo::Options::create(state.timeout);
  options->devices.push_back(interface.empty()
                                 ? c10d::ProcessGroupGloo::createDeviceForHostname(text(address))
                                 : c10d::ProcessGroupGloo::createDeviceForInterface(text(interface)));
  const auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(
      c10::make_intrusive<c10d::PrefixStore>("gloo", state.store), rank, world_size, options);
  state.group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::GLOO, c10::intrusive_ptr<c10d::Backend>(gloo));
  state.group->setDefaultBackend(c10d::ProcessGroup::GLOO);
  state.group->setGroupName("recap");
  return std::make_unique<Group>(std::make_unique<Group::State>(std::move(state)));
}

void Group::add_nccl(rust::Str shared_object) const {
  void* library = dlopen(text(shared_object).c_str(), RTLD_NOW | RTLD_GLOBAL);
  TORCH_CHECK(library != nullptr, "cannot load ", text(shared_object), ": ", dlerror());
  const auto create = reinterpret_cast<NewNccl*>(dlsym(library, NEW_NCCL));
  TORCH_CHECK(create != nullptr, text(shared_object), " was built without NCCL");
  const auto prefixed = c10::make_intrusive<c10d::PrefixStore>("nccl", state_->store);
  auto* nccl = create(prefixed.get(), state_->rank, state_->world_size, state_->timeout.count());
  state_->group->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::NCCL,
                            c10::intrusive_ptr<c10d::Backend>::reclaim(nccl));
}

// Collectives want dense memory; a tensor with other strides goes through a copy.
template <typename Run>
static void on_dense(const at::Tensor& tensor, Run run) {
  const at::NoGradGuard no_grad;
  const auto target = tensor.detach();
  auto dense = target.contiguous();
  run(dense);
  if (!dense.is_same(target)) target.copy_(dense);
}

void Group::all_reduce_mean(const Tensor& tensor) const {
  on_dense(tensor, [this](at::Tensor& dense) {
    std::vector<at::Tensor> tensors{dense};
    state_->group->allreduce(tensors)->wait();
    dense.div_(state_->world_size);  // Gloo has no mean
  });
}

void Group::broadcast(int32_t rank, const TensorList& tensors) const {
  c10d::BroadcastOptions options;
  options.rootRank = rank;
  for (const auto& tensor : tensors.tensors) {
    on_dense(tensor, [&](at::Tensor& dense) {
      std::vector<at::Tensor> one{dense};
      state_->group->broadcast(one, options)->wait();
    });
  }
}

std::unique_ptr<Tensor> Group::all_gather(const Tensor& tensor) const {
  const at::NoGradGuard no_grad;
  auto all = at::empty({state_->world_size, tensor.size(0)}, tensor.options());
  std::vector<std::vector<at::Tensor>> outputs{all.unbind(0)};
  std::vector<at::Tensor> inputs{tensor.contiguous()};
  state_->group->allgather(outputs, inputs)->wait();
  return std::make_unique<Tensor>(all);
}

void Group::barrier() const { state_->group->getBackend(c10::DeviceType::CPU)->barrier()->wait(); }

struct Reducer::State {
  std::shared_ptr<Timeline> timeline;
  // Where gradients arrive, and the key of our hook there.
  std::vector<std::pair<std::shared_ptr<torch::autograd::Node>, uintptr_t>> hooks;
  std::unique_ptr<c10d::Reducer> reducer;
};

Reducer::Reducer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Reducer::~Reducer() {
  state_->reducer->remove_autograd_hooks();
  for (const auto& [accumulator, key] : state_->hooks) accumulator->del_post_hook(key);
}

void Reducer::start_timeline() const { state_->timeline->start(); }
rust::Vec<uint64_t> Reducer::stop_timeline() const { return state_->timeline->stop(); }

namespace {

// c10d lays its buckets out anew after the first backward, in the order in which gradients came. With three ranks and
// more, the layout decides in which order a gradient's shares are added, so that a resumed run would differ from one
// left alone by the rounding of its first step. A backward of zeros over all parameters settles the layout before
// training: last parameter first. Gradients that are there already are put back.
void settle_buckets(c10d::Reducer& reducer, const std::vector<at::Tensor>& parameters) {
  std::vector<at::Tensor> gradients;
  std::vector<at::Tensor> zeros;
  for (const auto& parameter : parameters) {
    gradients.push_back(parameter.grad());
    parameter.mutable_grad().reset();
    zeros.push_back(parameter.sum().mul(0).to(at::kCPU, at::kFloat));
  }
  reducer.prepare_for_backward({});
  at::stack(zeros).sum().backward();
  reducer.rebuild_buckets();
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i].mutable_grad() = gradients[i];
}

}  // namespace

std::unique_ptr<Reducer> new_reducer(const Group& group, const TensorList& parameters, uint64_t bucket_bytes) {
  const auto& tensors = parameters.tensors;
  Reducer::State state;
  state.timeline = group.state().group->timeline;
  // Before those of c10d, so that a gradient is noted before the bucket that it fills.
  for (size_t i = 0; i < tensors.size(); ++i) {
    auto accumulator = torch::autograd::impl::grad_accumulator(tensors[i]);
    TORCH_CHECK(accumulator != nullptr, "parameter ", i, " wants no gradient");
    const auto key = accumulator->add_post_hook(
        std::make_unique<GradientHook>(state.timeline, i, static_cast<uint64_t>(tensors[i].nbytes())));
    state.hooks.emplace_back(std::move(accumulator), key);
  }
  const std::vector<bool> sparse(tensors.size(), false);
  const size_t first_bytes = std::min<size_t>(bucket_bytes, c10d::kDefaultFirstBucketBytes);
  auto [buckets, limits] = c10d::compute_bucket_assignment_by_size(tensors, {first_bytes, bucket_bytes}, sparse);
  // Backward meets the last parameters first, so their bucket must come first.
  std::reverse(buckets.begin(), buckets.end());
  state.reducer = std::make_unique<c10d::Reducer>(
      tensors, buckets, group.state().group, sparse, static_cast<int64_t>(bucket_bytes),
      /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/false,
      /*param_names=*/std::unordered_map<size_t, std::string>(), static_cast<int64_t>(first_bytes),
      /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
      /*bucket_bytes_cap_list=*/std::vector<int64_t>());
  if (!tensors.empty()) settle_buckets(*state.reducer, tensors);
  return std::make_unique<Reducer>(std::make_unique<Reducer::State>(std::move(state)));
}

void Reducer::prepare_for_backward() const { state_->reducer->prepare_for_backward({}); }

}  // namespace recap
