//! Points in time: ISO text, days and ticks of Parquet, all as nanoseconds since 1970. Without a zone a time is UTC.

use chrono::{DateTime, NaiveDate, TimeDelta, Weekday};

/// Nanoseconds of a day.
const DAY: i128 = 86_400 * NANOS;
const NANOS: i128 = 1_000_000_000;

/// How fine the ticks of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// Nanoseconds of so many ticks.
    pub(super) fn nanos(self, ticks: i64) -> i128 {
        i128::from(ticks)
            * match self {
                Self::Millis => 1_000_000,
                Self::Micros => 1000,
                Self::Nanos => 1,
            }
    }
}

/// What a time is written as: times of one form alone are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A date, with or without a time of day.
    Instant,
    /// A time of day.
    Clock,
    Month,
    Week,
}

impl Form {
    /// What is expected where one of this form should stand.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Instant => "a time such as 2024-05-31 or 2024-05-31T23:59:59Z",
            Self::Clock => "a time of day such as 23:59:59",
            Self::Month => "a month such as 2024-05",
            Self::Week => "a week such as 2024-W05",
        }
    }
}

/// A time: nanoseconds since 1970, or since midnight, of the moment that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) form: Form,
    pub(super) nanos: i128,
}

impl Time {
    /// The time that `text` names as ISO 8601 writes it: an [`instant`], `23:59:59.5`, `2024-05` or `2024-W05`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let of = |form| move |nanos| Self { form, nanos };
        let found = instant(text).map(of(Form::Instant));
        let found = found.or_else(|| clock(text).map(of(Form::Clock)));
        let found = found.or_else(|| month(text).map(of(Form::Month)));
        found.or_else(|| week(text).map(of(Form::Week)))
    }

    /// Of a day, so many after 1970-01-01.
    pub(super) fn of_day(days: i32) -> Self {
        let nanos = i128::from(days) * DAY;
        let form = Form::Instant;
        Self { form, nanos }
    }

    /// Seconds since 1970, or since midnight: the same whatever the ticks of the column are.
    #[allow(clippy::cast_precision_loss, reason = "the nearest float")]
    pub(super) fn seconds(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Microseconds since 1970, or since midnight, if it is so many.
    pub(super) fn micros(self) -> Option<i64> {
        let is_whole = self.nanos % 1000 == 0;
        is_whole.then(|| i64::try_from(self.nanos / 1000).ok())?
    }
}

/// The instant that `text` names: a date (`2024-05-31`, `2024/05/31`), or one with a time of day behind `T` or a blank,
/// with or without a fraction of a second and a zone (`Z`, `UTC`, `+02:00`, `+0200`, `+02`).
fn instant(text: &str) -> Option<i128> {
    let (days, rest) = date(text)?;
    if rest.is_empty() {
        return Some(days);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = clock_and_rest(rest)?;
    Some(days + clock - zone(rest.trim_start())?)
}

/// The nanoseconds since midnight that `text` names: `23:59`, `23:59:59`, `23:59:59.5`.
fn clock(text: &str) -> Option<i128> {
    let (clock, rest) = clock_and_rest(text)?;
    rest.is_empty().then_some(clock)
}

/// The midnight that begins the month `2024-05`.
fn month(text: &str) -> Option<i128> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let first = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, 1)?;
    rest.is_empty().then(|| midnight(first))
}

/// The midnight that begins the week `2024-W05` or `2024W05`.
fn week(text: &str) -> Option<i128> {
    let (year, rest) = digits(text, 4)?;
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let (week, rest) = digits(rest.strip_prefix('W')?, 2)?;
    let first = NaiveDate::from_isoywd_opt(i32::try_from(year).ok()?, week, Weekday::Mon)?;
    rest.is_empty().then(|| midnight(first))
}

fn midnight(date: NaiveDate) -> i128 {
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
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
    Some((midnight(date), rest))
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
        assert_eq!(instant("2024-05-01"), Some(Time::of_day(19_844).nanos));
        let fine = instant("2024-05-01T00:00:00.1234567891Z").unwrap();
        assert_eq!(fine - Time::of_day(19_844).nanos, 123_456_789);
        assert_eq!(clock("01:00:00.5"), Some(3_600_500_000_000));
    }

    #[test]
    fn months_and_weeks_are_times_of_their_own_form() {
        for (text, form, day) in [
            ("2024-05", Form::Month, 19_844),
            ("2024-W05", Form::Week, 19_751),
            ("2024W05", Form::Week, 19_751),
            ("2020-W53", Form::Week, 18_624),
            ("2024-05-01", Form::Instant, 19_844),
        ] {
            let nanos = Time::of_day(day).nanos;
            assert_eq!(Time::parse(text), Some(Time { form, nanos }), "{text}");
        }
        for text in [
            "2024-13",
            "2024-W54",
            "2021-W53",
            "2024-W5",
            "24-05",
            "2024-05-",
            "15/06/2024",
            "4 Apr 2024",
            "24-05-05",
            "10:00 PM",
            "2024-06-31",
            "25:00",
            "2024-W05-1x",
            "7",
            "",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_the_same_number_whatever_its_ticks_are() {
        let time = |unit: Unit, ticks| Time {
            form: Form::Instant,
            nanos: unit.nanos(ticks),
        };
        let noon = 1_714_564_800_500;
        for time in [
            time(Unit::Millis, noon),
            time(Unit::Micros, noon * 1000),
            time(Unit::Nanos, noon * 1_000_000),
        ] {
            assert_eq!(time.seconds().to_string(), "1714564800.5");
            assert_eq!(time.micros(), Some(noon * 1000));
        }
        assert_eq!(time(Unit::Nanos, 1).micros(), None);
        assert_eq!(time(Unit::Millis, i64::MAX).micros(), None);
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
