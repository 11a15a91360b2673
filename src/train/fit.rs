//! Whether a training fits into this machine's memory, before anything is allocated.
//!
//! Only what is certain is refused: the least that the model and its batches need, against the most that the process
//! could ever have. On a GPU its own memory decides, and libtorch says so.

use tch::Cuda;

use super::TrainError;
use super::setup::Place;
use crate::config::RecapConfig;
use crate::machine::{Memory, bytes_text};
use crate::model::Plan;

/// Of an f32.
const BYTES: u64 = 4;
/// The parameter, its gradient, and Adam's two moments.
const TRAINED: u64 = 4;

/// Refuses a model whose parameters alone do not fit.
///
/// # Errors
/// [`TrainError::TooLarge`].
pub fn weights(plan: &Plan) -> Result<(), TrainError> {
    judge(vec![parameters(plan, BYTES, "")], &Memory::now(), 1)
}

/// Refuses a training of the model that `plan` measured that does not fit as often as there are ranks on this machine.
///
/// # Errors
/// [`TrainError::TooLarge`].
pub fn training(plan: &Plan, config: &RecapConfig, place: Place) -> Result<(), TrainError> {
    if Cuda::device_count() > 0 {
        return weights(plan);
    }
    let needs = needs(plan, config, place.world_size as u64);
    judge(needs, &Memory::now(), place.local_world_size as u64)
}

/// What is needed, and what for.
type Need = (u64, String);

fn needs(plan: &Plan, config: &RecapConfig, world_size: u64) -> Vec<Need> {
    let rows = config.train_data.global_batch_size.get() / world_size.max(1);
    let between = rows.saturating_mul(plan.outputs).saturating_mul(BYTES);
    let tasks = config.model.tasks.len() as u64;
    let training = &config.training;
    let kept = training.log_metrics_window.map_or(0, |window| {
        let batches = window.get().min(training.num_train_steps.get());
        // Logits and labels of every task.
        batches
            .saturating_mul(rows)
            .saturating_mul(2 * BYTES * tasks)
    });
    let trained = " with their gradients and Adam's moments";
    vec![
        parameters(plan, BYTES * TRAINED, trained),
        (
            between,
            format!("what {rows} rows (train_data.global_batch_size) leave between layers"),
        ),
        (kept, "training.log_metrics_window".to_owned()),
    ]
}

fn parameters(plan: &Plan, bytes: u64, with: &str) -> Need {
    let (name, shape) = &plan.largest;
    let what = format!(
        "{} parameters{with} (the largest is {name} {shape:?})",
        plan.parameters
    );
    (plan.parameters.saturating_mul(bytes), what)
}

fn judge(mut needs: Vec<Need>, memory: &Memory, ranks: u64) -> Result<(), TrainError> {
    let total = needs
        .iter()
        .fold(0_u64, |sum, need| sum.saturating_add(need.0));
    let total = total.saturating_mul(ranks.max(1));
    if total <= memory.most() {
        return Ok(());
    }
    needs.sort_by_key(|need| std::cmp::Reverse(need.0));
    let shown = needs
        .iter()
        .filter(|need| need.0 > total / ranks.max(1) / 100);
    let shown: Vec<String> = shown
        .map(|(bytes, what)| format!("{} for {what}", bytes_text(*bytes)))
        .collect();
    Err(TrainError::TooLarge {
        needs: bytes_text(total),
        has: bytes_text(memory.most()),
        what: shown.join(", "),
        ranks: match ranks {
            0 | 1 => String::new(),
            ranks => format!(", on each of {ranks} ranks"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Room;

    fn memory(bytes: u64) -> Memory {
        let machine = Some(Room {
            limit: bytes,
            left: 0,
        });
        Memory {
            machine,
            ..Memory::default()
        }
    }

    fn plan(parameters: u64) -> Plan {
        Plan {
            parameters,
            largest: ("model.a.weight".to_owned(), vec![2, 3]),
            outputs: 10,
        }
    }

    #[test]
    fn what_cannot_fit_is_said_with_what_it_is_for() {
        let needs = || vec![parameters(&plan(1_000_000), 16, " with moments")];
        assert!(judge(needs(), &memory(16_000_000), 1).is_ok());
        let error = judge(needs(), &memory(16_000_000), 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this needs about 32.0 MB of memory, the process may use 16.0 MB: 16.0 MB for 1000000 parameters with \
             moments (the largest is model.a.weight [2, 3]), on each of 2 ranks; make it smaller, or use a machine with \
             more memory"
        );
    }

    #[test]
    fn sums_beyond_64_bits_are_too_much_and_no_overflow() {
        let needs = vec![(u64::MAX, "a".to_owned()), (u64::MAX, "b".to_owned())];
        assert!(judge(needs, &memory(1 << 40), 9).is_err());
        assert_eq!(parameters(&plan(u64::MAX), 16, "").0, u64::MAX);
    }
}
