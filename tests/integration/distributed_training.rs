//! Training with several ranks, the whole program: what they reach together, how they end, how they go on.
//!
//! That all ranks hold the same bits is looked at by the program itself at every save (`the_ranks_agree`), and that it
//! notices where they do not is tested in `distributed`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use recap_train::checkpoint::{Checkpoint, global_steps};
use recap_train::config;
use recap_train::data::{Loader, LoaderOptions, Mode, Position};
use recap_train::distributed::env::Place;
use recap_train::train::state::TrainState;
use rustix::process::{Pid, Signal, kill_process};
use tch::Tensor;

use crate::data::{drain, in_order};
use crate::evaluate::run_that_overfits;
use crate::support::{Run, fixtures, stderr};

/// Far beyond what a passing test takes, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Ranks add in another order than one process does; parameters are of the order of 1 and move by 0.05 a step. Found: 2e-7.
pub(crate) const TOLERANCE: f64 = 2e-6;

/// One started process and what it has written to stderr.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: Receiver<String>,
    pub(crate) text: String,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        command.env("OMP_NUM_THREADS", "1");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let reader = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            lines,
            text: String::new(),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Reads until a line has `words`.
    pub(crate) fn wait_for(&mut self, words: &str) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.text += &format!("{line}\n");
            if line.contains(words) {
                return;
            }
        }
        panic!("no {words:?} in\n{}", self.text);
    }

    /// Waits for the end; returns exit code (none after a signal) and stderr.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.text += &format!("{line}\n"),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("no end after\n{}", self.text);
                }
            }
        }
        (self.child.wait().unwrap().code(), self.text)
    }
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// `args` as one process told by the environment that it is `rank` of `world_size`, which meet at `port`.
pub(crate) fn start_rank(
    run: &Run,
    args: &[&str],
    rank: usize,
    world_size: usize,
    port: u16,
) -> Process {
    let mut command = run.command(args);
    command.env("RANK", rank.to_string());
    command.env("LOCAL_RANK", rank.to_string());
    command.env("WORLD_SIZE", world_size.to_string());
    command.env("LOCAL_WORLD_SIZE", world_size.to_string());
    command.env("MASTER_ADDR", "127.0.0.1");
    command.env("MASTER_PORT", port.to_string());
    Process::start(command)
}

/// `args` as `world_size` processes told by the environment that they belong together.
pub(crate) fn start_ranks(run: &Run, args: &[&str], world_size: usize) -> Vec<Process> {
    let port = free_port();
    (0..world_size)
        .map(|rank| start_rank(run, args, rank, world_size, port))
        .collect()
}

/// `args` as ranks that the program starts itself; returns stderr of all of them.
pub(crate) fn launch(run: &Run, args: &[&str], world_size: usize) -> String {
    let flag = format!("--nproc_per_node={world_size}");
    let mut command = run.command(args);
    command.arg(flag).env("OMP_NUM_THREADS", "1");
    succeeded(&command.output().unwrap())
}

pub(crate) fn succeeded(output: &Output) -> String {
    let text = stderr(output);
    assert!(output.status.success(), "{text}");
    text
}

pub(crate) fn set(name: &str, value: impl std::fmt::Display) -> String {
    format!("--set={name}={value}")
}

pub(crate) fn save_dir(run: &Run, name: &str) -> String {
    set("training.save_dir", run.path(name).display())
}

/// A model whose training does not depend on how the batch is shared out, see the config; one batch is all 48 examples.
pub(crate) fn exact() -> Run {
    let run = Run::new();
    let config = fixtures().join("tiny/exact.yaml");
    std::fs::copy(config, run.path("config.yaml")).unwrap();
    run.ok(&["generate", "--n_examples=48", "--n_files=1"]);
    run
}

pub(crate) type Tensors = BTreeMap<String, Tensor>;

pub(crate) fn tensors(run: &Run, save_dir: &str, step: u64, file: &str) -> Tensors {
    let folder = run.path(save_dir).join(step.to_string());
    let tensors = Tensor::read_safetensors(folder.join(file)).unwrap();
    tensors.into_iter().collect()
}

