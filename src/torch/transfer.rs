//! Copies between host and GPU that nobody waits for.

use std::fmt;

use tch::{Device, Tensor};

use super::fused::TensorList;
use super::{TorchError, sys};

/// Numbers that can be uploaded.
#[derive(Clone, Copy, Debug)]
pub enum HostSlice<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 64-bit integers.
    I64(&'a [i64]),
    /// Booleans.
    Bool(&'a [bool]),
    /// Bytes as numbers.
    U8(&'a [u8]),
}

/// A stream of a GPU on which copies run beside the computation: all work of the thread that made it runs there.
pub struct CopyStream(cxx::UniquePtr<sys::ffi::CopyStream>);

impl CopyStream {
    /// A stream of `device`, from now on the calling thread's; `None` where there is nothing to copy to, on a CPU.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn new(device: Device) -> Result<Option<Self>, TorchError> {
        let Device::Cuda(index) = device else {
            return Ok(None);
        };
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        Ok(Some(Self(sys::ffi::copy_stream(index)?)))
    }

    /// Copies `values` into pinned memory at once, and asks for the copy to the GPU. The tensor may be used after
    /// [`Arrival::join`].
    ///
    /// # Errors
    /// When there are not as many values as `shape` holds, or memory is short.
    pub fn upload(&self, values: HostSlice<'_>, shape: &[i64]) -> Result<Tensor, TorchError> {
        let tensor = match values {
            HostSlice::F32(values) => self.0.upload_f32(values, shape),
            HostSlice::I64(values) => self.0.upload_i64(values, shape),
            HostSlice::Bool(values) => self.0.upload_bool(values, shape),
            HostSlice::U8(values) => self.0.upload_u8(values, shape),
        };
        Ok(sys::from_cxx(tensor?))
    }

    /// When everything uploaded so far will be there.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn arrival(&self) -> Result<Arrival, TorchError> {
        Ok(Arrival(self.0.arrival()?))
    }
}

impl fmt::Debug for CopyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyStream").finish_non_exhaustive()
    }
}

/// A moment on a [`CopyStream`]; may be handed to another thread.
pub struct Arrival(cxx::UniquePtr<sys::ffi::Arrival>);

impl Arrival {
    /// Lets the computation that this thread asks for from now on begin after that moment, and keeps the memory of
    /// `tensors` until it is done with them. Returns at once.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn join(&self, tensors: &TensorList) -> Result<(), TorchError> {
        Ok(self.0.join(tensors.inner())?)
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").finish_non_exhaustive()
    }
}

/// A small tensor on its way to the host.
pub struct Readback(cxx::UniquePtr<sys::ffi::Readback>);

impl Readback {
    /// Asks for a copy of `tensor` as it will be once the work asked for so far is done.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn start(tensor: &Tensor) -> Result<Self, TorchError> {
        Ok(Self(sys::ffi::read_back(sys::as_cxx(tensor))?))
    }

    /// Whether [`Readback::wait`] would return at once.
    ///
    /// # Errors
    /// When work on the device has failed.
    pub fn is_there(&self) -> Result<bool, TorchError> {
        Ok(self.0.is_there()?)
    }

    /// The tensor on the host.
    ///
    /// # Errors
    /// When work on the device has failed.
    pub fn wait(&self) -> Result<Tensor, TorchError> {
        Ok(sys::from_cxx(self.0.wait()?))
    }
}

impl fmt::Debug for Readback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readback").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_has_no_copy_stream() {
        assert!(CopyStream::new(Device::Cpu).unwrap().is_none());
    }

    #[test]
    fn what_was_read_back_does_not_follow_later_changes() {
        let mut tensor = Tensor::from_slice(&[1.0_f32, 2.0]);
        let readback = Readback::start(&tensor).unwrap();
        let _ = tensor.fill_(7.0);
        assert!(readback.is_there().unwrap());
        let found = Vec::<f32>::try_from(readback.wait().unwrap()).unwrap();
        assert_eq!(found, [1.0, 2.0]);
    }
}
