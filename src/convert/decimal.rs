//! Numbers as they are written, compared without rounding: ids beyond 2^53 and decimals differ where their digits do.

use std::cmp::Ordering;

/// Whole numbers up to here are the same as floats and as integers.
const EXACT: f64 = 18_446_744_073_709_551_616.0;
/// Powers of ten beyond this are no numbers that anybody writes.
const MAX_EXPONENT: i64 = 100_000;

/// The powers of ten that are exact.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// A number of a table or a mapping; a float may be infinite or no number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Exact(Decimal),
    Float(f64),
    /// Of 32 bits: compared as such, so that 0.1 is what it was written as.
    Single(f32),
}

/// `mantissa` times ten to the power of `exponent`; the mantissa ends in no zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    mantissa: i128,
    exponent: i32,
}

impl From<i128> for Number {
    fn from(value: i128) -> Self {
        Self::Exact(Decimal::new(value, 0))
    }
}

impl Number {
    /// What `text` says; `None` if it is no number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let exact = Decimal::parse(text).map(Self::Exact);
        exact.or_else(|| text.parse().ok().map(Self::Float))
    }

    pub(super) fn to_f64(self) -> f64 {
        match self {
            Self::Exact(value) => value.to_f64(),
            Self::Float(value) => value,
            Self::Single(value) => f64::from(value),
        }
    }

    pub(super) fn is_finite(self) -> bool {
        match self {
            Self::Exact(value) => value.magnitude() <= i64::from(f64::MAX_10_EXP),
            Self::Float(value) => value.is_finite(),
            Self::Single(value) => value.is_finite(),
        }
    }

    /// `None` where one of the two is no number.
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => Some(one.compare(other)),
            (Self::Exact(one), Self::Float(other)) => match Decimal::whole(other) {
                Some(other) => Some(one.compare(other)),
                None => one.to_f64().partial_cmp(&other),
            },
            (Self::Exact(one), Self::Single(other)) => match Decimal::whole(f64::from(other)) {
                Some(other) => Some(one.compare(other)),
                None => narrow(one.to_f64()).partial_cmp(&other),
            },
            (_, Self::Exact(_)) => other.compare(self).map(Ordering::reverse),
            _ => self.to_f64().partial_cmp(&other.to_f64()),
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the nearest float of 32 bits"
)]
fn narrow(number: f64) -> f32 {
    number as f32
}

