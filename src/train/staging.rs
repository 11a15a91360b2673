//! Takes batches from the host to the device: on a GPU through pinned memory and on a stream of their own.

use anyhow::Context;
use tch::{Device, TchError, Tensor};
use tracing::warn;

use super::pipeline::DeviceBatch;
use crate::batch::{HostTensor, HostValues};
use crate::data::LoadedBatch;
use crate::torch::batch::Batch;
use crate::torch::fused::TensorList;
use crate::torch::transfer::{Arrival, CopyStream, HostSlice};

/// The thread's way to the device.
#[derive(Debug)]
pub(super) struct Stager {
    device: Device,
    /// `None` on a CPU, and where there is no way beside the computation.
    stream: Option<CopyStream>,
}

impl Stager {
    /// For the calling thread, which does nothing else from then on.
    pub(super) fn new(device: Device) -> Self {
        let stream = CopyStream::new(device).unwrap_or_else(|error| {
            warn!("batches are copied in the way of the computation: {error}");
            None
        });
        Self { device, stream }
    }

    /// Starts the way of a batch. Its memory on the host is free again at return.
    pub(super) fn stage(&self, loaded: LoadedBatch) -> anyhow::Result<Staged> {
        let (batch, arrival) = match &self.stream {
            None => (Batch::from_host(&loaded.batch, self.device)?, None),
            Some(stream) => {
                let batch = Batch::from_host_with(&loaded.batch, |tensor| upload(stream, tensor))?;
                (batch, Some(stream.arrival()?))
            }
        };
        let batch = DeviceBatch {
            batch,
            position: loaded.position,
            records: loaded.records,
        };
        Ok(Staged { batch, arrival })
    }
}

/// A batch that is on the device or on its way there.
#[derive(Debug)]
pub(super) struct Staged {
    batch: DeviceBatch,
    arrival: Option<Arrival>,
}

impl Staged {
    /// The batch, for the computation that the calling thread asks for from now on. Waits for nothing.
    pub(super) fn take(self) -> anyhow::Result<DeviceBatch> {
        if let Some(arrival) = &self.arrival {
            let tensors = TensorList::new(self.batch.batch.tensors());
            arrival
                .join(&tensors)
                .context("cannot wait for the copy of a batch")?;
        }
        Ok(self.batch)
    }
}

/// The way to the device that [`Batch::from_host_with`] takes, beside the computation.
fn upload(stream: &CopyStream, tensor: &HostTensor) -> Result<Tensor, TchError> {
    let values = match &tensor.values {
        HostValues::F32(values) => HostSlice::F32(values),
        HostValues::I64(values) => HostSlice::I64(values),
        HostValues::Bool(values) => HostSlice::Bool(values),
        HostValues::U8(values) => HostSlice::U8(values),
        HostValues::Bytes(_) | HostValues::Ragged { .. } => {
            return Err(TchError::Torch("not numbers".to_owned()));
        }
    };
    let uploaded = stream.upload(values, &tensor.sizes());
    uploaded.map_err(|error| TchError::Torch(error.message))
}