pub(crate) fn model(run: &Run, save_dir: &str, step: u64) -> Tensors {
    tensors(run, save_dir, step, "model.safetensors")
}

/// The largest difference of two numbers.
pub(crate) fn distance(a: &Tensors, b: &Tensors) -> f64 {
    assert!(a.keys().eq(b.keys()));
    let pairs = a.values().zip(b.values());
    pairs
        .map(|(a, b)| (a - b).abs().max().double_value(&[]))
        .fold(0.0, f64::max)
}

/// One process trains, into `alone`, and moves far enough for the comparison to mean something.
fn train_alone(run: &Run) -> Tensors {
    let every = set("training.checkpoint_every_n", 1);
    run.ok(&[&save_dir(run, "alone"), &every]);
    let reached = model(run, "alone", 6);
    let moved = distance(&model(run, "alone", 1), &reached);
    assert!(moved > 1000.0 * TOLERANCE, "{moved}");
    reached
}

/// What the ranks wrote says that they saved, wrote one log, and held the same bits.
fn the_ranks_agree(text: &str) {
    assert_eq!(text.matches("Step: 6, training").count(), 1, "{text}");
    assert_eq!(text.matches("saved checkpoint").count(), 1, "{text}");
    assert!(!text.contains("no longer have the same"), "{text}");
}

#[test]
fn launched_ranks_reach_what_one_process_reaches() {
    let run = exact();
    let alone = train_alone(&run);
    for world_size in [2, 3] {
        let name = format!("launched-{world_size}");
        the_ranks_agree(&launch(&run, &[&save_dir(&run, &name)], world_size));
        let far = distance(&alone, &model(&run, &name, 6 * world_size as u64));
        assert!(far <= TOLERANCE, "{world_size} ranks: {far}");
        let losses = run.losses("alone").into_iter().zip(run.losses(&name));
        for ((_, alone), (step, together)) in losses {
            assert!((alone - together).abs() <= TOLERANCE, "{step}");
        }
    }
}

/// The task losses in the log of a save folder, in the order they were logged.
fn task_losses(run: &Run, save_dir: &str) -> Vec<(String, f64)> {
    let events = run.events(save_dir).into_iter();
    events
        .filter(|event| event["message"] == "task loss")
        .map(|event| {
            let task = event["task"].as_str().unwrap().to_owned();
            (task, event["loss"].as_f64().unwrap())
        })
        .collect()
}

#[test]
fn logged_task_losses_are_means_over_ranks() {
    let run = exact();
    let [tasks, steps] = [
        set("training.log_task_losses", true),
        set("training.num_train_steps", 3),
    ];
    run.ok(&[&save_dir(&run, "alone"), &tasks, &steps]);
    let alone = task_losses(&run, "alone");
    assert_eq!(alone.len(), 3 * 2);
    let text = launch(&run, &[&save_dir(&run, "ranks"), &tasks, &steps], 2);
    assert_eq!(text.matches("task loss").count(), 3 * 2, "{text}");
    let together = task_losses(&run, "ranks");
    assert_eq!(together.len(), alone.len());
    for ((task, alone), (same, together)) in alone.iter().zip(&together) {
        assert_eq!(task, same);
        assert!((alone - together).abs() <= TOLERANCE, "{task}: {together}");
    }
}

#[test]
fn the_debug_loop_tells_when_gradients_were_averaged() {
    let run = exact();
    let steps = set("training.num_train_steps", 2);
    let text = launch(&run, &["--debug_loop", &steps], 2);
    // Rank 0 says it once a step; the tiny model fits into one bucket, which leaves when backward is over.
    let said = "averaging of gradients step=";
    assert_eq!(text.matches(said).count(), 2, "{text}");
    assert!(text.contains("buckets=1"), "{text}");
    assert!(
        text.contains("launched_before_the_last_gradient=0"),
        "{text}"
    );
}

