//! The set-up of a program.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// The standard variable of OpenTelemetry that names the collector.
const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The longest wait for the collector at the end of a program.
const FLUSH: Duration = Duration::from_secs(3);

/// The form of a line on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What [`init`] sets up.
#[derive(Debug, Clone)]
pub struct TelemetryOptions {
    /// Which events are printed, in the syntax of `tracing_subscriber::EnvFilter`, such as `info,tutti_store=debug`.
    pub log_filter: String,
    /// How they are printed.
    pub format: LogFormat,
    /// The OTLP collector (gRPC), such as `http://localhost:4317`; `OTEL_EXPORTER_OTLP_ENDPOINT` if absent, and no
    /// export without either.
    pub otlp_endpoint: Option<String>,
    /// The name of this program for the collector, such as `tutti-controller`.
    pub service_name: String,
}

impl Default for TelemetryOptions {
    /// Events of level `info` as text, for a service named `tutti`.
    fn default() -> Self {
        Self {
            log_filter: "info".to_owned(),
            format: LogFormat::Text,
            otlp_endpoint: None,
            service_name: "tutti".to_owned(),
        }
    }
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not one.
    #[error("invalid log filter {filter:?} (hint: a level such as info, or target=level pairs joined by commas)")]
    Filter {
        /// The text.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The exporter cannot be made.
    #[error("failed to set up the OTLP export to {endpoint}")]
    Exporter {
        /// The collector.
        endpoint: String,
        /// What is wrong.
        #[source]
        source: ExporterBuildError,
    },
    /// The export was asked for where no tokio runtime is running.
    #[error("the OTLP export needs a running tokio runtime")]
    NoRuntime,
    /// It was set up before.
    #[error("telemetry is set up already")]
    Twice(#[source] TryInitError),
}

/// Sends what is left to the collector when it is dropped; held by `main` to its end.
#[derive(Debug)]
#[must_use = "spans are lost when the guard is dropped early"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Returns whether spans are exported.
    #[must_use]
    pub fn exports(&self) -> bool {
        self.provider.is_some()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            // The subscriber would hand this to the provider that is gone.
            eprintln!("warning: the last spans were not exported: {error}");
        }
    }
}

/// Sets up logging and, if a collector is configured, the export of spans; once per process.
///
/// With a collector it must be called inside a multi-threaded tokio runtime, which has to outlive the guard.
///
/// # Errors
///
/// [`InitError`]. An unreachable collector is no error: its spans are dropped, and the program goes on.
pub fn init(options: &TelemetryOptions) -> Result<Guard, InitError> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(&options.log_filter);
    let filter = filter.map_err(|source| InitError::Filter { filter: options.log_filter.clone(), source })?;
    let from_environment = || std::env::var(ENDPOINT_VARIABLE).ok().filter(|endpoint| !endpoint.is_empty());
    let endpoint = options.otlp_endpoint.clone().or_else(from_environment);
    let provider = endpoint.map(|endpoint| exporting_provider(endpoint, &options.service_name)).transpose()?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match options.format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(provider.as_ref().map(spans_layer))
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(InitError::Twice)?;
    Ok(Guard { provider })
}

fn exporting_provider(endpoint: String, service: &str) -> Result<SdkTracerProvider, InitError> {
    tokio::runtime::Handle::try_current().map_err(|_| InitError::NoRuntime)?;
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(&endpoint).build();
    let exporter = exporter.map_err(|source| InitError::Exporter { endpoint, source })?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Spans of level `info` and above, without those of the exporter's own connection, which would never end.
fn spans_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let own = tracing_subscriber::filter::Targets::new().with_default(LevelFilter::INFO).with_targets([
        ("h2", LevelFilter::OFF),
        ("hyper", LevelFilter::OFF),
        ("hyper_util", LevelFilter::OFF),
        ("opentelemetry", LevelFilter::OFF),
        ("opentelemetry_sdk", LevelFilter::OFF),
        ("opentelemetry-otlp", LevelFilter::OFF),
        ("tonic", LevelFilter::OFF),
        ("tower", LevelFilter::OFF),
    ]);
    tracing_opentelemetry::layer().with_tracer(provider.tracer("tutti")).with_filter(own)
}

#[cfg(test)]
mod tests;
