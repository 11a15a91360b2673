//! Evaluation while training: every partition each so many steps, and whether a checkpoint is the best so far.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};
use tracing::{info, warn};

use super::evaluate::Evaluator;
use super::evaluation::Evaluation;
use super::session::Session;
use super::setup::Place;
use super::state::{Patience, TrainState};
use super::statistics::Statistics;
use super::step::Stepper;
use crate::checkpoint::format::BEST;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::RecapConfig;
use crate::data::{DataError, Fault};
use crate::metrics::{Better, MetricName};
use crate::model::Ranker;

/// Key in `state.json` of the best checkpoint that says by which metric.
const SCORE_KEY: &str = "best";

/// `training.keep_best_metric` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BestMetricError {
    /// No result has that name.
    #[error(
        "training.keep_best_metric: no result is called `{name}`: choose `mean METRIC` or one like {}",
        known.join(", ")
    )]
    Unknown {
        /// As written.
        name: String,
        /// Some of the results.
        known: Vec<String>,
    },
    /// Neither high nor low values are good.
    #[error(
        "training.keep_best_metric: `{name}` is not better when higher or lower, choose auroc, say"
    )]
    NoQuality {
        /// As written.
        name: String,
    },
}

/// The evaluations of a training run.
#[derive(Debug)]
pub struct Validation {
    evaluators: Vec<Evaluator>,
    best: Option<BestMetric>,
}

/// What an evaluation while training found.
#[derive(Debug)]
pub struct Validated {
    /// Of each partition, over all ranks.
    pub evaluations: Vec<Evaluation>,
    /// What a metric has made of the model; `None` where none decides.
    pub verdict: Option<Verdict>,
}

/// What the metric that decides has made of a model.
#[derive(Debug)]
pub struct Verdict {
    /// The best score so far, this one included; `None` where no evaluation gave a number yet.
    pub best: Option<Score>,
    /// Whether this model has it.
    pub is_better: bool,
}

impl Validated {
    /// Of the model if it is the best so far.
    #[must_use]
    pub fn score(&self) -> Option<Score> {
        let verdict = self.verdict.as_ref();
        verdict.filter(|verdict| verdict.is_better)?.best.clone()
    }
}

/// The metric that decides which checkpoint is the best.
#[derive(Debug)]
struct BestMetric {
    name: String,
    is_lower_better: bool,
    /// Of the best checkpoint so far.
    score: Option<f64>,
    /// What the folder of the best checkpoint held at the start.
    found: Option<Found>,
}

/// The best checkpoint that a run finds: its score, and its global step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    score: Score,
    global_step: u64,
}

/// By what, and how good, the best checkpoint is; in its `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// `training.keep_best_metric`.
    pub metric: String,
    /// Its value.
    pub value: f64,
}

impl Score {
    /// Adds the score to what `state.json` will hold.
    pub fn write(&self, state: &mut serde_json::Value) {
        state[SCORE_KEY] = serde_json::json!({ "metric": self.metric, "value": self.value });
    }

    /// The score and the state of the best checkpoint in `save_dir`, if there is one that is as it was written.
    ///
    /// # Errors
    /// When it cannot be read: a worse one would take its place.
    fn read(save_dir: &Path) -> Result<Option<Found>, CheckpointError> {
        let folder = save_dir.join(BEST);
        let checked = Checkpoint::open(&folder).and_then(|checkpoint| {
            checkpoint.verify()?;
            Ok(checkpoint)
        });
        let checkpoint = match checked {
            Ok(checkpoint) => checkpoint,
            Err(CheckpointError::NotACheckpoint { .. }) => return Ok(None),
            Err(error) if error.is_damage() => {
                warn!(checkpoint = %folder.display(), %error, "the best checkpoint is damaged: the next evaluation makes a new one");
                return Ok(None);
            }
            Err(error @ CheckpointError::Newer { .. }) => return Err(error),
            Err(error) => {
                return Err(CheckpointError::Unreadable {
                    folder,
                    source: Box::new(error),
                });
            }
        };
        Ok(checkpoint.state().and_then(|state| {
            let score = state.get(SCORE_KEY)?.clone();
            let state: TrainState = serde_json::from_value(state.clone()).ok()?;
            Some(Found {
                score: serde_json::from_value(score).ok()?,
                global_step: state.global_step(),
            })
        }))
    }
}

