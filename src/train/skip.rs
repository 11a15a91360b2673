//! A step that may be skipped: whether its loss and gradients are finite is one verdict of all ranks, and a step that is
//! skipped leaves nothing behind, on any of them.

use anyhow::Context;
use tch::{Kind, Tensor};
use tracing::info;

use super::TrainError;
use super::statistics::Statistics;
use super::step::{StepOutput, Stepper};
use crate::distributed::Collective;
use crate::torch::batch::Batch;

/// What a rank says of its words at most.
const MAX_WORDS_BYTES: usize = 2000;

/// How a step that may be skipped came out; the same on all ranks.
#[derive(Debug)]
pub enum Attempt {
    /// It was trained on.
    Trained(StepOutput),
    /// It was given up: which rank says what was not finite.
    Skipped(Vec<(usize, String)>),
}

/// What was not finite on a rank, the worse the higher: bad gradients are everybody's once they are averaged, a bad loss
/// is that of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    None = 0,
    Gradient = 1,
    Loss = 2,
}

/// What a step changes before its update: gradients of the batches before in an accumulation, running statistics.
#[derive(Debug)]
struct Kept {
    gradients: Vec<(Tensor, Tensor)>,
    statistics: Statistics,
}

impl Kept {
    fn of(stepper: &Stepper) -> anyhow::Result<Self> {
        let parameters = stepper.ranker.state().parameters();
        let with_gradients = parameters.filter(|(_, parameter)| parameter.grad().defined());
        Ok(Self {
            gradients: with_gradients
                .map(|(_, parameter)| (parameter.shallow_clone(), parameter.grad().copy()))
                .collect(),
            statistics: Statistics::of(stepper)?,
        })
    }

    fn put_back(&self, stepper: &mut Stepper) -> anyhow::Result<()> {
        self.statistics.put_back(stepper)?;
        if self.gradients.is_empty() {
            stepper.optimizer.zero_grad();
        }
        tch::no_grad(|| {
            for (parameter, copy) in &self.gradients {
                parameter.grad().f_copy_(copy)?;
            }
            Ok(())
        })
    }
}

impl Stepper {
    /// As [`Stepper::run`], but a loss or gradient that is not finite on any rank gives this batch up, on all ranks alike:
    /// its share of gradients and statistics is taken back, and at the last batch of an accumulation the update is made
    /// with the batches before. `words` says more about a fault of this rank. Every rank calls this at the same step.
    ///
    /// # Errors
    /// When a rank is lost, or libtorch fails.
    pub fn run_or_skip(
        &mut self,
        step: u64,
        batch: &Batch,
        collective: &dyn Collective,
        words: &dyn Fn(TrainError) -> String,
    ) -> anyhow::Result<Attempt> {
        let kept = Kept::of(self)?;
        let pass = self.forward_pass(step, batch)?;
        let backward = self.backward_pass(step, &pass)?;
        let norm = self.optimizer.gradient_norm()?;
        let fault = if !pass.is_finite() {
            Fault::Loss
        } else if !norm.double_value(&[]).is_finite() {
            Fault::Gradient
        } else {
            Fault::None
        };
        let faults = verdict(collective, fault)?;
        let Some(worst) = faults
            .iter()
            .copied()
            .max()
            .filter(|&worst| worst > Fault::None)
        else {
            let output = self.finish(step, &pass, backward)?;
            return Ok(Attempt::Trained(output));
        };
        let own = (fault == worst).then(|| match fault {
            Fault::Loss => words(self.diverged(step, batch, &pass)),
            _ => {
                let what = format!("the gradient of {}", self.first_non_finite_gradient());
                words(TrainError::diverged(step, what))
            }
        });
        kept.put_back(self)?;
        if self.is_last(step) && !kept.gradients.is_empty() {
            self.update_without_last(step, collective)?;
        }
        Ok(Attempt::Skipped(gather_words(collective, own)?))
    }

    /// Makes the update of an accumulation whose last batch was given up.
    fn update_without_last(
        &mut self,
        step: u64,
        collective: &dyn Collective,
    ) -> anyhow::Result<()> {
        for (_, parameter) in self.ranker.state().parameters() {
            collective.all_reduce_mean(&parameter.grad())?;
        }
        let norm = self.optimizer.gradient_norm()?;
        let size = norm.double_value(&[]);
        // All zero: the batches before were given up as well. Adam would move on its moments alone.
        if size > 0.0 && size.is_finite() {
            self.update(step, &norm)?;
            info!(step, "updated with the batches before in the accumulation");
        } else {
            self.optimizer.zero_grad();
        }
        Ok(())
    }
}

/// The fault of every rank, in one collective.
fn verdict(collective: &dyn Collective, own: Fault) -> anyhow::Result<Vec<Fault>> {
    let world_size = collective.world_size();
    if world_size == 1 {
        return Ok(vec![own]);
    }
    let mut faults = vec![0.0_f32; world_size];
    if let Some(place) = faults.get_mut(collective.rank()) {
        *place = f32::from(own as u8);
    }
    let faults = Tensor::from_slice(&faults);
    collective.all_reduce_mean(&faults)?;
    let sums = faults.f_mul_scalar(i64::try_from(world_size)?)?;
    let sums = Vec::<f64>::try_from(sums.to_kind(Kind::Double))?;
    let fault = |sum: f64| match sum {
        sum if sum > 1.5 => Fault::Loss,
        sum if sum > 0.5 => Fault::Gradient,
        _ => Fault::None,
    };
    Ok(sums.into_iter().map(fault).collect())
}

/// What the ranks at fault say.
fn gather_words(
    collective: &dyn Collective,
    own: Option<String>,
) -> anyhow::Result<Vec<(usize, String)>> {
    let mut own = own.unwrap_or_default().into_bytes();
    own.truncate(MAX_WORDS_BYTES);
    let all = collective.all_gather_bytes(&own)?;
    let said = all
        .into_iter()
        .enumerate()
        .filter(|(_, words)| !words.is_empty());
    let said: Vec<_> = said
        .map(|(rank, words)| (rank, String::from_utf8_lossy(&words).into_owned()))
        .collect();
    said.first().context("no rank says what was not finite")?;
    Ok(said)
}
