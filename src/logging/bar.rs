//! The progress bar at the foot of a terminal, and log lines above it. Elsewhere there is no bar.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether stderr is a terminal that shows text lines.
static IS_TERMINAL: AtomicBool = AtomicBool::new(false);
static HAS_COLOURS: AtomicBool = AtomicBool::new(false);

/// The bar that is shown; there is at most one.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Pictures a second.
const RATE: u8 = 10;
/// Between two texts.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells whether bars may be shown, and in colours.
pub(super) fn allow(on_terminal: bool, colours: bool) {
    IS_TERMINAL.store(on_terminal, Ordering::Relaxed);
    HAS_COLOURS.store(colours, Ordering::Relaxed);
}

/// Whether a person watches: log lines are short then, and progress is a bar.
#[must_use]
pub fn is_on_terminal() -> bool {
    IS_TERMINAL.load(Ordering::Relaxed)
}

/// Runs `body` while the bar is out of the way.
pub(super) fn suspend<T>(body: impl FnOnce() -> T) -> T {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    match &*shown {
        Some(bar) => bar.suspend(body),
        None => body(),
    }
}

/// How far something is. Shown on a terminal, until it is dropped.
#[derive(Debug)]
pub struct Bar {
    inner: Option<ProgressBar>,
    told: Instant,
}

impl Bar {
    /// Begins at `at` of `total` (`None`: nobody knows), with `what` in front. Within something that has a bar already,
    /// nothing more is shown.
    #[must_use]
    pub fn begin(what: &'static str, at: u64, total: Option<u64>) -> Self {
        let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = (is_on_terminal() && shown.is_none()).then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(RATE);
            let bar = ProgressBar::with_draw_target(total, target);
            bar.set_style(style(total.is_some()));
            bar.set_prefix(what);
            bar.set_position(at);
            bar.reset_eta();
            *shown = Some(bar.clone());
            bar
        });
        Self {
            inner,
            told: Instant::now(),
        }
    }

    /// Moves on. `words` makes the text behind the count from the speed (positions a second); it is asked ten times a
    /// second at most.
    pub fn set(&mut self, position: u64, words: impl FnOnce(f64) -> String) {
        let Some(bar) = &self.inner else {
            return;
        };
        bar.set_position(position);
        if self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            let words = words(bar.per_sec());
            let rest = bar.length().map(|_| format!("  eta {}", eta(bar.eta())));
            bar.set_message(format!("{words}{}", rest.unwrap_or_default()));
        }
    }

    /// Shows `text` behind the count at once.
    pub fn say(&self, text: String) {
        if let Some(bar) = &self.inner {
            bar.set_message(text);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.inner {
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
            bar.finish_and_clear();
        }
    }
}

fn style(has_total: bool) -> ProgressStyle {
    let colours = HAS_COLOURS.load(Ordering::Relaxed);
    let template = match (has_total, colours) {
        (true, true) => "{prefix} {wide_bar:.cyan/dim} {pos}/{len}  {msg}",
        (true, false) => "{prefix} {wide_bar} {pos}/{len}  {msg}",
        (false, _) => "{prefix} {spinner} {pos}  {msg}",
    };
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// `12s`, `3m10s`, `5h02m`, `4 days`.
fn eta(rest: Duration) -> String {
    let seconds = rest.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => HumanDuration(rest).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_time_is_short() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (190, "3m10s"),
            (18_120, "5h02m"),
            (400_000, "5 days"),
        ];
        for (seconds, text) in cases {
            assert_eq!(eta(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn without_a_terminal_there_is_no_bar() {
        let mut bar = Bar::begin("training", 0, Some(10));
        bar.set(3, |_| unreachable!("nobody reads it"));
        assert!(bar.inner.is_none());
    }
}
