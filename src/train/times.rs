//! Where the time of a run went, and what would make it faster.

use std::time::{Duration, Instant};

use tch::Device;
use tracing::info;

use super::step::StepTimes;
use crate::data::Counters;

/// A share of the time from which on something other than computing is what holds a run back.
const MUCH: f64 = 0.2;

/// Busy time of the loader's threads, as a share of what they could give, from which on they are the limit.
const BUSY: f64 = 0.6;

/// What the loop measures: its own thread's time, by what it was spent on.
#[derive(Clone, Debug)]
pub struct RunTimes {
    begun: Instant,
    start: Duration,
    steps: u64,
    parts: StepTimes,
    checkpoint: Duration,
    evaluation: Duration,
}

/// What happened beside the loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// Time the loop waited for batches.
    pub data_wait: Duration,
    /// Time the copy thread copied batches to the device.
    pub copy: Duration,
    /// What the loader did.
    pub loader: Counters,
}

impl RunTimes {
    /// Starts the clock.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            start: Duration::ZERO,
            steps: 0,
            parts: StepTimes::default(),
            checkpoint: Duration::ZERO,
            evaluation: Duration::ZERO,
        }
    }

    /// The first step is about to begin.
    pub fn started(&mut self) {
        self.start = self.begun.elapsed();
    }

    /// Takes in a step.
    pub fn add_step(&mut self, times: &StepTimes) {
        self.steps += 1;
        self.parts.forward += times.forward;
        self.parts.backward += times.backward;
        self.parts.update += times.update;
    }

    /// Takes in a stop for a checkpoint that began at `begin`.
    pub fn add_checkpoint(&mut self, begin: Instant) {
        self.checkpoint += begin.elapsed();
    }

    /// Takes in an evaluation that began at `begin`.
    pub fn add_evaluation(&mut self, begin: Instant) {
        self.evaluation += begin.elapsed();
    }

    /// Logs where the time went.
    pub fn log(&self, beside: &Beside, device: Device) {
        let total = self.begun.elapsed();
        let verdict = Verdict::of(self, beside, total, device);
        let loader = &beside.loader;
        info!(
            name: "verdict",
            total_secs = total.as_secs_f64(),
            steps = self.steps,
            start = verdict.start,
            data_wait = verdict.data_wait,
            forward = verdict.forward,
            backward = verdict.backward,
            optimizer = verdict.optimizer,
            checkpoint = verdict.checkpoint,
            evaluation = verdict.evaluation,
            other = verdict.other,
            inflate_secs = loader.inflate_busy.as_secs_f64(),
            parse_secs = loader.parse_busy.as_secs_f64(),
            copy_secs = beside.copy.as_secs_f64(),
            limit = verdict.limit,
            advice = verdict.advice,
            "{}",
            verdict.text(total, self.steps, beside)
        );
    }
}

/// Shares of the whole time, and what they mean.
#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    start: f64,
    data_wait: f64,
    forward: f64,
    backward: f64,
    optimizer: f64,
    checkpoint: f64,
    evaluation: f64,
    other: f64,
    limit: &'static str,
    advice: &'static str,
}

impl Verdict {
    fn of(times: &RunTimes, beside: &Beside, total: Duration, device: Device) -> Self {
        let share = |time: Duration| time.as_secs_f64() / total.as_secs_f64().max(1e-9);
        let mut verdict = Self {
            start: share(times.start),
            data_wait: share(beside.data_wait),
            forward: share(times.parts.forward),
            backward: share(times.parts.backward),
            optimizer: share(times.parts.update),
            checkpoint: share(times.checkpoint),
            evaluation: share(times.evaluation),
            other: 0.0,
            limit: "compute",
            advice: "",
        };
        verdict.other =
            (1.0 - verdict.parts().iter().map(|(_, share)| share).sum::<f64>()).max(0.0);
        (verdict.limit, verdict.advice) = verdict.judge(beside, total, device);
        verdict
    }

