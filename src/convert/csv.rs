//! Records of a CSV file in bounded memory, each with the line that it begins in; stray quotes are found.

use std::io::{self, BufRead};

use super::csv_scan::{Scanner, lines};

/// A cell of more lines than this is refused where the mapping says nothing.
const MAX_CELL_LINES: u64 = 1000;

/// How a CSV file is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    /// `None`: quotes are text like any other.
    pub(super) quote: Option<u8>,
    /// Whether blanks around cells are dropped.
    pub(super) trim: bool,
    /// A cell of more lines than this is refused; `None`: one of more than [`MAX_CELL_LINES`], and one whose lines may be
    /// rows that two stray quotes have swallowed.
    pub(super) max_cell_lines: Option<u64>,
}

/// Why there is no next record.
#[derive(Debug)]
pub(super) enum CsvError {
    Io(io::Error),
    Malformed { line: u64, reason: String },
}

/// Reads records one after the other.
pub(super) struct Records<R> {
    input: R,
    scanner: Scanner,
    dialect: Dialect,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R, dialect: Dialect) -> Self {
        Self {
            input,
            scanner: Scanner::new(dialect.delimiter, dialect.quote),
            dialect,
        }
    }

    /// Goes on to the next record; whether there is one.
    pub(super) fn advance(&mut self) -> Result<bool, CsvError> {
        loop {
            let input = fill(&mut self.input)?;
            let is_complete = if input.is_empty() {
                if !self.scanner.finish()? {
                    return Ok(false);
                }
                true
            } else {
                let (read, is_complete) = self.scanner.scan(input)?;
                self.input.consume(read);
                is_complete
            };
            if is_complete {
                if self.scanner.spans_lines() {
                    self.check_lines()?;
                }
                return Ok(true);
            }
        }
    }

    /// The line that the current record begins in, from 1.
    pub(super) fn line(&self) -> u64 {
        self.scanner.line()
    }

    /// Cells of the current record.
    pub(super) fn len(&self) -> usize {
        self.scanner.len()
    }

    /// Cell `place` of the current record, which it has.
    pub(super) fn cell(&self, place: usize) -> &[u8] {
        let cell = self.scanner.cell(place);
        if self.dialect.trim {
            cell.trim_ascii()
        } else {
            cell
        }
    }

    /// Looks at the cells of a record that spans lines.
    fn check_lines(&self) -> Result<(), CsvError> {
        let mut line = self.line();
        for place in 0..self.len() {
            let count = lines(self.scanner.cell(place)).count() as u64;
            let most = self.dialect.max_cell_lines.unwrap_or(MAX_CELL_LINES);
            if count > most {
                let reason = format!(
                    "a cell begins here that has {count} lines, more than csv.max_cell_lines ({most}): is a quote \
                     missing?"
                );
                return Err(CsvError::Malformed { line, reason });
            }
            let is_open = self.dialect.max_cell_lines.is_none();
            if is_open && count > 1 && self.may_be_rows(place) {
                let reason = format!(
                    "a cell begins here that has {count} lines, which have the delimiters of rows: if a stray quote is in \
                     front of them, set csv.quote to null or write it twice in a quoted cell; if they are text, set \
                     csv.max_cell_lines to {count} or more"
                );
                return Err(CsvError::Malformed { line, reason });
            }
            line += count - 1;
        }
        Ok(())
    }

    /// Whether cell `place` may be the end of a row, any number of others, and the beginning of one more: its first line
    /// has the delimiters that are missing behind it, its last one those in front of it.
    fn may_be_rows(&self, place: usize) -> bool {
        let delimiter = self.dialect.delimiter;
        let count = |line: &[u8]| line.iter().filter(|&&byte| byte == delimiter).count();
        let cell = self.scanner.cell(place);
        let first = lines(cell).next().map_or(0, count);
        let last = lines(cell).last().map_or(0, count);
        first >= self.len() - 1 - place && last >= place
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

#[cfg(test)]
mod tests {
    use super::super::csv_scan::MAX_ROW_BYTES;
    use super::*;
    use std::io::{BufReader, Read};

    const PLAIN: Dialect = Dialect {
        delimiter: b',',
        quote: Some(b'"'),
        trim: true,
        max_cell_lines: None,
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
            max_cell_lines: Some(3),
            ..PLAIN
        };
        let found = read("a,b\n1,\"x\n\ny\"\n\"1\n2\n3\n4\",5\n", few, 100);
        assert_eq!(found[1], "2: 1|x\\n\\ny");
        assert!(
            found[2].starts_with("5! a cell begins here that has 4 lines"),
            "{found:?}"
        );
    }

    #[test]
    fn a_quote_with_text_behind_it_is_stray() {
        for (text, line, end) in [
            ("x,y,c\n7,1,\"24 inch\n8,0,\"name 8\"\n", 2, "in line 3"),
            ("x,y,c\r7,1,\"24 inch\r\r8,0,27\" tall\r", 2, "in line 4"),
            (
                "x,y,c\r\n\r\n7,1,\"24 inch\r\n8,\"0\",a\r\n",
                3,
                "in line 4",
            ),
            ("x\n1\n\"1\"23\n", 3, "in the same line"),
            ("x,c\n1,\"a\" \n", 2, "in the same line"),
            ("x,c\n1,\"a\"\"b\"c\"\n", 2, "in the same line"),
            ("\"x\"\"\"y", 1, "in the same line"),
        ] {
            for buffer in [1, 2, 3, 100] {
                let found = read(text, PLAIN, buffer);
                let message = found.last().unwrap();
                let expected = format!("{line}! the quote that opens a cell here is closed {end}");
                assert!(message.starts_with(&expected), "{message}");
            }
        }
        // In the middle of a cell a quote is text.
        let text = "x,c\n1,24\" monitor\n2, \"a\"\n3,27\"\n";
        let expected = [
            "1: x|c",
            "2: 1|24\\\" monitor",
            "3: 2|\\\"a\\\"",
            "4: 3|27\\\"",
        ];
        assert_eq!(read(text, PLAIN, 100), expected);
    }

    #[test]
    fn lines_that_may_be_rows_are_refused_unless_the_mapping_has_a_limit() {
        let limited = Dialect {
            max_cell_lines: Some(1000),
            ..PLAIN
        };
        for (rows, line) in [
            ("x,y,t\n1,1,\"24 inch\n2,2,a\n3,3,27\"\n4,4,b\n", 2),
            ("x,y,t\n1,1,\"24 inch\n3,3,27\"\n", 2),
            ("x,y,t\r1,1,\"24 inch\r2,2,a\r3,3,27\"\r", 2),
            ("x,y,t\n1,1,\"24 inch\n\n2\n2,2,2,2,2\n\r\n3,3,27\"\n", 2),
            ("t,x\n\n\"24 inch,1\n27\",2\n", 3),
            ("x,t,y\n1,\"24 inch,0\n2,27\",1\n", 2),
            ("x,\"t,y\n1,a\",0\n", 1),
        ] {
            let found = read(rows, PLAIN, 100);
            let expected = format!("{line}! a cell begins here that has ");
            let message = found.last().unwrap();
            assert!(message.starts_with(&expected), "{message}");
            assert!(message.contains("the delimiters of rows"), "{message}");
            assert!(!read(rows, limited, 100).last().unwrap().contains("! "));
        }
        let prose = "x,y,t\n1,1,\"one, two\nthree\nfour, five\"\n2,0,\"\r\n\"\n";
        let expected = [
            "1: x|y|t",
            "2: 1|1|one, two\\nthree\\nfour, five",
            "5: 2|0|",
        ];
        assert_eq!(read(prose, PLAIN, 100), expected);
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
            assert!(records.scanner.capacity() <= 2 * MAX_ROW_BYTES);
        }
    }
}
