//! Gradients of an accumulation that has begun, in a checkpoint: each rank goes on with its own, so that the sums round
//! as they would have without the interruption.

use tch::Tensor;

use super::step::Stepper;
use crate::checkpoint::format::Tensors;
use crate::distributed::Collective;
use crate::torch::named::{NamedTensors, TensorSource};

/// What a checkpoint holds of gradients, on the rank that reads it; nothing between updates.
#[derive(Debug, Default)]
pub struct Pending {
    /// By rank, under `{parameter}/grad`. One process saves one entry, and one is what all ranks have in common.
    by_rank: Vec<NamedTensors>,
}

/// The name in a checkpoint: `{parameter}/grad` of one process, `{parameter}/grad/{rank}` of several.
fn saved_name(parameter: &str, rank: usize, world_size: usize) -> String {
    match world_size {
        1 => format!("{parameter}/grad"),
        _ => format!("{parameter}/grad/{rank}"),
    }
}

/// Collects the gradients of all ranks on rank 0, which saves them. Every rank calls it at the same step.
///
/// # Errors
/// When a rank is lost.
pub fn gather(stepper: &Stepper, collective: &dyn Collective) -> anyhow::Result<Tensors> {
    let (own, world_size) = (collective.rank(), collective.world_size());
    let mut all = Vec::new();
    for (name, parameter) in stepper.ranker.state().parameters() {
        let gradient = parameter.grad();
        if !gradient.defined() {
            continue;
        }
        for rank in 0..world_size {
            // The sender's stays as it is.
            let share = gradient.copy();
            collective.broadcast_from(rank, &[&share])?;
            if own == 0 {
                all.push((saved_name(name, rank, world_size), share));
            }
        }
    }
    Ok(all)
}

impl Pending {
    /// The gradients of the parameters of `stepper` in `source`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(stepper: &Stepper, source: &impl TensorSource) -> anyhow::Result<Self> {
        let names: Vec<_> = stepper.ranker.state().parameters().collect();
        let holds = |rank, world_size| {
            let is_there = |name| source.shape(&saved_name(name, rank, world_size)).is_some();
            names.iter().any(|(name, _)| is_there(name))
        };
        let world_size = match (0..).take_while(|&rank| holds(rank, 2)).count() {
            0 if holds(0, 1) => 1,
            saved => saved,
        };
        let mut by_rank = Vec::with_capacity(world_size);
        for rank in 0..world_size {
            let mut share = NamedTensors::new();
            for (name, _) in &names {
                let saved = saved_name(name, rank, world_size);
                if source.shape(&saved).is_some() {
                    let gradient = source.read(&saved).map_err(anyhow::Error::from_boxed)?;
                    share.push(format!("{name}/grad"), gradient, false)?;
                }
            }
            by_rank.push(share);
        }
        Ok(Self { by_rank })
    }

    /// Puts gradients back, each rank's own where as many ranks train as saved, else the mean of those that were saved.
    /// Every rank calls it; what counts is what rank 0 has read.
    ///
    /// # Errors
    /// When a rank is lost, or one has another shape.
    pub fn put_back(self, stepper: &Stepper, collective: &dyn Collective) -> anyhow::Result<()> {
        let (own, world_size) = (collective.rank(), collective.world_size());
        let shares = match self.by_rank.len() {
            saved if saved <= 1 || saved == world_size => self.by_rank,
            _ => vec![mean(stepper, &self.by_rank)?],
        };
        if world_size == 1 {
            return shares
                .first()
                .map_or(Ok(()), |share| stepper.restore_gradients(share));
        }
        for rank in 0..world_size {
            let saved = shares.get(rank).or(shares.first());
            let mut share = NamedTensors::new();
            for (name, parameter) in stepper.ranker.state().parameters() {
                let name = format!("{name}/grad");
                let gradient = parameter.f_zeros_like()?.detach();
                if let Some(entry) = saved.and_then(|saved| saved.get(&name)) {
                    gradient.shallow_clone().f_copy_(&entry.tensor)?;
                }
                collective.broadcast(&[&gradient])?;
                share.push(name, gradient, false)?;
            }
            if rank == own {
                stepper.restore_gradients(&share)?;
            }
        }
        Ok(())
    }
}

/// What all ranks go on with where there are more or fewer of them than before.
fn mean(stepper: &Stepper, by_rank: &[NamedTensors]) -> anyhow::Result<NamedTensors> {
    let mut means = NamedTensors::new();
    for (name, _) in stepper.ranker.state().parameters() {
        let name = format!("{name}/grad");
        let shares = by_rank.iter().filter_map(|share| share.get(&name));
        let shares: Vec<&Tensor> = shares.map(|entry| &entry.tensor).collect();
        if !shares.is_empty() {
            let mean = Tensor::f_stack(&shares, 0)?.f_mean_dim(0, false, None)?;
            means.push(name, mean, false)?;
        }
    }
    Ok(means)
}