#[test]
fn ranks_told_by_the_environment_reach_what_one_process_reaches() {
    let run = exact();
    let alone = train_alone(&run);
    for world_size in [2, 3] {
        let name = format!("told-{world_size}");
        let ranks = start_ranks(&run, &[&save_dir(&run, &name)], world_size);
        let ends: Vec<_> = ranks.into_iter().map(Process::end).collect();
        let texts: String = ends.iter().map(|(_, text)| text.as_str()).collect();
        assert!(ends.iter().all(|(code, _)| *code == Some(0)), "{texts}");
        the_ranks_agree(&texts);
        let far = distance(&alone, &model(&run, &name, 6 * world_size as u64));
        assert!(far <= TOLERANCE, "{world_size} ranks: {far}");
    }
}

/// What starts torchrun; says so where there is none.
fn torchrun() -> Option<String> {
    let torchrun = std::env::var("RECAP_TORCHRUN").unwrap_or_else(|_| "torchrun".to_owned());
    if let Err(error) = Command::new(&torchrun).arg("--help").output() {
        println!("skipped: {torchrun} cannot be started ({error}); RECAP_TORCHRUN may name it");
        return None;
    }
    Some(torchrun)
}

/// `args` as `world_size` ranks of `torchrun`, which starts all of them anew up to `max_restarts` times.
fn torchrun_command(
    torchrun: &str,
    run: &Run,
    args: &[&str],
    world_size: usize,
    max_restarts: usize,
) -> Command {
    let of_rank = run.command(args);
    let mut command = Command::new(torchrun);
    command.args(["--standalone", "--no-python"]);
    command.arg(format!("--nproc-per-node={world_size}"));
    command.arg(format!("--max-restarts={max_restarts}"));
    command.arg(of_rank.get_program()).args(of_rank.get_args());
    for (name, value) in of_rank.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
    command
}

/// The processes that `pid` has started and that run this program.
#[cfg(target_os = "linux")]
pub(crate) fn ranks_below(pid: u32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks.map(|task| {
        let path = task.unwrap().path().join("children");
        std::fs::read_to_string(path).unwrap_or_default()
    });
    let children: String = children.map(|pids| pids + " ").collect();
    let is_rank = |pid: &i32| {
        let program = std::fs::read_link(format!("/proc/{pid}/exe"));
        program.is_ok_and(|program| program.ends_with("recap-train"))
    };
    let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
    pids.filter(is_rank).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn torchrun_starts_all_ranks_anew_and_they_go_on() {
    let Some(torchrun) = torchrun() else {
        return;
    };
    let run = Run::with_data();
    let common = [
        set("training.num_train_steps", 600),
        set("training.checkpoint_every_n", 100),
        set("training.distributed_timeout_in_s", 4),
        set("train_data.global_batch_size", 18),
    ];
    let [steps, every, timeout, batch] = common.each_ref().map(String::as_str);
    launch(
        &run,
        &[&save_dir(&run, "whole"), steps, every, timeout, batch],
        2,
    );
    let killed = save_dir(&run, "killed");
    let args = [&killed, steps, every, timeout, batch];
    let mut agent = Process::start(torchrun_command(&torchrun, &run, &args, 2, 1));
    agent.wait_for("saved checkpoint");
    let ranks = ranks_below(agent.child.id());
    assert_eq!(ranks.len(), 2, "{}", agent.text);
    kill_process(Pid::from_raw(ranks[1]).unwrap(), Signal::KILL).unwrap();
    let (code, text) = agent.end();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("INFO resumed").count(), 1, "{text}");
    assert!(
        run.checkpoint("whole", 1200) == run.checkpoint("killed", 1200),
        "the bytes differ"
    );
}

#[test]
fn ranks_of_torchrun_reach_what_one_process_reaches() {
    let Some(torchrun) = torchrun() else {
        return;
    };
    let run = exact();
    let alone = train_alone(&run);
    for world_size in [2, 3] {
        let name = format!("torchrun-{world_size}");
        let args = [save_dir(&run, &name)];
        let args = args.each_ref().map(String::as_str);
        let mut command = torchrun_command(&torchrun, &run, &args, world_size, 0);
        the_ranks_agree(&succeeded(&command.output().unwrap()));
        let far = distance(&alone, &model(&run, &name, 6 * world_size as u64));
        assert!(far <= TOLERANCE, "{world_size} ranks: {far}");
    }
}