impl Validation {
    /// Prepares what `training.evaluate` asks for; `None` where it is off.
    ///
    /// # Errors
    /// When a partition cannot be evaluated or has no data, or `keep_best_metric` names no result.
    pub fn build(session: &Session) -> anyhow::Result<Option<Self>> {
        let config = &session.config;
        if !config.training.evaluate {
            return Ok(None);
        }
        let evaluators = evaluators(config, session.device, session.place)?;
        let best = match &config.training.keep_best_metric {
            Some(name) => Some(BestMetric::build(name, session)?),
            None => None,
        };
        Ok(Some(Self { evaluators, best }))
    }

    /// Goes on from the score that the run had at `state`, so that the same models are the best as without the
    /// interruption.
    pub fn resume(&mut self, state: &TrainState) {
        if let Some(best) = &mut self.best {
            best.resume(state.patience.as_ref(), state.global_step());
        }
    }

    /// Evaluates every partition, each rank its share, and logs them all; the score is that of the best model so far,
    /// the same on every rank. `None`, and nothing logged, when a signal cut it short on any rank: it is then due
    /// again, from its beginning.
    ///
    /// # Errors
    /// When data cannot be read or does not fit the model, or a rank is lost.
    pub fn run(
        &mut self,
        session: &Session,
        stepper: &Stepper,
        global_step: u64,
    ) -> anyhow::Result<Option<Validated>> {
        let own = borrow_statistics(session, stepper)?;
        let found = self.evaluate(session, &stepper.ranker, global_step);
        if let Some(own) = own {
            own.put_back(stepper)?;
        }
        found
    }

    fn evaluate(
        &mut self,
        session: &Session,
        ranker: &Ranker,
        global_step: u64,
    ) -> anyhow::Result<Option<Validated>> {
        let mut evaluations = Vec::new();
        for evaluator in &self.evaluators {
            let begin = Instant::now();
            let share = evaluator.run(ranker, session.place, Some(&session.interrupt))?;
            // Ranks that evaluate together end together: what one of them lacks is worth nothing to the others.
            let Some(share) = all_or_none(session, share)? else {
                info!(
                    global_step,
                    "the evaluation ends early and is due again, {} asked this run to end",
                    session.signal()
                );
                return Ok(None);
            };
            evaluations.push((share.gather(session)?, begin.elapsed()));
        }
        for (evaluation, time) in &evaluations {
            evaluation.log(global_step, time.as_secs_f64());
        }
        let evaluations: Vec<_> = evaluations.into_iter().map(|(found, _)| found).collect();
        let verdict = self.best.as_mut().map(|best| {
            let is_better = best.look(&evaluations, global_step).is_some();
            let best = best.score();
            Verdict { best, is_better }
        });
        Ok(Some(Validated {
            evaluations,
            verdict,
        }))
    }
}

/// `share`, if every rank has its own.
fn all_or_none<T>(session: &Session, share: Option<T>) -> anyhow::Result<Option<T>> {
    if !session.is_distributed() {
        return Ok(share);
    }
    let has_share = u8::from(share.is_some());
    let all = session.collective.all_gather_bytes(&[has_share])?;
    Ok(share.filter(|_| all.iter().all(|rank| rank == &[1])))
}

/// Finds whatever an evaluation would refuse, while training or by the command `evaluate`, before anything is trained.
///
/// # Errors
/// When a partition cannot be evaluated, one that training evaluates has no data, or `keep_best_metric` names no result.
pub fn check(config: &RecapConfig, device: Device) -> anyhow::Result<()> {
    if config.training.evaluate {
        evaluators(config, device, Place::ALONE)?;
    }
    for name in config.validation_data.keys() {
        let checked = Evaluator::build(config, name, device)?.check(Place::ALONE);
        // A partition that waits for `evaluate` may get its data later.
        checked.or_else(|error| match error.downcast_ref::<DataError>() {
            Some(cause) if cause.fault() == Fault::Data => Ok(()),
            _ => Err(error),
        })?;
    }
    Ok(())
}

/// One for each partition that `training` asks to be evaluated, all of which have data.
fn evaluators(
    config: &RecapConfig,
    device: Device,
    place: Place,
) -> anyhow::Result<Vec<Evaluator>> {
    let training = &config.training;
    let chosen = training.evaluate_partitions.as_ref();
    let is_chosen = |name: &&String| chosen.is_none_or(|chosen| chosen.contains(name));
    let partitions = config.validation_data.keys().filter(is_chosen);
    let evaluators = partitions.map(|name| Evaluator::build(config, name, device));
    let evaluators = evaluators.collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(name) = &training.keep_best_metric {
        check_name(name, &evaluators)?;
    }
    for evaluator in &evaluators {
        evaluator.check(place)?;
    }
    Ok(evaluators)
}

