//! Deals rows to the parts of the mapping, and keeps a share of those that are trained on apart, so that training can
//! be stopped, and its best checkpoint chosen, by rows it has not seen.

use tracing::warn;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::{ConvertError, Failure};
use super::plan::Plan;
use super::row::Row;

/// Name of the part that is kept apart.
pub(super) const VALIDATION: &str = "validation";
/// Share of the rows that is kept apart where the mapping says nothing.
const SHARE: f64 = 0.1;
/// Fewer rows to train on than this, and all of them are needed: what a tenth would say is chance.
pub(super) const MIN_ROWS: u64 = 1000;
/// Makes the hash another one than that of a split.
const SEED: u64 = 0x76a1_1da7;

/// The parts there are, and which one a row belongs to.
#[derive(Debug)]
pub(super) struct Dealer<'a> {
    plan: &'a Plan,
    /// Names of the parts; the first is trained on.
    pub(super) parts: Vec<String>,
    /// Rows of the first part whose hash is below belong to the second.
    kept_apart: Option<u64>,
}

impl<'a> Dealer<'a> {
    /// The parts of the mapping.
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            parts: plan.splitter.parts.clone(),
            kept_apart: None,
        }
    }

    /// The part of the mapping that training may be stopped by.
    pub(super) fn validation(plan: &Plan) -> Option<&str> {
        let parts = plan.splitter.parts.iter().skip(1).map(String::as_str);
        let is_meant = |part: &&str| {
            let part = part.to_ascii_lowercase();
            part.starts_with("val") || part == "dev" || part.starts_with("dev_")
        };
        parts.into_iter().find(is_meant)
    }

    /// Keeps [`SHARE`] of the rows of the first part apart where they bear it: `rows` are in it, and `would_be` of them
    /// would be kept apart.
    pub(super) fn keep_apart_by_default(
        &mut self,
        rows: u64,
        would_be: u64,
    ) -> Result<(), ConvertError> {
        if Self::validation(self.plan).is_some() || rows < MIN_ROWS {
            return Ok(());
        }
        // Rows that share a value stay together: where there are few values chance decides how many rows that are.
        if would_be < rows / 40 || would_be > rows / 4 {
            warn!(
                rows,
                would_be,
                "no rows are kept apart to stop training by: the column of split.hash has too few values for a tenth of \
                 its rows; name a part `validation` in `split`, or set `validation_share`"
            );
            return Ok(());
        }
        self.keep_apart(SHARE)
    }

    /// Whether `row`, which belongs to the first part, would be kept apart by default.
    pub(super) fn would_keep_apart(&self, row: &Row) -> Result<bool, Failure> {
        Ok(self.hash(row)? < end_of(SHARE))
    }

    /// Keeps `share` of the rows of the first part apart.
    pub(super) fn keep_apart(&mut self, share: f64) -> Result<(), ConvertError> {
        if share <= 0.0 {
            return Ok(());
        }
        if self.parts.iter().any(|part| part == VALIDATION) {
            let reason = "the split has a part `validation` already: remove one of the two";
            return Err(ConvertError::setting("validation_share", reason));
        }
        self.kept_apart = Some(end_of(share));
        self.parts.insert(1, VALIDATION.to_owned());
        Ok(())
    }

    /// Whether some rows of the first part are kept apart.
    pub(super) fn keeps_apart(&self) -> bool {
        self.kept_apart.is_some()
    }

    /// The part of `row`; `None` where it is left out.
    pub(super) fn part(&self, row: &Row) -> Result<Option<usize>, Failure> {
        let part = self.plan.splitter.part(row)?;
        let (Some(part), Some(end)) = (part, self.kept_apart) else {
            return Ok(part);
        };
        if part > 0 {
            return Ok(Some(part + 1));
        }
        Ok(Some(usize::from(self.hash(row)? < end)))
    }

    /// What to change where the part `name` is empty.
    pub(super) fn remedy(&self, name: &str) -> &'static str {
        match self.kept_apart {
            Some(_) if name == VALIDATION => "set `validation_share` to another share, or to 0",
            _ => "change `split`, or remove the part",
        }
    }

    /// Of the row, or of what the split keeps together, which stays together.
    fn hash(&self, row: &Row) -> Result<u64, Failure> {
        Ok(match self.plan.splitter.hashed() {
            Some(column) => xxh3_64_with_seed(row.text_in(column)?.as_bytes(), SEED),
            None => xxh3_64_with_seed(&row.index.to_le_bytes(), SEED),
        })
    }
}

/// The first hash beyond `share` of all hashes.
fn end_of(share: f64) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of all hashes, cut to a whole number"
    )]
    let end = (share * u64::MAX as f64) as u64;
    end
}
