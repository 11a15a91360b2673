//! What a checkpoint remembers beside tensors.
//!
//! Random numbers need no state: every draw is a function of the seed, its purpose and the step.

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::validation::{Score, Verdict};
use crate::config::TrainingConfig;
use crate::data::Position;
use crate::distributed::env::Place;
use crate::splitmix::draw;

/// `state` in `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainState {
    /// Batches trained.
    pub step: u64,
    /// Seconds of training so far, over all resumed runs; loading and evaluation do not count.
    pub walltime_secs: f64,
    /// `training.seed`.
    pub seed: i64,
    /// Processes that train together.
    pub world_size: u64,
    /// What earlier parts of the run, with other numbers of processes, trained more (or less) than this one would have.
    #[serde(default)]
    pub global_step_offset: i64,
    /// Position in the data after the last trained batch, by rank.
    pub positions: Vec<Position>,
    /// Steps skipped because their loss or gradient was not finite.
    #[serde(default)]
    pub skipped_steps: u64,
    /// How the evaluations so far went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Patience>,
    /// A signal came before the evaluation of this step was done: it comes first when the run goes on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub evaluation_due: bool,
    /// Version of the program that wrote the checkpoint.
    pub version: String,
    /// What computed last, on rank 0; none in checkpoints of earlier versions.
    #[serde(default)]
    pub engine: Option<Engine>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// What early stopping remembers: a run that resumes stops where the run left alone would have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Patience {
    /// The best score so far; `None` where no evaluation gave a number yet.
    pub best: Option<Score>,
    /// Evaluations since then.
    pub waited: u64,
}

impl Patience {
    /// Takes in what an evaluation came to.
    pub fn look(&mut self, verdict: Verdict) {
        self.waited = match verdict.is_better {
            true => 0,
            false => self.waited + 1,
        };
        self.best = verdict.best;
    }
}

impl TrainState {
    /// Before the first step.
    #[must_use]
    pub fn first(training: &TrainingConfig, place: Place) -> Self {
        Self {
            step: 0,
            walltime_secs: 0.0,
            seed: training.seed,
            world_size: place.world_size as u64,
            global_step_offset: 0,
            positions: Vec::new(),
            skipped_steps: 0,
            patience: None,
            evaluation_due: false,
            version: crate::cli::VERSION.to_owned(),
            engine: None,
        }
    }

    /// Where this rank goes on in the data.
    ///
    /// With another number of ranks than before every rank gets the same position, that of a rank in the earliest
    /// epoch; the loader then sees that the shares are other ones and begins that epoch anew, so that nothing is lost
    /// and nothing is seen more than once more.
    #[must_use]
    pub fn position(&self, place: Place) -> Option<&Position> {
        if self.positions.len() == place.world_size {
            self.positions.get(place.rank)
        } else {
            self.positions
                .iter()
                .min_by_key(|position| position.epoch())
        }
    }

    /// Whether training has waited long enough for a better model.
    #[must_use]
    pub fn is_stopped(&self, training: &TrainingConfig) -> bool {
        let waited = self.patience.as_ref().map_or(0, |patience| patience.waited);
        let patience = training.early_stopping_patience;
        patience.is_some_and(|patience| waited >= patience.get())
    }

    /// Goes on with as many processes as `place` says; the global step counts on from where it is.
    pub fn continue_at(&mut self, place: Place) {
        let global_step = self.global_step().cast_signed();
        self.world_size = place.world_size as u64;
        self.global_step_offset = global_step - (self.step * self.world_size).cast_signed();
    }

    /// The step a checkpoint folder is named after: batches over all processes.
    #[must_use]
    pub fn global_step(&self) -> u64 {
        (self.step * self.world_size).saturating_add_signed(self.global_step_offset)
    }
}

/// The seed of libtorch's generator (dropout) for one step on one rank: SplitMix64 over the three.
#[must_use]
pub fn step_seed(seed: i64, step: u64, rank: u64) -> i64 {
    draw(draw(draw(seed.cast_unsigned()) ^ step) ^ rank).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PositiveInt;
    use std::collections::HashSet;

    #[test]
    fn the_global_step_counts_on_with_another_number_of_ranks() {
        let place = |world_size| Place {
            world_size,
            ..Place::ALONE
        };
        let mut state = TrainState::first(&TrainingConfig::default(), place(2));
        let mut seen = Vec::new();
        for (world_size, steps) in [(2, 4), (1, 1), (3, 2), (3, 1), (1, 2)] {
            state.continue_at(place(world_size));
            state.step += steps;
            seen.push(state.global_step());
        }
        assert_eq!(seen, [8, 9, 15, 18, 20]);
    }

    #[test]
    fn patience_ends_with_so_many_evaluations_that_were_not_better() {
        let mut training = TrainingConfig::default();
        let mut state = TrainState::first(&training, Place::ALONE);
        assert!(!state.is_stopped(&training));
        let score = |value| Score {
            metric: "v/loss".to_owned(),
            value,
        };
        let mut patience = Patience::default();
        let mut waited = Vec::new();
        for better in [None, Some(0.5), None, None] {
            let is_better = better.is_some();
            let best = better.map(score).or(patience.best.clone());
            patience.look(Verdict { best, is_better });
            waited.push(patience.waited);
        }
        assert_eq!(waited, [1, 0, 1, 2]);
        assert_eq!(patience.best, Some(score(0.5)));
        state.patience = Some(patience);
        assert!(!state.is_stopped(&training));
        training.early_stopping_patience = PositiveInt::new(3);
        assert!(!state.is_stopped(&training));
        training.early_stopping_patience = PositiveInt::new(2);
        assert!(state.is_stopped(&training));
    }

    #[test]
    fn every_step_and_rank_draws_its_own_numbers() {
        let seeds: HashSet<i64> = (0..3)
            .flat_map(|seed| {
                (0..100).flat_map(move |step| (0..4).map(move |rank| step_seed(seed, step, rank)))
            })
            .collect();
        assert_eq!(seeds.len(), 3 * 100 * 4);
        assert_eq!(step_seed(1, 2, 3), step_seed(1, 2, 3));
    }
}
