//! Cuts the bytes of a CSV file into records and cells, in whatever pieces the bytes come.
//!
//! A quote opens a cell at its very beginning, and closes it in front of a delimiter or the end of a line; two of them in
//! an open cell are one that is text. Anywhere else a quote is text. What opens and closes otherwise is a stray quote,
//! which would swallow rows: it is refused.

use super::csv::CsvError;

/// A row is no longer than this: what is, is no row.
pub(super) const MAX_ROW_BYTES: usize = 16 << 20;
/// A row has no more cells than this.
const MAX_CELLS: usize = 1 << 20;

/// What to do about a quote that is none.
const REMEDY: &str = "write a quote that is text twice, in a quoted cell; or set csv.quote to null if all quotes are text";

/// Bits of [`Scanner::stops`]: the byte ends a plain cell, or a stretch of a quoted one.
const ENDS_PLAIN: u8 = 1;
const ENDS_QUOTED: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In front of a record; line breaks are passed over.
    Between,
    /// In front of a cell.
    Begin,
    Plain,
    Quoted,
    /// Behind a quote in a quoted cell, which closes it unless another one follows.
    Closing,
}

/// The machine, and the record that it is at.
#[derive(Debug)]
pub(super) struct Scanner {
    delimiter: u8,
    quote: Option<u8>,
    stops: [u8; 256],
    state: State,
    lines: Lines,
    /// The cells of the record, one after the other, without quotes.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Where the record begins.
    line: u64,
    /// Where the last quoted cell begins.
    quote_line: u64,
    spans_lines: bool,
}

impl Scanner {
    pub(super) fn new(delimiter: u8, quote: Option<u8>) -> Self {
        let mut stops = [0; 256];
        for byte in [b'\n', b'\r'] {
            stops[usize::from(byte)] = ENDS_PLAIN | ENDS_QUOTED;
        }
        stops[usize::from(delimiter)] = ENDS_PLAIN;
        if let Some(quote) = quote {
            stops[usize::from(quote)] |= ENDS_QUOTED;
        }
        Self {
            delimiter,
            quote,
            stops,
            state: State::Between,
            lines: Lines::default(),
            bytes: Vec::new(),
            ends: Vec::new(),
            line: 0,
            quote_line: 0,
            spans_lines: false,
        }
    }

    /// The line that the record begins in, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Whether a cell of the record holds a line break.
    pub(super) fn spans_lines(&self) -> bool {
        self.spans_lines
    }

    /// Cells of the record.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Cell `place` of the record, which it has.
    pub(super) fn cell(&self, place: usize) -> &[u8] {
        let begin = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[place]]
    }

    /// Bytes that the record has room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes in `input` up to the end of a record: how many bytes of it, and whether the record is complete.
    pub(super) fn scan(&mut self, input: &[u8]) -> Result<(usize, bool), CsvError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Between if is_break(byte) => {
                    self.lines.end(byte);
                    at += 1;
                }
                State::Between => self.begin(),
                State::Begin if Some(byte) == self.quote => {
                    self.quote_line = self.lines.ended + 1;
                    self.lines.go_on();
                    self.state = State::Quoted;
                    at += 1;
                }
                State::Begin => self.state = State::Plain,
                State::Plain => {
                    at += self.copy(&input[at..], ENDS_PLAIN)?;
                    let Some(&byte) = input.get(at) else { break };
                    at += 1;
                    if self.end_cell(byte)? {
                        return Ok((at, true));
                    }
                }
                State::Quoted => {
                    at += self.copy(&input[at..], ENDS_QUOTED)?;
                    let Some(&byte) = input.get(at) else { break };
                    at += 1;
                    if is_break(byte) {
                        self.spans_lines = true;
                        self.append(&[byte])?;
                        self.lines.end(byte);
                    } else {
                        self.lines.go_on();
                        self.state = State::Closing;
                    }
                }
                State::Closing if Some(byte) == self.quote => {
                    self.append(&[byte])?;
                    self.state = State::Quoted;
                    at += 1;
                }
                State::Closing if byte == self.delimiter || is_break(byte) => {
                    at += 1;
                    if self.end_cell(byte)? {
                        return Ok((at, true));
                    }
                }
                State::Closing => return Err(self.text_behind()),
            }
        }
        Ok((at, false))
    }

    /// Ends the file: whether a last record ends with it.
    pub(super) fn finish(&mut self) -> Result<bool, CsvError> {
        match self.state {
            State::Between => Ok(false),
            State::Quoted => Err(CsvError::Malformed {
                line: self.quote_line,
                reason: format!("a quote opens here and never closes: close it; {REMEDY}"),
            }),
            State::Begin | State::Plain | State::Closing => self.end_cell(b'\n'),
        }
    }

    fn begin(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.line = self.lines.ended + 1;
        self.spans_lines = false;
        self.state = State::Begin;
    }

    /// Takes the bytes of `rest` up to one that `stop` stands for into the cell: how many.
    fn copy(&mut self, rest: &[u8], stop: u8) -> Result<usize, CsvError> {
        let end = rest
            .iter()
            .position(|&byte| self.stops[usize::from(byte)] & stop != 0);
        let end = end.unwrap_or(rest.len());
        if end > 0 {
            self.lines.go_on();
            self.append(&rest[..end])?;
        }
        Ok(end)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), CsvError> {
        if self.bytes.len() + bytes.len() > MAX_ROW_BYTES {
            let reason = format!(
                "the row that begins here is longer than {} MiB: is a quote not closed, or is this no table?",
                MAX_ROW_BYTES >> 20
            );
            return Err(self.malformed(reason));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends a cell at `byte`, a delimiter or a line break; whether the record ends too.
    fn end_cell(&mut self, byte: u8) -> Result<bool, CsvError> {
        if self.ends.len() == MAX_CELLS {
            let reason = format!("the row that begins here has more than {MAX_CELLS} cells");
            return Err(self.malformed(reason));
        }
        self.ends.push(self.bytes.len());
        if byte == self.delimiter {
            self.lines.go_on();
            self.state = State::Begin;
            return Ok(false);
        }
        self.lines.end(byte);
        self.state = State::Between;
        Ok(true)
    }

    fn malformed(&self, reason: String) -> CsvError {
        CsvError::Malformed {
            line: self.line,
            reason,
        }
    }

    fn text_behind(&self) -> CsvError {
        let line = self.quote_line;
        let end = match self.lines.ended + 1 {
            end if end == line => "in the same line".to_owned(),
            end => format!("in line {end}"),
        };
        let reason = format!(
            "the quote that opens a cell here is closed {end} with text behind it: one of the two is stray; {REMEDY}"
        );
        CsvError::Malformed { line, reason }
    }
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Counts lines, whichever of `\n`, `\r\n` and `\r` ends them.
#[derive(Debug, Default)]
struct Lines {
    ended: u64,
    is_after_return: bool,
}

impl Lines {
    /// A line break of one byte, or one of its two.
    fn end(&mut self, byte: u8) {
        let is_second = byte == b'\n' && self.is_after_return;
        self.ended += u64::from(!is_second);
        self.is_after_return = byte == b'\r';
    }

    /// Something else.
    fn go_on(&mut self) {
        self.is_after_return = false;
    }
}

/// The lines of `cell`, without what ends them.
pub(super) fn lines(cell: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(cell);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|&byte| is_break(byte)) else {
            rest = None;
            return Some(text);
        };
        let width = if text[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = Some(&text[end + width..]);
        Some(&text[..end])
    })
}