/// Whether a checkpoint can be the best by the result called `name`.
fn check_name(name: &str, evaluators: &[Evaluator]) -> Result<(), BestMetricError> {
    let empty: Vec<Evaluation> = evaluators.iter().map(Evaluator::empty).collect();
    if value_of(name, &empty).is_none() {
        let examples = empty.iter().flat_map(|evaluation| {
            let keys: Vec<String> = evaluation.results().into_keys().collect();
            let is_example = |key: &String| key == "loss" || key.ends_with("/auroc");
            keys.into_iter()
                .filter(is_example)
                .map(|key| format!("{}/{key}", evaluation.partition))
        });
        return Err(BestMetricError::Unknown {
            name: name.to_owned(),
            known: examples.collect(),
        });
    }
    if better(name).is_none() {
        return Err(BestMetricError::NoQuality {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// Which values of the result called `name` are better.
fn better(name: &str) -> Option<Better> {
    match name.rsplit(['/', ' ']).next().unwrap_or(name) {
        "loss" => Some(Better::Lower),
        metric => MetricName::named(metric)?.better(),
    }
}

/// Running statistics differ by rank; a checkpoint has those of rank 0. Gives them to every rank and returns its own.
fn borrow_statistics(session: &Session, stepper: &Stepper) -> anyhow::Result<Option<Statistics>> {
    if !session.is_distributed() {
        return Ok(None);
    }
    let own = Statistics::of(stepper)?;
    let buffers = stepper.ranker.state().iter();
    let buffers = buffers.filter(|(_, entry)| !entry.trainable);
    let buffers: Vec<&Tensor> = buffers.map(|(_, entry)| &entry.tensor).collect();
    session.collective.broadcast(&buffers)?;
    Ok(Some(own))
}

impl BestMetric {
    /// `name` is a result that [`check_name`] knows.
    fn build(name: &str, session: &Session) -> anyhow::Result<Self> {
        let save_dir = Path::new(&session.config.training.save_dir);
        // A score by another metric says nothing about this one. Every rank goes by what rank 0 reads.
        let found = match session.is_main_rank() {
            true => Score::read(save_dir)?.filter(|found| found.score.metric == name),
            false => None,
        };
        let shared = serde_json::to_vec(&found)?;
        let shared = session.collective.all_gather_bytes(&shared)?;
        let found: Option<Found> = match shared.first() {
            Some(first) => serde_json::from_slice(first)?,
            None => found,
        };
        Ok(Self {
            name: name.to_owned(),
            is_lower_better: better(name) == Some(Better::Lower),
            score: None,
            found,
        })
    }

    /// Goes on from what the run remembers. One that remembers no evaluation believes the checkpoint that is there, unless
    /// that is of a later step: then a run that was killed had gone on from here, and comes to it again.
    fn resume(&mut self, patience: Option<&Patience>, global_step: u64) {
        let remembered = match (patience, &self.found) {
            (
                Some(Patience {
                    best: Some(score), ..
                }),
                None,
            ) if score.metric == self.name => {
                warn!(
                    score = score.value,
                    "the best checkpoint of this run is gone or damaged: the next evaluation makes a new one"
                );
                None
            }
            (Some(patience), _) => patience.best.as_ref(),
            (None, Some(found)) if found.global_step <= global_step => Some(&found.score),
            (None, Some(found)) => {
                info!(
                    best_step = found.global_step,
                    global_step,
                    "the best checkpoint is of a later step than this run goes on from: it is chosen anew"
                );
                None
            }
            (None, None) => None,
        };
        self.score = remembered
            .filter(|score| score.metric == self.name)
            .map(|score| score.value);
    }

    /// The best so far.
    fn score(&self) -> Option<Score> {
        self.score.map(|value| Score {
            metric: self.name.clone(),
            value,
        })
    }

    /// Takes in new results; returns the score if it beats all before. NaN beats nothing.
    fn look(&mut self, evaluations: &[Evaluation], global_step: u64) -> Option<Score> {
        let value = value_of(&self.name, evaluations).filter(|value| value.is_finite());
        let Some(value) = value else {
            warn!(
                global_step,
                metric = self.name,
                "the metric that decides which checkpoint is the best is no number here: this model is not judged"
            );
            return None;
        };
        let is_better = match self.score {
            None => true,
            Some(best) if self.is_lower_better => value < best,
            Some(best) => value > best,
        };
        info!(
            name: "best",
            global_step,
            metric = self.name,
            value,
            best = self.score,
            is_better,
            "the metric that decides which checkpoint is the best"
        );
        if !is_better {
            return None;
        }
        self.score = Some(value);
        self.score()
    }
}

/// The result called `name`; `None` where there is none.
fn value_of(name: &str, evaluations: &[Evaluation]) -> Option<f64> {
    if let Some(metric) = name.strip_prefix("mean ") {
        let means: Option<Vec<f64>> = evaluations.iter().map(|e| e.mean(metric)).collect();
        let means = means.filter(|means| !means.is_empty())?;
        return Some(means.iter().sum::<f64>() / means.len() as f64);
    }
    evaluations.iter().find_map(|evaluation| {
        let key = name
            .strip_prefix(&evaluation.partition)?
            .strip_prefix('/')?;
        evaluation.results().get(key).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{MetricSet, Scores, SetBatch};

    fn evaluation(partition: &str, labels: &[f32], loss: f64) -> Evaluation {
        let tasks = ["fav".to_owned(), "reply".to_owned()];
        let mut metrics = MetricSet::build(&tasks, None, Some("auroc,ctr"), &[]).unwrap();
        let batch = SetBatch {
            scores: Scores::Logits(&[0.0, 0.0, 1.0, 1.0, 2.0, 2.0]),
            labels,
            weights: None,
            groups: None,
            columns: &[],
        };
        metrics.update(&batch).unwrap();
        Evaluation::of(partition, 4, loss * 4.0, metrics)
    }

    /// AUROC of fav is 1 and of reply 0.5.
    const GOOD: [f32; 6] = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0];
    /// AUROC of fav is 0 and of reply 0.5.
    const BAD: [f32; 6] = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

    fn best(name: &str, is_lower_better: bool) -> BestMetric {
        BestMetric {
            name: name.to_owned(),
            is_lower_better,
            score: None,
            found: None,
        }
    }

    #[test]
    fn a_resumed_run_believes_a_best_checkpoint_of_its_past_alone() {
        let score = |value| Score {
            metric: "v/loss".to_owned(),
            value,
        };
        let patience = |best: Option<Score>| Patience { best, waited: 1 };
        let resumed = |patience: Option<Patience>, global_step| {
            let mut best = best("v/loss", true);
            best.resume(patience.as_ref(), global_step);
            assert_eq!(best.score, None, "there is none to be better than");
            best.found = Some(Found {
                score: score(0.2),
                global_step: 30,
            });
            best.resume(patience.as_ref(), global_step);
            best.score
        };
        assert_eq!(resumed(None, 30), Some(0.2));
        assert_eq!(resumed(None, 20), None);
        assert_eq!(resumed(Some(patience(Some(score(0.5)))), 20), Some(0.5));
        assert_eq!(resumed(Some(patience(None)), 40), None);
        let other = Score {
            metric: "v/fav/auroc".to_owned(),
            value: 0.9,
        };
        assert_eq!(resumed(Some(patience(Some(other))), 40), None);
    }

    #[test]
    fn results_are_found_by_partition_task_and_metric() {
        let all = [evaluation("a/b", &GOOD, 0.5), evaluation("c", &BAD, 0.7)];
        assert_eq!(value_of("a/b/fav/auroc", &all), Some(1.0));
        assert_eq!(value_of("c/fav/auroc", &all), Some(0.0));
        assert_eq!(value_of("c/loss", &all), Some(0.7));
        assert_eq!(value_of("mean auroc", &all), Some(0.5));
        for unknown in ["fav/auroc", "c/fav/rce", "mean rce", "c/", "d/loss"] {
            assert_eq!(value_of(unknown, &all), None, "{unknown}");
        }
    }

    #[test]
    fn only_what_beats_all_before_is_the_best() {
        let run = |best: &mut BestMetric, labels: &[f32], loss| {
            best.look(&[evaluation("v", labels, loss)], 7)
                .map(|score| score.value)
        };
        let mut auroc = best("v/fav/auroc", false);
        assert_eq!(run(&mut auroc, &BAD, 0.0), Some(0.0));
        assert_eq!(run(&mut auroc, &[0.0; 6], 0.0), None, "NaN beats nothing");
        assert_eq!(run(&mut auroc, &GOOD, 0.0), Some(1.0));
        assert_eq!(run(&mut auroc, &GOOD, 0.0), None, "a draw is not better");
        let mut loss = best("v/loss", true);
        assert_eq!(run(&mut loss, &BAD, 0.5), Some(0.5));
        assert_eq!(run(&mut loss, &BAD, 0.6), None);
        assert_eq!(run(&mut loss, &BAD, 0.4), Some(0.4));
    }
}