/// Settings of a run that does not end by itself, of ranks that are impatient with each other.
pub(crate) fn endless(run: &Run) -> [String; 6] {
    [
        save_dir(run, "save"),
        set("training.num_train_steps", 10_000_000),
        set("training.checkpoint_every_n", 20),
        set("training.checkpoint_max_to_keep", 3),
        set("training.distributed_timeout_in_s", 4),
        set("train_data.global_batch_size", 18),
    ]
}

/// The accident of one rank of three ends the others, which name it; the checkpoints are whole; training goes on.
fn ends_with_a_name_and_goes_on(culprit: usize, accident: Signal, message: &str) {
    let run = Run::with_data();
    let mut args = endless(&run);
    let as_strs = |args: &[String; 6]| args.clone().map(|arg| arg.leak() as &str);
    let mut ranks = start_ranks(&run, &as_strs(&args), 3);
    ranks[0].wait_for("saved checkpoint");
    let victim = ranks.remove(culprit);
    victim.signal(accident);
    for rank in ranks {
        let (code, text) = rank.end();
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(message), "no {message:?} in\n{text}");
    }
    if accident == Signal::STOP {
        victim.signal(Signal::KILL);
    }
    victim.end();
    let steps = global_steps(&run.path("save")).unwrap();
    for step in &steps {
        let folder = run.path("save").join(step.to_string());
        Checkpoint::open(&folder).unwrap().verify().unwrap();
    }
    let newest = steps.last().unwrap();
    args[1] = set("training.num_train_steps", newest / 3 + 2);
    let text = launch(&run, &as_strs(&args), 3);
    let resumed = format!("save/{newest} step={}", newest / 3);
    assert!(text.contains(&resumed), "no {resumed:?} in\n{text}");
}

#[test]
fn a_killed_rank_is_named_and_training_goes_on() {
    ends_with_a_name_and_goes_on(1, Signal::KILL, "rank 1 has not answered");
}

#[test]
fn the_killed_rank_that_saves_is_named_and_training_goes_on() {
    ends_with_a_name_and_goes_on(0, Signal::KILL, "rank 0 is gone");
}

