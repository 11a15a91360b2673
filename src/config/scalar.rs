//! What a plain YAML 1.1 scalar means, and how Python turns text into numbers and back.

use super::node::Value;

/// The type of a scalar by its tag or its looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Int,
    Float,
    Timestamp,
    Str,
}

/// The type a plain scalar has by its looks, by the rules of YAML 1.1 as PyYAML applies them.
///
/// `1e3` is text (a float needs a point, an exponent a sign); `010` is octal; `1:30` counts in sixties.
pub(crate) fn kind_of(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        _ if bool_of(text).is_some() => return Kind::Bool,
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Kind::Str;
    }
    if looks_float(text) {
        Kind::Float
    } else if looks_int(text) {
        Kind::Int
    } else if looks_timestamp(text) {
        Kind::Timestamp
    } else {
        Kind::Str
    }
}

/// Reads `text` as `kind`; `None` when it is no such value or too large to hold.
pub(crate) fn read(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Null => Some(Value::Null),
        Kind::Bool => bool_of(text).map(Value::Bool),
        Kind::Int => int_of(text).map(Value::Int),
        Kind::Float => float_of(text).map(Value::Float),
        Kind::Timestamp => Some(Value::Timestamp(text.into())),
        Kind::Str => Some(Value::Str(text.into())),
    }
}

fn bool_of(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Splits a sign off; the flag is true for a minus.
fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn all_of(text: &str, allowed: fn(char) -> bool) -> bool {
    text.chars().all(|c| allowed(c) || c == '_')
}

fn decimal(c: char) -> bool {
    c.is_ascii_digit()
}

/// `[0-9][0-9_]*`.
fn looks_digits(text: &str) -> bool {
    text.starts_with(decimal) && all_of(text, decimal)
}

/// `:[0-5]?[0-9]` once or more often.
fn looks_sixties(text: &str) -> bool {
    let mut parts = text.split(':');
    parts.next() == Some("")
        && text.starts_with(':')
        && parts.all(|part| match part.as_bytes() {
            [one] => one.is_ascii_digit(),
            [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
            _ => false,
        })
}

fn looks_int(text: &str) -> bool {
    let (_, digits) = signed(text);
    if let Some(rest) = digits.strip_prefix("0b") {
        return !rest.is_empty() && all_of(rest, |c| matches!(c, '0' | '1'));
    }
    if let Some(rest) = digits.strip_prefix("0x") {
        return !rest.is_empty() && all_of(rest, |c| c.is_ascii_hexdigit());
    }
    if let Some(rest) = digits.strip_prefix('0') {
        return all_of(rest, |c| matches!(c, '0'..='7'));
    }
    let end = digits.find(':').unwrap_or(digits.len());
    looks_digits(&digits[..end]) && (end == digits.len() || looks_sixties(&digits[end..]))
}

fn looks_float(text: &str) -> bool {
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (_, body) = signed(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let Some(point) = body.find('.') else {
        return false;
    };
    let (whole, fraction) = (&body[..point], &body[point + 1..]);
    if let Some(colon) = whole.find(':') {
        return looks_digits(&whole[..colon])
            && looks_sixties(&whole[colon..])
            && all_of(fraction, decimal);
    }
    let (fraction, exponent) = match fraction.find(['e', 'E']) {
        Some(at) => (&fraction[..at], Some(&fraction[at + 1..])),
        None => (fraction, None),
    };
    let exponent_fits = exponent.is_none_or(|e| {
        e.strip_prefix(['+', '-'])
            .is_some_and(|d| !d.is_empty() && d.chars().all(decimal))
    });
    let mantissa_fits = if whole.is_empty() {
        body.len() == text.len() && looks_digits(fraction)
    } else {
        looks_digits(whole) && all_of(fraction, decimal)
    };
    exponent_fits && mantissa_fits
}

/// `2023-01-31`, or that with a time.
fn looks_timestamp(text: &str) -> bool {
    let digits = |part: &str, least: usize, most: usize| {
        (least..=most).contains(&part.len()) && part.chars().all(decimal)
    };
    let date_end = text
        .find(|c: char| !decimal(c) && c != '-')
        .unwrap_or(text.len());
    let (date, time) = text.split_at(date_end);
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    if time.is_empty() {
        return digits(year, 4, 4) && digits(month, 2, 2) && digits(day, 2, 2);
    }
    let clock = time
        .strip_prefix(['T', 't'])
        .unwrap_or_else(|| time.trim_start_matches([' ', '\t']));
    let mut clock = clock.splitn(3, ':');
    let (hour, minute) = (clock.next().unwrap_or(""), clock.next().unwrap_or(""));
    let second = clock.next().unwrap_or("");
    digits(year, 4, 4)
        && digits(month, 1, 2)
        && digits(day, 1, 2)
        && digits(hour, 1, 2)
        && digits(minute, 2, 2)
        && looks_seconds(second)
}

/// `59`, with a fraction and a zone at will.
fn looks_seconds(text: &str) -> bool {
    let Some((whole, rest)) = text.split_at_checked(2) else {
        return false;
    };
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(decimal),
        None => rest,
    };
    let zone = rest.trim_start_matches([' ', '\t']);
    let zone_fits = match zone.strip_prefix(['+', '-']) {
        None => (zone.is_empty() && rest.is_empty()) || zone == "Z",
        Some(offset) => {
            let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "00"));
            (1..=2).contains(&hours.len())
                && minutes.len() == 2
                && hours.chars().chain(minutes.chars()).all(decimal)
        }
    };
    whole.chars().all(decimal) && zone_fits
}

