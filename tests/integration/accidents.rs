//! Ranks that are killed or frozen at every phase of a run: all others end in time and name the one.
//!
//! `make soak` makes many accidents (`RECAP_ACCIDENTS`), `make test` one at each phase.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::distributed_training::{PATIENCE, Process, save_dir, set};
use crate::evaluate::run_with_validation;
use crate::sockets::Socket;
use crate::support::Run;

const RANKS: usize = 3;
const TIMEOUT_SECS: u64 = 4;
/// The timeout of ranks, and what the promise adds to it.
const PROMISED: Duration = Duration::from_secs(TIMEOUT_SECS + 10);

/// Where an accident finds a rank.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Start,
    Meeting,
    FirstStep,
    Save,
    Evaluation,
    End,
}

const PHASES: [Phase; 6] = [
    Phase::Start,
    Phase::Meeting,
    Phase::FirstStep,
    Phase::Save,
    Phase::Evaluation,
    Phase::End,
];

/// An evaluation that takes seconds, on 6,000 rows in batches of one for each rank.
const LONG_EVALUATION: [&str; 4] = [
    "--set=training.evaluate=true",
    "--set=training.num_eval_steps=-1",
    "--set=validation_data.valid.global_batch_size=3",
    "--set=validation_data.valid.map_num_parallel_calls=1",
];

/// The ranks of one run, some of which have started.
struct Ranks<'a> {
    run: &'a Run,
    phase: Phase,
    port: u16,
}

impl Ranks<'_> {
    fn command(&self, rank: usize) -> Command {
        let mut args = vec![
            save_dir(self.run, "save"),
            set("training.distributed_timeout_in_s", TIMEOUT_SECS),
            set("training.train_log_every_n", 1),
            set("train_data.global_batch_size", 18),
        ];
        let (steps, saves, evaluations) = match self.phase {
            Phase::Start | Phase::Meeting | Phase::FirstStep => (10_000_000, 1000, None),
            Phase::Save => (10_000_000, 1, None),
            Phase::Evaluation => (10_000_000, 1000, Some(1)),
            Phase::End => (6, 1000, Some(6)),
        };
        args.push(set("training.num_train_steps", steps));
        args.push(set("training.checkpoint_every_n", saves));
        if let Some(every) = evaluations {
            args.extend(LONG_EVALUATION.map(str::to_owned));
            args.push(set("training.eval_log_every_n", every));
            let long = self.run.path("long/*.gz");
            args.push(set("validation_data.valid.inputs", long.display()));
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let mut command = self.run.command(&args);
        command
            .env("RANK", rank.to_string())
            .env("LOCAL_RANK", rank.to_string())
            .env("WORLD_SIZE", RANKS.to_string())
            .env("LOCAL_WORLD_SIZE", RANKS.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", self.port.to_string());
        command
    }

    fn start(&self, rank: usize) -> Process {
        Process::start(self.command(rank))
    }

    /// Waits until a rank is at the store: rank 0 serves it, the others have a line to it.
    fn wait_for_line(&self, rank: &Process) {
        let is_there = |socket: &Socket| {
            let is_served = socket.is_door() && socket.local.port() == self.port;
            is_served || socket.is_line() && socket.remote.port() == self.port
        };
        let deadline = Instant::now() + PATIENCE;
        while !Socket::of(rank.child.id()).iter().any(is_there) {
            assert!(Instant::now() < deadline, "no line to the store");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits until the run is at `phase`.
fn reach(phase: Phase, ranks: &mut [(usize, Process)]) {
    let words = match phase {
        Phase::Start | Phase::Meeting => return,
        // The evaluation begins when the step is logged, and takes seconds.
        Phase::FirstStep | Phase::Evaluation => "Step: 1,",
        Phase::Save => "saving in the background",
        Phase::End => "Step: 6,",
    };
    let zero = ranks.iter_mut().find(|(rank, _)| *rank == 0).unwrap();
    zero.1.wait_for(words);
}

/// An accident of one rank: all others end in time, and name it.
fn accident(phase: Phase, culprit: usize, signal: Signal) {
    let run = run_with_validation();
    if matches!(phase, Phase::Evaluation | Phase::End) {
        let long = set("train_data.inputs", run.path("long/*.gz").display());
        run.ok(&["generate", "--n_examples=6000", "--n_files=3", &long]);
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let all = Ranks {
        run: &run,
        phase,
        port,
    };
    // At the meeting one rank is late.
    let late = (phase == Phase::Meeting).then_some((culprit + 1) % RANKS);
    let on_time = (0..RANKS).filter(|rank| Some(*rank) != late);
    let mut ranks: Vec<_> = on_time.map(|rank| (rank, all.start(rank))).collect();
    reach(phase, &mut ranks);
    let at = ranks.iter().position(|(rank, _)| *rank == culprit).unwrap();
    let (_, victim) = ranks.remove(at);
    // Where rank 0 is late nobody has a line yet.
    if phase == Phase::Meeting && late != Some(0) {
        all.wait_for_line(&victim);
    }
    let begin = Instant::now();
    victim.signal(signal);
    ranks.extend(late.map(|rank| (rank, all.start(rank))));
    for (rank, process) in ranks {
        let (code, text) = process.end();
        let what = format!("{phase:?}: rank {culprit} got {signal:?}; rank {rank}");
        assert_eq!(code, Some(1), "{what}: {text}");
        let name = format!("rank {culprit}");
        assert!(text.contains(&name), "{what} does not name it: {text}");
        assert!(!text.contains("eval_loss"), "{what} was evaluated: {text}");
        let took = begin.elapsed();
        assert!(took < PROMISED, "{what} took {took:?}: {text}");
    }
    victim.signal(Signal::KILL);
    victim.end();
}

#[test]
fn an_accident_at_any_phase_ends_all_ranks_and_names_the_one() {
    let number = std::env::var("RECAP_ACCIDENTS");
    let number: usize = number
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(PHASES.len());
    for turn in 0..number {
        let round = turn / PHASES.len();
        let phase = PHASES[turn % PHASES.len()];
        let signal = [Signal::KILL, Signal::STOP][(turn + round) % 2];
        let culprit = (turn / 2 + round) % RANKS;
        println!("{turn}: {phase:?}, rank {culprit}, {signal:?}");
        accident(phase, culprit, signal);
    }
}