#[test]
fn a_frozen_rank_is_named_and_training_goes_on() {
    ends_with_a_name_and_goes_on(2, Signal::STOP, "rank 2 has not answered");
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_rank_of_the_launcher_ends_all() {
    let run = Run::with_data();
    let args = endless(&run);
    let mut command = run.command(&args.each_ref().map(String::as_str));
    command.arg("--nproc_per_node=3");
    let mut launcher = Process::start(command);
    launcher.wait_for("saved checkpoint");
    let pid = launcher.child.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let rank_1 = children.split_whitespace().nth(1).unwrap().parse().unwrap();
    kill_process(Pid::from_raw(rank_1).unwrap(), Signal::KILL).unwrap();
    let (code, text) = launcher.end();
    assert_eq!(code, Some(128 + 9), "{text}");
    assert!(text.contains("rank 1 ended with signal: 9"), "{text}");
}

#[test]
fn a_signal_to_the_launcher_saves_at_one_step_and_the_same_command_goes_on() {
    let run = Run::with_data();
    let common = [
        set("training.num_train_steps", 100),
        set("train_data.global_batch_size", 18),
    ];
    let [steps, batch] = common.each_ref().map(String::as_str);
    launch(&run, &[&save_dir(&run, "whole"), steps, batch], 3);
    let parts = save_dir(&run, "parts");
    let mut command = run.command(&[&parts, steps, batch]);
    command.arg("--nproc_per_node=3");
    let mut launcher = Process::start(command);
    launcher.wait_for("Step: 3, training");
    launcher.signal(Signal::TERM);
    let (code, text) = launcher.end();
    assert_eq!(code, Some(75), "{text}");
    assert!(!text.contains("ERROR"), "{text}");
    assert!(text.contains("run the same command again"), "{text}");
    let newest = *global_steps(&run.path("parts")).unwrap().last().unwrap();
    let state = state(&run.path("parts").join(newest.to_string()));
    assert_eq!(state.step * 3, newest);
    let batches = state.positions.iter().map(Position::batches);
    assert_eq!(batches.collect::<Vec<_>>(), [state.step; 3]);
    launch(&run, &[&parts, steps, batch], 3);
    assert!(
        run.checkpoint("whole", 300) == run.checkpoint("parts", 300),
        "the bytes differ"
    );
}

pub(crate) fn state(folder: &Path) -> TrainState {
    let checkpoint = Checkpoint::open(folder).unwrap();
    serde_json::from_value(checkpoint.state().unwrap().clone()).unwrap()
}

/// As one process where `world_size` is 1, which then is not launched with others.
pub(crate) fn train(run: &Run, args: &[&str], world_size: usize) -> String {
    if world_size == 1 {
        succeeded(&run.output(args))
    } else {
        launch(run, args, world_size)
    }
}

/// After two batches with `before` ranks `after` go on. The third batch only adds to an accumulation, so that what is
/// saved after it must be the weights and moments of before, to the bit.
fn goes_on_with(before: usize, after: usize, folders: [u64; 3]) {
    let run = exact();
    let accumulation = set("training.gradient_accumulation", 2);
    let steps = |steps: u64| set("training.num_train_steps", steps);
    run.ok(&[&save_dir(&run, "alone"), &accumulation, &steps(6)]);
    let save = save_dir(&run, "save");
    train(&run, &[&save, &accumulation, &steps(2)], before);
    let text = train(&run, &[&save, &accumulation, &steps(3)], after);
    let said = format!("{before} ranks trained before, {after} do now");
    assert!(text.contains(&said), "{text}");
    let [first, second, third] = folders;
    assert!(run.checkpoint("save", first).0 == run.checkpoint("save", second).0);
    let optimizer = |step| {
        let mut state = tensors(&run, "save", step, "optimizer.safetensors");
        state.retain(|name, _| !name.contains("/grad"));
        state
    };
    let moments = optimizer(first);
    assert!(moments.len() > 20, "{}", moments.len());
    assert!(moments.keys().eq(optimizer(second).keys()));
    let same = |(a, b): (&Tensor, &Tensor)| a.equal(b);
    assert!(moments.values().zip(optimizer(second).values()).all(same));
    train(&run, &[&save, &accumulation, &steps(6)], after);
    let far = distance(&model(&run, "alone", 6), &model(&run, "save", third));
    assert!(far <= TOLERANCE, "{far}");
}

#[test]
fn one_rank_goes_on_for_two() {
    goes_on_with(2, 1, [4, 5, 8]);
}

#[test]
fn three_ranks_go_on_for_one() {
    goes_on_with(1, 3, [2, 5, 14]);
}

/// What decides which model is the best of a run: step, value, whether it is better than all before.
pub(crate) fn judged(run: &Run, save_dir: &str) -> Vec<(u64, f64, bool)> {
    let events = run.events(save_dir).into_iter();
    let judged = events.filter_map(|event| {
        let is_better = event["is_better"].as_bool()?;
        let step = event["global_step"].as_u64().unwrap();
        Some((step, event["value"].as_f64().unwrap(), is_better))
    });
    judged.collect()
}

#[test]
fn ranks_stop_early_where_one_process_does() {
    let run = run_that_overfits();
    run.ok(&[&save_dir(&run, "alone")]);
    let alone = judged(&run, "alone");
    let (last, better) = (alone.last().unwrap().0, alone.iter().filter(|look| look.2));
    assert!(last < 200 && better.count() > 2, "{alone:?}");
    assert!(!alone[alone.len() - 1].2 && !alone[alone.len() - 2].2);
    for world_size in [2, 3] {
        let name = format!("ranks-{world_size}");
        let again = |words: &str| {
            let ranks = start_ranks(&run, &[&save_dir(&run, &name)], world_size);
            let ends: Vec<_> = ranks.into_iter().map(Process::end).collect();
            let texts: String = ends.iter().map(|(_, text)| text.as_str()).collect();
            assert!(ends.iter().all(|(code, _)| *code == Some(0)), "{texts}");
            assert_eq!(texts.matches(words).count(), 1, "{texts}");
        };
        again("stopped early: 2 evaluations in a row");
        let together = judged(&run, &name);
        assert_eq!(together.len(), alone.len(), "{together:?}");
        for (alone, together) in alone.iter().zip(&together) {
            assert_eq!(alone.0 * world_size as u64, together.0);
            // Training this far makes much of rounding, but a verdict is not near: the values differ by 20%.
            let far = (alone.1 - together.1).abs();
            assert!(far <= 0.01 * alone.1, "{alone:?} {together:?}");
            assert_eq!(alone.2, together.2, "{together:?}");
        }
        let state = state(&run.path(&name).join((last * world_size as u64).to_string()));
        let batches = state.positions.iter().map(Position::batches);
        assert_eq!(batches.collect::<Vec<_>>(), vec![last; world_size]);
        again(&format!("it stopped early at step {last}"));
    }
}

/// The documented rule: with another number of ranks the epoch begins anew, the earliest that any rank was in.
#[test]
fn another_number_of_ranks_begins_the_earliest_epoch_anew() {
    let run = Run::with_data();
    let files = |number| run.path(&format!("data/random-0000{number}.tfrecord.gz"));
    // Two files, one twice as long: one rank ends its epoch long before the other.
    std::fs::remove_file(files(2)).unwrap();
    let mut long = std::fs::read(files(0)).unwrap();
    long.extend(long.clone());
    std::fs::write(files(0), long).unwrap();
    launch(&run, &[], 2);
    let state = state(&run.path("save/24"));
    let epochs = state.positions.iter().map(Position::epoch);
    assert_eq!(epochs.collect::<Vec<_>>(), [1, 0], "rank 0 is ahead");

    let environment = |name: &str| match name {
        "RUN_DIR" => Some(run.path("").display().to_string()),
        "FIXTURES" => Some(fixtures().display().to_string()),
        _ => None,
    };
    let text = std::fs::read_to_string(run.path("config.yaml")).unwrap();
    let config: config::RecapConfig = config::parse_with(&text, &environment).unwrap();
    let uses = |world_size: usize| {
        let mut data = config.train_data.clone();
        data.global_batch_size = config::Size::new(world_size as u64).unwrap();
        let mut uses = BTreeMap::new();
        for rank in 0..world_size {
            let place = Place {
                rank,
                world_size,
                ..Place::ALONE
            };
            let options = LoaderOptions {
                rank,
                world_size,
                local_world_size: 1,
                any_labels: false,
                in_order: false,
                drop_remainder: false,
                ..in_order(Mode::Train)
            };
            let loader = Loader::open(&data, options, state.position(place)).unwrap();
            let batches = drain(loader).unwrap();
            assert_eq!(batches[0].position.epoch(), 0);
            for record in batches.into_iter().flat_map(|batch| batch.records) {
                *uses.entry((record.file, record.record)).or_insert(0) += 1;
            }
        }
        uses
    };
    for world_size in [1, 3] {
        let uses = uses(world_size);
        assert_eq!(uses.len(), 2 * 66 + 67, "{world_size} ranks");
        assert!(uses.values().all(|&n| n == 1), "{world_size} ranks");
    }
}

#[test]
fn metrics_over_the_last_batches_are_those_of_all_ranks() {
    let run = exact();
    let flags = [
        set("training.log_metrics_window", 2),
        set("training.num_train_steps", 3),
    ];
    let found = |world_size: usize| {
        let folder = format!("window{world_size}");
        let args = [&flags[..], &[save_dir(&run, &folder)]].concat();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match world_size {
            1 => drop(run.ok(&args)),
            _ => drop(launch(&run, &args, world_size)),
        }
        let events = std::fs::read_to_string(run.path(&folder).join("events.jsonl")).unwrap();
        let records = events
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let lines =
            records.filter(|record: &serde_json::Value| record["message"] == "last batches");
        let keys = [
            "loss",
            "count",
            "ctr",
            "pctr",
            "calibration",
            "rce",
            "auroc",
        ];
        let numbers = lines.map(|line| keys.map(|key| line[key].as_f64().unwrap()));
        numbers.collect::<Vec<_>>()
    };
    let (one, two) = (found(1), found(2));
    assert_eq!((one.len(), two.len()), (6, 6));
    for (one, two) in one.concat().into_iter().zip(two.concat()) {
        assert!(
            (one - two).abs() <= 1e-4 * one.abs().max(1.0),
            "{one} {two}"
        );
    }
}
