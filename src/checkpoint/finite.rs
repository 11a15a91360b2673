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
/// At the first that holds NaN or an infinity; when libtorch refuses.
pub(super) fn check(snapshot: &Snapshot) -> Result<(), CheckpointError> {
    for (name, tensor) in snapshot.model.iter().chain(&snapshot.optimizer) {
        let is_bound = BOUNDS.iter().any(|end| name.ends_with(end));
        let is_finite = is_finite(tensor).map_err(|source| CheckpointError::Tensor {
            name: name.clone(),
            source,
        })?;
        if !is_bound && !is_finite {
            return Err(CheckpointError::NotFinite {
                name: name.clone(),
                global_step: snapshot.global_step,
            });
        }
    }
    Ok(())
}

/// The sum of numbers of at most 32 bits is finite in 64 if all of them are, however many there are.
fn is_finite(tensor: &Tensor) -> Result<bool, tch::TchError> {
    match tensor.kind() {
        Kind::Float | Kind::Half | Kind::BFloat16 => {
            let sum = tensor.detach().f_sum(Kind::Double)?;
            Ok(f64::try_from(sum)?.is_finite())
        }
        _ => Ok(true),
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
            (1.0, Kind::Int64, true),
        ] {
            let mut whole = snapshot(1);
            let tensor = Tensor::zeros([1000], (kind, tch::Device::Cpu));
            let _ = tensor.narrow(0, 700, 5).fill_(value);
            whole.optimizer.push(("w/exp_avg".to_owned(), tensor));
            assert_eq!(check(&whole).is_ok(), is_fine, "{value}");
        }
        let mut bounded = snapshot(1);
        let bound = Tensor::from(f32::INFINITY);
        bounded
            .model
            .push(("transform.max_value".to_owned(), bound));
        assert!(check(&bounded).is_ok());
    }
}
