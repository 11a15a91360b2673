//! Batches that are given up (`training.max_skipped_steps`) by several ranks: by all of them alike, with the same bits, as
//! by one process, and to the end together.

use std::path::PathBuf;

use crate::distributed_promises::strs;
use crate::distributed_training::{
    Process, TOLERANCE, distance, exact, judged, launch, model, save_dir, set, start_ranks, train,
};
use crate::evaluate::run_that_overfits;
use crate::resume::poison;
use crate::support::Run;

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

/// Adds one file of 48 records without compression: the argument that reads it, and its path.
fn plain(run: &Run) -> (String, PathBuf) {
    let inputs = set(
        "train_data.inputs",
        format!("{}/*.tfrecord", run.path("data").display()),
    );
    run.ok(&[
        "generate",
        "--n_examples=48",
        "--n_files=1",
        "--compression=none",
        "--beside",
        &inputs,
    ]);
    (inputs, run.path("data/random.tfrecord"))
}

/// Four micro-batches an epoch of which the first is bad, three an update: the first, the middle and the last of an
/// update are given up in turn. Ranks then reach what one process reaches that gives up the same ones: an update is made
/// with the sum of the gradients that are left, over the number that there should have been.
#[test]
fn ranks_that_give_up_micro_batches_reach_what_one_process_reaches() {
    let run = exact();
    let (inputs, file) = plain(&run);
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
    let run = exact();
    let (inputs, file) = plain(&run);
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

/// The steps that a run has given up, and which rank was the reason.
fn skipped(run: &Run, save_dir: &str) -> Vec<(u64, u64)> {
    let events = run.events(save_dir).into_iter();
    let skips = events.filter(|event| event["event"] == "skipped_step");
    let pair = |event: serde_json::Value| (event["step"].as_u64(), event["rank"].as_u64());
    skips
        .map(pair)
        .map(|(step, rank)| (step.unwrap(), rank.unwrap()))
        .collect()
}

/// Ramp included: three micro-batches an update, of which the first, the middle and the last are given up in turn.
#[test]
fn a_run_with_skips_in_two_parts_equals_a_run_in_one() {
    let run = exact();
    let (inputs, file) = plain(&run);
    poison(&file);
    let rate = "{linear_ramp_to_constant: {learning_rate: 0.05, num_ramp_steps: 8}}";
    let train = |name: &str, steps: u64| {
        let args = [
            inputs.clone(),
            set("optimizer.single_task_learning_rate", rate),
            set("train_data.examples_shuffle_buffer_size", 0),
            set("train_data.global_batch_size", 12),
            set("training.gradient_accumulation", 3),
            set("training.max_skipped_steps", 4),
            set("training.num_train_steps", steps),
            save_dir(&run, name),
        ];
        launch(&run, &strs(&args), 2)
    };
    train("whole", 12);
    let whole = skipped(&run, "whole");
    let steps: Vec<u64> = whole.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [0, 4, 8], "{whole:?}");
    // Behind the first skip, in the middle of an accumulation with one, behind one at its end.
    for steps in [1, 5, 9, 12] {
        train("parts", steps);
    }
    assert_eq!(skipped(&run, "parts"), whole);
    assert!(
        run.checkpoint("whole", 24) == run.checkpoint("parts", 24),
        "the bytes differ"
    );
}

#[test]
fn more_skips_than_allowed_end_all_ranks_with_the_same_words() {
    let run = exact();
    let (inputs, file) = plain(&run);
    poison(&file);
    // The first, the middle and the last of an accumulation is the one too many.
    for (accumulation, allowed) in [(1, 1), (3, 1), (3, 2), (2, 1)] {
        let name = format!("save-{accumulation}-{allowed}");
        let args = [
            inputs.clone(),
            set("train_data.examples_shuffle_buffer_size", 0),
            set("train_data.global_batch_size", 12),
            set("training.gradient_accumulation", accumulation),
            set("training.max_skipped_steps", allowed),
            set("training.num_train_steps", 100),
            save_dir(&run, &name),
        ];
        let ranks = start_ranks(&run, &strs(&args), 2);
        let ends: Vec<_> = ranks.into_iter().map(Process::end).collect();
        let words = format!("(training.max_skipped_steps: {allowed} are skipped already)");
        for (code, text) in &ends {
            assert_eq!(*code, Some(4), "{text}");
            let lines = text.lines().filter(|line| line.contains(&words));
            let lines: Vec<_> = lines.collect();
            assert!(
                lines.iter().any(|line| line.contains("diverged at step")),
                "{text}"
            );
        }
    }
}

/// No batch may be skipped: the rank that has the bad one says so, the others end with the same code.
#[test]
fn a_divergence_of_one_rank_is_that_of_all() {
    let (run, inputs) = poisoned();
    let args = [inputs, set("training.num_train_steps", 6)];
    let ranks = start_ranks(&run, &strs(&args), 2);
    for (code, text) in ranks.into_iter().map(Process::end) {
        assert_eq!(code, Some(4), "{text}");
        assert!(text.contains("diverged at step"), "{text}");
    }
}

#[test]
fn a_batch_that_is_bad_on_all_ranks_is_one_skip() {
    let (run, inputs) = poisoned();
    let files = std::fs::read_dir(run.path("data")).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    poison(&files[1]);
    let args = [
        inputs,
        set("train_data.examples_shuffle_buffer_size", 0),
        set("training.gradient_accumulation", 2),
        set("training.num_train_steps", 4),
        set("training.max_skipped_steps", 1),
    ];
    launch(&run, &strs(&args), 2);
    let skipped = skipped(&run, "save");
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert_eq!(skipped[0].0, skipped[1].0, "{skipped:?}");
    let ranks: Vec<u64> = skipped.iter().map(|(_, rank)| *rank).collect();
    assert_eq!(ranks, [0, 1]);
}

/// One of the batches of each epoch is bad; the evaluations that stop the run are those of one process.
#[test]
fn skips_and_an_early_stop_are_those_of_one_process() {
    let run = run_that_overfits();
    let (inputs, file) = plain(&run);
    poison(&file);
    let with = |name: &str, world_size: usize| {
        let args = [
            inputs.clone(),
            set("train_data.examples_shuffle_buffer_size", 0),
            set("train_data.global_batch_size", 24),
            set("training.max_skipped_steps", 1000),
            save_dir(&run, name),
        ];
        train(&run, &strs(&args), world_size)
    };
    let text = with("alone", 1);
    assert!(text.contains("stopped early"), "{text}");
    let alone = judged(&run, "alone");
    for world_size in [2, 3] {
        let name = format!("ranks-{world_size}");
        let text = with(&name, world_size);
        assert_eq!(text.matches("stopped early").count(), 1, "{text}");
        let together = judged(&run, &name);
        assert_eq!(together.len(), alone.len(), "{together:?} {alone:?}");
        for (alone, together) in alone.iter().zip(&together) {
            assert_eq!(alone.0 * world_size as u64, together.0);
            assert_eq!(alone.2, together.2, "{together:?} {alone:?}");
        }
        let steps = |name: &str| -> Vec<u64> {
            skipped(&run, name).iter().map(|(step, _)| *step).collect()
        };
        assert_eq!(steps(&name), steps("alone"));
    }
}
