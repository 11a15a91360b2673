//! Records of a CSV file in bounded memory, each with the line that it begins in; a quote that stays open is found.

use std::io::{self, BufRead};

use csv_core::ReadRecordResult;

/// A row is no longer than this: what is, is no row.
const MAX_ROW_BYTES: usize = 16 << 20;
/// A row has no more cells than this.
const MAX_CELLS: usize = 1 << 20;

/// How a CSV file is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    /// `None`: quotes are text like any other.
    pub(super) quote: Option<u8>,
    /// Whether blanks around cells are dropped.
    pub(super) trim: bool,
    /// A cell of more lines than this is refused.
    pub(super) max_cell_lines: u64,
}

/// Why there is no next record.
#[derive(Debug)]
pub(super) enum CsvError {
    Io(io::Error),
    Malformed { line: u64, reason: String },
}

/// A cell that spans lines which look like rows: a stray quote swallows rows like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Swallowed {
    /// Where the cell begins.
    pub(super) line: u64,
    pub(super) lines: u64,
}

/// Reads records one after the other.
pub(super) struct Records<R> {
    input: R,
    core: csv_core::Reader,
    dialect: Dialect,
    /// The cells of the current record, one after the other, without quotes.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How many of `ends` are of the current record.
    cells: usize,
    lines: Lines,
    /// Where the current record begins.
    line: u64,
    swallowed: Option<Swallowed>,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R, dialect: Dialect) -> Self {
        let core = csv_core::ReaderBuilder::new()
            .delimiter(dialect.delimiter)
            .quote(dialect.quote.unwrap_or(b'"'))
            .quoting(dialect.quote.is_some())
            .build();
        Self {
            input,
            core,
            dialect,
            bytes: vec![0; 1 << 12],
            ends: vec![0; 1 << 8],
            cells: 0,
            lines: Lines::default(),
            line: 0,
            swallowed: None,
        }
    }

    /// Goes on to the next record; whether there is one.
    pub(super) fn advance(&mut self) -> Result<bool, CsvError> {
        let (mut bytes, mut cells) = (0, 0);
        let mut is_ended = false;
        loop {
            // After the end of the file one more line ends: only an open quote swallows that.
            let input = if is_ended {
                b"\n"
            } else {
                fill(&mut self.input)?
            };
            if input.is_empty() {
                is_ended = true;
                self.lines.is_after_return = false;
                continue;
            }
            let (result, read, written, ends) =
                self.core
                    .read_record(input, &mut self.bytes[bytes..], &mut self.ends[cells..]);
            self.lines.count(&input[..read]);
            if !is_ended {
                self.input.consume(read);
            }
            bytes += written;
            cells += ends;
            match result {
                ReadRecordResult::InputEmpty if is_ended && bytes > 0 => {
                    return Err(self.open_quote(bytes - 1, cells));
                }
                ReadRecordResult::End => return Ok(false),
                ReadRecordResult::InputEmpty if is_ended => return Ok(false),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.grow(bytes)?,
                ReadRecordResult::OutputEndsFull => self.grow_cells(bytes)?,
                ReadRecordResult::Record => {
                    self.cells = cells;
                    self.line = self.lines.ended - breaks(&self.bytes[..bytes]);
                    if self.line != self.lines.ended {
                        self.check_lines()?;
                    }
                    return Ok(true);
                }
            }
        }
    }

    /// The line that the current record begins in, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Cells of the current record.
    pub(super) fn len(&self) -> usize {
        self.cells
    }

    /// Cell `place` of the current record, which it has.
    pub(super) fn cell(&self, place: usize) -> &[u8] {
        let cell = self.raw(place);
        if self.dialect.trim {
            cell.trim_ascii()
        } else {
            cell
        }
    }

    /// A cell met since the last call that looks as if a stray quote had swallowed rows.
    pub(super) fn take_swallowed(&mut self) -> Option<Swallowed> {
        self.swallowed.take()
    }

    fn raw(&self, place: usize) -> &[u8] {
        let begin = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[place]]
    }

    fn grow(&mut self, used: usize) -> Result<(), CsvError> {
        if self.bytes.len() >= MAX_ROW_BYTES {
            let reason = format!(
                "the row that begins here is longer than {} MiB: is a quote not closed, or is this no table?",
                MAX_ROW_BYTES >> 20
            );
            return Err(self.malformed(used, reason));
        }
        self.bytes.resize(2 * self.bytes.len(), 0);
        Ok(())
    }

    fn grow_cells(&mut self, used: usize) -> Result<(), CsvError> {
        if self.ends.len() >= MAX_CELLS {
            let reason = format!("the row that begins here has more than {MAX_CELLS} cells");
            return Err(self.malformed(used, reason));
        }
        self.ends.resize(2 * self.ends.len(), 0);
        Ok(())
    }

    /// The error of a record that is not complete yet, of which there are `used` bytes.
    fn malformed(&self, used: usize, reason: String) -> CsvError {
        let line = self.lines.ended + 1 - breaks(&self.bytes[..used]);
        CsvError::Malformed { line, reason }
    }

    /// The error of a file that ends in the cell behind `cells` others; the record has `used` bytes.
    fn open_quote(&self, used: usize, cells: usize) -> CsvError {
        let begin = cells.checked_sub(1).map_or(0, |before| self.ends[before]);
        // The line that was added to the file is counted, and not among the bytes.
        let line = self.lines.ended - breaks(&self.bytes[begin.min(used)..used]);
        let reason = "a quote opens here and never closes: close it; write a quote that is text twice, in a quoted cell; \
                      or set csv.quote to null if all quotes are text";
        CsvError::Malformed {
            line,
            reason: reason.to_owned(),
        }
    }

    /// Looks at the cells of a record that spans lines.
    fn check_lines(&mut self) -> Result<(), CsvError> {
        let mut line = self.line;
        for place in 0..self.cells {
            let cell = self.raw(place);
            let lines = breaks(cell) + 1;
            if lines > self.dialect.max_cell_lines {
                let reason = format!(
                    "a cell begins here that has {lines} lines, more than csv.max_cell_lines ({}): is a quote missing?",
                    self.dialect.max_cell_lines
                );
                return Err(CsvError::Malformed { line, reason });
            }
            if lines > 1 && self.looks_like_rows(place) {
                self.swallowed = Some(Swallowed { line, lines });
            }
            line += lines - 1;
        }
        Ok(())
    }

    /// Whether the lines of cell `place` have the delimiters that they would have as rows.
    fn looks_like_rows(&self, place: usize) -> bool {
        let per_row = self.cells - 1;
        let delimiter = self.dialect.delimiter;
        let count = |line: &[u8]| line.iter().filter(|&&byte| byte == delimiter).count();
        let counts: Vec<usize> = self.raw(place).split(|&b| b == b'\n').map(count).collect();
        let (Some(first), Some(last)) = (counts.first(), counts.last()) else {
            return false;
        };
        let inner = counts.get(1..counts.len() - 1).unwrap_or_default();
        // Fewer delimiters than this may well stand in text.
        let is_enough = (counts.len() - 1) * per_row >= 4;
        is_enough
            && *first == per_row - place
            && *last == place
            && inner.iter().all(|&count| count == per_row)
    }
}

