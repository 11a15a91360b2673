//! Number types that carry their range.

use serde::Serialize;

/// An integer of at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct PositiveInt(u64);

impl PositiveInt {
    /// Wraps `value`; `None` for zero.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value == 0 { None } else { Some(Self(value)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A finite or infinite number above 0.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct PositiveFloat(f64);

impl PositiveFloat {
    /// Wraps `value`; `None` unless it is above 0.
    #[must_use]
    pub const fn new(value: f64) -> Option<Self> {
        if value > 0.0 { Some(Self(value)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A default in a section: `value` is a literal above 0.
pub(crate) const fn positive(value: u64) -> PositiveInt {
    assert!(value > 0, "a default must be in range");
    PositiveInt(value)
}

/// A default in a section: `value` is a literal above 0.
pub(crate) const fn positive_float(value: f64) -> PositiveFloat {
    assert!(value > 0.0, "a default must be in range");
    PositiveFloat(value)
}
