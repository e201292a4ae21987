//! Logs to stderr, traces to a collector when there is one, and panics into the log.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{LogFormat, Problem, Problems};

/// How long the last traces may take to leave at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Keeps telemetry going; [`Telemetry::shut_down`] sends what is left.
#[derive(Debug, Default)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs logging for the process; call it once, inside the runtime. `process` names
    /// the process in traces.
    ///
    /// # Errors
    /// Directives or an endpoint that cannot be read.
    pub fn install(
        process: &'static str,
        log: &str,
        format: LogFormat,
        otlp_endpoint: Option<&str>,
    ) -> Result<Self, Problems> {
        let filter = EnvFilter::try_new(log).map_err(|e| {
            Problem(format!(
                "FLEET_LOG is not a list of tracing directives: {e}"
            ))
        })?;
        let provider = otlp_endpoint
            .map(|endpoint| exporter(process, endpoint))
            .transpose()?;
        let traces = provider
            .as_ref()
            .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("fleet")));
        let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let stderr = match format {
            LogFormat::Pretty => {
                let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
                stderr.with_ansi(colours).boxed()
            }
            LogFormat::Json => stderr.json().flatten_event(true).boxed(),
        };
        // A second installation in one process (tests) keeps the first.
        let installed = tracing_subscriber::registry()
            .with(filter)
            .with(stderr)
            .with(traces)
            .try_init();
        if installed.is_ok() {
            log_panics();
        }
        Ok(Self { provider })
    }

    /// Whether traces are sent somewhere.
    pub fn traces(&self) -> bool {
        self.provider.is_some()
    }

    /// Sends the traces that are left, within a bound.
    pub async fn shut_down(self) {
        if let Some(provider) = self.provider {
            // Blocks until the exporter is done, which needs this runtime to go on.
            let flush = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH));
            if !matches!(tokio::time::timeout(2 * FLUSH, flush).await, Ok(Ok(Ok(())))) {
                tracing::warn!("the last traces were not sent");
            }
        }
    }
}

fn exporter(process: &'static str, endpoint: &str) -> Result<SdkTracerProvider, Problems> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(5))
        .build()
        .map_err(|e| {
            Problem(format!(
                "FLEET_OTLP_ENDPOINT is not the address of a collector: {e}"
            ))
        })?;
    let resource = Resource::builder().with_service_name(process).build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

/// Panics are logged like everything else; supervised tasks say afterwards what became of them.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(location, message, "panic");
    }));
}

/// Makes `span` a child of the caller's trace and gives the `traceparent` for what it causes.
/// Without a collector the caller's own is passed on.
pub(crate) fn enter_trace(span: &Span, headers: &HeaderMap, traces: bool) -> String {
    if !traces {
        let given = headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        return given
            .filter(|text| is_traceparent(text))
            .unwrap_or_default()
            .to_owned();
    }
    let propagator = TraceContextPropagator::new();
    // Fails only for a span that is filtered out; then there is nothing to trace.
    let _ = span.set_parent(propagator.extract(&Headers(headers)));
    let mut injected = TraceParent::default();
    propagator.inject_context(&span.context(), &mut injected);
    injected.0
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, W3C Trace Context version 0.
fn is_traceparent(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [2, 32, 16, 2]
        && text.starts_with("00-")
        && text
            .bytes()
            .all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[derive(Default)]
struct TraceParent(String);

impl Injector for TraceParent {
    fn set(&mut self, key: &str, value: String) {
        if key == "traceparent" {
            self.0 = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_on_only_what_is_a_traceparent() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", good.parse().unwrap());
        assert_eq!(enter_trace(&Span::none(), &headers, false), good);
        for bad in [
            "",
            "00-xyz",
            &good.to_uppercase(),
            &good[..54],
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\u{7f}",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
