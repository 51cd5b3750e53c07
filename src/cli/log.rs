//! Logging: sentences on a terminal, one JSON object a line elsewhere, always on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Sets up logging for the process. `BACKSTAY_LOG` takes a filter such as `debug` or `info,engine=debug`.
pub(super) fn start() {
    let terminal = std::io::stderr().is_terminal();
    // On a terminal the bar tells how far it is; an engine's thousands of lines would bury it.
    let engine = if terminal { "error" } else { "info" };
    // Whoever sits there sees what is done; what is not recorded is told.
    let audit = if terminal { "warn" } else { "info" };
    let filter = EnvFilter::try_from_env("BACKSTAY_LOG").unwrap_or_else(|_| {
        EnvFilter::new(format!(
            "info,engine={engine},audit={audit},aws_config=warn,aws_smithy=warn,hyper=warn,rustls=warn"
        ))
    });
    let registry = tracing_subscriber::registry().with(filter);
    // A second call finds a subscriber already there; the first one holds.
    let _ = if terminal {
        registry
            .with(fmt::layer().without_time().with_target(false).with_writer(std::io::stderr))
            .try_init()
    } else {
        registry
            .with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            .try_init()
    };
}
