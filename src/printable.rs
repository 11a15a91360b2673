//! Text from outside made safe to print: file names, cells, keys, answers of stores. What a terminal would obey, what
//! would look like another line of the log, and what cannot be seen is written as an escape.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::io::{self, StdoutLock};

/// `text` as one line: line breaks are escapes too.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_harmful)
}

/// `text` as it may be printed in several lines. Where one behind the first does not begin with a space, all of these are
/// indented, so that none passes for a line of the log.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let text = escaped(text, |c| c != '\n' && is_harmful(c));
    let is_flush = |line: &str| line.starts_with(|c: char| c != ' ');
    if text.split('\n').skip(1).any(is_flush) {
        text.replace('\n', "\n  ").into()
    } else {
        text
    }
}

/// The first `max_chars` characters of `text`, and a sign where there are more: for what others choose the length of.
#[must_use]
pub fn short(text: &str, max_chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Stdout for tables and lines of results: what is written is safe to print, line breaks stay.
#[must_use]
pub fn stdout() -> Printer<Reader<StdoutLock<'static>>> {
    Printer(raw_stdout())
}

/// Stdout for what this program has made itself, with colours, say: it is written as it is.
#[must_use]
pub fn raw_stdout() -> Reader<StdoutLock<'static>> {
    Reader(io::stdout().lock())
}

/// Writes for a reader who may have seen enough, as `head` has: what comes after that is written nowhere, and is no
/// error. A disk that is full is one.
#[derive(Debug)]
pub struct Reader<W>(pub W);

fn unless_gone<T>(done: io::Result<T>, otherwise: T) -> io::Result<T> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(otherwise),
        done => done,
    }
}

impl<W: io::Write> io::Write for Reader<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        unless_gone(self.0.write(text), text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_gone(self.0.flush(), ())
    }
}

/// Makes all text safe to print that is written to `W`, but leaves line breaks.
#[derive(Debug)]
pub struct Printer<W>(pub W);

impl<W: io::Write> Printer<W> {
    /// Writes one line, which stays one whatever names it holds.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(self.0, "{}", line(&text.to_string()))
    }
}

impl<W: io::Write> io::Write for Printer<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // The parts of a format arrive as whole characters.
        let safe = String::from_utf8_lossy(text);
        let safe = escaped(&safe, |c| c != '\n' && is_harmful(c));
        self.0.write_all(safe.as_bytes())?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether `c` does something else to a terminal than to fill cells: control characters, marks that turn the direction
/// of writing, separators of lines, and what has no width.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Direction of writing.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // Line and paragraph.
            | '\u{2028}' | '\u{2029}'
            // Invisible; those that join the letters of some scripts are not here.
            | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` with an escape for every character that `must_go`: `\n`, `\x1b`, `\u{202e}`.
#[must_use]
pub fn escaped(text: &str, must_go: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&must_go) else {
        return text.into();
    };
    let mut out = text[..first].to_owned();
    for c in text[first..].chars() {
        match c {
            c if !must_go(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string does not fail.
            c if c.is_ascii() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails with one kind of error.
    struct Failing(io::ErrorKind);

    impl io::Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_is_gone_is_no_error_and_a_full_disk_is() {
        let write = |kind| {
            let mut out = Printer(Reader(Failing(kind)));
            io::Write::write_all(&mut out, b"text").and_then(|()| io::Write::flush(&mut out))
        };
        write(io::ErrorKind::BrokenPipe).unwrap();
        let full = write(io::ErrorKind::StorageFull).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn what_can_be_read_stays_as_it_is() {
        for text in ["", "day=1/части.gz", "naïve 日本 👩‍👩‍👧 \\n", "a\u{200d}b"]
        {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_written_as_an_escape() {
        let cases = [
            ("a\x1b[2Jb", "a\\x1b[2Jb"),
            ("\0\x07\x08\x7f", "\\x00\\x07\\x08\\x7f"),
            ("a\r\n\tb", "a\\r\\n\\tb"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("gnp\u{202e}.exe\u{2066}", "gnp\\u{202e}.exe\\u{2066}"),
            (
                "a\u{2028}b\u{feff}c\u{200b}",
                "a\\u{2028}b\\u{feff}c\\u{200b}",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(line(text), expected);
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        assert_eq!(short("äöü", 3), "äöü");
        assert_eq!(short("äöü", 2), "äö…");
    }

    #[test]
    fn a_table_keeps_its_lines_and_nothing_else_that_a_terminal_obeys() {
        let mut printed = Vec::new();
        io::Write::write_fmt(
            &mut Printer(&mut printed),
            format_args!("{}|b\n", "a\x1b[1m"),
        )
        .unwrap();
        Printer(&mut printed)
            .line(format_args!("{}", "c\nd"))
            .unwrap();
        assert_eq!(printed, b"a\\x1b[1m|b\nc\\nd\n");
    }

    #[test]
    fn no_line_behind_the_first_passes_for_one_of_the_log() {
        let forged = "no file x\n2026-01-01T00:00:00Z  INFO saved\r\n  own\n\nlast\u{1b}c";
        assert_eq!(
            lines(forged),
            "no file x\n  2026-01-01T00:00:00Z  INFO saved\\r\n    own\n  \n  last\\x1bc"
        );
        for fine in ["one", "problems:\n  a: b\n  c"] {
            assert!(matches!(lines(fine), Cow::Borrowed(same) if same == fine));
        }
    }
}
