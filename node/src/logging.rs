//! The log of the process: levels per module, as text or JSON, to standard error.
//!
//! No message body, no token and no key goes into a line: types that hold one have a `Debug` that does not show it.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::TryInitError;

use crate::config::{LogFormat, LogSettings};

/// Checks a filter; the error says what is wrong with which part.
pub fn check_filter(filter: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in filter.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        // `EnvFilter` takes a lone word as a module; a misspelt level must not pass as one.
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        let lone_module = !part.contains('=') && part.contains("::");
        if !lone_module && !LEVELS.contains(&level.to_lowercase().as_str()) {
            return Err(format!("{level:?} is no level (off, error, warn, info, debug, trace)"));
        }
    }
    EnvFilter::try_new(filter)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Installs the log, once per process.
pub fn install(settings: &LogSettings) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(|error| LogError::Filter(error.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_target(true);
    use tracing_subscriber::util::SubscriberInitExt;
    match settings.format {
        LogFormat::Text => builder.with_ansi(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(LogError::Installed)
}

/// Why the log was not installed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("log filter refused: {0}")]
    Filter(String),
    /// There is one already.
    #[error("a log is installed already: {0}")]
    Installed(TryInitError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        for good in ["info", "info,openraft=warn", "node::gateway=debug,warn", "off"] {
            assert!(check_filter(good).is_ok(), "{good}");
        }
        for bad in ["inf", "info,openraft=loud", "=debug=x"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
