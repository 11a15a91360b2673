//! The roll call: every rank lays its card down, rank 0 looks at all of them and says whether the run begins.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::DistributedError;
use super::card::{Card, shown};
use super::env::LaunchedBy;
use super::heartbeat;
use super::liveness::Failure;
use super::store::{Patience, Store, StoreError};

/// What rank 0 says.
const VERDICT: &str = "verdict";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// One rank's part in the roll call.
#[derive(Debug)]
pub(super) struct Roll<'a> {
    pub(super) rank: usize,
    pub(super) card: &'a Card,
    pub(super) patience: &'a Patience,
    /// How much longer the others wait than rank 0, which may have come later.
    pub(super) margin: Duration,
    pub(super) timeout: Duration,
    pub(super) launched_by: LaunchedBy,
}

/// What rank 0 found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Verdict {
    /// All ranks are here and alike.
    Begin { world_size: usize },
    /// These did not come.
    Absent { ranks: Vec<usize> },
    /// A rank differs from rank 0.
    Differs { rank: usize, difference: String },
    /// A rank cannot start.
    Problem { rank: usize, problem: String },
}

type Agreed = Result<(), DistributedError>;

fn card_key(rank: usize) -> String {
    format!("card/{rank}")
}

impl Roll<'_> {
    /// Lays the card down and waits for rank 0's verdict, or gives it.
    ///
    /// The outer error is the store's.
    pub(super) fn answer(&self, store: &Store) -> Result<Agreed, StoreError> {
        if store.add(&format!("claim/{}", self.rank), 1)? > 1 {
            return Ok(Err(self.twice(store)?));
        }
        heartbeat::prepare(store, self.rank)?;
        let card = match self.card.encode() {
            Ok(card) => card,
            Err(source) => return Ok(Err(self.unreadable(self.rank, source))),
        };
        store.set(&card_key(self.rank), &card)?;
        if self.rank > 0 {
            return self.await_verdict(store);
        }
        let verdict = match self.call(store)? {
            Ok(verdict) => verdict,
            Err(error) => return Ok(Err(error)),
        };
        match serde_json::to_vec(&verdict) {
            Ok(bytes) => store.set(VERDICT, &bytes)?,
            Err(source) => return Ok(Err(self.unreadable(0, source))),
        }
        Ok(self.obey(verdict))
    }

    fn unreadable(&self, rank: usize, source: serde_json::Error) -> DistributedError {
        DistributedError::Unreadable { rank, source }
    }

    /// Another process is this rank already.
    fn twice(&self, store: &Store) -> Result<DistributedError, StoreError> {
        let other = store.get(&card_key(self.rank))?;
        let other = other.and_then(|bytes| Card::decode(&bytes).ok());
        Ok(DistributedError::Twice {
            rank: self.rank,
            other: other.map_or_else(|| "another process".to_owned(), |card| shown(&card.process)),
        })
    }

    /// Looks at the card of every rank as it comes.
    fn call(&self, store: &Store) -> Result<Result<Verdict, DistributedError>, StoreError> {
        let world_size = self.card.world_size;
        let mut missing: Vec<usize> = (0..world_size).collect();
        let mut cards = Vec::new();
        loop {
            let mut still = Vec::new();
            for rank in missing {
                let Some(bytes) = store.get(&card_key(rank))? else {
                    still.push(rank);
                    continue;
                };
                match Card::decode(&bytes) {
                    Err(source) => return Ok(Err(self.unreadable(rank, source))),
                    Ok(card) => cards.push((rank, card)),
                }
            }
            missing = still;
            if let Some(bad) = cards
                .iter()
                .find_map(|(rank, card)| self.objection(*rank, card))
            {
                return Ok(Ok(bad));
            }
            if missing.is_empty() {
                self.warn_of_differences(&cards);
                return Ok(Ok(Verdict::Begin { world_size }));
            }
            if let Some(failure) = heartbeat::failure(store)? {
                return Ok(Err(self.lost(failure)));
            }
            if self.is_over(Duration::ZERO)? {
                return Ok(Ok(Verdict::Absent { ranks: missing }));
            }
        }
    }

    /// Waits for a moment; whether the time is over. A signal is an error.
    fn is_over(&self, margin: Duration) -> Result<bool, StoreError> {
        let patience = Patience {
            deadline: self.patience.deadline + margin,
            ..self.patience.clone()
        };
        let goes_on = patience.pause(LOOK).is_ok();
        if self.patience.stop.is_requested() {
            return Err(StoreError::Stopped);
        }
        Ok(!goes_on)
    }

    fn objection(&self, rank: usize, card: &Card) -> Option<Verdict> {
        if let Some(problem) = &card.problem {
            let problem = shown(problem);
            return Some(Verdict::Problem { rank, problem });
        }
        let difference = shown(&card.difference(self.card)?);
        Some(Verdict::Differs { rank, difference })
    }

    fn warn_of_differences(&self, cards: &[(usize, Card)]) {
        for (rank, card) in cards {
            for difference in card.tolerable_differences(self.card) {
                tracing::warn!("rank {rank} differs from rank 0: {}", shown(&difference));
            }
        }
    }

    fn await_verdict(&self, store: &Store) -> Result<Agreed, StoreError> {
        loop {
            if let Some(bytes) = store.get(VERDICT)? {
                return Ok(match serde_json::from_slice(&bytes) {
                    Ok(verdict) => self.obey(verdict),
                    Err(source) => Err(self.unreadable(0, source)),
                });
            }
            if let Some(failure) = heartbeat::failure(store)? {
                return Ok(Err(self.lost(failure)));
            }
            if self.is_over(self.margin)? {
                return Ok(Err(self.without_verdict(store)?));
            }
        }
    }

    /// Rank 0 should have said who is missing, and has not.
    fn without_verdict(&self, store: &Store) -> Result<DistributedError, StoreError> {
        let mut absent = Vec::new();
        for rank in 0..self.card.world_size {
            if !store.has(&[card_key(rank)])? {
                absent.push(rank);
            }
        }
        if !absent.is_empty() {
            return Ok(self.absent(&absent));
        }
        let reason = "rank 0 came to the meeting and then said no more: it was killed, is frozen, or is out of reach";
        Ok(self.lost(Failure::of(0, reason.to_owned())))
    }

    fn lost(&self, failure: Failure) -> DistributedError {
        DistributedError::Lost {
            rank: self.rank,
            during: "the meeting",
            failure,
        }
    }

    fn absent(&self, ranks: &[usize]) -> DistributedError {
        let ranks: Vec<String> = ranks.iter().map(ToString::to_string).collect();
        DistributedError::Absent {
            ranks: ranks.join(", "),
            seconds: self.timeout.as_secs(),
            question: self.launched_by.question(),
        }
    }

    fn obey(&self, verdict: Verdict) -> Agreed {
        let own = self.card.world_size;
        match verdict {
            Verdict::Begin { world_size } if world_size == own => Ok(()),
            Verdict::Begin { world_size } => Err(DistributedError::Disagreement {
                rank: self.rank,
                difference: format!("WORLD_SIZE={own} instead of {world_size}"),
            }),
            Verdict::Absent { ranks } => Err(self.absent(&ranks)),
            Verdict::Differs { rank, difference } => Err(DistributedError::Disagreement {
                rank,
                difference: shown(&difference),
            }),
            Verdict::Problem { rank, problem } => Err(DistributedError::Problem {
                rank,
                problem: shown(&problem),
            }),
        }
    }
}
