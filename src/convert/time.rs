//! Points in time: ISO text, days and ticks of Parquet, all as nanoseconds since 1970. Without a zone a time is UTC.

use chrono::{DateTime, NaiveDate, TimeDelta};

/// Nanoseconds of a day.
const DAY: i128 = 86_400 * NANOS;
const NANOS: i128 = 1_000_000_000;

/// How fine the ticks of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
    /// Nanoseconds too; as a number they are milliseconds, for which INT96 has always been taken.
    Int96,
}

impl Unit {
    /// Nanoseconds of so many ticks.
    pub(super) fn nanos(self, ticks: i64) -> i128 {
        i128::from(ticks)
            * match self {
                Self::Millis => 1_000_000,
                Self::Micros => 1000,
                Self::Nanos | Self::Int96 => 1,
            }
    }

    /// So many ticks as a number.
    pub(super) fn number(self, ticks: i64) -> i64 {
        match self {
            Self::Int96 => ticks.div_euclid(1_000_000),
            Self::Millis | Self::Micros | Self::Nanos => ticks,
        }
    }
}

/// The instant that `text` names: a date (`2024-05-31`, `2024/05/31`), or one with a time of day behind `T` or a blank,
/// with or without a fraction of a second and a zone (`Z`, `UTC`, `+02:00`, `+0200`, `+02`).
pub(super) fn instant(text: &str) -> Option<i128> {
    let (days, rest) = date(text)?;
    if rest.is_empty() {
        return Some(days);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = clock_and_rest(rest)?;
    Some(days + clock - zone(rest.trim_start())?)
}

/// The nanoseconds since midnight that `text` names: `23:59`, `23:59:59`, `23:59:59.5`.
pub(super) fn clock(text: &str) -> Option<i128> {
    let (clock, rest) = clock_and_rest(text)?;
    rest.is_empty().then_some(clock)
}

/// Nanoseconds of the midnight that begins day `days`.
pub(super) fn midnight(days: i32) -> i128 {
    i128::from(days) * DAY
}

/// The number of `text`, which is so many digits.
fn digits(text: &str, count: usize) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(count)?;
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((are_digits.then(|| digits.parse().ok())??, rest))
}

fn date(text: &str) -> Option<(i128, &str)> {
    let (year, rest) = digits(text, 4)?;
    let sign = ['-', '/']
        .into_iter()
        .find(|sign| rest.starts_with(*sign))?;
    let (month, rest) = digits(&rest[1..], 2)?;
    let (day, rest) = digits(rest.strip_prefix(sign)?, 2)?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    Some((i128::from(days) * DAY, rest))
}

fn clock_and_rest(text: &str) -> Option<(i128, &str)> {
    let (hours, rest) = digits(text, 2)?;
    let (minutes, mut rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (mut seconds, mut nanos) = (0, 0);
    if let Some(after) = rest.strip_prefix(':') {
        (seconds, rest) = digits(after, 2)?;
        if let Some(after) = rest.strip_prefix(['.', ',']) {
            let end = after.find(|c: char| !c.is_ascii_digit());
            let (fraction, after) = after.split_at(end.unwrap_or(after.len()));
            // Beyond nanoseconds nothing is told apart.
            let kept = fraction.get(..9).unwrap_or(fraction);
            nanos = format!("{kept:0<9}").parse().ok()?;
            rest = (!fraction.is_empty()).then_some(after)?;
        }
    }
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let seconds = i128::from(hours * 3600 + minutes * 60 + seconds);
    Some((seconds * NANOS + nanos, rest))
}

/// How far the zone `text` is before UTC.
fn zone(text: &str) -> Option<i128> {
    if ["", "Z", "z", "UTC"].contains(&text) {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = digits(&text[1..], 2)?;
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let minutes = if rest.is_empty() {
        0
    } else {
        digits(rest, 2)?.0
    };
    let is_whole = rest.is_empty() || rest.len() == 2;
    (is_whole && hours < 24 && minutes < 60)
        .then(|| sign * i128::from(hours * 3600 + minutes * 60) * NANOS)
}

/// Day `days` as ISO text; its number where no calendar has it.
pub(super) fn date_text(days: i32) -> String {
    let delta = TimeDelta::try_days(i64::from(days));
    let date = delta.and_then(|delta| NaiveDate::default().checked_add_signed(delta));
    date.map_or_else(|| days.to_string(), |date| date.to_string())
}

/// An instant as ISO text; its nanoseconds where no calendar has it.
pub(super) fn instant_text(nanos: i128) -> String {
    let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok();
    let rest = u32::try_from(nanos.rem_euclid(NANOS)).unwrap_or(0);
    let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, rest));
    let format = |time: DateTime<_>| time.format("%Y-%m-%dT%H:%M:%S%.f").to_string();
    time.map_or_else(|| nanos.to_string(), format)
}

/// A time of day as ISO text.
pub(super) fn clock_text(nanos: i128) -> String {
    let text = instant_text(nanos.rem_euclid(DAY));
    text.split_once('T')
        .map_or(text.clone(), |(_, clock)| clock.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_an_instant_however_it_is_written() {
        let same = [
            "2024-05-01T00:30:00Z",
            "2024-05-01 00:30",
            "2024-05-01T02:30:00+02:00",
            "2024-05-01t02:30:00.000+0200",
            "2024-04-30 19:30:00,0 -05",
            "2024/05/01 00:30:00 UTC",
        ];
        for text in same {
            assert_eq!(instant(text), Some(1_714_523_400 * NANOS), "{text}");
        }
        assert_eq!(instant("1969-12-31"), Some(-DAY));
        assert_eq!(instant("2024-05-01"), Some(midnight(19_844)));
        let fine = instant("2024-05-01T00:00:00.1234567891Z").unwrap();
        assert_eq!(fine - midnight(19_844), 123_456_789);
        assert_eq!(clock("01:00:00.5"), Some(3_600_500_000_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "N/A",
            "NaT",
            "05/10/2024",
            "2024-5-1",
            "2024-02-30",
            "2024-05/01",
            "20240501",
            "2024-05-01T",
            "2024-05-01T24:00",
            "2024-05-01 1:00",
            "2024-05-01T00:00:00.",
            "2024-05-01T00:00:00+2",
            "2024-05-01x",
            "2024-05-01T00:00:00 CET",
            "٢٠٢٤-05-01",
            "12:30",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
        for text in ["", "12", "12:60", "2024-05-01", "12:00Z"] {
            assert_eq!(clock(text), None, "{text}");
        }
    }

    #[test]
    fn text_of_times_reads_back() {
        assert_eq!(date_text(19_844), "2024-05-01");
        assert_eq!(date_text(i32::MAX), i32::MAX.to_string());
        for text in ["2024-05-01T00:30:00", "1812-01-01T23:59:59.000001"] {
            assert_eq!(instant_text(instant(text).unwrap()), text);
        }
        assert_eq!(clock_text(3_600_500_000_000), "01:00:00.500");
        assert_eq!(instant_text(i128::MAX), i128::MAX.to_string());
        assert_eq!(Unit::Millis.nanos(-1), -1_000_000);
    }
}
