//! Data without a record to train on.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// There are files, but not one record in them that a rank could train on.
#[derive(Debug)]
pub struct NoRecords {
    /// The files.
    pub files: Vec<Arc<Path>>,
    /// The rank, of so many.
    pub rank: (usize, usize),
    /// Whether bad records, or rests of files, were passed over.
    pub has_skipped: bool,
}

/// Files that a message names.
const FILES_NAMED: usize = 3;

impl fmt::Display for NoRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rank, ranks) = self.rank;
        let count = self.files.len();
        let named = self.files.iter().take(FILES_NAMED);
        let named: Vec<String> = named.map(|file| file.display().to_string()).collect();
        let more = if count > FILES_NAMED { ", …" } else { "" };
        let files = if count == 1 { "file" } else { "files" };
        write!(
            f,
            "an epoch over {count} {files} ({}{more}) has no usable record",
            named.join(", ")
        )?;
        if ranks > 1 {
            write!(f, " for rank {rank}")?;
        }
        f.write_str(match (self.has_skipped, ranks) {
            (true, _) => {
                ": bad ones were passed over, each with a warning that says why (ignore_data_errors: true)"
            }
            (false, 1) => ": there is none in them",
            (false, _) => ": give it more records, or use fewer ranks",
        })
    }
}
