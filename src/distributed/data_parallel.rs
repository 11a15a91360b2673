//! Data parallelism: every rank holds the whole model, sees its share of the batch, and applies the mean gradient.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use super::DistributedError;
use super::collective::Collective;
use crate::torch::TorchError;
use crate::torch::process_group::{Event, Reducer};

/// As in PyTorch: large enough to use the network well, small enough that the first one leaves early in backward.
const BUCKET_BYTES: u64 = 25 * 1024 * 1024;

/// Keeps the replicas of one model equal.
///
/// Every parameter must get a gradient in every averaged backward: a model in which some parameters go unused would
/// stop at the next [`DataParallel::prepare_for_backward`]. Gradients are means over ranks of each rank's gradient, so
/// with equal shares and a mean loss per rank they are those of the whole batch, up to the order of summation.
/// Gradients stay tensors of their own, see [`Reducer`].
pub struct DataParallel {
    collective: Rc<dyn Collective>,
    /// `None` with one process.
    reducer: Option<Reducer>,
    accumulates: Cell<bool>,
    /// What is averaged, by name; nothing with one process.
    trained: Vec<(String, Tensor)>,
}

impl fmt::Debug for DataParallel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DataParallel")
            .field("collective", &self.collective)
            .field("reducer", &self.reducer)
            .finish_non_exhaustive()
    }
}

impl DataParallel {
    /// Checks that all ranks have the same model, and gives all of them rank 0's tensors.
    ///
    /// `variables` are all parameters and buffers of the model by
    /// name, on the device where they will stay, in the order in which the forward pass uses them; those that require
    /// a gradient are averaged from now on.
    ///
    /// # Errors
    /// When a rank differs (the error says which, and in what) or is lost.
    pub fn new(
        collective: Rc<dyn Collective>,
        variables: &[(String, Tensor)],
    ) -> Result<Self, DistributedError> {
        if collective.world_size() > 1 {
            check_agreement(&*collective, &Replica::new(variables))?;
            let tensors: Vec<_> = variables.iter().map(|(_, tensor)| tensor).collect();
            collective.broadcast(&tensors)?;
        }
        let trained: Vec<_> = variables
            .iter()
            .filter(|(_, tensor)| tensor.requires_grad())
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        let tensors: Vec<_> = trained.iter().map(|(_, tensor)| tensor).collect();
        let reducer = collective.reducer(&tensors, BUCKET_BYTES)?;
        Ok(Self {
            collective,
            reducer,
            accumulates: Cell::new(false),
            trained,
        })
    }

    /// Call after forward and before its backward. That backward then averages the gradients over all ranks, bucket by
    /// bucket while it runs; when it returns, they are averaged. Gradients of earlier micro batches count in.
    ///
    /// # Errors
    /// When a rank is lost, or a parameter got no gradient in the backward before.
    pub fn prepare_for_backward(&self) -> Result<(), DistributedError> {
        match &self.reducer {
            Some(reducer) if !self.accumulates.get() => {
                self.collective.enter();
                let prepared = reducer.prepare_for_backward();
                prepared.map_err(|source| self.collective.explain("averaging gradients", source))
            }
            _ => Ok(()),
        }
    }

    /// Runs backward from the scalar `loss`; an error of the averaging in it names the rank that is lost.
    ///
    /// # Errors
    /// When a rank is lost, or libtorch refuses.
    pub fn backward(&self, loss: &Tensor) -> Result<(), DistributedError> {
        loss.f_backward().map_err(|error| {
            let source = TorchError::from(error);
            self.collective.explain("backward", source)
        })
    }

    /// The first parameter that has not the same bits on all ranks, if there is one; all ranks get the same answer.
    ///
    /// Compares sums of the bits, taken where the parameters are. Parameters are f32.
    ///
    /// # Errors
    /// When a rank is lost, or libtorch refuses.
    pub fn first_difference(&self) -> Result<Option<&str>, DistributedError> {
        let during = "comparing parameters";
        let explain = |source| self.collective.explain(during, source);
        let mut own = Vec::with_capacity(8 * self.trained.len());
        for (_, tensor) in &self.trained {
            let sum = sum_of_bits(tensor).map_err(|error| explain(error.into()))?;
            own.extend(sum.to_le_bytes());
        }
        let all = self.collective.all_gather_bytes(&own)?;
        let differs = |range: std::ops::Range<usize>| {
            all.iter()
                .any(|sums| sums.get(range.clone()) != own.get(range.clone()))
        };
        let mut numbered = self.trained.iter().enumerate();
        let first = numbered.find(|(number, _)| differs(8 * number..8 * number + 8));
        Ok(first.map(|(_, (name, _))| name.as_str()))
    }

