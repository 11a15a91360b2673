//! Trainings that are killed at random moments, until they are through: every byte and every logged loss equals those
//! of the same training left alone.
//!
//! `make soak` kills often (`RECAP_KILLS`, in all), `make test` once in each setup.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::distributed_training::{PATIENCE, ranks_below, save_dir, set};
use crate::evaluate::run_with_validation;
use crate::resume::poison;
use crate::support::{Run, stderr};

/// A training and what is special about it.
struct Setup {
    name: &'static str,
    /// Processes of the launcher; with 1 there is no launcher.
    ranks: u64,
    /// The first record of the first file makes every loss infinite.
    is_poisoned: bool,
    settings: &'static [&'static str],
}

/// Dropout, `BatchNorm`, a shuffle buffer and several files are in each: the tiny config has them.
const SETUPS: [Setup; 6] = [
    Setup {
        name: "accumulation",
        ranks: 1,
        is_poisoned: false,
        settings: &["training.gradient_accumulation=3"],
    },
    Setup {
        name: "skips",
        ranks: 1,
        is_poisoned: true,
        settings: &["training.max_skipped_steps=1000000"],
    },
    Setup {
        name: "memory cache",
        ranks: 1,
        is_poisoned: false,
        settings: &["train_data.cache=true"],
    },
    Setup {
        name: "disk cache and evaluation",
        ranks: 1,
        is_poisoned: false,
        settings: &[
            "train_data.cache=true",
            "train_data.cache_dir=RUN_DIR/rows",
            "training.evaluate=true",
            "training.eval_log_every_n=9",
            "training.num_eval_steps=2",
            "training.keep_best_metric=valid/label.fav/auroc",
        ],
    },
    Setup {
        name: "ranks",
        ranks: 2,
        is_poisoned: false,
        settings: &["training.gradient_accumulation=2"],
    },
    Setup {
        name: "ranks, skips and evaluation",
        ranks: 2,
        is_poisoned: true,
        settings: &[
            "training.gradient_accumulation=2",
            "training.max_skipped_steps=1000000",
            "training.evaluate=true",
            "training.eval_log_every_n=9",
            "training.num_eval_steps=1",
            "training.keep_best_metric=valid/label.fav/auroc",
        ],
    },
];

/// A random number below `end`.
fn random(end: u64) -> u64 {
    RandomState::new().build_hasher().finish() % end
}

impl Setup {
    fn run(&self) -> Run {
        let run = run_with_validation();
        if self.is_poisoned {
            std::fs::remove_dir_all(run.path("data")).unwrap();
            let inputs = set("train_data.inputs", run.path("data/*").display());
            let form = ["--compression=none", "--n_examples=200", "--n_files=4"];
            run.ok(&[&["generate", &inputs], &form[..]].concat());
            let files = std::fs::read_dir(run.path("data")).unwrap();
            let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            files.sort();
            poison(&files[0]);
        }
        run
    }

