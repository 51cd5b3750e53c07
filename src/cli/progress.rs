//! How far a job is: a bar on a terminal, a log line a minute elsewhere.

use std::{
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{model::ByteSize, pipeline::Progress};

const LOG_EVERY: Duration = Duration::from_mins(1);

/// Shows progress until it is dropped; awaits nothing and fails never.
pub(super) async fn show(what: &'static str, progress: Arc<Progress>) {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(0);
        let template = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.with_message(what)
    });
    let started = Instant::now();
    let mut logged = started;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        let (plain, stored, expected) = progress.read();
        if let Some(bar) = &bar {
            bar.set_length(expected.max(plain));
            bar.set_position(plain);
        } else if logged.elapsed() >= LOG_EVERY {
            logged = Instant::now();
            let seconds = started.elapsed().as_secs().max(1);
            let left =
                expected.saturating_sub(plain).checked_div(plain / seconds).unwrap_or_default();
            tracing::info!(
                job = what,
                read = %ByteSize(plain),
                stored = %ByteSize(stored),
                rate_per_second = %ByteSize(plain / seconds),
                seconds_left = left,
                "in progress"
            );
        }
    }
}
