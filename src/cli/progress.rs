//! How far a job is: a bar on a terminal, a log line every half minute elsewhere.

use std::{
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    model::ByteSize,
    pipeline::{Items, Progress},
};

const LOG_EVERY: Duration = Duration::from_secs(30);

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
    let mut replay: Option<Instant> = None;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        let (plain, stored, expected) = progress.read();
        if let Some(Items { what: items, done, of }) = progress.items() {
            // Bytes would say nothing here.
            if let Some(bar) = &bar {
                if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {eta} left") {
                    bar.set_style(style);
                }
                bar.set_length(of.max(done));
                bar.set_position(done);
                bar.set_message(format!("{what}: {done} of {of} {items}"));
            } else if logged.elapsed() >= LOG_EVERY {
                logged = Instant::now();
                let seconds = started.elapsed().as_secs().max(1);
                let seconds_left = left(of, done, seconds);
                tracing::info!(job = what, items, done, of, seconds_left, "in progress");
            }
        } else if let Some(now) = progress.replaying() {
            let began = *replay.get_or_insert_with(|| {
                if let Some(bar) = &bar {
                    bar.reset();
                }
                Instant::now()
            });
            if let Some(bar) = &bar {
                bar.set_length(expected.max(now.bytes));
                bar.set_position(now.bytes);
                bar.set_message(format!("replay: {} of {} transactions", now.transactions, now.of));
            } else if logged.elapsed() >= LOG_EVERY {
                logged = Instant::now();
                let seconds = began.elapsed().as_secs().max(1);
                tracing::info!(
                    job = what,
                    transactions = now.transactions,
                    of = now.of,
                    replayed = %ByteSize(now.bytes),
                    of_bytes = %ByteSize(expected),
                    seconds_left = left(expected, now.bytes, seconds),
                    "replaying"
                );
            }
        } else if let Some(bar) = &bar {
            bar.set_length(expected.max(plain));
            bar.set_position(plain);
        } else if logged.elapsed() >= LOG_EVERY {
            logged = Instant::now();
            let seconds = started.elapsed().as_secs().max(1);
            tracing::info!(
                job = what,
                read = %ByteSize(plain),
                stored = %ByteSize(stored),
                rate_per_second = %ByteSize(plain / seconds),
                seconds_left = left(expected, plain, seconds),
                "in progress"
            );
        }
    }
}

/// Seconds left, when what is done took so many; 0 when nothing can be told.
fn left(expected: u64, done: u64, seconds: u64) -> u64 {
    expected.saturating_sub(done).checked_div(done / seconds).unwrap_or_default()
}