impl Decimal {
    pub(super) fn new(mut mantissa: i128, mut exponent: i32) -> Self {
        while mantissa != 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            exponent = exponent.saturating_add(1);
        }
        if mantissa == 0 {
            exponent = 0;
        }
        Self { mantissa, exponent }
    }

    /// A number in digits, with or without a fraction and a power of ten; `None` beyond about 38 digits too.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (text, power) = match text.split_once(['e', 'E']) {
            Some((digits, power)) => (digits, power.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let mut mantissa = 0_i128;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
            mantissa = mantissa.checked_mul(10)?.checked_add(digit)?;
        }
        if text.starts_with('-') {
            mantissa = -mantissa;
        }
        let shift = i64::try_from(fraction.len()).ok()?;
        let exponent = power.checked_sub(shift)?;
        let exponent = Some(exponent).filter(|e| (-MAX_EXPONENT..=MAX_EXPONENT).contains(e))?;
        Some(Self::new(mantissa, i32::try_from(exponent).ok()?))
    }

    /// `value` if it is whole and so small that a float tells it from its neighbours or they are whole as well.
    fn whole(value: f64) -> Option<Self> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "whole and within 2^64: nothing is cut"
        )]
        let whole = || Self::new(value as i128, 0);
        (value.fract() == 0.0 && value.abs() <= EXACT).then(whole)
    }

    /// As an integer, if it is one.
    pub(super) fn integer(self) -> Option<i128> {
        let power = u32::try_from(self.exponent).ok()?;
        self.mantissa.checked_mul(10_i128.checked_pow(power)?)
    }

    /// The nearest float.
    pub(super) fn to_f64(self) -> f64 {
        let power = usize::try_from(self.exponent.unsigned_abs()).unwrap_or(usize::MAX);
        if let (Some(&power), Ok(mantissa)) = (POWERS.get(power), i32::try_from(self.mantissa)) {
            let mantissa = f64::from(mantissa);
            // Both are exact, so that there is one rounding.
            return if self.exponent < 0 {
                mantissa / power
            } else {
                mantissa * power
            };
        }
        // The text is parsed with one rounding; a quotient would round twice.
        let text = format!("{}e{}", self.mantissa, self.exponent);
        text.parse().unwrap_or(f64::NAN)
    }

    /// As it would be written, without a power of ten.
    pub(super) fn text(self) -> String {
        let digits = self.mantissa.unsigned_abs().to_string();
        let sign = if self.mantissa < 0 { "-" } else { "" };
        match usize::try_from(self.exponent) {
            Ok(zeros) => format!("{sign}{digits}{}", "0".repeat(zeros)),
            Err(_) => {
                let places = self.exponent.unsigned_abs() as usize;
                let padded = format!("{digits:0>width$}", width = places + 1);
                let (whole, fraction) = padded.split_at(padded.len() - places);
                format!("{sign}{whole}.{fraction}")
            }
        }
    }

    /// Digits before the point; negative where zeros follow it.
    fn magnitude(self) -> i64 {
        let digits = self.mantissa.unsigned_abs().checked_ilog10().unwrap_or(0);
        i64::from(digits) + i64::from(self.exponent)
    }

    fn compare(self, other: Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        if signs.is_ne() || self.mantissa == 0 {
            return signs;
        }
        let is_negative = self.mantissa < 0;
        let towards = |order: Ordering| if is_negative { order.reverse() } else { order };
        let magnitudes = self.magnitude().cmp(&other.magnitude());
        if magnitudes.is_ne() {
            return towards(magnitudes);
        }
        let least = self.exponent.min(other.exponent);
        let aligned = |value: Self| {
            let power = 10_u128.checked_pow(value.exponent.abs_diff(least))?;
            value.mantissa.unsigned_abs().checked_mul(power)
        };
        // Of numbers as long as each other, what has no room for its zeros has 39 digits and is the larger one.
        towards(match (aligned(self), aligned(other)) {
            (Some(one), Some(other)) => one.cmp(&other),
            (None, _) => Ordering::Greater,
            (_, None) => Ordering::Less,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(one: &str, other: &str) -> Ordering {
        let [one, other] = [one, other].map(|text| Decimal::parse(text).unwrap());
        assert_eq!(other.compare(one), one.compare(other).reverse());
        one.compare(other)
    }

    #[test]
    fn digits_decide_however_many_there_are() {
        for (one, other, expected) in [
            ("9007199254740992", "9007199254740993", Ordering::Less),
            ("-9007199254740992", "-9007199254740993", Ordering::Greater),
            (
                "18446744073709551615",
                "18446744073709551614",
                Ordering::Greater,
            ),
            ("0.1", "1e-1", Ordering::Equal),
            ("100", "1.00E2", Ordering::Equal),
            ("-0", "0.000", Ordering::Equal),
            ("+.5", "0.50", Ordering::Equal),
            ("0.05", "0.5", Ordering::Less),
            ("-3", "2", Ordering::Less),
            (
                "1.0000000000000000000000000000000000001",
                "1",
                Ordering::Greater,
            ),
            (
                "17000000000000000000000000000000000000.5",
                "17e36",
                Ordering::Greater,
            ),
            ("9e99999", "1e99999", Ordering::Greater),
        ] {
            assert_eq!(compare(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn floats_meet_decimals_as_floats_and_integers_as_integers() {
        let exact = |text: &str| Number::parse(text).unwrap();
        let equal = |one: Number, other: Number| one.compare(other) == Some(Ordering::Equal);
        assert!(equal(exact("0.1"), Number::Float(0.1)));
        assert!(equal(exact("0.1"), Number::Single(0.1)));
        assert!(!equal(Number::Float(0.1), Number::Single(0.1)));
        let large = Number::Float(9_007_199_254_740_992.0);
        assert!(equal(exact("9007199254740992"), large));
        assert_eq!(
            exact("9007199254740993").compare(large),
            Some(Ordering::Greater)
        );
        assert!(equal(exact("1e23"), Number::Float(1e23)));
        assert_eq!(exact("1").compare(Number::Float(f64::NAN)), None);
        assert_eq!(
            exact("1").compare(Number::Float(f64::INFINITY)),
            Some(Ordering::Less)
        );
    }

    #[test]
    fn what_is_no_number_is_refused_and_text_reads_back() {
        for text in ["", ".", "-", "e5", "1e", "1_000", "0x1F", "1,5", "--1", "१"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        for (text, expected) in [("12.50", "12.5"), ("-0.005", "-0.005"), ("3e2", "300")] {
            let value = Decimal::parse(text).unwrap();
            assert_eq!(value.text(), expected);
            assert_eq!(Decimal::parse(&value.text()), Some(value));
        }
        assert_eq!(Decimal::parse("3.0").unwrap().integer(), Some(3));
        assert_eq!(Decimal::parse("3.5").unwrap().integer(), None);
        assert_eq!(Decimal::parse("1e39").unwrap().integer(), None);
        let nearest = Decimal::new(123_456_789_012_345_678_901_234_567_890, -10);
        assert!((nearest.to_f64() - 12_345_678_901_234_567_890.123_456_789).abs() < 1e-300);
    }
}
