//! Numbers and lists that carry what is known of them.

use std::ops::Deref;

use super::{Path, Rules};

/// Declares numbers of a range.
macro_rules! ranged {
    ($(#[doc = $doc:literal])+ $name:ident, $stand_in:literal, $fits:expr) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        pub struct $name(pub(super) f64);

        impl $name {
            /// What stands in for a number that is reported to be wrong.
            #[allow(dead_code, reason = "not every type is needed without a value")]
            pub(super) const STAND_IN: Self = Self($stand_in);

            /// Wraps `value`; `None` outside of the range.
            #[must_use]
            pub fn new(value: f64) -> Option<Self> {
                let fits: fn(f64) -> bool = $fits;
                fits(value).then_some(Self(value))
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }

            /// The `value` at `here`; reports one that is not `expected`.
            pub(super) fn read(value: f64, here: &Path, expected: &str, rules: &mut Rules<'_>) -> Self {
                let number = Self::new(value);
                rules.expect(number.is_some(), here, expected, value);
                number.unwrap_or(Self::STAND_IN)
            }
        }
    };
}

ranged! {
    /// From 0 to 1.
    Probability, 1.0, |value| (0.0..=1.0).contains(&value)
}

ranged! {
    /// From 0 up to but not including 1.
    Fraction, 0.0, |value| (0.0..1.0).contains(&value)
}

ranged! {
    /// Finite, from 0.
    NonNegative, 0.0, |value| value >= 0.0 && value.is_finite()
}

ranged! {
    /// From 0 to infinity, which is one of them.
    Magnitude, 0.0, |value| value >= 0.0
}

ranged! {
    /// Neither infinite nor NaN.
    Finite, 1.0, f64::is_finite
}

/// At least one value.
#[derive(Clone, Debug, PartialEq)]
pub struct NonEmpty<T>(Vec<T>);

impl<T> NonEmpty<T> {
    /// Wraps `values`; `None` where there are none.
    #[must_use]
    pub fn new(values: Vec<T>) -> Option<Self> {
        (!values.is_empty()).then_some(Self(values))
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> &T {
        &self.0[self.0.len() - 1]
    }

    /// `values`, or `stand_in` where there are none.
    pub(super) fn or(values: Vec<T>, stand_in: impl FnOnce() -> T) -> Self {
        Self::new(values).unwrap_or_else(|| Self(vec![stand_in()]))
    }
}

impl<T> Deref for NonEmpty<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_ranges_are_where_the_docs_say() {
        let inside = |value: f64| {
            [
                Probability::new(value).is_some(),
                Fraction::new(value).is_some(),
                NonNegative::new(value).is_some(),
                Magnitude::new(value).is_some(),
                Finite::new(value).is_some(),
            ]
        };
        assert_eq!(inside(0.0), [true; 5]);
        assert_eq!(inside(1.0), [true, false, true, true, true]);
        assert_eq!(inside(-1e-300), [false, false, false, false, true]);
        assert_eq!(inside(f64::INFINITY), [false, false, false, true, false]);
        assert_eq!(inside(f64::NAN), [false; 5]);
        assert!(NonEmpty::<u8>::new(Vec::new()).is_none());
    }
}
