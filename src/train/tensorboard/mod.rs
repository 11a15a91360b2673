//! TensorBoard event files in `save_dir/tensorboard`: curves, the config, and weights where they are asked for.
//!
//! Every process starts a file of its own, which tells readers to forget what an earlier one wrote of the steps that
//! are trained anew after a resume.

mod event;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tch::{Kind, Tensor};
use tracing::warn;

use self::event::{Event, Histogram};
use super::evaluation::Evaluation;
use super::progress::{self, Speed};
use super::session::Session;
use super::state::TrainState;
use super::step::{StepOutput, Stepper};
use crate::data::tfrecord::{Compression, RecordWriter};
use crate::whole_file::{Appended, RecordFile};

/// Folder in `save_dir`.
const FOLDER: &str = "tensorboard";
/// How the name of every event file begins; readers take them in the order of their names.
const NAME: &str = "events.out.tfevents.";
/// Buckets of a histogram.
const BUCKETS: i64 = 30;

/// The losses of one step, as means over all ranks.
#[derive(Clone, Copy, Debug)]
pub struct Losses<'a> {
    /// Of all tasks together: what is minimised.
    pub mean: f64,
    /// In the order of the model's tasks.
    pub by_task: &'a [f64],
}

/// Writes what a run shows in TensorBoard. Rank 0 has one. A disk that fails ends neither the run nor the curves: what it
/// does not take waits in memory, and what does not fit there is counted.
#[derive(Debug)]
pub struct Board {
    file: RecordFile,
    path: PathBuf,
}

impl Board {
    /// Starts a file for a run that goes on at `state`, with its config; `None` on other ranks and where
    /// `training.tensorboard` is off.
    #[must_use]
    pub fn open(session: &Session, state: &TrainState) -> Option<Self> {
        let training = &session.config.training;
        if !training.tensorboard || !session.is_main_rank() {
            return None;
        }
        let folder = Path::new(&training.save_dir).join(FOLDER);
        let step = state.global_step();
        let opened = next_path(&folder).and_then(|path| Self::create(path, step + 1));
        let mut board = opened
            .inspect_err(|error| {
                warn!(folder = %folder.display(), %error, "no curves for TensorBoard: its folder cannot be written");
            })
            .ok()?;
        // Four spaces make it code in Markdown.
        let yaml = session.config.to_yaml();
        let text: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
        board.write(step, &[Event::Text("config", &text)]);
        Some(board)
    }

    fn create(path: PathBuf, first_step: u64) -> io::Result<Self> {
        File::create_new(&path)?;
        let file = RecordFile::open(&path)?;
        let mut board = Self { file, path };
        board.write(0, &[Event::Version]);
        board.write(first_step, &[Event::Start]);
        Ok(board)
    }

    /// The step that `state` has just finished; waits for the device, so that it belongs to a step that is logged.
    pub fn log_step(
        &mut self,
        stepper: &Stepper,
        state: &TrainState,
        output: &StepOutput,
        (losses, speed): (&Losses<'_>, &Speed),
    ) {
        let mut points = vec![
            ("loss".to_owned(), losses.mean),
            ("speed/examples_per_s".to_owned(), speed.examples_per_s),
            ("speed/steps_per_s".to_owned(), speed.steps_per_s),
            ("speed/data_wait_share".to_owned(), speed.data_wait_share),
        ];
        if let Some(norm) = &output.grad_norm {
            points.push(("grad_norm".to_owned(), norm.double_value(&[])));
        }
        let losses = stepper.ranker.tasks().iter().zip(losses.by_task);
        points.extend(losses.map(|(task, loss)| (format!("task_loss/{task}"), *loss)));
        let rates = progress::learning_rates(stepper, state).into_iter();
        points.extend(rates.map(|(group, rate)| (format!("learning_rate/{group}"), rate)));
        self.write(state.global_step(), &[Event::Scalars(&points)]);
    }

    /// Every number of an evaluation.
    pub fn log_evaluation(&mut self, global_step: u64, evaluation: &Evaluation) {
        let results = evaluation.results().into_iter();
        let results = results.filter(|(_, value)| value.is_finite());
        let points: Vec<(String, f64)> = results
            .map(|(name, value)| (format!("{}/{name}", evaluation.partition), value))
            .collect();
        self.write(global_step, &[Event::Scalars(&points)]);
    }

    /// A histogram of every parameter.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn log_weights(&mut self, global_step: u64, stepper: &Stepper) -> anyhow::Result<()> {
        for (name, parameter) in stepper.ranker.state().parameters() {
            let histogram = histogram(parameter)?;
            let tag = format!("weights/{name}");
            self.write(global_step, &[Event::Histogram(&tag, &histogram)]);
        }
        Ok(())
    }

