//! Progress of a long job: a bar a phase on a terminal, a line now and then elsewhere, all on stderr.
//!
//! In: (phase, done, total) as the library tells them. The bars vanish when the job ends: what remains on the
//! screen is the report.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines where no bar can be drawn. Jobs that are shorter say nothing.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// So that the clock of a bar goes on while a phase has nothing to tell.
const TICK_EVERY: Duration = Duration::from_millis(200);

/// Shows how far a job is; may be told by several threads. Ends when dropped.
pub struct Progress {
    view: Option<Mutex<View>>,
}

struct View {
    phase: String,
    bar: ProgressBar,
    terminal: bool,
    ticks: bool,
    last_line: Instant,
}

impl Progress {
    /// Nothing is shown yet, and never if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self::with_ticks(quiet, true)
    }

    /// Draws only when told, by no thread of its own: beside a measurement, nothing else should run.
    pub fn without_ticks(quiet: bool) -> Self {
        Self::with_ticks(quiet, false)
    }

    fn with_ticks(quiet: bool, ticks: bool) -> Self {
        let view = View {
            phase: String::new(),
            bar: ProgressBar::hidden(),
            terminal: io::stderr().is_terminal(),
            ticks,
            last_line: Instant::now(),
        };
        Progress { view: (!quiet).then(|| Mutex::new(view)) }
    }

    /// `done` of `total` units of a phase are done; a total of 0 is unknown.
    pub fn show(&self, phase: &str, done: u64, total: u64) {
        let Some(view) = &self.view else { return };
        let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
        if view.terminal {
            view.draw(phase, done, total);
        } else {
            view.tell(phase, done, total);
        }
    }
}

impl View {
    fn draw(&mut self, phase: &str, done: u64, total: u64) {
        if self.phase != phase {
            self.bar.finish_and_clear();
            self.phase = phase.to_owned();
            self.bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            self.bar.set_style(style(total));
            self.bar.set_message(self.phase.clone());
            if self.ticks {
                self.bar.enable_steady_tick(TICK_EVERY);
            }
        }
        if total > 0 {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
    }

    fn tell(&mut self, phase: &str, done: u64, total: u64) {
        if self.last_line.elapsed() < LINE_EVERY {
            return;
        }
        self.last_line = Instant::now();
        // Progress that nobody can read is no reason to stop.
        let _ = match (done as f64 / total as f64 * 100.0).floor() {
            percent if total > 0 => writeln!(io::stderr(), "{phase}: {percent}%"),
            _ => writeln!(io::stderr(), "{phase}: {done}"),
        };
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(total: u64) -> ProgressStyle {
    let template = match total {
        0 => "{msg:<12} {spinner} {human_pos} {elapsed}",
        _ => "{msg:<12} [{bar:40}] {percent:>3}% {human_pos} of {human_len}, {elapsed}, {eta} left",
    };
    // A template that does not parse would be a defect of this line alone; the default bar serves as well.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
