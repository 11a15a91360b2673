//! Several ranks on this machine: each is this test binary again, told its part by `RECAP_TEST_ROLE`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod launcher;
mod meeting;
mod namespaces;
mod roles;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use recap_train::distributed::store::Server;

/// Far beyond what a passing test takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// One started rank.
struct Rank {
    child: Child,
}

impl Rank {
    fn start(
        role: &str,
        rank: usize,
        world_size: usize,
        port: u16,
        folder: &Path,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = again(role, folder);
        command.env("RANK", rank.to_string());
        command.env("LOCAL_RANK", rank.to_string());
        command.env("WORLD_SIZE", world_size.to_string());
        command.env("LOCAL_WORLD_SIZE", world_size.to_string());
        command.env("MASTER_ADDR", "127.0.0.1");
        command.env("MASTER_PORT", port.to_string());
        command.envs(variables.iter().copied());
        Self {
            child: command.spawn().unwrap(),
        }
    }
}

/// This binary, about to play `role`.
fn again(role: &str, folder: &Path) -> Command {
    let command = Command::new(std::env::current_exe().unwrap());
    equip(command, role, folder)
}

/// `command` starts this binary, or ends in it.
fn equip(mut command: Command, role: &str, folder: &Path) -> Command {
    command.args(["--exact", "distributed::roles::rank_process", "--nocapture"]);
    command.env("RECAP_TEST_ROLE", role);
    command.env("RECAP_TEST_FOLDER", folder);
    command.env("OMP_NUM_THREADS", "1");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts `started` ranks of a world of `world_size` and waits for all but `frozen`, which is then killed.
fn play(
    role: &str,
    started: usize,
    world_size: usize,
    frozen: Option<usize>,
    folder: &Path,
) -> Vec<Output> {
    let port = free_port();
    let ranks: Vec<_> = (0..started)
        .map(|rank| Rank::start(role, rank, world_size, port, folder, &[]))
        .collect();
    wait(ranks, frozen)
}

/// Waits for all ranks but `frozen`, which is then killed; returns what they wrote, by rank.
fn wait(ranks: Vec<Rank>, frozen: Option<usize>) -> Vec<Output> {
    let started = ranks.len();
    let pids: Vec<_> = ranks
        .iter()
        .map(|rank| Pid::from_child(&rank.child))
        .collect();
    let (sender, receiver) = mpsc::channel();
    for (rank, Rank { child }) in ranks.into_iter().enumerate() {
        let sender = sender.clone();
        thread::spawn(move || sender.send((rank, child.wait_with_output())));
    }
    drop(sender);
    let num_ending = started - usize::from(frozen.is_some());
    let mut outputs: Vec<_> = receiver.iter_within(num_ending, &pids);
    if let Some(frozen) = frozen {
        kill_process(pids[frozen], Signal::KILL).unwrap();
        outputs.extend(receiver.iter_within(1, &pids));
    }
    outputs.sort_by_key(|(rank, _)| *rank);
    outputs.into_iter().map(|(_, output)| output).collect()
}

/// What arrives in time.
trait IterWithin {
    fn iter_within(&self, count: usize, pids: &[Pid]) -> Vec<(usize, Output)>;
}

impl IterWithin for mpsc::Receiver<(usize, std::io::Result<Output>)> {
    fn iter_within(&self, count: usize, pids: &[Pid]) -> Vec<(usize, Output)> {
        let receive = |_| match self.recv_timeout(PATIENCE) {
            Ok((rank, output)) => (rank, output.unwrap()),
            Err(_) => {
                for pid in pids {
                    let _ = kill_process(*pid, Signal::KILL);
                }
                panic!("a rank did not end");
            }
        };
        (0..count).map(receive).collect()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_all_succeed(outputs: &[Output]) {
    for output in outputs {
        assert!(output.status.success(), "{}", stderr(output));
    }
}

/// Every rank but `culprit` fails with a message that contains `message`.
fn assert_others_say(outputs: &[Output], culprit: usize, message: &str) {
    for (rank, output) in outputs
        .iter()
        .enumerate()
        .filter(|(rank, _)| *rank != culprit)
    {
        let text = stderr(output);
        assert!(!output.status.success(), "rank {rank} succeeded: {text}");
        assert!(
            text.contains(message),
            "rank {rank} does not say {message:?}: {text}"
        );
    }
}

/// Ranks add in another order than one process does.
const TOLERANCE: f32 = 1e-6;

fn ranks_equal_one_process(world_size: usize) {
    let folder = tempfile::tempdir().unwrap();
    assert_all_succeed(&play("train", world_size, world_size, None, folder.path()));
    assert_all_succeed(&[again("train alone", folder.path()).output().unwrap()]);
    let ranks: Vec<_> = (0..world_size)
        .map(|rank| numbers(folder.path(), &rank.to_string()))
        .collect();
    let expected = numbers(folder.path(), "alone");
    let bits = |numbers: &[f32]| {
        numbers
            .iter()
            .map(|number| number.to_bits())
            .collect::<Vec<_>>()
    };
    assert!(
        ranks.iter().all(|rank| bits(rank) == bits(&ranks[0])),
        "ranks differ"
    );
    assert_eq!(ranks[0].len(), expected.len());
    let pairs = ranks[0].iter().zip(&expected);
    let far = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far <= TOLERANCE, "{far}");
    let gradients = &expected[..expected.len() / 2];
    let largest = gradients
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(
        largest > 1000.0 * TOLERANCE,
        "the gradients are too small to compare: {largest}"
    );
}

fn numbers(folder: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(folder.join(format!("{name}.bin"))).unwrap();
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    bytes.chunks_exact(4).map(number).collect()
}

#[test]
fn two_ranks_equal_one_process_and_each_other() {
    ranks_equal_one_process(2);
}

#[test]
fn three_ranks_equal_one_process_and_each_other() {
    ranks_equal_one_process(3);
}

#[test]
fn the_first_bucket_leaves_while_backward_runs() {
    let folder = tempfile::tempdir().unwrap();
    for world_size in [2, 3] {
        let outputs = play("overlap", world_size, world_size, None, folder.path());
        assert_all_succeed(&outputs);
    }
}

#[test]
fn collectives_do_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    for world_size in 1..=3 {
        assert_all_succeed(&play(
            "collectives",
            world_size,
            world_size,
            None,
            folder.path(),
        ));
    }
}

#[test]
fn one_changed_bit_of_one_rank_is_seen_by_all() {
    let folder = tempfile::tempdir().unwrap();
    assert_all_succeed(&play("drift", 3, 3, None, folder.path()));
}

#[test]
fn ranks_meet_at_an_agents_store_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // What torchrun's agent does: it serves the store, which then outlives its ranks.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let store = Server::start(listener, None, 2).unwrap();
    let port = store.address().port();
    for attempt in ["0", "1"] {
        let variables = [
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", attempt),
        ];
        let start = |rank| Rank::start("collectives", rank, 2, port, folder.path(), &variables);
        assert_all_succeed(&wait(vec![start(0), start(1)], None));
    }
}

