//! Who is alive, judged from what the ranks write to the store. No threads and no clocks here.

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

/// Why the run cannot go on, and through which rank.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// The rank at fault; `None` when it is none of them (the launcher).
    pub rank: Option<usize>,
    /// One sentence that names it.
    pub reason: String,
    /// What that rank ends with, where it has said so; the others then end with the same.
    pub exit_code: Option<NonZeroU8>,
}

impl Failure {
    /// `rank` is at fault.
    pub(super) fn of(rank: usize, reason: String) -> Self {
        Self {
            rank: Some(rank),
            reason,
            exit_code: None,
        }
    }
}

/// How often ranks show themselves, and how long a silence may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two beats.
    pub(super) interval: Duration,
    /// A rank silent for longer is lost. Leaves enough of the timeout to end the process within it.
    pub(super) limit: Duration,
    /// The same once a collective has failed, when somebody must be the reason.
    pub(super) suspicious_limit: Duration,
    /// What the main thread gets to notice a failure by itself.
    pub(super) grace: Duration,
    /// What it gets to end the process once it has.
    pub(super) farewell: Duration,
}

impl Pace {
    pub(super) fn new(timeout: Duration) -> Self {
        let interval = (timeout / 20).clamp(Duration::from_millis(50), Duration::from_secs(2));
        let limit = timeout.saturating_sub(4 * interval).max(timeout / 2);
        Self {
            interval,
            limit,
            suspicious_limit: (5 * interval).max(Duration::from_secs(2)).min(limit),
            grace: 2 * interval,
            farewell: limit.min(Duration::from_secs(10)),
        }
    }
}

/// What a rank writes to the store, again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beat {
    /// Grows with every beat.
    pub(super) count: u64,
    /// Collectives that the rank has entered.
    pub(super) num_collectives: u64,
}

impl Beat {
    pub(super) fn encode(self) -> String {
        format!("{} {}", self.count, self.num_collectives)
    }

    /// What cannot be read counts as no beat.
    pub(super) fn decode(text: &[u8]) -> Self {
        let numbers = std::str::from_utf8(text).ok().and_then(|text| {
            let (count, num_collectives) = text.split_once(' ')?;
            Some((count.parse().ok()?, num_collectives.parse().ok()?))
        });
        let (count, num_collectives) = numbers.unwrap_or_default();
        Self {
            count,
            num_collectives,
        }
    }
}

/// The last beat seen of one rank.
#[derive(Clone, Copy, Debug)]
struct Seen {
    beat: Beat,
    /// When it changed last.
    at: Instant,
    /// How often it has changed.
    num_changes: u64,
    /// Since when this rank waits for that one in a collective.
    awaited_since: Option<Instant>,
}

/// One rank's view of all others.
#[derive(Debug)]
pub(super) struct Watch {
    rank: usize,
    rank_0_serves: bool,
    pace: Pace,
    seen: Vec<Seen>,
    /// When the store answered last.
    store_at: Instant,
    /// When somebody last looked.
    looked_at: Instant,
    /// The longest time this process itself stood still.
    absence: Duration,
    /// A collective has failed.
    pub(super) is_suspicious: bool,
}

impl Watch {
    pub(super) fn new(
        now: Instant,
        rank: usize,
        world_size: usize,
        rank_0_serves: bool,
        pace: Pace,
    ) -> Self {
        let seen = Seen {
            beat: Beat::default(),
            at: now,
            num_changes: 0,
            awaited_since: None,
        };
        Self {
            rank,
            rank_0_serves,
            pace,
            seen: vec![seen; world_size],
            store_at: now,
            looked_at: now,
            absence: Duration::ZERO,
            is_suspicious: false,
        }
    }

    /// Takes in what the store holds: one beat per rank.
    pub(super) fn observe(&mut self, now: Instant, beats: &[Beat]) {
        self.store_at = now;
        let own = beats.get(self.rank).map_or(0, |beat| beat.num_collectives);
        for (seen, &beat) in self.seen.iter_mut().zip(beats) {
            if beat.count != seen.beat.count {
                seen.at = now;
                seen.num_changes += 1;
            }
            let moved = beat.num_collectives != seen.beat.num_collectives;
            if beat.num_collectives >= own {
                seen.awaited_since = None;
            } else if moved || seen.awaited_since.is_none() {
                seen.awaited_since = Some(now);
            }
            seen.beat = beat;
        }
    }

