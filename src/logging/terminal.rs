//! Log lines for a person at a terminal: short, in colours where they are wanted.

use std::fmt;
use std::io::{self, Write};

use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::bar;
use super::fields::{Fields, name_of};
use super::pace::{Counts, Pace, note};
use super::plain::SPOKEN;

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// Writes events for people.
#[derive(Debug)]
pub(super) struct Lines {
    colours: Colours,
    counts: Counts,
}

impl Lines {
    /// With or without colours.
    pub(super) fn new(colours: bool) -> Self {
        Self {
            colours: Colours(colours),
            counts: Counts::default(),
        }
    }
}

/// Whether lines have colours.
#[derive(Clone, Copy, Debug)]
struct Colours(bool);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = chrono::DateTime::<chrono::Local>::from(std::time::SystemTime::now())
            .format("%H:%M:%S")
            .to_string();
        let level = *event.metadata().level();
        let pace = self.counts.pace(event);
        if pace == Pace::Silent {
            return Ok(());
        }
        let mut fields = Fields::of(event).printable();
        if let Pace::Counted(count) = pace {
            fields.say(&note(count));
        }
        let line = self.colours.line(&now, level, name_of(event), fields);
        writer.write_str(&line)
    }
}

impl Colours {
    /// Empty for what a person need not see.
    fn line(self, now: &str, level: Level, name: Option<&str>, fields: Fields) -> String {
        let mut line = self.paint(DIM, now);
        line.push(' ');
        line += &match level {
            Level::ERROR => self.paint(RED, "error: "),
            Level::WARN => self.paint(YELLOW, "warning: "),
            Level::INFO => String::new(),
            other => self.paint(DIM, &format!("{}: ", other.as_str().to_lowercase())),
        };
        match name {
            // `saved` follows soon.
            Some("saving") if fields.number("stalled_secs") < 1.0 => return String::new(),
            Some(name) => line += &self.named(name, fields),
            None => line += &self.generic(fields),
        }
        line.push('\n');
        line
    }

    /// What the records of an event come to in the width of a terminal.
    fn named(self, name: &str, fields: Fields) -> String {
        match name {
            "step" => {
                let step = fields.message().trim_end_matches(", training.");
                let step = step.to_lowercase().replace(':', "");
                format!(
                    "{}  loss {}  {:.0} examples/s  wait {:.0}%",
                    self.paint(BOLD, &step),
                    short(fields.number("loss")),
                    fields.number("global_example_per_s"),
                    fields.number("data_wait_share") * 100.0,
                )
            }
            "evaluated" => format!(
                "{}  loss {}  {} examples in {:.1} s",
                self.paint(BOLD, &format!("evaluated {}", fields.text("partition"))),
                short(fields.number("eval_loss")),
                fields.number("examples"),
                fields.number("seconds"),
            ),
            "evaluation" => {
                let task = fields.text("task");
                let task = task.rsplit('.').next().unwrap_or_default();
                let metric = |name: &str, digits: usize| match fields.number(name) {
                    value if value.is_nan() => String::new(),
                    value => format!("{} {value:.digits$} ", self.paint(DIM, name)),
                };
                format!(" {}{}{task}", metric("auroc", 3), metric("rce", 1))
            }
            // `check --print` shows it; the whole is in events.jsonl.
            "config" => format!("config {}", fields.text("source")),
            "verdict" => {
                let message = fields.message();
                let message = message.replace("; beside", "\n         beside");
                message.replace("; limit", "\n         limit")
            }
            name if SPOKEN.contains(&name) => fields.message().to_owned(),
            _ => self.generic(fields),
        }
    }

    fn generic(self, mut fields: Fields) -> String {
        let message = fields.message().to_owned();
        fields.0.shift_remove("message");
        let keys = fields.0.iter();
        let keys = keys.map(|(key, value)| self.paint(DIM, &format!("{key}=")) + &plain(value));
        let words = Some(message).filter(|message| !message.is_empty());
        let words: Vec<String> = words.into_iter().chain(keys).collect();
        words.join(" ")
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.0 {
            format!("{colour}{text}{RESET}")
        } else {
            text.to_owned()
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => short(number.as_f64().unwrap_or(f64::NAN)),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Four digits that matter.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e9 {
        format!("{value:.0}")
    } else if (1e-3..1e6).contains(&size) {
        let digits = if size >= 1000.0 { 1 } else { 4 };
        format!("{value:.digits$}")
    } else {
        format!("{value:.3e}")
    }
}

/// Stderr, above the bar.
#[derive(Clone, Copy, Debug)]
pub(super) struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        bar::suspend(|| io::stderr().write_all(record))?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        match value {
            Value::Object(map) => Fields(map),
            _ => Fields::default(),
        }
    }

    fn step() -> Fields {
        fields(json!({
            "message": "Step: 10, training.", "global_step": 10, "loss": 0.808_281_6, "steps_per_s": 3.31,
            "global_example_per_s": 423.8, "data_wait_share": 0.012
        }))
    }

    #[test]
    fn a_step_fits_a_terminal() {
        let line = Colours(false).line("14:05:07", Level::INFO, Some("step"), step());
        assert_eq!(
            line,
            "14:05:07 step 10  loss 0.8083  424 examples/s  wait 1%\n"
        );
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        for (colours, escapes) in [(true, true), (false, false)] {
            let line = Colours(colours).line("14:05:07", Level::WARN, None, step());
            assert_eq!(line.contains('\x1b'), escapes, "{line}");
            assert!(line.contains("warning: "), "{line}");
        }
    }

    #[test]
    fn other_records_keep_their_keys() {
        let record =
            fields(json!({ "message": "saved", "checkpoint": "runs/a/10", "x": null, "n": 3 }));
        let line = Colours(false).line("14:05:07", Level::INFO, Some("saved"), record);
        assert_eq!(line, "14:05:07 saved checkpoint=runs/a/10 x=- n=3\n");
    }

    #[test]
    fn metrics_of_a_long_task_fit_eighty_columns() {
        let task = "recap.engagement.is_good_clicked_convo_desc_favorited_or_replied";
        let record = fields(json!({ "task": task, "auroc": 0.75, "rce": 12.34, "ctr": 0.5 }));
        let line = Colours(false).line("14:05:07", Level::INFO, Some("evaluation"), record);
        assert_eq!(
            line,
            "14:05:07  auroc 0.750 rce 12.3 is_good_clicked_convo_desc_favorited_or_replied\n"
        );
        assert!(line.trim_end().len() <= 80, "{}", line.len());
    }

    #[test]
    fn a_save_that_stalls_nothing_is_not_told_twice() {
        let line = |stalled: f64| {
            let record =
                fields(json!({ "message": "saving in the background", "stalled_secs": stalled }));
            Colours(false).line("14:05:07", Level::INFO, Some("saving"), record)
        };
        assert_eq!(line(0.01), "");
        assert_eq!(
            line(2.5),
            "14:05:07 saving in the background stalled_secs=2.5000\n"
        );
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (7.0, "7"),
            (0.808_281_6, "0.8083"),
            (12_345.67, "12345.7"),
            (1.5e-7, "1.500e-7"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }
}