#[test]
fn a_rank_with_another_model_is_named_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = play("other shape", 3, 3, None, folder.path());
    let message = "rank 2 differs from rank 0: parameter mlp.weight [4, 2] Float instead of parameter mlp.weight [3, 2] Float";
    assert_others_say(&outputs, usize::MAX, message);
}

#[test]
fn a_rank_with_another_config_is_named_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = play("other config", 2, 2, None, folder.path());
    assert_others_say(
        &outputs,
        usize::MAX,
        "rank 1 differs from rank 0: config digest-1 instead of digest-0: give all ranks the same",
    );
}

#[test]
fn a_rank_that_cannot_start_says_so_to_all() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = play("problem 1", 3, 3, None, folder.path());
    assert_others_say(
        &outputs,
        usize::MAX,
        "rank 1 cannot start: no files\\nat all",
    );
}

#[test]
fn a_killed_rank_ends_the_others_which_name_it() {
    let folder = tempfile::tempdir().unwrap();
    assert_others_say(
        &play("kill 1", 3, 3, None, folder.path()),
        1,
        "rank 1 has not answered",
    );
}

#[test]
fn the_killed_rank_that_serves_the_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_others_say(
        &play("kill 0", 3, 3, None, folder.path()),
        0,
        "rank 0 is gone",
    );
}

#[test]
fn a_frozen_rank_ends_the_others_which_name_it() {
    let folder = tempfile::tempdir().unwrap();
    assert_others_say(
        &play("freeze 2", 3, 3, Some(2), folder.path()),
        2,
        "rank 2 has not answered",
    );
}

#[test]
fn the_frozen_rank_that_serves_the_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_others_say(
        &play("freeze 0", 2, 2, Some(0), folder.path()),
        0,
        "rank 0 has not answered",
    );
}

#[test]
fn a_rank_killed_in_the_middle_of_backward_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_others_say(
        &play("kill in backward 1", 2, 2, None, folder.path()),
        1,
        "rank 1 has not answered",
    );
}

#[test]
fn a_rank_that_lives_but_never_comes_is_named_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = play("stay away 1", 3, 3, None, folder.path());
    assert_others_say(
        &outputs,
        1,
        "rank 1 still answers, but has not come to its collective",
    );
    assert!(
        stderr(&outputs[1]).contains("the other ranks have ended"),
        "{}",
        stderr(&outputs[1])
    );
}

#[test]
fn the_error_of_a_failing_rank_reaches_the_others() {
    let folder = tempfile::tempdir().unwrap();
    for rank in 0..2 {
        let outputs = play(&format!("fail {rank}"), 3, 3, None, folder.path());
        assert_others_say(
            &outputs,
            rank,
            &format!("rank {rank} failed: no file part-7"),
        );
    }
}

#[test]
fn a_rank_that_was_never_started_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = play("collectives", 2, 3, None, folder.path());
    assert_others_say(&outputs, usize::MAX, "no sign of rank 2 within 6 s");
}
