//! Logs and metrics of the process.

use std::io::IsTerminal;

use anyhow::{Result, anyhow};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Buckets of every `_seconds` histogram: 0.5 ms to a minute.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// Buckets of the histograms that count records.
const RECORDS: [f64; 8] = [1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0];

/// Buckets of the histograms that count bytes.
const BYTES: [f64; 7] = [0.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 65536.0];

/// Starts logging to standard error, so that standard output stays a command's own. `RUST_LOG`
/// wins over the settings.
pub fn start_logs(log: &Log, quiet: bool) -> Result<()> {
    let directives = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => directives,
        _ if quiet => "error".to_owned(),
        _ => log.level.clone(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&directives).map_err(|_| {
            anyhow!("RUST_LOG, or log.level where that is not set, is no log filter")
        })?)
        .with_writer(std::io::stderr)
        // It would tell a failure to write with eprintln, which panics where that fails, too.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Starts collecting metrics; the handle renders them for Prometheus.
pub fn start_metrics() -> Result<PrometheusHandle> {
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_records".into()), &RECORDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES)?
        .install_recorder()?)
}
