//! Whether what is to be saved is made of numbers. The loss of the next step would show that an update has overflowed,
//! but by then a save may have taken the place of a good checkpoint.

use tch::{Kind, Tensor};

use super::CheckpointError;
use super::format::Snapshot;

/// Ends of the names of bounds, which may be infinite.
const BOUNDS: [&str; 2] = ["min_value", "max_value"];

/// Looks at every tensor of floats.
///
/// # Errors
/// At the first that holds NaN, or an infinity and is no bound; when libtorch refuses.
pub(super) fn check(snapshot: &Snapshot) -> Result<(), CheckpointError> {
    for (name, tensor) in snapshot.model.iter().chain(&snapshot.optimizer) {
        let sum = sum(tensor).map_err(|source| CheckpointError::Tensor {
            name: name.clone(),
            source,
        })?;
        let is_bound = BOUNDS.iter().any(|end| name.ends_with(end));
        if sum.is_nan() || sum.is_infinite() && !is_bound {
            return Err(CheckpointError::NotFinite {
                name: name.clone(),
                global_step: snapshot.global_step,
            });
        }
    }
    Ok(())
}

/// The sum of a tensor of floats, else 0. Numbers of at most 32 bits have a finite one in 64, however many there are; of
/// 64 bits there is nothing that comes near the end of their range.
fn sum(tensor: &Tensor) -> Result<f64, tch::TchError> {
    match tensor.kind() {
        Kind::Float | Kind::Half | Kind::BFloat16 | Kind::Double => {
            tensor.detach().f_sum(Kind::Double)?.try_into()
        }
        _ => Ok(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::snapshot;
    use super::*;

    #[test]
    fn one_value_that_is_no_number_is_seen_and_the_largest_number_is_one() {
        for (value, kind, is_fine) in [
            (f64::from(f32::MAX), Kind::Float, true),
            (f64::INFINITY, Kind::Float, false),
            (f64::NAN, Kind::BFloat16, false),
            (f64::NEG_INFINITY, Kind::Half, false),
            (f64::NAN, Kind::Double, false),
            (1.0, Kind::Int64, true),
        ] {
            let mut whole = snapshot(1);
            let tensor = Tensor::zeros([1000], (kind, tch::Device::Cpu));
            let _ = tensor.narrow(0, 700, 5).fill_(value);
            whole.optimizer.push(("w/exp_avg".to_owned(), tensor));
            assert_eq!(check(&whole).is_ok(), is_fine, "{value}");
        }
        for (bound, is_fine) in [(f32::INFINITY, true), (f32::NAN, false)] {
            let mut bounded = snapshot(1);
            let name = "transform.max_value".to_owned();
            bounded.model.push((name, Tensor::from(bound)));
            assert_eq!(check(&bounded).is_ok(), is_fine, "{bound}");
        }
    }
}