    /// From now on, what happens in backward is noted. It costs microseconds a parameter.
    pub fn start_timeline(&self) {
        if let Some(reducer) = &self.reducer {
            reducer.start_timeline();
        }
    }

    /// What has happened since [`DataParallel::start_timeline`]; from now on nothing is noted. Parameters are numbered
    /// as the trained ones among the variables given to [`DataParallel::new`]. Empty with one process.
    #[must_use]
    pub fn stop_timeline(&self) -> Vec<Event> {
        let reducer = self.reducer.as_ref();
        reducer.map_or_else(Vec::new, Reducer::stop_timeline)
    }

    /// Runs the forward and backward of a micro batch that is not the last one of its step: gradients only add up.
    pub fn no_sync<T>(&self, micro_batch: impl FnOnce() -> T) -> T {
        let before = self.accumulates.replace(true);
        let result = micro_batch();
        self.accumulates.set(before);
        result
    }
}

fn sum_of_bits(tensor: &Tensor) -> Result<i64, TchError> {
    let bits = tensor.detach().f_view_dtype(Kind::Int)?;
    bits.f_sum(Kind::Int64)?.f_int64_value(&[])
}

/// What ranks must have in common.
#[derive(Debug, Serialize, Deserialize)]
struct Replica {
    variables: Vec<Variable>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Variable {
    name: String,
    shape: Vec<i64>,
    kind: String,
    is_trained: bool,
}

impl Replica {
    fn new(variables: &[(String, Tensor)]) -> Self {
        let variables = variables.iter().map(|(name, tensor)| Variable {
            name: name.clone(),
            shape: tensor.size(),
            kind: format!("{:?}", tensor.kind()),
            is_trained: tensor.requires_grad(),
        });
        Self {
            variables: variables.collect(),
        }
    }

    /// How `self` differs from `first`, in words.
    fn difference(&self, first: &Self) -> Option<String> {
        let pairs = self.variables.iter().zip(&first.variables);
        if let Some((own, expected)) = pairs.into_iter().find(|(own, expected)| own != expected) {
            return Some(format!("{own} instead of {expected}"));
        }
        let (own, expected) = (self.variables.len(), first.variables.len());
        (own != expected).then(|| format!("{own} variables instead of {expected}"))
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.is_trained {
            "parameter"
        } else {
            "buffer"
        };
        write!(
            formatter,
            "{role} {} {:?} {}",
            self.name, self.shape, self.kind
        )
    }
}

/// Every rank compares all ranks and so comes to the same verdict.
fn check_agreement(collective: &dyn Collective, own: &Replica) -> Result<(), DistributedError> {
    let unreadable = |rank| move |source| DistributedError::Unreadable { rank, source };
    let bytes = serde_json::to_vec(own).map_err(unreadable(collective.rank()))?;
    let all = collective.all_gather_bytes(&bytes)?;
    let all = all
        .iter()
        .enumerate()
        .map(|(rank, bytes)| serde_json::from_slice::<Replica>(bytes).map_err(unreadable(rank)));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    let Some(first) = all.first() else {
        return Ok(());
    };
    for (rank, replica) in all.iter().enumerate() {
        if let Some(difference) = replica.difference(first) {
            return Err(DistributedError::Disagreement { rank, difference });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::collective::SingleProcess;
    use super::*;
    use tch::Device;

    fn variables(width: i64) -> Vec<(String, Tensor)> {
        let weight = Tensor::zeros([width, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let count = Tensor::zeros([1], (Kind::Int64, Device::Cpu));
        vec![
            ("mlp.weight".to_owned(), weight),
            ("norm.count".to_owned(), count),
        ]
    }

    #[test]
    fn differences_are_put_into_words() {
        let first = Replica::new(&variables(3));
        assert_eq!(Replica::new(&variables(3)).difference(&first), None);
        let difference = |replica: Replica| replica.difference(&first).unwrap();
        assert_eq!(
            difference(Replica::new(&variables(4))),
            "parameter mlp.weight [4, 2] Float instead of parameter mlp.weight [3, 2] Float"
        );
        assert_eq!(
            difference(Replica::new(&variables(3)[..1])),
            "1 variables instead of 2"
        );
    }

    #[test]
    fn one_process_has_nothing_to_average() {
        let parallel = DataParallel::new(Rc::new(SingleProcess), &variables(3)).unwrap();
        assert!(parallel.reducer.is_none());
        parallel.prepare_for_backward().unwrap();
        assert_eq!(parallel.no_sync(|| 7), 7);
    }
}
