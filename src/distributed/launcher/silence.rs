//! How long no rank has given a sign of life. Ranks watch one another, so this is for when all of them are frozen.

use std::time::{Duration, Instant};

use rustix::process::Pid;

/// How often to look.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// What all ranks together have let hear.
#[derive(Debug)]
pub(super) struct Silence {
    limit: Duration,
    /// The last sign of life.
    since: Instant,
    /// When somebody last looked.
    looked_at: Instant,
}

impl Silence {
    pub(super) fn new(now: Instant, limit: Duration) -> Self {
        Self {
            limit,
            since: now,
            looked_at: now,
        }
    }

    /// How long this process stood still since the last call, which is none of the ranks' time: they may have stood still
    /// as well, and nobody heard them. Call every [`LOOK`]; the clock stands still while the machine sleeps.
    pub(super) fn own_absence(&mut self, now: Instant) -> Duration {
        let absence = now.saturating_duration_since(self.looked_at);
        self.looked_at = now;
        if absence <= 4 * LOOK {
            return Duration::ZERO;
        }
        self.since += absence;
        absence
    }

    /// Takes in when the last sign was; the length of the silence once it is longer than the limit.
    pub(super) fn look(&mut self, now: Instant, sign: Option<Instant>) -> Option<Duration> {
        self.since = sign.map_or(self.since, |sign| sign.max(self.since));
        let silence = now.saturating_duration_since(self.since);
        (silence > self.limit).then_some(silence)
    }
}

/// Whether somebody has stopped the process (SIGSTOP); `false` where the system does not say.
pub(super) fn is_stopped(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    state(&stat).is_some_and(|state| "Tt".contains(state))
}

/// The state in a line of `/proc/PID/stat`, behind the name in brackets, which may hold any character.
fn state(stat: &str) -> Option<char> {
    let (_, after) = stat.rsplit_once(") ")?;
    after.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(11);

    /// The second in which the silence is too long, when signs come at `signs` and looks at `looks`.
    fn verdict(looks: &[u64], signs: &[u64]) -> Option<u64> {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let mut silence = Silence::new(start, LIMIT);
        looks.iter().copied().find(|&look| {
            let sign = signs.iter().copied().filter(|&sign| sign <= look).max();
            silence.own_absence(at(look));
            silence.look(at(look), sign.map(at)).is_some()
        })
    }

    #[test]
    fn ranks_of_whom_none_is_heard_are_frozen() {
        let looks: Vec<u64> = (1..100).collect();
        assert_eq!(verdict(&looks, &[]), Some(12));
        assert_eq!(verdict(&looks, &[3, 7]), Some(7 + 12));
        let always: Vec<u64> = (0..100).collect();
        assert_eq!(verdict(&looks, &always), None);
    }

    #[test]
    fn a_launcher_that_was_frozen_itself_blames_nobody_for_that_time() {
        let before = 1..=5;
        let after = 1000..1100;
        let looks: Vec<u64> = before.chain(after.clone()).collect();
        let signs: Vec<u64> = (0..=5).chain(after).collect();
        assert_eq!(verdict(&looks, &signs), None);
        // Those who stay silent from then on have the whole time again.
        let silent: Vec<u64> = (0..=5).collect();
        assert_eq!(verdict(&looks, &silent), Some(1000 + 12));
    }

    #[test]
    fn the_state_is_behind_the_name() {
        assert_eq!(state("71 (a) T b) S 1 71"), Some('S'));
        assert_eq!(state("71 (recap-train) T 1 71"), Some('T'));
        assert_eq!(state(""), None);
        assert!(!is_stopped(rustix::process::getpid()));
    }
}
