//! How ranks end together: a signal to one of them, whatever the others wait for, and a launcher whose ranks are frozen.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::distributed_training::{
    Process, endless, free_port, launch, ranks_below, save_dir, set, state,
};
use crate::store_server::{Server, Shared, Trick};
use crate::support::{Run, with_default_signals};

/// The file that rank 1 reads and rank 0 does not.
const OF_RANK_1: &str = "GET bucket/train/random-00001";

/// The data of a run in a store.
fn served(run: &Run, trick: Trick) -> Server {
    let server = Server::start(Shared::with(trick));
    server.add(&run.path("data"), "bucket/train");
    server
}

/// Two ranks on data in the store, which wait for each other for ever.
fn start_two(run: &Run, server: &Server) -> [Process; 2] {
    let port = free_port().to_string();
    [0, 1].map(|rank| {
        let mut command = server.command(
            run,
            &[
                "--set=train_data.inputs=s3://bucket/train/random-0000[01]*",
                &set("training.num_train_steps", 1_000_000),
                &set("training.distributed_timeout_in_s", 100_000),
            ],
        );
        for name in ["RANK", "LOCAL_RANK"] {
            command.env(name, rank.to_string());
        }
        for name in ["WORLD_SIZE", "LOCAL_WORLD_SIZE"] {
            command.env(name, "2");
        }
        command
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", &port);
        Process::start(with_default_signals(&command))
    })
}

#[test]
fn a_signal_to_one_rank_saves_at_once_whatever_another_one_waits_for() {
    let run = Run::with_data();
    let server = served(&run, Trick::None);
    for (signal, name, to) in [
        (Signal::TERM, "SIGTERM", 0),
        (Signal::USR1, "SIGUSR1", 1),
        (Signal::HUP, "SIGHUP", 0),
    ] {
        server.play(Trick::None);
        let mut ranks = start_two(&run, &server);
        ranks[0].wait_for("Step: ");
        ranks[0].wait_for("Step: ");
        server.play(Trick::Hang(OF_RANK_1, 0));
        server.wait_for("GET /bucket/train/random-00001", 1);
        ranks[to].signal(signal);
        let [first, second] = ranks.map(Process::end);
        let texts = format!("{}\n{}", first.1, second.1);
        assert_eq!((first.0, second.0), (Some(75), Some(75)), "{texts}");
        assert!(!texts.contains("ERROR"), "{texts}");
        assert!(first.1.contains("the state is saved in"), "{texts}");
        // The other ranks write errors alone.
        let from = match to {
            0 => format!("interrupted by {name} after"),
            to => format!("interrupted by {name} to rank {to} after"),
        };
        assert!(first.1.contains(&from), "no {from:?} in {texts}");
    }
}

#[test]
fn a_signal_to_one_rank_ends_all_where_another_one_has_no_data_yet() {
    let run = Run::with_data();
    let server = served(&run, Trick::Hang(OF_RANK_1, 0));
    let ranks = start_two(&run, &server);
    server.wait_for("GET /bucket/train/random-00001", 1);
    ranks[0].signal(Signal::TERM);
    let [first, second] = ranks.map(Process::end);
    let texts = format!("{}\n{}", first.1, second.1);
    assert_eq!((first.0, second.0), (Some(75), Some(75)), "{texts}");
    assert!(!texts.contains("ERROR"), "{texts}");
    assert!(first.1.contains("run the same command again"), "{texts}");
}

/// A launcher whose two ranks have saved, and are frozen now.
fn frozen(run: &Run, timeout: u64) -> Process {
    let mut args = endless(run).to_vec();
    args.push(set("training.distributed_timeout_in_s", timeout));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command: Command = run.command(&args);
    command.arg("--nproc_per_node=2");
    let mut launcher = Process::start(with_default_signals(&command));
    launcher.wait_for("saved checkpoint");
    let ranks = ranks_below(launcher.child.id());
    assert_eq!(ranks.len(), 2, "{}", launcher.text);
    for rank in ranks {
        kill_process(Pid::from_raw(rank).unwrap(), Signal::STOP).unwrap();
    }
    launcher
}

#[test]
fn a_launcher_notices_that_all_its_ranks_are_frozen() {
    let run = Run::with_data();
    let (code, text) = frozen(&run, 3).end();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("rank 0, 1: none of them has answered for"),
        "{text}"
    );
}

#[test]
fn a_second_signal_ends_a_launcher_whose_ranks_are_frozen() {
    let run = Run::with_data();
    let mut launcher = frozen(&run, 600);
    while launcher.child.try_wait().unwrap().is_none() {
        launcher.signal(Signal::TERM);
        // The launcher is one that waits, not one that is kept busy.
        std::thread::sleep(Duration::from_millis(100));
    }
    let (code, text) = launcher.end();
    assert_eq!(code, Some(1), "{text}");
    let words = "rank 0, 1 did not end within 2 s after SIGTERM came again: killed";
    assert!(text.contains(words), "{text}");
}

#[test]
fn one_frozen_rank_of_a_launcher_is_named_although_a_signal_came() {
    let run = Run::with_data();
    let mut args = endless(&run).to_vec();
    args.push(set("training.distributed_timeout_in_s", 4));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command = run.command(&args);
    command.arg("--nproc_per_node=2");
    let mut launcher = Process::start(with_default_signals(&command));
    launcher.wait_for("saved checkpoint");
    let ranks = ranks_below(launcher.child.id());
    let pid = |rank: usize| Pid::from_raw(ranks[rank]).unwrap();
    // Children come in the order of their start.
    kill_process(pid(1), Signal::STOP).unwrap();
    kill_process(pid(0), Signal::TERM).unwrap();
    let (code, text) = launcher.end();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("rank 1 has not answered for"), "{text}");
}

/// The ranks agree on the step after which they end, also where only one was asked.
#[test]
fn a_run_that_one_rank_was_asked_to_end_goes_on_as_one_left_alone() {
    let run = Run::with_data();
    let common = [
        set("training.num_train_steps", 60),
        set("train_data.global_batch_size", 18),
    ];
    let [steps, batch] = common.each_ref().map(String::as_str);
    launch(&run, &[&save_dir(&run, "whole"), steps, batch], 2);
    let parts = save_dir(&run, "parts");
    let mut command = run.command(&[&parts, steps, batch]);
    command.arg("--nproc_per_node=2");
    let mut launcher = Process::start(with_default_signals(&command));
    launcher.wait_for("Step: 3, training");
    let ranks = ranks_below(launcher.child.id());
    kill_process(Pid::from_raw(ranks[1]).unwrap(), Signal::INT).unwrap();
    let (code, text) = launcher.end();
    assert_eq!(code, Some(75), "{text}");
    let newest = recap_train::checkpoint::global_steps(&run.path("parts")).unwrap();
    let newest = *newest.last().unwrap();
    assert_eq!(
        state(&run.path("parts").join(newest.to_string())).step * 2,
        newest
    );
    launch(&run, &[&parts, steps, batch], 2);
    assert!(
        run.checkpoint("whole", 120) == run.checkpoint("parts", 120),
        "the bytes differ"
    );
}
