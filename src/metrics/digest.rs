//! A summary of weighted positives and negatives by score, of bounded size and with a bounded loss of order.
//!
//! Scores are 32-bit keys, and a node stands for a dyadic interval of keys: level 0 is one key, level 32 all of them
//! (the q-digest of Shrivastava et al., 2004, with two masses instead of one). Compression moves the mass of two
//! sibling intervals into their parent wherever the parent then holds at most the share `δ = 8 / nodes` of all
//! positives and at most that share of all negatives. Hence
//! - at most `8 / δ = nodes` nodes remain: each pair of siblings that stays, together with its parent, holds more than
//!   δ of one class, and no node counts in more than two such triples;
//! - only pairs of a node and one of its ancestors have lost their order, at most `64·δ` of all pairs of a positive
//!   and a negative: 32 levels, at each of which a node holds at most δ of either class.
//!
//! Nothing is assumed about the scores or their order: the shares only fall as more arrives. Each node also remembers
//! the lowest and highest key it holds, so that ties and lone scores lose nothing.

use serde::{Deserialize, Serialize};

/// Levels above single keys.
const TOP: u8 = 32;

/// The mass of one dyadic interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Node {
    level: u8,
    /// Lowest key held.
    pub(super) min: u32,
    /// Highest key held.
    pub(super) max: u32,
    /// Weight of the positives held.
    pub(super) positive: f64,
    /// Weight of the negatives held.
    pub(super) negative: f64,
}

impl Node {
    /// A single key.
    pub(super) fn leaf(key: u32, positive: f64, negative: f64) -> Self {
        Self {
            level: 0,
            min: key,
            max: key,
            positive,
            negative,
        }
    }

    /// Which interval of its level it is.
    fn prefix(&self) -> u64 {
        u64::from(self.min) >> self.level
    }

    fn absorb(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.positive += other.positive;
        self.negative += other.negative;
    }
}

/// Nodes by level, then by key; no two stand for the same interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Digest {
    nodes: Vec<Node>,
}

impl Digest {
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Takes in more nodes and, where there are then more than `limit`, compresses.
    pub(super) fn absorb(&mut self, nodes: &[Node], limit: usize) {
        self.nodes.extend_from_slice(nodes);
        coalesce(&mut self.nodes);
        if self.nodes.len() > limit {
            self.compress(limit);
        }
    }

    pub(super) fn clear(&mut self) {
        self.nodes = Vec::new();
    }

    fn compress(&mut self, limit: usize) {
        let share = 8.0 / limit as f64;
        let positive: f64 = self.nodes.iter().map(|node| node.positive).sum();
        let negative: f64 = self.nodes.iter().map(|node| node.negative).sum();
        let caps = (share * positive, share * negative);
        let nodes = std::mem::take(&mut self.nodes);
        let mut above = nodes.as_slice();
        let mut current = Vec::new();
        for level in 0..TOP {
            let (own, rest) = above.split_at(above.partition_point(|node| node.level <= level));
            current.extend_from_slice(own);
            coalesce(&mut current);
            let parents = &rest[..rest.partition_point(|node| node.level == level + 1)];
            current = lift(&current, parents, caps, &mut self.nodes);
            above = rest;
        }
        current.extend_from_slice(above);
        coalesce(&mut current);
        self.nodes.append(&mut current);
        self.nodes.shrink_to_fit();
    }
}

/// Moves siblings of one level that fit into their parent up to it, and the others to `kept`. Answers what was moved;
/// the parents' own mass counts for fitting and stays where it is.
fn lift(current: &[Node], parents: &[Node], caps: (f64, f64), kept: &mut Vec<Node>) -> Vec<Node> {
    let mut lifted = Vec::new();
    let mut parents = parents.iter().peekable();
    for siblings in current.chunk_by(|left, right| left.prefix() >> 1 == right.prefix() >> 1) {
        let mut moved = siblings[0];
        for sibling in &siblings[1..] {
            moved.absorb(sibling);
        }
        moved.level += 1;
        while parents
            .next_if(|parent| parent.prefix() < moved.prefix())
            .is_some()
        {}
        let mut whole = moved;
        if let Some(parent) = parents.next_if(|parent| parent.prefix() == moved.prefix()) {
            whole.absorb(parent);
        }
        if whole.positive <= caps.0 && whole.negative <= caps.1 {
            lifted.push(moved);
        } else {
            kept.extend_from_slice(siblings);
        }
    }
    lifted
}

/// Sorts nodes by level and key and adds up those that stand for the same interval.
fn coalesce(nodes: &mut Vec<Node>) {
    nodes.sort_by_key(|node| (node.level, node.prefix()));
    nodes.dedup_by(|next, kept| {
        let is_same = next.level == kept.level && next.prefix() == kept.prefix();
        if is_same {
            kept.absorb(next);
        }
        is_same
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::test_support::Random;

    fn filled(limit: usize, batches: usize) -> Digest {
        let mut random = Random(1);
        let mut digest = Digest::default();
        for _ in 0..batches {
            let leaves: Vec<Node> = (0..1000)
                .map(|_| {
                    let key = u32::try_from(random.next() >> 32).unwrap();
                    Node::leaf(key, 1.0, 2.0)
                })
                .collect();
            digest.absorb(&leaves, limit);
        }
        digest
    }

    #[test]
    fn no_mass_is_lost_and_the_size_stays_within_the_limit() {
        let digest = filled(512, 40);
        assert!(digest.nodes().len() <= 512);
        let positive: f64 = digest.nodes().iter().map(|node| node.positive).sum();
        let negative: f64 = digest.nodes().iter().map(|node| node.negative).sum();
        assert!((positive - 40_000.0).abs() < 1e-6 && (negative - 80_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_node_above_single_keys_holds_no_more_than_its_share() {
        let cap = 8.0 / 512.0 * 40_000.0;
        for node in filled(512, 40).nodes() {
            assert!(node.level == 0 || node.positive <= cap);
            let width = 1_u64 << node.level;
            assert!(node.prefix() * width <= u64::from(node.min));
            assert!(u64::from(node.max) < (node.prefix() + 1) * width);
        }
    }

    #[test]
    fn few_distinct_keys_are_never_compressed() {
        let mut digest = Digest::default();
        for _ in 0..100 {
            let leaves: Vec<Node> = (0..64).map(|key| Node::leaf(key, 1.0, 1.0)).collect();
            digest.absorb(&leaves, 64);
        }
        assert_eq!(digest.nodes().len(), 64);
        assert!(digest.nodes().iter().all(|node| node.min == node.max));
    }
}
