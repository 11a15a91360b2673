//! What a rank says of itself at the meeting, and how ranks that must be alike differ.

use serde::{Deserialize, Serialize};

use crate::printable;

/// Far below what a value of the store may have.
const MAX_CARD_BYTES: usize = 256 << 10;
/// Of texts from other ranks, as they are shown.
const MAX_SHOWN_CHARS: usize = 2000;

/// What a rank says of itself. What cannot be read of another version's card is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// All processes, as this one was told; set at the meeting.
    pub world_size: usize,
    /// Process and host, for messages; set at the meeting.
    pub process: String,
    /// Why this rank cannot start, if it cannot: the others then end, too.
    pub problem: Option<String>,
    /// What ranks compare, the first difference first.
    pub facts: Vec<Fact>,
}

/// One thing that ranks compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fact {
    /// What it is, as messages name it.
    pub name: String,
    /// One short line.
    pub value: String,
    /// Lines behind the value, to name the first that differs; as many as are worth it.
    pub details: Vec<String>,
    /// Whether a difference ends the run; otherwise it is a warning.
    pub must_agree: bool,
    /// What a difference means, or what to do about it.
    pub remedy: String,
}

impl Card {
    /// As bytes; details are left out where they are too much.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let bytes = serde_json::to_vec(self)?;
        if bytes.len() <= MAX_CARD_BYTES {
            return Ok(bytes);
        }
        let mut short = self.clone();
        for fact in &mut short.facts {
            fact.details.clear();
        }
        serde_json::to_vec(&short)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// How this card differs from rank 0's where it must not, in words.
    pub(super) fn difference(&self, first: &Self) -> Option<String> {
        if self.world_size != first.world_size {
            return Some(format!(
                "WORLD_SIZE={} instead of {}: start all ranks with the same number",
                self.world_size, first.world_size
            ));
        }
        let pairs = first.facts.iter().filter(|fact| fact.must_agree);
        pairs
            .map(|fact| (self.fact(&fact.name), fact))
            .find_map(|(own, expected)| match own {
                Some(own) => own.difference(expected),
                None => Some(format!("it does not say its {}", expected.name)),
            })
    }

    /// Where this card differs from rank 0's and may, in words.
    pub(super) fn tolerable_differences(&self, first: &Self) -> Vec<String> {
        let pairs = first.facts.iter().filter(|fact| !fact.must_agree);
        let pairs = pairs.filter_map(|fact| self.fact(&fact.name)?.difference(fact));
        pairs.collect()
    }

    fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.name == name)
    }
}

impl Fact {
    fn difference(&self, expected: &Self) -> Option<String> {
        if self.value == expected.value {
            return None;
        }
        let first = self.first_difference(expected).unwrap_or_default();
        Some(format!(
            "{} {} instead of {}{first}: {}",
            self.name, self.value, expected.value, expected.remedy
        ))
    }

    fn first_difference(&self, expected: &Self) -> Option<String> {
        let nothing = || "nothing".to_owned();
        let lines = self.details.len().max(expected.details.len());
        let pairs = (0..lines).map(|at| (self.details.get(at), expected.details.get(at)));
        let (own, other) = pairs.into_iter().find(|(own, other)| own != other)?;
        let [own, other] = [own, other].map(|line| line.cloned().unwrap_or_else(nothing));
        Some(format!(" (first {own} instead of {other})"))
    }
}

/// Text from another process, fit for the log: one line, not too long.
pub(super) fn shown(text: &str) -> String {
    printable::line(&printable::short(text, MAX_SHOWN_CHARS)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(value: &str, details: &[&str], must_agree: bool) -> Fact {
        Fact {
            name: "data files".to_owned(),
            value: value.to_owned(),
            details: details.iter().map(ToString::to_string).collect(),
            must_agree,
            remedy: "copy them".to_owned(),
        }
    }

    fn card(world_size: usize, facts: &[Fact]) -> Card {
        Card {
            world_size,
            facts: facts.to_vec(),
            ..Card::default()
        }
    }

    #[test]
    fn differences_are_put_into_words() {
        let first = card(2, &[fact("3 files", &["a", "b", "c"], true)]);
        let difference = |other: Card| other.difference(&first).unwrap();
        assert_eq!(first.clone().difference(&first), None);
        assert_eq!(
            difference(card(2, &[fact("2 files", &["a", "c"], true)])),
            "data files 2 files instead of 3 files (first c instead of b): copy them"
        );
        assert_eq!(
            difference(card(2, &[fact("2 files", &["a", "b"], true)])),
            "data files 2 files instead of 3 files (first nothing instead of c): copy them"
        );
        assert!(difference(card(3, &[])).starts_with("WORLD_SIZE=3 instead of 2"));
        assert_eq!(difference(card(2, &[])), "it does not say its data files");
    }

    #[test]
    fn what_may_differ_is_told_apart() {
        let first = card(2, &[fact("1", &[], false)]);
        let other = card(2, &[fact("2", &[], false)]);
        assert_eq!(other.difference(&first), None);
        let found = other.tolerable_differences(&first);
        assert_eq!(found, ["data files 2 instead of 1: copy them"]);
        assert_eq!(first.tolerable_differences(&first), [""; 0]);
    }

    #[test]
    fn cards_of_other_versions_can_be_read_and_large_ones_lose_their_details() {
        let other = Card::decode(br#"{"world_size": 2, "new": [1]}"#).unwrap();
        assert_eq!(other, card(2, &[]));
        assert!(Card::decode(b"[").is_err());
        let lines = vec!["x".repeat(100); 10_000];
        let large = card(
            2,
            &[Fact {
                details: lines,
                ..fact("v", &[], true)
            }],
        );
        let bytes = large.encode().unwrap();
        assert!(bytes.len() < 1000, "{}", bytes.len());
        assert_eq!(Card::decode(&bytes).unwrap().facts[0].value, "v");
    }

    #[test]
    fn text_of_others_cannot_forge_lines() {
        assert_eq!(shown("a\nERROR b\u{1b}[2J"), "a\\nERROR b\\x1b[2J");
        assert_eq!(shown(&"x".repeat(3000)).chars().count(), 2001);
    }
}
