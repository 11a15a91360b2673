//! What a run is made of before there is a model: its config, its device, the processes it shares the work with.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Tensor};

use super::TrainError;
use super::card::card;
use super::pending::Pending;
use super::setup::{Place, build_device};
use super::state::TrainState;
use super::step::{StepOutput, Stepper};
use crate::config::RecapConfig;
use crate::distributed::env::Launch;
use crate::distributed::store::Stop;
use crate::distributed::{
    self, Card, Collective, DataParallel, DistributedError, SingleProcess, Terms,
};
use crate::interrupt::{Asked, Interrupt};
use crate::model::NamedTensors;

/// Exit code of a process that a signal ends before anything was trained; as after a save, the same command goes on.
const INTERRUPTED: u8 = 75;

/// A run that has its device and has met the other processes.
#[derive(Debug)]
pub struct Session {
    /// The run's config.
    pub config: RecapConfig,
    /// This process among all.
    pub place: Place,
    /// Where tensors live.
    pub device: Device,
    /// The other processes.
    pub collective: Rc<dyn Collective>,
    /// Signals to this process.
    pub interrupt: Interrupt,
}

impl Session {
    /// Picks the device and meets the other processes, if this one was launched with others.
    ///
    /// # Errors
    /// When libtorch fails while it loads CUDA, the launch contradicts the config or the machine, the others do not
    /// come.
    pub fn start(
        config: RecapConfig,
        launch: Option<&Launch>,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        let place = launch.map_or(Place::ALONE, |launch| launch.place);
        let (device, collective) = match launch {
            Some(launch) => meet(&config, launch, &interrupt)?,
            None => (build_device(place)?, Rc::new(SingleProcess) as _),
        };
        Ok(Self {
            config,
            place,
            device,
            collective,
            interrupt,
        })
    }

    /// Whether this process writes checkpoints and the log for people.
    #[must_use]
    pub fn is_main_rank(&self) -> bool {
        self.place.rank == 0
    }

    /// Whether this process trains with others.
    #[must_use]
    pub fn is_distributed(&self) -> bool {
        self.place.world_size > 1
    }

