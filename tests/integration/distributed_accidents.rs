//! A rank that is killed or frozen, at every phase of a run: the others end in time and name it.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::distributed_training::{PATIENCE, Process, endless, free_port, set, start_rank};
use crate::evaluate::run_with_validation;
use crate::sockets::Socket;
use crate::support::Run;

/// How long ranks wait for each other here, as the config says it.
const TIMEOUT_S: u64 = 4;
/// Within which all others end after an accident.
const PROMISED: Duration = Duration::from_secs(TIMEOUT_S + 10);
/// What this harness adds on a machine with fewer cores than tests: it starts processes, and reads what they say.
const HARNESS: Duration = Duration::from_secs(10);
const WORLD_SIZE: usize = 3;

/// Where an accident finds a rank.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// The program has only just been started.
    Start,
    /// It has come to the store, and another rank is still missing.
    Meeting,
    /// It has opened its data, and no step is logged.
    FirstStep,
    /// A checkpoint is half written.
    Save,
    /// It evaluates, in the middle of training.
    Evaluation,
    /// The last step is done; the last evaluation and save are not.
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

/// A run with so many small batches to evaluate on that no signal comes too late.
fn run_with_long_evaluation() -> Run {
    let run = run_with_validation();
    std::fs::remove_dir_all(run.path("data")).unwrap();
    run.ok(&["generate", "--n_examples=6000", "--n_files=3"]);
    run
}

fn args(run: &Run, phase: Phase) -> Vec<String> {
    let mut args = endless(run).to_vec();
    args.push(set("training.distributed_timeout_in_s", TIMEOUT_S));
    args.push(set("training.train_log_every_n", 1));
    let evaluations = match phase {
        Phase::Evaluation => Some(3),
        Phase::End => {
            args.push(set("training.num_train_steps", 4));
            Some(4)
        }
        Phase::Save => {
            args.push(set("training.checkpoint_every_n", 2));
            None
        }
        Phase::FirstStep => {
            // One step is as long as many.
            args.push(set("train_data.global_batch_size", 1800));
            None
        }
        Phase::Start | Phase::Meeting => None,
    };
    if let Some(every) = evaluations {
        args.push(set("training.evaluate", true));
        args.push(set("training.eval_log_every_n", every));
        args.push(set("training.num_eval_steps", -1));
        args.push(set("validation_data.valid.global_batch_size", WORLD_SIZE));
    }
    args
}

/// Waits until `is_there`, looking again and again: what is waited for may be over soon.
fn wait_until(what: &str, is_there: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_there() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// How many streams of data the process reads: one to train on, one more while it evaluates.
fn streams(pid: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    tasks
        .filter(|task| task.file_name().to_string_lossy() != pid.to_string())
        .filter_map(|task| name(task).ok())
        .filter(|name| name.trim_end() == "data-sequencer")
        .count()
}

/// Whether the process has a connection to `port` of this machine.
fn is_connected(pid: u32, port: u16) -> bool {
    let is_it = |socket: &Socket| socket.is_line() && socket.remote.port() == port;
    Socket::of(pid).iter().any(is_it)
}

/// Whether the process listens for signals: it is about to meet the others.
fn is_ready(pid: u32) -> bool {
    let status = read(pid, "status");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & (1 << (15 - 1)) != 0)
}

fn is_writing(save_dir: &Path) -> bool {
    let entries = std::fs::read_dir(save_dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().any(|name| name.starts_with(".writing-"))
}

/// An accident of one rank at one phase: all others end in time with a message that names this one and no other.
fn accident(phase: Phase, culprit: usize, signal: Signal) {
    let run = run_with_long_evaluation();
    let args = args(&run, phase);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let port = free_port();
    let start = |rank: usize| (rank, start_rank(&run, &args, rank, WORLD_SIZE, port));
    // Never rank 0, without whom nobody meets.
    let late = if culprit == 1 { 2 } else { 1 };
    let is_late = |rank: usize| phase == Phase::Meeting && rank == late;
    let mut ranks: Vec<(usize, Process)> = (0..WORLD_SIZE)
        .filter(|&rank| !is_late(rank))
        .map(start)
        .collect();
    let place = ranks.iter().position(|(rank, _)| *rank == culprit).unwrap();
    let (_, victim) = ranks.remove(place);
    let pid = victim.child.id();
    match phase {
        Phase::Start => {}
        Phase::Meeting => wait_until("the rank is at the store", || is_connected(pid, port)),
        Phase::FirstStep => wait_until("the rank reads data", || streams(pid) > 0),
        Phase::Save => wait_until("a checkpoint is written", || is_writing(&run.path("save"))),
        Phase::Evaluation | Phase::End => wait_until("the rank evaluates", || streams(pid) > 1),
    }
    victim.signal(signal);
    if phase == Phase::Meeting {
        ranks.push(start(late));
    }
    // The time of those who come later than the accident begins when they come.
    for (_, rank) in &ranks {
        wait_until("the others are there", || is_ready(rank.child.id()));
    }
    let begin = Instant::now();
    let ends: Vec<_> = ranks
        .into_iter()
        .map(|(rank, process)| (rank, process.end(), begin.elapsed()))
        .collect();
    victim.signal(Signal::KILL);
    let (_, last_words) = victim.end();
    let mut said = Vec::new();
    for (rank, (code, text), took) in ends {
        let case = format!(
            "{phase:?}, rank {culprit} gets {signal:?}, rank {rank} after {took:?}:\n{text}"
        );
        assert_eq!(code, Some(1), "{case}");
        let words = text.lines().filter(|line| line.contains("ERROR"));
        let words: String = words.collect();
        assert!(words.contains(&format!("rank {culprit}")), "{case}");
        let innocent = WORLD_SIZE - rank - culprit;
        assert!(!words.contains(&format!("rank {innocent}")), "{case}");
        assert!(took < PROMISED + HARNESS, "{case}");
        said.push((rank, text));
    }
    // It has happened where it was meant to.
    said.push((culprit, last_words));
    let (_, text) = said.iter().find(|(rank, _)| *rank == 0).unwrap();
    let has = |words: &str| text.contains(words);
    assert!(!has("evaluated") && !has("finished training"), "{text}");
    match phase {
        Phase::Start | Phase::Meeting => assert!(!has("Step: 1,"), "{text}"),
        Phase::FirstStep => assert!(!has("Step: 3,"), "{text}"),
        Phase::Save => assert!(has("Step: 2,"), "{text}"),
        Phase::Evaluation => assert!(has("Step: 3,") && !has("Step: 4,"), "{text}"),
        Phase::End => assert!(has("Step: 4,"), "{text}"),
    }
}

/// `RECAP_ACCIDENTS` says how many (`make soak`; 36 are all there are); in short one at each phase.
#[test]
fn an_accident_at_any_phase_ends_all_ranks_and_names_the_one() {
    let number = std::env::var("RECAP_ACCIDENTS");
    let number = number.ok().and_then(|text| text.parse().ok());
    for turn in 0..number.unwrap_or(PHASES.len()) {
        let round = turn / PHASES.len();
        let signal = [Signal::KILL, Signal::STOP][(turn + round) % 2];
        let begin = Instant::now();
        let (phase, culprit) = (PHASES[turn % PHASES.len()], (turn + round / 2) % WORLD_SIZE);
        accident(phase, culprit, signal);
        println!(
            "{turn}: {phase:?}, rank {culprit}, {signal:?}: {:?}",
            begin.elapsed()
        );
    }
}
