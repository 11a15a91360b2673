//! Memory on the host for one copy of everything that is saved, so that training goes on while it is written.
//!
//! The memory is taken once, by a thread of its own that also touches all of it: a save then costs no more than a copy
//! from memory to memory, whatever disk and file cache do meanwhile.

use std::collections::HashMap;
use std::thread::JoinHandle;

use tch::{Device, Kind, TchError, Tensor};

use super::CheckpointError;
use super::format::{Snapshot, Tensors};

/// Copies by name.
type Buffers = HashMap<String, Tensor>;

/// Memory for a copy.
#[derive(Debug)]
pub(super) struct Staging {
    /// The thread that takes the memory, until somebody asks for it.
    taking: Option<JoinHandle<Result<[Buffers; 2], TchError>>>,
    model: Buffers,
    optimizer: Buffers,
}

impl Staging {
    /// Begins to take memory for what `snapshot` holds. Returns at once.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn begin(snapshot: &Snapshot) -> std::io::Result<Self> {
        let like = [&snapshot.model, &snapshot.optimizer].map(|tensors| {
            let like =
                |(name, tensor): &(String, Tensor)| (name.clone(), tensor.kind(), tensor.size());
            tensors.iter().map(like).collect::<Vec<_>>()
        });
        let touch = |(name, kind, size): (String, Kind, Vec<i64>)| {
            let mut buffer = Tensor::f_empty(&size, (kind, Device::Cpu))?;
            let _ = buffer.f_zero_()?;
            Ok::<_, TchError>((name, buffer))
        };
        let thread = std::thread::Builder::new().name("staging".to_owned());
        let taking = thread.spawn(move || {
            let [model, optimizer] = like;
            let model = model.into_iter().map(touch).collect::<Result<_, _>>()?;
            let optimizer = optimizer.into_iter().map(touch).collect::<Result<_, _>>()?;
            Ok([model, optimizer])
        })?;
        Ok(Self {
            taking: Some(taking),
            model: Buffers::new(),
            optimizer: Buffers::new(),
        })
    }

    /// Waits until the memory is there.
    ///
    /// # Errors
    /// When there is not enough.
    pub(super) fn settle(&mut self) -> Result<(), CheckpointError> {
        let Some(taking) = self.taking.take() else {
            return Ok(());
        };
        let taken = taking.join().map_err(|_| CheckpointError::WriterPanicked)?;
        let taken = taken.map_err(|source| CheckpointError::Tensor {
            name: "for a save".to_owned(),
            source,
        })?;
        [self.model, self.optimizer] = taken;
        Ok(())
    }

    /// A copy of `snapshot` that nobody changes before the next call. It lies in the memory of the call before, so that
    /// what was made of that must be done with.
    ///
    /// # Errors
    /// When memory is short, or libtorch cannot copy.
    pub(super) fn copy(&mut self, snapshot: Snapshot) -> Result<Snapshot, CheckpointError> {
        self.settle()?;
        Ok(Snapshot {
            model: copy_into(&mut self.model, &snapshot.model)?,
            optimizer: copy_into(&mut self.optimizer, &snapshot.optimizer)?,
            ..snapshot
        })
    }
}

/// Copies every tensor into its buffer; one that has none yet, a gradient in the middle of an accumulation say, gets one
/// for good.
fn copy_into(buffers: &mut Buffers, tensors: &Tensors) -> Result<Tensors, CheckpointError> {
    let copy = |(name, tensor): &(String, Tensor)| {
        let fits =
            |buffer: &&Tensor| buffer.kind() == tensor.kind() && buffer.size() == tensor.size();
        let copied = match buffers.get(name).filter(fits) {
            Some(buffer) => Ok(buffer.shallow_clone()),
            None => Tensor::f_empty(tensor.size(), (tensor.kind(), Device::Cpu)),
        };
        let copied = copied.and_then(|mut buffer| {
            tch::no_grad(|| buffer.f_copy_(&tensor.detach()))?;
            Ok(buffer)
        });
        let copied = copied.map_err(|source| CheckpointError::Tensor {
            name: name.clone(),
            source,
        })?;
        buffers.insert(name.clone(), copied.shallow_clone());
        Ok((name.clone(), copied))
    };
    tensors.iter().map(copy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(value: f32, with_gradient: bool) -> Snapshot {
        let tensor = || Tensor::from_slice(&[value, value + 1.0]);
        let mut optimizer = vec![("w".to_owned(), tensor().view([2, 1]))];
        if with_gradient {
            optimizer.push(("w/grad".to_owned(), tensor()));
        }
        Snapshot {
            global_step: 1,
            model: vec![("w".to_owned(), tensor())],
            optimizer,
            state: serde_json::Value::Null,
            run: None,
        }
    }

    #[test]
    fn a_copy_does_not_follow_what_trains() {
        let mut live = snapshot(1.0, false);
        let mut staging = Staging::begin(&live).unwrap();
        live = snapshot(3.0, true);
        let kept = live.model[0].1.shallow_clone();
        let copy = staging.copy(live).unwrap();
        let _ = kept.shallow_clone().fill_(9.0);
        assert_eq!(Vec::<f32>::try_from(&copy.model[0].1).unwrap(), [3.0, 4.0]);
        assert_eq!(copy.optimizer[0].1.size(), [2, 1]);
        assert_eq!(copy.optimizer.len(), 2);
    }

    #[test]
    fn the_next_copy_takes_no_more_memory() {
        let mut staging = Staging::begin(&snapshot(1.0, false)).unwrap();
        let place = |copy: &Snapshot| {
            let tensors = copy.model.iter().chain(&copy.optimizer);
            tensors
                .map(|(_, tensor)| tensor.data_ptr())
                .collect::<Vec<_>>()
        };
        let first = place(&staging.copy(snapshot(1.0, true)).unwrap());
        let second = place(&staging.copy(snapshot(2.0, true)).unwrap());
        assert_eq!(first, second);
    }
}
