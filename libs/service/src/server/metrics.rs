//! Metrics of calls: one counter per method and code, one histogram per method, gauges.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tonic::Code;

use crate::SharedRegistry;

/// Upper bounds of latency, in seconds.
const LATENCY: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: String,
    code: &'static str,
}

/// The metrics of all servers of a process.
#[derive(Debug, Clone)]
pub(crate) struct RpcMetrics {
    calls: Family<CallLabels, Counter>,
    latency: Family<MethodLabels, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) streams: Gauge,
    pub(crate) shed: Counter,
}

impl RpcMetrics {
    pub(crate) fn register(registry: &SharedRegistry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(LATENCY);
        let metrics = Self {
            calls: Family::default(),
            latency: Family::new_with_constructor(histogram),
            in_flight: Gauge::default(),
            streams: Gauge::default(),
            shed: Counter::default(),
        };
        registry.with(|r| {
            r.register(
                "fleet_rpc_calls",
                "Calls ended, by method and code",
                metrics.calls.clone(),
            );
            r.register(
                "fleet_rpc_seconds",
                "Time of calls, streams excepted",
                metrics.latency.clone(),
            );
            r.register(
                "fleet_rpc_in_flight",
                "Calls in hand",
                metrics.in_flight.clone(),
            );
            r.register(
                "fleet_rpc_streams",
                "Open server streams",
                metrics.streams.clone(),
            );
            r.register(
                "fleet_rpc_shed",
                "Calls refused for want of room",
                metrics.shed.clone(),
            );
        });
        metrics
    }

    /// The metrics of one method; taken once, so that a call looks nothing up.
    pub(crate) fn method(&self, method: &str) -> MethodMetrics {
        let labels = MethodLabels {
            method: method.to_owned(),
        };
        MethodMetrics {
            method: method.to_owned(),
            calls: self.calls.clone(),
            by_code: Default::default(),
            latency: self.latency.get_or_create(&labels).clone(),
        }
    }
}

/// The metrics of one method.
#[derive(Debug)]
pub(crate) struct MethodMetrics {
    method: String,
    calls: Family<CallLabels, Counter>,
    by_code: [OnceLock<Counter>; 17],
    latency: Histogram,
}

impl MethodMetrics {
    pub(crate) fn ended(&self, code: Code, took: Option<Duration>) {
        let index = usize::try_from(code as i32).unwrap_or(2).min(16);
        let counter = self.by_code[index].get_or_init(|| {
            let labels = CallLabels {
                method: self.method.clone(),
                code: code_name(code),
            };
            self.calls.get_or_create(&labels).clone()
        });
        counter.inc();
        if let Some(took) = took {
            self.latency.observe(took.as_secs_f64());
        }
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