    /// In the order in which they are told.
    fn parts(&self) -> [(&'static str, f64); 8] {
        [
            ("forward", self.forward),
            ("backward", self.backward),
            ("optimizer", self.optimizer),
            ("data wait", self.data_wait),
            ("checkpoint", self.checkpoint),
            ("evaluation", self.evaluation),
            ("start", self.start),
            ("other", self.other),
        ]
    }

    /// The largest of what is not computing, if it is much; else computing.
    fn judge(
        &self,
        beside: &Beside,
        total: Duration,
        device: Device,
    ) -> (&'static str, &'static str) {
        let others = [
            ("data", self.data_wait),
            ("checkpoint", self.checkpoint),
            ("evaluation", self.evaluation),
            ("start", self.start),
        ];
        let largest = others.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        match largest
            .filter(|(_, share)| *share >= MUCH)
            .map(|(what, _)| what)
        {
            Some("data") => ("data", data_advice(&beside.loader, total)),
            Some("checkpoint") => (
                "checkpoint",
                "save less often (training.checkpoint_every_n) or to a faster disk",
            ),
            Some("evaluation") => (
                "evaluation",
                "evaluate less often (training.eval_log_every_n) or on less (training.num_eval_steps)",
            ),
            Some(_) => ("start", "train longer: the start is paid once"),
            None if device.is_cuda() => (
                "compute",
                "try training.mixed_precision, a larger train_data.global_batch_size, or more GPUs (--nproc_per_node)",
            ),
            None => ("compute", "a GPU, or more cores"),
        }
    }

    fn text(&self, total: Duration, steps: u64, beside: &Beside) -> String {
        let mut parts = self.parts();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let parts = parts.into_iter().filter(|(_, share)| *share >= 0.005);
        let parts: Vec<String> = parts
            .map(|(name, share)| format!("{name} {:.0}%", share * 100.0))
            .collect();
        format!(
            "{steps} steps in {:.1} s: {}; beside it inflate {:.1} s, parse {:.1} s, copy {:.1} s; limit: {}; faster: {}",
            total.as_secs_f64(),
            parts.join(", "),
            beside.loader.inflate_busy.as_secs_f64(),
            beside.loader.parse_busy.as_secs_f64(),
            beside.copy.as_secs_f64(),
            self.limit,
            self.advice
        )
    }
}

/// What to do when the loop waits for data.
fn data_advice(loader: &Counters, total: Duration) -> &'static str {
    let busy = loader.inflate_busy + loader.parse_busy;
    let possible = total.as_secs_f64() * loader.threads as f64;
    if busy.as_secs_f64() < possible * BUSY {
        "the loader's threads idle too: read from a faster disk, or from more files at once (train_data.interleave_num_parallel_calls)"
    } else if loader.inflate_busy > loader.parse_busy {
        "store the data uncompressed or as zstd (gzip is the slowest), or give the loader more cores \
         (train_data.map_num_parallel_calls)"
    } else {
        "keep the decoded rows in memory (train_data.cache), or give the loader more cores \
         (train_data.map_num_parallel_calls)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn times(checkpoint: u32, evaluation: u32) -> RunTimes {
        RunTimes {
            start: SECOND,
            steps: 7,
            parts: StepTimes {
                forward: 20 * SECOND,
                backward: 30 * SECOND,
                update: 4 * SECOND,
            },
            checkpoint: checkpoint * SECOND,
            evaluation: evaluation * SECOND,
            ..RunTimes::begin()
        }
    }

    fn beside(wait: u32, inflate: u32, parse: u32) -> Beside {
        Beside {
            data_wait: wait * SECOND,
            copy: SECOND,
            loader: Counters {
                inflate_busy: inflate * SECOND,
                parse_busy: parse * SECOND,
                threads: 2,
                ..Counters::default()
            },
        }
    }

    fn verdict(times: &RunTimes, beside: &Beside) -> Verdict {
        Verdict::of(times, beside, 100 * SECOND, Device::Cpu)
    }

    #[test]
    fn the_largest_thing_beside_computing_is_the_limit() {
        let limit = |checkpoint, evaluation, wait| {
            verdict(&times(checkpoint, evaluation), &beside(wait, 0, 0)).limit
        };
        assert_eq!(limit(5, 5, 5), "compute");
        assert_eq!(limit(5, 5, 30), "data");
        assert_eq!(limit(25, 5, 10), "checkpoint");
        assert_eq!(limit(5, 35, 30), "evaluation");
    }

    #[test]
    fn advice_on_data_depends_on_what_its_threads_do() {
        let advice = |inflate, parse| verdict(&times(0, 0), &beside(40, inflate, parse)).advice;
        assert!(advice(10, 5).contains("faster disk"));
        assert!(advice(120, 20).contains("zstd"));
        assert!(advice(20, 120).contains("train_data.cache"));
    }

    #[test]
    fn the_words_tell_the_largest_first_and_leave_out_nothing_large() {
        let beside = beside(10, 3, 2);
        let verdict = verdict(&times(5, 0), &beside);
        assert_eq!(
            verdict.text(100 * SECOND, 7, &beside),
            "7 steps in 100.0 s: backward 30%, other 30%, forward 20%, data wait 10%, checkpoint 5%, optimizer 4%, \
             start 1%; beside it inflate 3.0 s, parse 2.0 s, copy 1.0 s; limit: compute; faster: a GPU, or more cores"
        );
    }
}
