//! Measures checkpoints on the partitions of `validation_data`, once or following a run.

use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tch::Device;
use tracing::{info, warn};

use super::report::Report;
use super::{chosen, outputs};
use crate::checkpoint::{Checkpoint, CheckpointError, global_steps};
use crate::cli::{EvaluateArgs, UsageError};
use crate::config::RecapConfig;
use crate::model::Ranker;
use crate::plot::{self, Fonts};
use crate::printable;
use crate::train::evaluate::{EvaluateError, Evaluator};
use crate::train::evaluation::Evaluation;
use crate::train::restore::load_weights;
use crate::train::setup::{Place, build_device, build_ranker};
use crate::whole_file;

/// Time between two looks for a new checkpoint.
const POLL: Duration = Duration::from_secs(5);

/// Folder of a checkpoint with a mark for each partition it has been evaluated on.
const MARKS: &str = "evaled_by";

/// Evaluates as `args` say.
///
/// # Errors
/// When a checkpoint or the data cannot be read, or a result cannot be written.
pub(super) fn run(config: &RecapConfig, args: &EvaluateArgs) -> anyhow::Result<()> {
    for path in [&args.output, &args.plot].into_iter().flatten() {
        outputs::refuse_saved(path)?;
    }
    let picture = args.plot.as_deref().map(Picture::of).transpose()?;
    let device = build_device(Place::ALONE)?;
    let session = Session {
        config,
        args,
        picture,
        evaluators: evaluators(config, args.partition.as_deref(), device)?,
        ranker: build_ranker(config, device)?,
    };
    if args.watch {
        return session.watch();
    }
    let folder = chosen::checkpoint(config, args.checkpoint.as_deref())?;
    session.evaluate(&folder, &session.evaluators.iter().collect::<Vec<_>>())?;
    Ok(())
}

/// How the picture is written, which is known before anything is measured.
#[derive(Debug)]
enum Picture {
    Svg,
    Png(Fonts),
}

impl Picture {
    fn of(path: &Path) -> Result<Self, UsageError> {
        let refused = |reason: String| UsageError(format!("--plot {}: {reason}", path.display()));
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => match Fonts::of_system() {
                Ok(fonts) => Ok(Self::Png(fonts)),
                Err(error) => Err(refused(error.to_string())),
            },
            _ => Err(refused("name a file that ends in .svg or .png".to_owned())),
        }
    }

    fn write(&self, path: &Path, svg: &str) -> anyhow::Result<()> {
        match self {
            Self::Svg => write(path, svg.as_bytes()),
            Self::Png(fonts) => write(path, &plot::png(svg, fonts)?),
        }
    }
}

/// One for `partition`, or for every one.
fn evaluators(
    config: &RecapConfig,
    partition: Option<&str>,
    device: Device,
) -> anyhow::Result<Vec<Evaluator>> {
    let partitions: Vec<&str> = match partition {
        Some(name) => vec![name],
        None => config.validation_data.keys().map(String::as_str).collect(),
    };
    if partitions.is_empty() {
        return Err(EvaluateError::NoPartition {
            partition: "*".to_owned(),
            partitions: Vec::new(),
        }
        .into());
    }
    let build = |name| Evaluator::build(config, name, device);
    partitions.into_iter().map(build).collect()
}

/// What is built once for all checkpoints.
struct Session<'a> {
    config: &'a RecapConfig,
    args: &'a EvaluateArgs,
    picture: Option<Picture>,
    evaluators: Vec<Evaluator>,
    ranker: Ranker,
}

