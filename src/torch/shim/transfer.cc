// Copies between host and GPU that nobody waits for. Built on c10's device-neutral streams and events, so it compiles
// without CUDA's headers; the CUDA part of libtorch fills them in once it is loaded.
#include "shim.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace recap {

static c10::impl::VirtualGuardImpl cuda() { return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA); }

std::unique_ptr<CopyStream> copy_stream(int32_t device) {
  const c10::Device where(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device));
  cuda().setDevice(where);
  const auto stream = cuda().getStreamFromGlobalPool(where);
  cuda().exchangeStream(stream);
  return std::make_unique<CopyStream>(CopyStream{stream});
}

// Pinned memory comes from libtorch's cache of it, which hands a block out again only after the copy has read it.
template <typename T>
static std::unique_ptr<Tensor> upload(const c10::Stream& stream, rust::Slice<const T> values,
                                      rust::Slice<const int64_t> shape) {
  const at::NoGradGuard no_grad;
  const at::IntArrayRef sizes(shape.data(), shape.size());
  const auto kind = c10::CppTypeToScalarType<T>::value;
  TORCH_CHECK(c10::multiply_integers(sizes) == static_cast<int64_t>(values.size()), "expected as many values as ",
              sizes, " holds, found ", values.size());
  auto pinned = at::empty(sizes, at::TensorOptions().dtype(kind).pinned_memory(true));
  // The view is only read from.
  pinned.copy_(at::from_blob(const_cast<T*>(values.data()), sizes, at::TensorOptions().dtype(kind)));
  return std::make_unique<Tensor>(pinned.to(stream.device(), /*non_blocking=*/true));
}

std::unique_ptr<Tensor> CopyStream::upload_f32(rust::Slice<const float> values,
                                               rust::Slice<const int64_t> shape) const {
  return upload(stream, values, shape);
}

std::unique_ptr<Tensor> CopyStream::upload_i64(rust::Slice<const int64_t> values,
                                               rust::Slice<const int64_t> shape) const {
  return upload(stream, values, shape);
}

std::unique_ptr<Tensor> CopyStream::upload_bool(rust::Slice<const bool> values,
                                                rust::Slice<const int64_t> shape) const {
  return upload(stream, values, shape);
}

std::unique_ptr<Tensor> CopyStream::upload_u8(rust::Slice<const uint8_t> values,
                                              rust::Slice<const int64_t> shape) const {
  return upload(stream, values, shape);
}

std::unique_ptr<Arrival> CopyStream::arrival() const {
  auto arrival = std::make_unique<Arrival>(Arrival{c10::Event(stream.device_type())});
  arrival->event.record(stream);
  return arrival;
}

void Arrival::join(const TensorList& tensors) const {
  const auto current = cuda().getStream(event.device());
  event.block(current);
  for (const auto& tensor : tensors.tensors) tensor.record_stream(current);
}

// On the CPU the tensor is there already: a copy of it, since the original may change.
std::unique_ptr<Readback> read_back(const Tensor& tensor) {
  const at::NoGradGuard no_grad;
  if (!tensor.is_cuda()) return std::make_unique<Readback>(Readback{tensor.clone(), std::nullopt});
  auto host = at::empty(tensor.sizes(), at::TensorOptions().dtype(tensor.scalar_type()).pinned_memory(true));
  host.copy_(tensor, /*non_blocking=*/true);
  c10::Event event(tensor.device().type());
  event.record(cuda().getStream(tensor.device()));
  return std::make_unique<Readback>(Readback{std::move(host), std::move(event)});
}

bool Readback::is_there() const { return !event || event->query(); }

std::unique_ptr<Tensor> Readback::wait() const {
  if (event) event->synchronize();
  return std::make_unique<Tensor>(host);
}

}  // namespace recap
