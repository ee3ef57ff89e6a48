use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far long work is, in a terminal; elsewhere it shows nothing.
#[derive(Debug)]
pub(super) struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    pub(super) const fn new() -> Self {
        Self { bar: Mutex::new(None) }
    }

    /// `step` is `done` of `all`.
    pub(super) fn show(&self, step: &str, done: u64, all: u64) {
        let mut held = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = held.get_or_insert_with(|| {
            let bar = ProgressBar::new(all);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_length(all);
        bar.set_position(done);
        bar.set_message(step.to_owned());
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}