    /// The rank at fault, once one is. Call every `interval`.
    pub(super) fn verdict(&mut self, now: Instant) -> Option<Failure> {
        self.forgive_own_absence(now);
        let limit = if self.is_suspicious {
            self.pace.suspicious_limit
        } else {
            self.pace.limit
        };
        let store_silence = now.saturating_duration_since(self.store_at);
        if store_silence > limit {
            return Some(self.store_lost(&format!(
                "has not answered for {:.1} s",
                store_silence.as_secs_f64()
            )));
        }
        let others = || (0..self.seen.len()).filter(|&rank| rank != self.rank);
        // Silence counts up to the last answer of the store: where that has stopped, its host is the one to blame.
        let now = self.store_at;
        // The longest silence is the cause, others may follow from it.
        let silent = others().min_by_key(|&rank| self.seen[rank].at)?;
        let silence = now.saturating_duration_since(self.seen[silent].at);
        if silence > limit {
            return Some(Failure::of(
                silent,
                format!(
                    "rank {silent} has not answered for {:.1} s: it was killed, is frozen, or is out of reach",
                    silence.as_secs_f64()
                ),
            ));
        }
        let late = others().find(|&rank| {
            let since = self.seen[rank].awaited_since;
            since.is_some_and(|since| now.saturating_duration_since(since) > limit)
        })?;
        let beat = self.seen[late].beat;
        Some(Failure::of(
            late,
            format!(
                "rank {late} still answers, but has not come to its collective {} for {:.1} s",
                beat.num_collectives + 1,
                limit.as_secs_f64()
            ),
        ))
    }

    /// How often each rank has been heard so far.
    pub(super) fn heard(&self) -> Vec<u64> {
        self.seen.iter().map(|seen| seen.num_changes).collect()
    }

    /// The first other rank that has not been heard twice since `heard`. Once may be what it wrote before it died: the
    /// second time it wrote after the first was read.
    pub(super) fn not_heard_since(&self, heard: &[u64]) -> Option<usize> {
        let pairs = self.seen.iter().zip(heard).enumerate();
        let mut others = pairs.filter(|(rank, _)| *rank != self.rank);
        let is_silent = |(_, (seen, heard)): &(usize, (&Seen, &u64))| seen.num_changes < *heard + 2;
        others.find(is_silent).map(|(rank, _)| rank)
    }

    /// The failure when the store's connection is cut, or silent.
    pub(super) fn store_lost(&self, how: &str) -> Failure {
        if self.rank_0_serves {
            let reason = format!("rank 0 {how}: it was killed, is frozen, or is out of reach");
            Failure::of(0, reason)
        } else {
            Failure {
                rank: None,
                reason: format!("the launcher, which serves the store, {how}"),
                exit_code: None,
            }
        }
    }

    /// Words for a message about others, where this process itself stood still for longer than they wait.
    pub(super) fn own_part(&self) -> String {
        if self.absence <= self.pace.limit {
            return String::new();
        }
        let seconds = self.absence.as_secs_f64();
        format!(
            "; this process itself stood still for {seconds:.0} s, longer than ranks wait for each other"
        )
    }

