//! `downcast`: features in a narrower type. The model computes in f32, so that the visible effect is the rounding.

use half::{bf16, f16};

use super::rows::Rows;
use crate::batch::{HostTensor, HostValues};
use crate::config::{Downcast, DowncastType};
use crate::data::error::DataError;

const KEY: &str = "preprocess.downcast.features";

/// Casts every feature named.
pub(super) fn apply(section: &Downcast, rows: &mut Rows) -> Result<(), DataError> {
    let features = section.features.as_ref();
    let features =
        features.ok_or_else(|| DataError::setting(KEY, "expected a map from feature to type"))?;
    for (name, &to) in features {
        let column = rows.column_mut(name, KEY)?;
        cast(column, to).map_err(|reason| DataError::setting(format!("{KEY}.{name}"), reason))?;
    }
    Ok(())
}

fn cast(column: &mut HostTensor, to: DowncastType) -> Result<(), String> {
    let values = std::mem::replace(&mut column.values, HostValues::F32(Vec::new()));
    column.values = match to {
        DowncastType::BFloat16 => {
            HostValues::F32(round(floats(values)?, |v| bf16::from_f32(v).to_f32()))
        }
        DowncastType::Float16 => {
            HostValues::F32(round(floats(values)?, |v| f16::from_f32(v).to_f32()))
        }
        DowncastType::Float32 => HostValues::F32(floats(values)?),
        DowncastType::Bool => HostValues::Bool(booleans(values)?),
        DowncastType::UInt8 => HostValues::U8(octets(values)?),
    };
    Ok(())
}

const NOT_NUMBERS: &str = "only lists of numbers of fixed length can be cast";

fn round(mut values: Vec<f32>, to: impl Fn(f32) -> f32) -> Vec<f32> {
    for value in &mut values {
        *value = to(*value);
    }
    values
}

#[allow(clippy::cast_precision_loss, reason = "a downcast")]
fn floats(values: HostValues) -> Result<Vec<f32>, String> {
    match values {
        HostValues::F32(values) => Ok(values),
        HostValues::I64(values) => Ok(values.into_iter().map(|value| value as f32).collect()),
        HostValues::Bool(values) => Ok(values.into_iter().map(f32::from).collect()),
        HostValues::U8(values) => Ok(values.into_iter().map(f32::from).collect()),
        HostValues::Bytes(_) | HostValues::Ragged { .. } => Err(NOT_NUMBERS.to_owned()),
    }
}

fn booleans(values: HostValues) -> Result<Vec<bool>, String> {
    match values {
        HostValues::F32(values) => Ok(values.into_iter().map(|value| value != 0.0).collect()),
        HostValues::I64(values) => Ok(values.into_iter().map(|value| value != 0).collect()),
        HostValues::Bool(values) => Ok(values),
        HostValues::U8(values) => Ok(values.into_iter().map(|value| value != 0).collect()),
        HostValues::Bytes(_) | HostValues::Ragged { .. } => Err(NOT_NUMBERS.to_owned()),
    }
}

/// Integers keep their lowest 8 bits; floats are cut to whole numbers and clamped to 0..=255, NaN becomes 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a downcast"
)]
fn octets(values: HostValues) -> Result<Vec<u8>, String> {
    match values {
        HostValues::F32(values) => Ok(values.into_iter().map(|value| value as u8).collect()),
        HostValues::I64(values) => Ok(values.into_iter().map(|value| value as u8).collect()),
        HostValues::Bool(values) => Ok(values.into_iter().map(u8::from).collect()),
        HostValues::U8(values) => Ok(values),
        HostValues::Bytes(_) | HostValues::Ragged { .. } => Err(NOT_NUMBERS.to_owned()),
    }
}
