//! Deals rows to the parts of the mapping, and keeps a share of those that are trained on apart, so that training can
//! be stopped, and its best checkpoint chosen, by rows it has not seen.

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

    /// Keeps `share` of the rows of the first part apart; `rows` are in it, and `None` leaves the choice to them.
    pub(super) fn keep_apart(&mut self, share: Option<f64>, rows: u64) -> Result<(), ConvertError> {
        let has_part = Self::validation(self.plan).is_some();
        let default = if has_part || rows < MIN_ROWS {
            0.0
        } else {
            SHARE
        };
        let share = share.unwrap_or(default);
        if share <= 0.0 {
            return Ok(());
        }
        if self.parts.iter().any(|part| part == VALIDATION) {
            let reason = "the split has a part `validation` already: remove one of the two";
            return Err(ConvertError::setting("validation_share", reason));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of all hashes, cut to a whole number"
        )]
        let end = (share * u64::MAX as f64) as u64;
        self.kept_apart = Some(end);
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
        // Rows that the split keeps together stay together.
        let hash = match self.plan.splitter.hashed() {
            Some(column) => xxh3_64_with_seed(row.text_in(column)?.as_bytes(), SEED),
            None => xxh3_64_with_seed(&row.index.to_le_bytes(), SEED),
        };
        Ok(Some(usize::from(hash < end)))
    }
}
