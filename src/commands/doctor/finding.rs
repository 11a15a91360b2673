//! One line of the doctor.

use crate::exit::Exit;
use crate::printable;

/// Width of the column with what was looked at.
const WIDTH: usize = 13;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// A training works, but worse than it could.
    Warn,
    /// A training does not work.
    Fail,
}

/// What was looked at, how it is, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) what: &'static str,
    pub(super) level: Level,
    pub(super) facts: String,
    /// Empty where there is nothing to do.
    pub(super) remedy: String,
    /// What a training would end with.
    pub(super) exit_code: u8,
}

impl Finding {
    pub(super) fn ok(what: &'static str, facts: String) -> Self {
        Self::new(what, Level::Ok, facts, "")
    }

    pub(super) fn warn(what: &'static str, facts: String, remedy: &str) -> Self {
        Self::new(what, Level::Warn, facts, remedy)
    }

    pub(super) fn fail(what: &'static str, facts: String, remedy: &str) -> Self {
        Self::new(what, Level::Fail, facts, remedy)
    }

    /// The same, of something that a training would end with `error` for.
    pub(super) fn ending_with(self, error: &anyhow::Error) -> Self {
        let exit_code = Exit::code_of(error);
        Self { exit_code, ..self }
    }

    fn new(what: &'static str, level: Level, facts: String, remedy: &str) -> Self {
        Self {
            what,
            level,
            facts,
            remedy: remedy.to_owned(),
            exit_code: Exit::Failed as u8,
        }
    }

    /// `warn  memory       …`, and the remedy on a line of its own.
    pub(super) fn line(&self, colours: bool) -> String {
        let (word, colour) = match self.level {
            Level::Ok => ("ok", "\x1b[32m"),
            Level::Warn => ("warn", "\x1b[33m"),
            Level::Fail => ("fail", "\x1b[31m"),
        };
        let word = format!("{word:<6}");
        let word = if colours {
            format!("{colour}{word}\x1b[0m")
        } else {
            word
        };
        let mut line = format!(
            "{word}{:<WIDTH$}{}\n",
            self.what,
            printable::line(&self.facts)
        );
        if !self.remedy.is_empty() {
            line += &format!(
                "{:>width$}{}\n",
                "-> ",
                printable::line(&self.remedy),
                width = 6 + WIDTH
            );
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_under_what_it_is_for() {
        let finding = Finding::warn("memory", "0.5 GB".to_owned(), "buy some");
        assert_eq!(
            finding.line(false),
            "warn  memory       0.5 GB\n                -> buy some\n"
        );
        assert!(
            finding
                .line(true)
                .starts_with("\x1b[33mwarn  \x1b[0mmemory")
        );
        assert_eq!(
            Finding::ok("a", "b".to_owned()).line(false),
            "ok    a            b\n"
        );
    }
}