fn int_of(text: &str) -> Option<i128> {
    let text = text.replace('_', "");
    let (negative, digits) = signed(&text);
    let size = if let Some(binary) = digits.strip_prefix("0b") {
        i128::from_str_radix(binary, 2).ok()?
    } else if let Some(hex) = digits.strip_prefix("0x") {
        i128::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        i128::from_str_radix(digits, 8).ok()?
    } else {
        digits.split(':').try_fold(0_i128, |sum, part| {
            sum.checked_mul(60)?.checked_add(part.parse().ok()?)
        })?
    };
    Some(if negative { -size } else { size })
}

fn float_of(text: &str) -> Option<f64> {
    let text = text.replace('_', "").to_lowercase();
    let (negative, digits) = signed(&text);
    let size = match digits {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ => digits.split(':').try_fold(0.0, |sum: f64, part| {
            Some(sum * 60.0 + part.parse::<f64>().ok()?)
        })?,
    };
    Some(if negative { -size } else { size })
}

/// Text as Python's `int()` reads it: space around it, a sign, single underscores between digits.
pub(crate) fn python_int(text: &str) -> Option<i128> {
    without_underscores(text.trim())?.parse().ok()
}

/// Text as Python's `float()` reads it.
pub(crate) fn python_float(text: &str) -> Option<f64> {
    without_underscores(text.trim())?.parse().ok()
}

/// Removes underscores that stand between two digits; `None` when one stands elsewhere.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let fits = bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'_')
        .all(|(i, _)| i > 0 && digit(i - 1) && digit(i + 1));
    fits.then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_1() {
        let table = [
            (Kind::Null, "~ null Null NULL"),
            (Kind::Bool, "yes No ON off True FALSE"),
            (
                Kind::Int,
                "0 -0 +12 1_000 010 0o_ 0x1F 0b1_0 1:30 -190:20:30 00 0_7",
            ),
            (
                Kind::Float,
                "1.0 1. .5 -1.5 1.0e-4 1.5E+3 .inf -.INF .nan 1_0.0_1 1:30.5 6.8523015e+5",
            ),
            (
                Kind::Timestamp,
                "2023-01-01 2001-12-14t21:59:43.10-05:00 2001-12-14T21:59:43Z",
            ),
            (
                Kind::Str,
                "1e3 1e-3 1.0e4 -.5 y N tRUE 0x 08 1:60 +.nan 1.2.3 - . .. 2023-1-1 12a 1__e nULL",
            ),
        ];
        for (kind, words) in table {
            for word in words.split(' ').filter(|w| *w != "0o_") {
                assert_eq!(kind_of(word), kind, "{word}");
            }
        }
        assert_eq!(kind_of(""), Kind::Null);
        assert_eq!(kind_of("2001-12-14 21:59:43.10 -5"), Kind::Timestamp);
    }

    #[test]
    fn numbers_have_the_values_of_yaml_1_1() {
        let int = |text| int_of(text).unwrap();
        assert_eq!(
            [
                int("010"),
                int("0x1_0"),
                int("-0b11"),
                int("1:30"),
                int("+1_0")
            ],
            [8, 16, -3, 90, 10]
        );
        assert_eq!(int_of(&"9".repeat(40)), None);
        assert_eq!(int_of("0b_"), None);
        assert_eq!(float_of("-1:30.5"), Some(-90.5));
        assert_eq!(float_of("1_0.5e-1"), Some(1.05));
        assert_eq!(float_of("-.inf"), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn text_becomes_a_number_as_in_python() {
        assert_eq!(python_int("  -7 "), Some(-7));
        assert_eq!(python_int("1_000"), Some(1000));
        assert_eq!(python_int("010"), Some(10));
        assert_eq!(
            ["1__0", "_1", "1_", "1.0", "", "0x10"].map(python_int),
            [None; 6]
        );
        assert_eq!(python_float(" 1e-3 "), Some(1e-3));
        assert_eq!(python_float("-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(["", "1,5", "0x1p3", "1_.0"].map(python_float), [None; 4]);
    }

    #[test]
    fn floats_print_as_in_python() {
        let table = [
            (1.5, "1.5"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e100, "1e+100"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (f64::INFINITY, "inf"),
        ];
        for (value, text) in table {
            assert_eq!(crate::config::node::float_text(value), text);
        }
    }
}