    fn write(&mut self, step: u64, events: &[Event<'_>]) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        // Writing to memory does not fail.
        let Ok(records) = framed(events.iter().map(|event| event.encode(now, step))) else {
            return;
        };
        let file = self.path.display();
        match self.file.append(&records) {
            Appended::Written | Appended::StillFailing => {}
            Appended::Failed(error) => warn!(
                %file,
                %error,
                "curves for TensorBoard cannot be written: points wait in memory, up to 1 MiB of them, and are written when it can be"
            ),
            Appended::Again => {
                warn!(%file, "curves for TensorBoard can be written again, and what waited is in them");
            }
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // The count says it.
        let _ = self.file.flush();
        let missing = self.file.missing();
        if missing > 0 {
            let file = self.path.display();
            warn!(name: "records_missing", missing, %file, "the disk did not take every point of the curves");
        }
    }
}

/// Records as TensorBoard reads them.
fn framed(records: impl Iterator<Item = Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut writer = RecordWriter::new(Vec::new(), Compression::None)?;
    for record in records {
        writer.write(&record)?;
    }
    writer.finish()
}

/// A name that sorts behind those of all files in `folder`, whatever the clock says.
fn next_path(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let mut newest = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let seconds = name
            .to_str()
            .and_then(|name| name.strip_prefix(NAME)?.get(..10)?.parse().ok());
        newest = newest.max(seconds.unwrap_or(0_u64));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.unwrap_or_default().as_secs().max(newest + 1);
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    Ok(folder.join(format!("{NAME}{seconds:010}.{host}.{}", std::process::id())))
}

/// Of finite values, in buckets of the same width.
fn histogram(tensor: &Tensor) -> anyhow::Result<Histogram> {
    let values = tensor.detach().f_to_kind(Kind::Float)?.f_flatten(0, -1)?;
    let values = values.f_nan_to_num(0.0, 0.0, 0.0)?;
    if values.numel() == 0 {
        return Ok(Histogram::default());
    }
    let (min, max) = (
        values.min().double_value(&[]),
        values.max().double_value(&[]),
    );
    let counts = values.f_histc(BUCKETS)?;
    let width = (max - min) / BUCKETS as f64;
    // histc widens an empty range by one to each side.
    let (first, width) = if width > 0.0 {
        (min, width)
    } else {
        (min - 1.0, 2.0 / BUCKETS as f64)
    };
    Ok(Histogram {
        min,
        max,
        count: values.numel() as f64,
        sum: values.f_sum(Kind::Double)?.double_value(&[]),
        sum_of_squares: values.f_square()?.f_sum(Kind::Double)?.double_value(&[]),
        limits: (1..=BUCKETS).map(|i| first + width * i as f64).collect(),
        counts: Vec::try_from(counts.f_to_kind(Kind::Double)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_file_sorts_behind_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let future = format!("{NAME}9000000000.host.1");
        std::fs::write(folder.path().join(&future), "").unwrap();
        let next = next_path(folder.path()).unwrap();
        assert!(
            next.file_name().unwrap().to_str().unwrap() > future.as_str(),
            "{next:?}"
        );
    }

    #[test]
    fn a_histogram_counts_every_value() {
        let values = Tensor::from_slice(&[0.0_f32, 1.0, 1.0, 3.0]);
        let found = histogram(&values).unwrap();
        assert_eq!((found.min, found.max, found.count), (0.0, 3.0, 4.0));
        assert_eq!((found.sum, found.sum_of_squares), (5.0, 11.0));
        let mut expected = vec![0.0; 30];
        (expected[0], expected[10], expected[29]) = (1.0, 2.0, 1.0);
        assert_eq!(found.counts, expected);
        let constant = histogram(&Tensor::from_slice(&[2.0_f32, 2.0])).unwrap();
        assert!(constant.counts.contains(&2.0));
        assert!(constant.limits[0] < 2.0 && constant.limits[29] > 2.0);
    }
}