/// The bytes that are there; a signal does not count as an error.
fn fill(input: &mut impl BufRead) -> Result<&[u8], CsvError> {
    loop {
        match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CsvError::Io(error)),
            Ok(_) => break,
        }
    }
    // The buffer is not empty now, or the file is at its end: this reads nothing.
    input.fill_buf().map_err(CsvError::Io)
}

/// Counts lines, whichever of `\n`, `\r\n` and `\r` ends them.
#[derive(Debug, Default)]
struct Lines {
    ended: u64,
    is_after_return: bool,
}

impl Lines {
    fn count(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let is_break = byte == b'\r' || byte == b'\n' && !self.is_after_return;
            self.ended += u64::from(is_break);
            self.is_after_return = byte == b'\r';
        }
    }
}

fn breaks(bytes: &[u8]) -> u64 {
    let mut lines = Lines::default();
    lines.count(bytes);
    lines.ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    const PLAIN: Dialect = Dialect {
        delimiter: b',',
        quote: Some(b'"'),
        trim: true,
        max_cell_lines: 1000,
    };

    /// `line: cells` of every record, then the error.
    fn read(text: &str, dialect: Dialect, buffer: usize) -> Vec<String> {
        let input = BufReader::with_capacity(buffer, text.as_bytes());
        let mut records = Records::new(input, dialect);
        let mut found = Vec::new();
        loop {
            match records.advance() {
                Ok(true) => {
                    let cells = (0..records.len()).map(|i| records.cell(i).escape_ascii());
                    let cells: Vec<String> = cells.map(|cell| cell.to_string()).collect();
                    found.push(format!("{}: {}", records.line(), cells.join("|")));
                }
                Ok(false) => return found,
                Err(CsvError::Io(error)) => panic!("{error}"),
                Err(CsvError::Malformed { line, reason }) => {
                    found.push(format!("{line}! {reason}"));
                    return found;
                }
            }
        }
    }

    #[test]
    fn records_know_the_line_that_they_begin_in() {
        let text = "x,y\r\n1,\"a\r\nb\"\r\n\r\n\n2, \"\"\n\"3\n\n\",4\n5,\"6\"\"\"";
        let expected = [
            "1: x|y",
            "2: 1|a\\r\\nb",
            "6: 2|\\\"\\\"",
            "7: 3|4",
            "10: 5|6\\\"",
        ];
        for buffer in [3, 4, 5, 7, 100] {
            assert_eq!(read(text, PLAIN, buffer), expected, "{buffer}");
        }
        assert_eq!(read("a\rb\r\rc", PLAIN, 100), ["1: a", "2: b", "4: c"]);
        assert_eq!(read("", PLAIN, 100), [""; 0]);
        assert_eq!(read("\n\r\n", PLAIN, 100), [""; 0]);
        assert_eq!(read("a,", PLAIN, 100), ["1: a|"]);
        let untrimmed = Dialect {
            trim: false,
            ..PLAIN
        };
        assert_eq!(read(" a , b", untrimmed, 100), ["1:  a | b"]);
    }

    #[test]
    fn a_quote_that_never_closes_is_found_at_its_line() {
        for (text, line) in [
            ("a,b\n1,\"2\n3,4\n", 2),
            ("a,b\n1,\"2\n3,4", 2),
            ("\"", 1),
            ("a\n\n\"", 3),
            ("a,b\n\"x\ny\",\"z\n", 3),
            ("a,b\r\n1,2\r\n3,\"4\r\n\r\n", 3),
            ("a,b\r1,\"2\r", 2),
        ] {
            let found = read(text, PLAIN, 100);
            let message = found.last().unwrap();
            assert!(
                message.starts_with(&format!("{line}! a quote opens")),
                "{message}"
            );
        }
        let unquoted = Dialect {
            quote: None,
            ..PLAIN
        };
        assert_eq!(read("1,\"2\n", unquoted, 100), ["1: 1|\\\"2"]);
    }

    #[test]
    fn a_cell_of_many_lines_is_refused_or_looked_at() {
        let few = Dialect {
            max_cell_lines: 3,
            ..PLAIN
        };
        let found = read("a,b\n1,\"x\n\ny\"\n\"1\n2\n3\n4\",5\n", few, 100);
        assert_eq!(found[1], "2: 1|x\\n\\ny");
        assert!(
            found[2].starts_with("5! a cell begins here that has 4 lines"),
            "{found:?}"
        );
        let swallowed = |text: &str| {
            let mut records = Records::new(text.as_bytes(), PLAIN);
            while records.advance().unwrap() {}
            records.take_swallowed()
        };
        let rows = "x,y,t\n1,1,\"24 inch\n2,2,a\n3,3,27\" tall\n4,4,b\n";
        assert_eq!(swallowed(rows), Some(Swallowed { line: 2, lines: 3 }));
        let prose = "x,y,t\n1,1,\"one, two\nthree\nfour, five\"\n";
        assert_eq!(swallowed(prose), None);
    }

    /// Gives a byte without end.
    struct Endless(u8, u64);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(self.0);
            self.1 += buffer.len() as u64;
            assert!(self.1 < 1 << 27, "reads on and on");
            Ok(buffer.len())
        }
    }

    #[test]
    fn rows_without_end_are_refused_in_bounded_memory() {
        for (begin, byte, expected) in [
            ("a,b\nx", b'x', "longer than 16 MiB"),
            ("a,b\n1,\"", b'\n', "longer than 16 MiB"),
            ("a", b'a', "longer than 16 MiB"),
            ("a,b\n", b',', "more than 1048576 cells"),
        ] {
            let input = begin.as_bytes().chain(Endless(byte, 0));
            let mut records = Records::new(BufReader::with_capacity(1 << 16, input), PLAIN);
            let error = loop {
                match records.advance() {
                    Ok(true) => {}
                    Ok(false) => panic!("{begin} ends"),
                    Err(error) => break error,
                }
            };
            let CsvError::Malformed { line, reason } = error else {
                panic!("{error:?}")
            };
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(line, if begin == "a" { 1 } else { 2 });
            assert!(records.bytes.capacity() <= 2 * MAX_ROW_BYTES);
        }
    }
}