    /// A process that was itself suspended saw nobody meanwhile: that silence is not theirs.
    fn forgive_own_absence(&mut self, now: Instant) {
        let absence = now.saturating_duration_since(self.looked_at);
        self.looked_at = now;
        if absence < 4 * self.pace.interval {
            return;
        }
        self.absence = self.absence.max(absence);
        self.store_at += absence;
        for seen in &mut self.seen {
            seen.at += absence;
            seen.awaited_since = seen.awaited_since.map(|since| since + absence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    /// Three ranks, seen by rank 1; `beats(tick)` is what the store holds; returns tick and failure.
    fn play(ticks: u32, beats: impl Fn(u32) -> Option<[(u64, u64); 3]>) -> Option<(u32, Failure)> {
        let start = Instant::now();
        let mut watch = Watch::new(start, 1, 3, true, Pace::new(Duration::from_secs(20)));
        (1..=ticks).find_map(|tick| {
            let now = start + tick * INTERVAL;
            if let Some(beats) = beats(tick) {
                let beats = beats.map(|(count, num_collectives)| Beat {
                    count,
                    num_collectives,
                });
                watch.observe(now, &beats);
            }
            watch.verdict(now).map(|failure| (tick, failure))
        })
    }

    #[test]
    fn ranks_that_beat_are_left_alone_however_slow_their_work() {
        let beats = |tick: u32| Some([(tick.into(), 7), (tick.into(), 7), (tick.into(), 8)]);
        assert_eq!(play(1000, beats), None);
    }

    #[test]
    fn a_silent_rank_is_named_within_the_timeout() {
        let beats = |tick: u32| Some([(tick.into(), 7), (tick.into(), 7), (tick.min(5).into(), 7)]);
        let (tick, failure) = play(100, beats).unwrap();
        assert_eq!(tick, 5 + 17);
        assert_eq!(failure.rank, Some(2));
        assert!(
            failure
                .reason
                .starts_with("rank 2 has not answered for 17.0 s"),
            "{failure}"
        );
    }

    #[test]
    fn a_rank_that_beats_but_does_not_come_is_named() {
        let beats = |tick: u32| Some([(tick.into(), 3), (tick.into(), 4), (tick.into(), 4)]);
        let (_, failure) = play(100, beats).unwrap();
        assert_eq!(failure.rank, Some(0));
        assert!(
            failure.reason.contains("has not come to its collective 4"),
            "{failure}"
        );
    }

    #[test]
    fn a_silent_store_is_rank_0() {
        let beats = |tick: u32| (tick < 5).then_some([(tick.into(), 7); 3]);
        let (tick, failure) = play(100, beats).unwrap();
        assert_eq!((tick, failure.rank), (4 + 17, Some(0)));
    }

    #[test]
    fn a_suspended_process_does_not_blame_the_others() {
        let start = Instant::now();
        let mut watch = Watch::new(start, 1, 2, true, Pace::new(Duration::from_secs(20)));
        let beats = |count| {
            [Beat {
                count,
                num_collectives: 1,
            }; 2]
        };
        watch.observe(start + INTERVAL, &beats(1));
        assert_eq!(watch.verdict(start + INTERVAL), None);
        assert_eq!(watch.own_part(), "");
        let later = start + 1000 * INTERVAL;
        assert_eq!(watch.verdict(later), None);
        assert!(watch.own_part().contains("stood still for 999 s"));
        watch.observe(later + INTERVAL, &beats(2));
        assert_eq!(watch.verdict(later + INTERVAL), None);
    }

    #[test]
    fn suspicion_shortens_the_wait() {
        let start = Instant::now();
        let mut watch = Watch::new(start, 0, 2, true, Pace::new(Duration::from_secs(600)));
        watch.is_suspicious = true;
        let failure = (1..100).find_map(|tick| {
            let now = start + tick * INTERVAL;
            let beat = |count| Beat {
                count,
                num_collectives: 0,
            };
            watch.observe(now, &[beat(tick.into()), beat(0)]);
            watch.verdict(now).map(|failure| (tick, failure.rank))
        });
        assert_eq!(failure, Some((11, Some(1))));
    }

    #[test]
    fn a_rank_lives_once_it_was_heard_twice() {
        let start = Instant::now();
        let mut watch = Watch::new(start, 1, 3, true, Pace::new(Duration::from_secs(20)));
        let heard = watch.heard();
        let mut beats = [Beat::default(); 3];
        let mut hear = |watch: &mut Watch, ranks: &[usize]| {
            ranks.iter().for_each(|&rank| beats[rank].count += 1);
            watch.observe(start, &beats);
            watch.not_heard_since(&heard)
        };
        assert_eq!(hear(&mut watch, &[1]), Some(0));
        assert_eq!(hear(&mut watch, &[0, 2]), Some(0));
        assert_eq!(hear(&mut watch, &[0]), Some(2));
        assert_eq!(hear(&mut watch, &[2]), None);
    }

    #[test]
    fn beats_survive_the_store() {
        let beat = Beat {
            count: 12,
            num_collectives: 345,
        };
        assert_eq!(Beat::decode(beat.encode().as_bytes()), beat);
        for gibberish in [
            "gibberish",
            "12 x",
            "12",
            "12 345 6",
            "12 18446744073709551616",
        ] {
            assert_eq!(
                Beat::decode(gibberish.as_bytes()),
                Beat::default(),
                "{gibberish}"
            );
        }
        assert_eq!(Beat::decode(b"\xff 1"), Beat::default());
    }
}