    /// Whether a signal has asked any process to end; all ranks get the same answer.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn is_interrupted(&self) -> anyhow::Result<bool> {
        let own = self.interrupt.is_requested();
        if !self.is_distributed() {
            return Ok(own);
        }
        let share = Tensor::from_slice(&[f32::from(u8::from(own))]);
        self.collective.all_reduce_mean(&share)?;
        let is_interrupted = share.double_value(&[0]) > 0.0;
        if is_interrupted {
            self.hear_who_was_asked()?;
        }
        Ok(is_interrupted)
    }

    /// Lets every rank know which signal came to which rank. Every rank calls this.
    fn hear_who_was_asked(&self) -> anyhow::Result<()> {
        let own = self.interrupt.asked().and_then(Asked::own);
        let own = own.map_or_else(Vec::new, |signal| signal.to_le_bytes().to_vec());
        let all = self.collective.all_gather_bytes(&own)?;
        let asked = all.iter().zip(0..).find_map(|(bytes, rank)| {
            let signal = i32::from_le_bytes(bytes.as_slice().try_into().ok()?);
            Asked::of_rank(signal, rank)
        });
        if let Some(asked) = asked {
            self.interrupt.ask(asked);
        }
        Ok(())
    }

    /// The signal that has asked this process to end, or another rank, which it then names.
    #[must_use]
    pub fn signal(&self) -> String {
        let signal = self.interrupt.signal();
        // An evaluation may be cut short before the wish itself has come.
        signal.unwrap_or_else(|| "a signal to another rank".to_owned())
    }

    /// `error`, unless it is that other ranks are gone whom a signal has ended, as it does this one: with nothing to save.
    #[must_use]
    pub fn or_interrupted(&self, error: anyhow::Error) -> anyhow::Error {
        let is_of_ranks = error.chain().any(|cause| cause.is::<DistributedError>());
        match self.interrupt.signal() {
            Some(signal) if is_of_ranks && self.interrupt.is_idle() => {
                TrainError::InterruptedIdle { signal }.into()
            }
            _ => error,
        }
    }

    /// The losses of a step as means over all ranks, which all must call this: in one collective the whole, and with
    /// `with_tasks` that of every task, in the order of the model's tasks; else none of these.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn mean_losses(
        &self,
        output: &StepOutput,
        with_tasks: bool,
    ) -> anyhow::Result<(f64, Vec<f64>)> {
        let loss = output.loss.f_reshape([1])?;
        let losses = if with_tasks {
            Tensor::f_cat(&[&loss, &output.task_losses], 0)?
        } else {
            loss
        };
        let losses = self.means(&losses)?;
        let (loss, tasks) = losses.split_first().context("a step without a loss")?;
        Ok((*loss, tasks.to_vec()))
    }

    /// The mean of every number in `numbers`, `[n]`, over all ranks, which all must call this.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn means(&self, numbers: &Tensor) -> anyhow::Result<Vec<f64>> {
        let means = numbers.detach().copy();
        self.collective.all_reduce_mean(&means)?;
        Ok(Vec::try_from(&means)?)
    }

    /// What all ranks have, merged in their order, from the share of this one. It travels in few bytes, and only one
    /// share at a time is held beside the whole.
    ///
    /// # Errors
    /// When a rank is lost, or sends what cannot be read or merged; the error names it.
    pub fn merge<T: Serialize + DeserializeOwned>(
        &self,
        own: T,
        mut add: impl FnMut(&mut T, &T) -> anyhow::Result<()>,
    ) -> anyhow::Result<T> {
        if !self.is_distributed() {
            return Ok(own);
        }
        let bytes = postcard::to_allocvec(&own).context("cannot encode results for the others")?;
        drop(own);
        let mut whole: Option<anyhow::Result<T>> = None;
        self.collective
            .gather_bytes_in_turn(&bytes, &mut |rank, share| {
                let share = postcard::from_bytes(&share)
                    .with_context(|| format!("results of rank {rank} cannot be read"));
                whole = Some(match (whole.take(), share) {
                    (Some(Ok(mut whole)), Ok(share)) => add(&mut whole, &share).map(|()| whole),
                    (Some(Err(error)), _) | (_, Err(error)) => Err(error),
                    (None, Ok(share)) => Ok(share),
                });
            })?;
        whole.context("no rank sent results")?
    }

    /// Gives every rank what rank 0 knows.
    ///
    /// # Errors
    /// When a rank is lost, or the state cannot be written as JSON.
    pub fn share_state(&self, state: TrainState) -> anyhow::Result<TrainState> {
        if !self.is_distributed() {
            return Ok(state);
        }
        let all = self
            .collective
            .all_gather_bytes(&serde_json::to_vec(&state)?)?;
        let first = all.first().context("rank 0 sent no state")?;
        Ok(serde_json::from_slice(first)?)
    }

    /// Gives every rank the tensors of rank 0 and averages gradients from now on; `pending` is what rank 0 has restored in
    /// the middle of an accumulation.
    ///
    /// # Errors
    /// When the ranks have different configs or models, or one is lost.
    pub fn join(
        &self,
        stepper: &mut Stepper,
        state: &TrainState,
        pending: Pending,
    ) -> anyhow::Result<()> {
        if !self.is_distributed() {
            return pending.put_back(stepper, &*self.collective);
        }
        let optimizer = stepper.optimizer.state();
        let moments: Vec<&Tensor> = optimizer.iter().map(|(_, entry)| &entry.tensor).collect();
        let variables = variables(stepper.ranker.state());
        let parallel = DataParallel::new(Rc::clone(&self.collective), &variables)?;
        self.collective.broadcast(&moments)?;
        if !state.step.is_multiple_of(stepper.options.accumulation) {
            pending.put_back(stepper, &*self.collective)?;
        }
        stepper.parallel = Some(parallel);
        Ok(())
    }
}

/// Picks the device and meets the other ranks. A rank that cannot start comes all the same, so that the others know.
fn meet(
    config: &RecapConfig,
    launch: &Launch,
    interrupt: &Interrupt,
) -> anyhow::Result<(Device, Rc<dyn Collective>)> {
    let own = prepare(config, launch.place);
    // The meeting of a rank that cannot start ends before its device matters.
    let (device, card) = match &own {
        Ok((device, card)) => (*device, card.clone()),
        Err(error) => {
            let problem = Some(in_words(error.as_ref()));
            let card = Card {
                problem,
                ..Card::default()
            };
            (Device::Cpu, card)
        }
    };
    let seconds = config.training.distributed_timeout_in_s.get();
    let terms = Terms {
        device,
        timeout: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
        card: &card,
        stop: Stop::new(interrupt.clone(), INTERRUPTED),
    };
    let met = distributed::connect(Some(launch), &terms);
    own?;
    Ok((device, met?))
}

/// The device of the rank at `place`, and what the rank says of itself.
fn prepare(config: &RecapConfig, place: Place) -> anyhow::Result<(Device, Card)> {
    let global_batch_size = config.train_data.global_batch_size.get();
    place.per_rank_batch_size(usize::try_from(global_batch_size)?)?;
    let device = build_device(place)?;
    if device.is_cuda() {
        place.check_gpu(usize::try_from(tch::Cuda::device_count())?)?;
    }
    Ok((device, card(config, device)?))
}

fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}

fn variables(state: &NamedTensors) -> Vec<(String, Tensor)> {
    state
        .iter()
        .map(|(name, entry)| (name.to_owned(), entry.tensor.shallow_clone()))
        .collect()
}