    /// The training that saves in `folder`, on `threads` of the loader.
    fn training(&self, run: &Run, folder: &str, (steps, threads): (u64, u64)) -> Command {
        let mut args = vec![
            save_dir(run, folder),
            set("training.num_train_steps", steps),
            set("training.checkpoint_every_n", 7),
            set("training.checkpoint_max_to_keep", 3),
            set("train_data.map_num_parallel_calls", threads),
        ];
        let place = run.path("").display().to_string();
        let settings = self.settings.iter();
        args.extend(settings.map(|text| format!("--set={}", text.replace("RUN_DIR", &place))));
        if self.is_poisoned {
            let inputs = run.path("data/*");
            args.push(set("train_data.inputs", inputs.display()));
            args.push(set(
                "validation_data.valid.inputs",
                run.path("data/*1.tfrecord").display(),
            ));
        }
        if self.ranks > 1 {
            args.push(format!("--nproc_per_node={}", self.ranks));
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let mut command = run.command(&args);
        command.env("OMP_NUM_THREADS", "1");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Kills the process, or the launcher, or one of its ranks.
fn kill_one_of(child: &Child) {
    let mut pids = ranks_below(child.id());
    pids.push(i32::try_from(child.id()).unwrap());
    let victim = pids[usize::try_from(random(pids.len() as u64)).unwrap()];
    let victim = Pid::from_raw(victim).unwrap();
    // It may have ended meanwhile.
    let _ = kill_process(victim, Signal::KILL);
}

/// Waits until no rank that has lost its launcher holds the folder.
fn wait_for_orphans(ranks: &[i32]) {
    let deadline = Instant::now() + PATIENCE;
    let is_there = |pid: &i32| Path::new(&format!("/proc/{pid}/exe")).exists();
    while ranks.iter().any(is_there) {
        assert!(Instant::now() < deadline, "ranks {ranks:?} stay");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts the training and kills it at a random moment of `length`; whether it came to its end before.
fn killed(mut command: Command, length: Duration) -> bool {
    let mut child = command.spawn().unwrap();
    let end = Instant::now() + length.mul_f64(random(1000) as f64 / 1000.0);
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "ended by itself with {status}");
            return true;
        }
        std::thread::sleep(Duration::from_micros(200 + random(800)));
    }
    let ranks = ranks_below(child.id());
    kill_one_of(&child);
    let is_done = child.wait().unwrap().success();
    wait_for_orphans(&ranks);
    is_done
}

/// What a training leaves behind.
#[derive(Debug, PartialEq)]
struct Left {
    losses: Vec<(u64, f64)>,
    names: Vec<String>,
    /// What the last checkpoint remembers of evaluations, and by what score the best one is the best.
    verdicts: [serde_json::Value; 2],
    /// Of the last checkpoint and of the best; last, and not to be printed.
    tensors: Bytes,
}

#[derive(PartialEq)]
struct Bytes(Vec<Vec<u8>>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digests = self.0.iter().map(|bytes| xxhash_rust::xxh3::xxh3_64(bytes));
        f.debug_list().entries(digests).finish()
    }
}

impl Left {
    fn read(run: &Run, folder: &str, step: u64) -> Self {
        let (model, optimizer) = run.checkpoint(folder, step);
        let best = run.path(folder).join("best/model.safetensors");
        let entries = std::fs::read_dir(run.path(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != ".lock").collect();
        names.sort();
        let state = |name: &str| -> serde_json::Value {
            let path = run.path(folder).join(name).join("state.json");
            let text = std::fs::read_to_string(path).unwrap_or_else(|_| "null".to_owned());
            serde_json::from_str(&text).unwrap()
        };
        Self {
            verdicts: [
                state(&step.to_string())["state"]["patience"].clone(),
                state("best")["state"]["best"].clone(),
            ],
            losses: run.losses(folder),
            names,
            tensors: Bytes(vec![
                model,
                optimizer,
                std::fs::read(best).unwrap_or_default(),
            ]),
        }
    }
}

/// Kills trainings of one setup `kills` times, and goes on with each until it is through.
fn survives(setup: &Setup, steps: u64, kills: u64) {
    let run = setup.run();
    let begin = Instant::now();
    let status = setup.training(&run, "whole", (steps, 1)).status().unwrap();
    assert!(status.success(), "{}: {status}", setup.name);
    let length = begin.elapsed();
    let expected = Left::read(&run, "whole", steps * setup.ranks);
    let (mut made, mut life) = (0, 0);
    while made < kills {
        life += 1;
        let folder = format!("life-{life}");
        let mut is_done = false;
        while !is_done && made < kills {
            let command = setup.training(&run, &folder, (steps, 1 + random(3)));
            is_done = killed(command, length);
            made += u64::from(!is_done);
        }
        let mut last = setup.training(&run, &folder, (steps, 2));
        let log = stderr(&last.stderr(Stdio::piped()).output().unwrap());
        let found = Left::read(&run, &folder, steps * setup.ranks);
        let words = format!("{} after {made} kills\n{log}", setup.name);
        assert_eq!(found, expected, "{words}");
        println!("{}: equal in every byte after {made} kills", setup.name);
    }
}

#[test]
fn killed_at_any_moment_a_training_comes_to_the_same_end() {
    let asked = std::env::var("RECAP_KILLS").ok();
    let asked: Option<u64> = asked.and_then(|text| text.parse().ok());
    let number = SETUPS.len() as u64;
    for (at, setup) in SETUPS.iter().enumerate() {
        let (steps, kills) = match asked {
            Some(kills) => (300, (kills + number - 1 - at as u64) / number),
            None => (40, 1),
        };
        survives(setup, steps, kills);
    }
}
