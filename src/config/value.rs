//! Number types that carry their range.

use serde::Serialize;

/// Declares integers from 1 to a bound.
macro_rules! bounded {
    ($(#[doc = $doc:literal])+ $name:ident, $max:literal) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The largest there is.
            pub const MAX: u64 = $max;

            /// What it is, in words.
            pub(crate) const EXPECTED: &str = concat!("an integer from 1 to ", $max);

            /// Wraps `value`; `None` outside of the range.
            #[must_use]
            pub const fn new(value: u64) -> Option<Self> {
                if value == 0 || value > Self::MAX {
                    None
                } else {
                    Some(Self(value))
                }
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number as a size in memory.
            #[must_use]
            pub fn to_usize(self) -> usize {
                usize::try_from(self.0).unwrap_or(usize::MAX)
            }

            /// The number as libtorch counts.
            #[must_use]
            pub const fn to_i64(self) -> i64 {
                self.0.cast_signed()
            }

            /// A default in a section: `value` is a literal in range.
            #[allow(dead_code, reason = "not every type has a default somewhere")]
            pub(crate) const fn literal(value: u64) -> Self {
                assert!(value > 0 && value <= Self::MAX, "a default must be in range");
                Self(value)
            }
        }
    };
}

bounded! {
    /// A number of rows or columns: 1 to 2^31 - 1, so that sums and the products of two fit 64 bits.
    Size, 2147483647
}

bounded! {
    /// A number of layers.
    Depth, 4096
}

bounded! {
    /// A number of threads or processes.
    NumThreads, 4096
}

bounded! {
    /// A number of files that are open at once.
    NumOpenFiles, 65536
}

/// An integer of at least 1 that nothing is allocated by: steps, epochs, rows to come.
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

/// A time to wait, in seconds: above 0, at most 30 years, which any clock can be asked to add.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Seconds(f64);

impl Seconds {
    /// The longest there is.
    const MAX: f64 = 1e9;

    /// Wraps `value`; `None` outside of the range.
    #[must_use]
    pub const fn new(value: f64) -> Option<Self> {
        if value > 0.0 && value <= Self::MAX {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number of seconds.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// A default in a section: `value` is a literal in range.
    pub(crate) const fn literal(value: f64) -> Self {
        assert!(
            value > 0.0 && value <= Self::MAX,
            "a default must be in range"
        );
        Self(value)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inside() {
        for (value, fits) in [(0, false), (1, true), (4096, true), (4097, false)] {
            assert_eq!(NumThreads::new(value).is_some(), fits, "{value}");
        }
        assert!(Size::new(u64::MAX).is_none());
        assert_eq!(Size::new(Size::MAX).unwrap().to_usize(), 2_147_483_647);
        assert_eq!(Size::EXPECTED, "an integer from 1 to 2147483647");
        for (value, fits) in [(1e9, true), (f64::INFINITY, false), (f64::NAN, false)] {
            assert_eq!(Seconds::new(value).is_some(), fits, "{value}");
        }
    }
}