impl Session<'_> {
    /// Evaluates one checkpoint and writes everything that was asked for.
    fn evaluate(&self, folder: &Path, evaluators: &[&Evaluator]) -> anyhow::Result<Report> {
        let global_step = load_weights(&self.ranker, folder)
            .with_context(|| format!("cannot evaluate {}", folder.display()))?;
        let mut evaluations: Vec<Evaluation> = Vec::new();
        for evaluator in evaluators {
            let begin = Instant::now();
            // Nothing is lost when this command is killed, so that it listens for no signal.
            if let Some(evaluation) = evaluator.run(&self.ranker, Place::ALONE, None)? {
                let evaluation = evaluation.with_rows()?;
                let examples = evaluation.examples;
                let seconds = begin.elapsed().as_secs_f64();
                info!(
                    partition = evaluator.partition(),
                    examples,
                    seconds,
                    examples_per_s = examples as f64 / seconds,
                    "evaluated"
                );
                evaluations.push(evaluation);
            }
        }
        let report = Report::new(folder, global_step, &evaluations);
        let table = report.table(self.config.which_metrics.is_some(), super::terminal_width());
        printable::stdout()
            .write_all(table.as_bytes())
            .context("cannot write to stdout")?;
        if let Some(path) = &self.args.output {
            write(path, &serde_json::to_vec_pretty(&report)?)?;
        }
        if let (Some(path), Some(picture)) = (&self.args.plot, &self.picture) {
            let sets = evaluations.iter();
            let sets: Vec<_> = sets.map(|e| (e.partition.as_str(), &e.metrics)).collect();
            picture.write(path, &plot::svg(&sets)?)?;
        }
        Ok(report)
    }

    /// Evaluates every checkpoint not marked yet, oldest first, and waits for more until the run has trained its last
    /// step or no new one comes in time.
    fn watch(&self) -> anyhow::Result<()> {
        let save_dir = Path::new(&self.config.training.save_dir);
        let timeout = self.config.training.eval_timeout_in_s.get();
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX);
        let mut unusable = HashSet::new();
        let mut waiting_since = Instant::now();
        loop {
            if let Some((folder, evaluators)) = self.next_unmarked(save_dir, &unusable)? {
                if let Err(error) = self.evaluate_and_mark(&folder, &evaluators) {
                    if is_there(&folder) && !is_damage(&error) {
                        return Err(error);
                    }
                    warn!(checkpoint = %folder.display(), "passed over: {error:#}");
                    unusable.insert(folder);
                }
                waiting_since = Instant::now();
            } else if self.is_finished(save_dir)? {
                info!("the run is finished and evaluated");
                return Ok(());
            } else if waiting_since.elapsed() >= timeout {
                info!(
                    timeout_secs = timeout.as_secs_f64(),
                    "no new checkpoint within training.eval_timeout_in_s"
                );
                return Ok(());
            } else {
                std::thread::sleep(POLL.min(timeout.saturating_sub(waiting_since.elapsed())));
            }
        }
    }

    /// The oldest checkpoint that a partition has not been evaluated on, with those partitions.
    fn next_unmarked(
        &self,
        save_dir: &Path,
        unusable: &HashSet<PathBuf>,
    ) -> anyhow::Result<Option<(PathBuf, Vec<&Evaluator>)>> {
        for global_step in steps(save_dir)? {
            let folder = save_dir.join(global_step.to_string());
            let is_open = |e: &&Evaluator| !mark_of(&folder, e.partition()).exists();
            let open: Vec<&Evaluator> = self.evaluators.iter().filter(is_open).collect();
            if !open.is_empty() && !unusable.contains(&folder) {
                return Ok(Some((folder, open)));
            }
        }
        Ok(None)
    }

    fn evaluate_and_mark(&self, folder: &Path, evaluators: &[&Evaluator]) -> anyhow::Result<()> {
        let report = self.evaluate(folder, evaluators)?;
        for evaluator in evaluators {
            let partition = evaluator.partition();
            let found = serde_json::to_vec_pretty(&report.partition(partition))?;
            mark(folder, partition, &found)?;
        }
        Ok(())
    }

    /// Whether the newest checkpoint is that of the last step.
    fn is_finished(&self, save_dir: &Path) -> anyhow::Result<bool> {
        let Some(newest) = steps(save_dir)?.pop() else {
            return Ok(false);
        };
        let folder = save_dir.join(newest.to_string());
        let step = match Checkpoint::open(&folder) {
            Ok(checkpoint) => checkpoint.state().and_then(|state| state["step"].as_u64()),
            Err(error) if error.is_damage() || !is_there(&folder) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(step.is_some_and(|step| step >= self.config.training.num_train_steps.get()))
    }
}

/// The steps of the checkpoints so far, ascending; none before the run has made its folder.
fn steps(save_dir: &Path) -> anyhow::Result<Vec<u64>> {
    if is_there(save_dir) {
        Ok(global_steps(save_dir)?)
    } else {
        Ok(Vec::new())
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = whole_file::write(path, bytes);
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Whether something is there; what cannot be looked at may be.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// Whether `error` is that the checkpoint has been read and is none that can be used.
fn is_damage(error: &anyhow::Error) -> bool {
    let causes = error.chain();
    let mut causes = causes.filter_map(|cause| cause.downcast_ref::<CheckpointError>());
    causes.any(CheckpointError::is_damage)
}

/// `<checkpoint>/evaled_by/<partition>_DONE`.
fn mark_of(folder: &Path, partition: &str) -> PathBuf {
    // A partition's name may hold anything, a file's name may not.
    let name = partition.replace(['/', '\\', '\0'], "_");
    folder.join(MARKS).join(format!("{name}_DONE"))
}

/// Marks the checkpoint in `folder` as evaluated; the mark holds what was found.
fn mark(folder: &Path, partition: &str, found: &[u8]) -> anyhow::Result<()> {
    // Never the folders above: a checkpoint that has been retired meanwhile must not come back without a model.
    match std::fs::create_dir(folder.join(MARKS)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot mark {}", folder.display()))
        }
        _ => write(&mark_of(folder, partition), found),
    }
}
