//! Where a column of the mapping stands in a file, and what is said when it is not there.

use std::path::Path;
use std::sync::Arc;

use super::error::ConvertError;
use super::inputs::Table;
use crate::printable;

/// Names that are shown of a table that lacks one.
const SHOWN: usize = 50;
/// What may separate cells where the mapping says something else.
const DELIMITERS: [char; 4] = [';', '\t', '|', ','];

/// Where a used column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Among the cells of a row.
    Cell(usize),
    /// Among the folders above the file.
    Folder(usize),
}

impl Position {
    /// The place of `column` among `names` or the folders of the table, where one alone has that name.
    pub(super) fn find(
        table: &Table,
        column: &str,
        names: &[String],
    ) -> Result<Self, ConvertError> {
        let places = |known: &mut dyn Iterator<Item = &String>| {
            let places = known.enumerate().filter(|(_, name)| *name == column);
            places.map(|(place, _)| place).collect::<Vec<_>>()
        };
        let cells = places(&mut names.iter());
        let folders = places(&mut table.partitions.iter().map(|(name, _)| name));
        let known = match (&cells[..], &folders[..]) {
            ([place], []) => return Ok(Self::Cell(*place)),
            ([], [place]) => return Ok(Self::Folder(*place)),
            ([], []) => there_are(table, column, names),
            (_, []) => "two columns have that name: rename one".to_owned(),
            ([], _) => {
                format!("two folders `{column}=…` above the file have that name: rename one")
            }
            _ => format!(
                "both a column of the file and the folder `{column}=…` above it have that name: rename the folder, or \
                 write the files without the column"
            ),
        };
        Err(missing(&table.path, column, known))
    }
}

/// The columns there are, in words, and what may be wrong.
fn there_are(table: &Table, column: &str, names: &[String]) -> String {
    if let [name] = names
        && let Some(hint) = delimiter_hint(name)
    {
        return format!("there is one, `{}`: {hint}", printable::line(name));
    }
    let folders = table.partitions.iter().map(|(name, _)| name);
    let mut all: Vec<&String> = names.iter().chain(folders).collect();
    let near = |name: &&String| strsim::jaro_winkler(column, name) > 0.85;
    let hint = all.iter().copied().filter(near).max_by(|one, other| {
        let [one, other] = [one, other].map(|name| strsim::jaro_winkler(column, name));
        one.total_cmp(&other)
    });
    let hint = hint.map_or_else(String::new, |name| {
        format!(" (did you mean `{}`?)", printable::line(name))
    });
    let more = if all.len() > SHOWN { ", …" } else { "" };
    all.truncate(SHOWN);
    let shown: Vec<_> = all.iter().map(|name| printable::line(name)).collect();
    format!("there are {}{more}{hint}", shown.join(", "))
}

/// What is said of a row of one cell that another delimiter would cut.
pub(super) fn delimiter_hint(cell: &str) -> Option<String> {
    let delimiters = DELIMITERS.iter().copied();
    let counts = delimiters.map(|sign| (cell.matches(sign).count(), sign));
    let (count, sign) = counts.max_by_key(|(count, _)| *count)?;
    let sign = sign.escape_default();
    (count > 0).then(|| format!("is csv.delimiter \"{sign}\"?"))
}

/// The error of a table without `column`.
pub(super) fn missing(file: &Arc<Path>, column: &str, known: String) -> ConvertError {
    ConvertError::Column {
        file: Arc::clone(file),
        column: printable::line(column).into_owned(),
        known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(column: &str, names: &[&str]) -> Result<Position, String> {
        let table = Table {
            path: Arc::from(Path::new("t.csv")),
            partitions: [("day", "1"), ("x", "2"), ("day", "3")]
                .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
                .to_vec(),
        };
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Position::find(&table, column, &names).map_err(|error| error.to_string())
    }

    #[test]
    fn a_column_is_in_the_file_or_a_folder_and_not_in_both() {
        assert_eq!(find("a", &["b", "a"]), Ok(Position::Cell(1)));
        assert_eq!(find("x", &["a"]), Ok(Position::Folder(1)));
        let both = find("x", &["a", "x"]).unwrap_err();
        let expected = "both a column of the file and the folder `x=…` above it";
        assert!(both.contains(expected), "{both}");
        let twice = find("day", &["a"]).unwrap_err();
        assert!(twice.contains("two folders `day=…`"), "{twice}");
    }

    #[test]
    fn what_is_missing_is_said_with_a_guess() {
        let message = |column: &str, names: &[&str]| find(column, names).unwrap_err();
        let found = message("b", &["x;b;y"]);
        assert!(
            found.ends_with("there is one, `x;b;y`: is csv.delimiter \";\"?"),
            "{found}"
        );
        let found = message("b", &["x\tb"]);
        assert!(
            found.ends_with("`x\\tb`: is csv.delimiter \"\\t\"?"),
            "{found}"
        );
        let found = message("Income", &["age", "income"]);
        assert!(
            found.ends_with("there are age, income, day, x, day (did you mean `income`?)"),
            "{found}"
        );
        assert!(message("a", &["a", "a"]).ends_with("two columns have that name: rename one"));
    }
}
