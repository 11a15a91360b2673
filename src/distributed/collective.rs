//! What ranks do together, and the plain implementation for one process.

use std::fmt;

use tch::Tensor;

use super::DistributedError;
use crate::torch::process_group::Reducer;

/// What ranks do together.
///
/// Every rank must make the same calls in the same order. A call returns when this rank has its result.
pub trait Collective: fmt::Debug {
    /// This process, from 0.
    fn rank(&self) -> usize;

    /// All processes.
    fn world_size(&self) -> usize;

    /// Replaces `tensor` (floating point; the same shape, type and kind of device everywhere) by its mean over all
    /// ranks. All ranks get the same bits.
    ///
    /// # Errors
    /// When a rank is lost; the error names it.
    fn all_reduce_mean(&self, tensor: &Tensor) -> Result<(), DistributedError>;

    /// Hands the bytes of every rank to `take`, in the order of ranks and, where they are many, one rank's at a time;
    /// the lengths may differ.
    ///
    /// # Errors
    /// When a rank is lost or sends more than 1 GiB; the error names it.
    fn gather_bytes_in_turn(
        &self,
        bytes: &[u8],
        take: &mut dyn FnMut(usize, Vec<u8>),
    ) -> Result<(), DistributedError>;

    /// The bytes of every rank, by rank; the lengths may differ.
    ///
    /// # Errors
    /// As for [`Collective::gather_bytes_in_turn`].
    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError> {
        let mut all = Vec::with_capacity(self.world_size());
        self.gather_bytes_in_turn(bytes, &mut |_, share| all.push(share))?;
        Ok(all)
    }

    /// Replaces `tensors` by those of `rank`.
    ///
    /// # Errors
    /// When a rank is lost; the error names it.
    fn broadcast_from(&self, rank: usize, tensors: &[&Tensor]) -> Result<(), DistributedError>;

    /// Replaces `tensors` by those of rank 0.
    ///
    /// # Errors
    /// As for [`Collective::broadcast_from`].
    fn broadcast(&self, tensors: &[&Tensor]) -> Result<(), DistributedError> {
        self.broadcast_from(0, tensors)
    }

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// When a rank is lost; the error names it.
    fn barrier(&self) -> Result<(), DistributedError>;

    /// Averages the gradients of `parameters`, in buckets of about `bucket_bytes`, while backward runs.
    /// `None` where there is nobody to average with.
    ///
    /// # Errors
    /// When a parameter wants no gradient, or a rank is lost.
    fn reducer(
        &self,
        parameters: &[&Tensor],
        bucket_bytes: u64,
    ) -> Result<Option<Reducer>, DistributedError>;

    /// Notes that this rank enters a collective that it does not enter through this trait (a backward that averages).
    fn enter(&self);

    /// Names the rank that made `during` fail, where one did.
    fn explain(&self, during: &'static str, source: crate::torch::TorchError) -> DistributedError;

    /// Ends the common work after success: waits for all ranks, then stops watching them. Call it once, at the end.
    ///
    /// # Errors
    /// When a rank is lost before it comes here.
    fn leave(&self) -> Result<(), DistributedError>;

    /// Tells the other ranks that this one ends with `exit_code` because of `reason`, so that they end with the same and
    /// a message that says so. Dropping a collective without [`Collective::leave`] does the same without the reason, and
    /// with 1.
    fn fail(&self, reason: &str, exit_code: u8);
}

/// One process: every collective is done before it begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct SingleProcess;

impl Collective for SingleProcess {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_reduce_mean(&self, _tensor: &Tensor) -> Result<(), DistributedError> {
        Ok(())
    }

    fn gather_bytes_in_turn(
        &self,
        bytes: &[u8],
        take: &mut dyn FnMut(usize, Vec<u8>),
    ) -> Result<(), DistributedError> {
        take(0, bytes.to_vec());
        Ok(())
    }

    fn broadcast_from(&self, _rank: usize, _tensors: &[&Tensor]) -> Result<(), DistributedError> {
        Ok(())
    }

    fn barrier(&self) -> Result<(), DistributedError> {
        Ok(())
    }

    fn reducer(
        &self,
        _parameters: &[&Tensor],
        _bucket_bytes: u64,
    ) -> Result<Option<Reducer>, DistributedError> {
        Ok(None)
    }

    fn enter(&self) {}

    fn explain(&self, during: &'static str, source: crate::torch::TorchError) -> DistributedError {
        DistributedError::Collective {
            rank: 0,
            during,
            note: String::new(),
            source,
        }
    }

    fn leave(&self) -> Result<(), DistributedError> {
        Ok(())
    }

    fn fail(&self, _reason: &str, _exit_code: u8) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_is_its_own_mean_and_its_own_gathering() {
        let alone = SingleProcess;
        let tensor = Tensor::from_slice(&[1.0_f32, -3.0]);
        alone.all_reduce_mean(&tensor).unwrap();
        alone.broadcast(&[&tensor]).unwrap();
        assert_eq!(Vec::<f32>::try_from(&tensor).unwrap(), [1.0, -3.0]);
        assert_eq!(alone.all_gather_bytes(b"abc").unwrap(), [b"abc".to_vec()]);
        assert!(alone.reducer(&[&tensor], 1).unwrap().is_none());
    }
}
