//! What training with several ranks promises beyond good weather: skipped steps, data that differs, threads that differ,
//! accidents at every phase, strangers at the store.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::distributed_training::{
    PATIENCE, Process, TOLERANCE, distance, endless, exact, free_port, launch, model, save_dir,
    set, start_rank, start_ranks, train,
};
use crate::resume::poison;
use crate::sockets::Socket;
use crate::support::{Run, stderr};

/// `args` as strings that live as long as the test.
fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// Two files without compression, one for each of two ranks; the first record of the first has an input that is not a
/// number.
fn poisoned() -> (Run, String) {
    let run = Run::new();
    let inputs = format!("--set=train_data.inputs={}/*", run.path("data").display());
    run.ok(&[
        "generate",
        "--n_examples=64",
        "--n_files=2",
        "--compression=none",
        &inputs,
    ]);
    let mut files: Vec<_> = std::fs::read_dir(run.path("data"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    poison(&files[0]);
    (run, inputs)
}

/// Four batches an epoch, one of them bad on one of the ranks: all give it up, and go on with the same bits.
fn skips(accumulation: u64) {
    let (run, inputs) = poisoned();
    let args = [
        inputs,
        set("training.num_train_steps", 6),
        set("training.checkpoint_every_n", 6),
        set("training.gradient_accumulation", accumulation),
        set("training.max_skipped_steps", 3),
    ];
    let text = launch(&run, &strs(&args), 2);
    assert!(text.contains("skipped: diverged at step"), "{text}");
    assert!(text.contains("is not finite"), "{text}");
    assert!(
        !text.contains("no longer have the same parameters"),
        "{text}"
    );
    let state = std::fs::read_to_string(run.path("save/12/state.json")).unwrap();
    assert!(state.contains("\"skipped_steps\""), "{state}");
    let model = model(&run, "save", 12);
    assert!(
        model
            .values()
            .all(|tensor| tensor.isfinite().all().int64_value(&[]) == 1)
    );
}

#[test]
fn a_bad_batch_of_one_rank_is_given_up_by_all() {
    skips(1);
}

#[test]
fn a_bad_micro_batch_of_one_rank_is_given_up_by_all() {
    skips(2);
}

/// The exact model and one file of 48 records without compression: the argument that reads it, and its path.
fn plain() -> (Run, String, PathBuf) {
    let run = exact();
    let inputs = format!(
        "--set=train_data.inputs={}/*.tfrecord",
        run.path("data").display()
    );
    run.ok(&[
        "generate",
        "--n_examples=48",
        "--n_files=1",
        "--compression=none",
        &inputs,
    ]);
    let files = std::fs::read_dir(run.path("data")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let is_plain = |path: &PathBuf| path.extension().is_some_and(|end| end == "tfrecord");
    let file = files.find(is_plain).unwrap();
    (run, inputs, file)
}

/// Four micro-batches an epoch of which the first is bad, three an update: the first, the middle and the last of an
/// update are given up in turn. Ranks then reach what one process reaches that gives up the same ones: an update is made
/// with the sum of the gradients that are left, over the number that there should have been.
#[test]
fn ranks_that_give_up_micro_batches_reach_what_one_process_reaches() {
    let (run, inputs, file) = plain();
    let train = |name: &str, world_size: usize| {
        let args = [
            inputs.clone(),
            // No shuffle: the ranks take the records of one file in turn, so that together they have the same ones.
            set("train_data.examples_shuffle_buffer_size", 0),
            set("train_data.global_batch_size", 12),
            set("training.gradient_accumulation", 3),
            set("training.max_skipped_steps", 3),
            set("training.num_train_steps", 9),
            save_dir(&run, name),
        ];
        let text = train(&run, &strs(&args), world_size);
        let steps = run.events(name).into_iter();
        let skipped: Vec<_> = steps
            .filter(|event| event["name"] == "skipped_step" || event["skipped_steps"].is_number())
            .filter_map(|event| event["step"].as_u64())
            .collect();
        (model(&run, name, 9 * world_size as u64), skipped, text)
    };
    let (clean, skipped, _) = train("clean", 1);
    assert!(skipped.is_empty());
    poison(&file);
    let (alone, skipped, text) = train("alone", 1);
    assert_eq!(skipped, [0, 4, 8], "{text}");
    assert!(text.contains("updated with the batches before"), "{text}");
    assert!(distance(&clean, &alone) > 1000.0 * TOLERANCE);
    for world_size in [2, 3] {
        let (ranks, skipped, text) = train(&format!("ranks-{world_size}"), world_size);
        assert_eq!(skipped, [0, 4, 8], "{text}");
        assert!(!text.contains("no longer have the same"), "{text}");
        let far = distance(&alone, &ranks);
        assert!(far <= TOLERANCE, "{world_size} ranks: {far}");
    }
}

/// Every batch has the bad record, on one of the ranks: all are given up, and nothing of them stays.
#[test]
fn steps_that_are_given_up_leave_nothing_behind() {
    let (run, inputs, file) = plain();
    poison(&file);
    let train = |name: &str, steps: u64, world_size: usize| {
        let args = [
            inputs.clone(),
            set("training.gradient_accumulation", 2),
            set("training.max_skipped_steps", 5),
            set("training.num_train_steps", steps),
            save_dir(&run, name),
        ];
        let text = launch(&run, &strs(&args), world_size);
        assert!(text.contains("skipped"), "{text}");
        model(&run, name, steps * world_size as u64)
    };
    let first = train("one", 1, 2);
    let pairs = [train("five", 5, 2), train("alone", 5, 1)];
    for other in &pairs {
        assert!(distance(&first, other) <= 0.0);
    }
}

#[test]
fn ranks_with_other_files_do_not_begin() {
    let run = Run::with_data();
    let copy = |name: &str, files: &[u32]| {
        let folder = run.path(name).join("data");
        std::fs::create_dir_all(&folder).unwrap();
        for number in files {
            let file = format!("random-0000{number}.tfrecord.gz");
            std::fs::copy(run.path("data").join(&file), folder.join(&file)).unwrap();
        }
    };
    copy("a", &[0, 1, 2]);
    copy("b", &[0, 2]);
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let start = |rank: usize| {
        let mut command = run.command(&[
            "--set=train_data.inputs=data/*.gz",
            &set("training.distributed_timeout_in_s", 20),
        ]);
        command.current_dir(run.path(["a", "b"][rank]));
        for (name, value) in [
            ("RANK", rank),
            ("LOCAL_RANK", rank),
            ("WORLD_SIZE", 2),
            ("LOCAL_WORLD_SIZE", 2),
        ] {
            command.env(name, value.to_string());
        }
        command
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", port.to_string());
        Process::start(command)
    };
    for rank in [start(0), start(1)] {
        let (code, text) = rank.end();
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains("rank 1 differs from rank 0: train_data: its data is 2 files"),
            "{text}"
        );
        assert!(
            text.contains("first data/random-00002.tfrecord.gz"),
            "{text}"
        );
    }
}

#[test]
fn a_rank_without_data_ends_all_with_its_reason() {
    let run = Run::with_data();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let start = |rank: usize| {
        let mut command = run.command(&["--set=train_data.inputs=data/*.gz"]);
        command.current_dir(run.path(["", "elsewhere"][rank]));
        for (name, value) in [
            ("RANK", rank),
            ("LOCAL_RANK", rank),
            ("WORLD_SIZE", 2),
            ("LOCAL_WORLD_SIZE", 2),
        ] {
            command.env(name, value.to_string());
        }
        command
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", port.to_string());
        Process::start(command)
    };
    std::fs::create_dir(run.path("elsewhere")).unwrap();
    let ranks = [start(0), start(1)];
    let [first, second] = ranks.map(Process::end);
    assert_eq!(
        (first.0, second.0),
        (Some(1), Some(3)),
        "{}\n{}",
        first.1,
        second.1
    );
    assert!(
        first.1.contains("rank 1 cannot start: no data files found"),
        "{}",
        first.1
    );
}

#[test]
fn a_rank_whose_launch_cannot_be_ends_all_with_its_reason() {
    let run = Run::with_data();
    let port = free_port();
    let start = |rank, batch_size: u64| {
        let args = [set("train_data.global_batch_size", batch_size)];
        start_rank(&run, &[&args[0]], rank, 2, port)
    };
    let ranks = [start(0, 16), start(1, 15)];
    let [first, second] = ranks.map(Process::end);
    let texts = format!("{}\n{}", first.1, second.1);
    assert_eq!((first.0, second.0), (Some(1), Some(2)), "{texts}");
    assert!(first.1.contains("rank 1 cannot start: "), "{texts}");
    assert!(!first.1.contains("no sign of rank"), "{texts}");
    for text in [&first.1, &second.1] {
        assert!(text.contains("15"), "{texts}");
    }
}

#[test]
fn a_resume_with_other_threads_says_so_or_keeps_them() {
    let run = Run::with_data();
    let steps = |steps: u64| set("training.num_train_steps", steps);
    let with = |threads: Option<&str>, steps: &str| {
        let mut command = run.command(&[steps]);
        match threads {
            Some(threads) => command.env("OMP_NUM_THREADS", threads),
            None => command.env_remove("OMP_NUM_THREADS"),
        };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let text = with(Some("2"), &steps(4));
    assert!(!text.contains("libtorch threads"), "{text}");
    let text = with(Some("2"), &steps(5));
    assert!(!text.contains("libtorch threads"), "{text}");
    let text = with(Some("1"), &steps(6));
    let words = "number of libtorch threads: 2 until this resume, 1 from now on";
    assert!(text.contains(words), "{text}");
    // Nobody has chosen: goes on with one, or cannot differ from it.
    let text = with(None, &steps(7));
    assert!(!text.contains("libtorch threads:"), "{text}");
}

/// A signal at the meeting ends a rank that waits for others, and no other command has to be given to go on.
#[test]
fn a_signal_at_the_meeting_ends_the_rank_at_once() {
    let run = Run::with_data();
    let args = [set("training.distributed_timeout_in_s", 600)];
    // Rank 0 alone waits for rank 1; rank 1 alone for somebody who takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut first = start_ranks(&run, &strs(&args), 2).into_iter();
    let (zero, one) = (first.next().unwrap(), first.next().unwrap());
    one.signal(Signal::STOP);
    let mut command = run.command(&strs(&args));
    let port = silent.local_addr().unwrap().port().to_string();
    for (name, value) in [
        ("RANK", "1"),
        ("LOCAL_RANK", "1"),
        ("WORLD_SIZE", "2"),
        ("LOCAL_WORLD_SIZE", "2"),
        ("MASTER_ADDR", "127.0.0.1"),
        ("MASTER_PORT", &port),
    ] {
        command.env(name, value);
    }
    let lonely = Process::start(command);
    // It has connected once it listens for signals.
    let (_line, _) = silent.accept().unwrap();
    for rank in [&zero, &lonely] {
        wait_for_handler(rank.child.id());
    }
    let begin = Instant::now();
    for rank in [zero, lonely] {
        rank.signal(Signal::TERM);
        let (code, text) = rank.end();
        assert_eq!(code, Some(75), "{text}");
        assert!(!text.contains("ERROR"), "{text}");
    }
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
    one.signal(Signal::KILL);
    one.end();
}

/// Waits until the process catches SIGTERM.
fn wait_for_handler(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        if caught & (1 << (15 - 1)) != 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("process {pid} does not catch signals");
}

/// What a stranger would say to take the run over.
fn forge(port: u16) {
    let text = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    let mut line = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut words = [&[0][..], &0x3C85_F7CE_u32.to_le_bytes()].concat();
    for prefix in ["/", "/worker/attempt_0/"] {
        words.push(1);
        words.extend(text(format!("{prefix}failure").as_bytes()));
        words.extend(text(br#"{"rank":1,"reason":"forged by a stranger"}"#));
    }
    let _ = line.write_all(&words);
    // The store hangs up.
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(line.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn the_launchers_store_is_for_its_ranks_alone() {
    let run = Run::with_data();
    let args = endless(&run);
    let mut command = run.command(&strs(&args));
    command.arg("--nproc_per_node=2");
    let mut launcher = Process::start(command);
    launcher.wait_for("saved checkpoint");
    let doors = Socket::of(launcher.child.id());
    let doors: Vec<_> = doors.iter().filter(|socket| socket.is_door()).collect();
    assert_eq!(doors.len(), 1, "{doors:?}");
    assert!(doors[0].local.ip().is_loopback(), "{doors:?}");
    forge(doors[0].local.port());
    launcher.wait_for("saved checkpoint");
    launcher.signal(Signal::TERM);
    let (code, text) = launcher.end();
    assert_eq!(code, Some(75), "{text}");
    assert!(!text.contains("forged"), "{text}");
}

/// Gradients of three batches are added before an update, and the run ends and begins again after the second: each rank
/// goes on with its own sum, or the last bits differ.
#[test]
fn an_accumulation_of_ranks_survives_an_end_in_its_middle() {
    let run = Run::with_data();
    let train = |folder: &str, steps: u64, ranks: usize| {
        let args = [
            save_dir(&run, folder),
            set("training.num_train_steps", steps),
            set("training.gradient_accumulation", 3),
        ];
        launch(&run, &strs(&args), ranks)
    };
    for ranks in [2, 4] {
        let (whole, parts) = (format!("whole-{ranks}"), format!("parts-{ranks}"));
        train(&whole, 9, ranks);
        train(&parts, 5, ranks);
        train(&parts, 9, ranks);
        let step = 9 * ranks as u64;
        assert!(
            run.checkpoint(&whole, step) == run.checkpoint(&parts, step),
            "{ranks} ranks: the bytes differ"
        );
    }
    // Other ranks than those that saved go on with the mean of what these had.
    train("changed", 5, 2);
    let text = train("changed", 9, 4);
    assert!(text.contains("2 ranks trained before, 4 do now"), "{text}");
}

#[test]
fn a_launcher_inside_a_rank_is_a_mistake_of_usage() {
    let run = Run::with_data();
    let mut command = run.command(&["--nproc_per_node=2"]);
    command.env("RANK", "0");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn the_shell_of_a_slurm_job_is_told_to_use_srun() {
    let run = Run::with_data();
    let mut command = run.command(&[]);
    for (name, value) in [
        ("SLURM_JOB_ID", "7"),
        ("SLURM_PROCID", "0"),
        ("SLURM_LOCALID", "0"),
        ("SLURM_NTASKS", "2"),
    ] {
        command.env(name, value);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("srun recap-train"),
        "{}",
        stderr(&output)
    );
}
