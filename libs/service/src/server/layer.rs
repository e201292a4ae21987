//! The one layer that every call passes: room, identity, deadline, context, metrics.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fleet_graph::Deadline;
use fleet_types::Ids;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::body::CallBody;
use super::metrics::{MethodMetrics, RpcMetrics};
use super::unreadable;
use crate::auth::Authenticator;
use crate::call::{CORRELATION_HEADER, Call, Principal};
use crate::readiness::Readiness;
use crate::{Fault, telemetry};

/// Store and bus get so much less than the call, so that "the store is away" still reaches the
/// caller as such; at most a tenth.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);
/// We answer a caller's deadline so much earlier than he gives up; at most a twentieth.
const CALLER_MARGIN: Duration = Duration::from_millis(50);

/// What kind of method it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Health: always answered, to everybody.
    Health,
    /// Reflection: answered before the process is ready.
    Reflection,
    /// A service's own.
    Service,
}

/// What the layer knows about a method.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) streaming: bool,
    pub(crate) longest: Duration,
    pub(crate) metrics: MethodMetrics,
}

/// What the calls of one server share.
pub(crate) struct Shared {
    pub(crate) methods: HashMap<String, Arc<Method>>,
    pub(crate) unknown: Arc<Method>,
    pub(crate) deadline_default: Duration,
    pub(crate) calls: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    pub(crate) readiness: Readiness,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) in_flight: TaskTracker,
    pub(crate) stopping: CancellationToken,
    pub(crate) metrics: RpcMetrics,
    pub(crate) traces: bool,
}

/// Puts [`Calls`] round the routes of a server.
#[derive(Clone)]
pub(crate) struct CallLayer(pub(crate) Arc<Shared>);

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls {
            inner,
            shared: self.0.clone(),
        }
    }
}

/// The layer's service.
#[derive(Clone)]
pub(crate) struct Calls<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let shared = &self.shared;
        let path = request.uri().path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let method = shared.methods.get(path).unwrap_or(&shared.unknown).clone();
        let mut ending = Ending::new(shared, method.clone());
        let correlation = correlation(shared, request.headers());

        let span = tracing::info_span!(
            "rpc",
            otel.kind = "server",
            otel.name = method.name,
            method = method.name,
            correlation = %correlation,
            principal = tracing::field::Empty,
        );
        let traceparent = telemetry::enter_trace(&span, request.headers(), shared.traces);

        let principal = match admit(shared, &method, request.headers(), &mut ending) {
            Ok(principal) => principal,
            Err(fault) => {
                let refusal = span.in_scope(|| ending.refuse(fault, &correlation));
                return Box::pin(std::future::ready(Ok(refusal)));
            }
        };
        span.record("principal", tracing::field::display(&principal.id));

        let asked = asked_time(request.headers());
        let time = time_for(asked, shared.deadline_default, method.longest);
        let margin = ANSWER_MARGIN.min(time / 10);
        let call = Call {
            method: method.name.clone(),
            principal,
            deadline: Deadline::after(time - margin),
            correlation: correlation.clone(),
            traceparent,
        };
        request.extensions_mut().insert(call.clone());
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        let stopping = shared.stopping.clone();
        let timed = !method.streaming && method.kind != Kind::Health;
        let work = async move {
            let answer = if timed {
                match tokio::time::timeout(time, answer).await {
                    Ok(answer) => answer,
                    Err(_) => return ending.refuse(Fault::Deadline, &correlation),
                }
            } else {
                answer.await
            };
            match answer {
                Ok(Ok(response)) => ending.hand_over(response, &correlation, stopping),
                Ok(Err(never)) => match never {},
                Err(_) => {
                    let name = ending.method.name.clone();
                    ending.refuse(
                        Fault::internal(format!("the handler of {name} panicked")),
                        &correlation,
                    )
                }
            }
        };
        Box::pin(call.scope(work.instrument(span)).map(Ok))
    }
}

/// Room, then whether the process is open, then identity.
fn admit(
    shared: &Shared,
    method: &Method,
    headers: &HeaderMap,
    ending: &mut Ending,
) -> Result<Principal, Fault> {
    if method.kind == Kind::Health {
        return Ok(Principal::anonymous());
    }
    let (room, what) = if method.streaming {
        (&shared.streams, "streams")
    } else {
        (&shared.calls, "calls")
    };
    match room.clone().try_acquire_owned() {
        Ok(permit) => ending.permit = Some(permit),
        Err(_) => {
            shared.metrics.shed.inc();
            return Err(Fault::Exhausted {
                message: format!("the server has as many {what} in hand as it takes, try again"),
            });
        }
    }
    let principal = match &shared.authenticator {
        None => Principal::anonymous(),
        Some(authenticator) => {
            let header = headers
                .get(AUTHORIZATION)
                .and_then(|value| value.to_str().ok());
            authenticator.principal(header)?
        }
    };
    if method.kind == Kind::Service
        && let Some(dependency) = shared.readiness.closed()
    {
        return Err(Fault::Unavailable { dependency });
    }
    Ok(principal)
}

/// The caller's time less a margin, or the default; at most the method's limit.
fn time_for(asked: Option<Duration>, default: Duration, longest: Duration) -> Duration {
    match asked {
        Some(asked) => (asked - CALLER_MARGIN.min(asked / 20)).min(longest),
        None => default.min(longest),
    }
}

fn asked_time(headers: &HeaderMap) -> Option<Duration> {
    grpc_timeout(headers.get("grpc-timeout")?.to_str().ok()?)
}

/// Reads the `grpc-timeout` header: at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The caller's correlation id if it is 1 to 128 printable characters, otherwise a new one.
fn correlation(shared: &Shared, headers: &HeaderMap) -> String {
    let given = headers
        .get(CORRELATION_HEADER)
        .and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => {
            id.to_owned()
        }
        _ => shared.ids.uuid().to_string(),
    }
}

/// What happens when a call ends, however it ends: it is counted, and its room is free again.
pub(crate) struct Ending {
    method: Arc<Method>,
    metrics: RpcMetrics,
    started: Instant,
    permit: Option<OwnedSemaphorePermit>,
    code: Option<Code>,
    _in_flight: TaskTrackerToken,
}

impl Ending {
    fn new(shared: &Shared, method: Arc<Method>) -> Self {
        let gauge = if method.streaming {
            &shared.metrics.streams
        } else {
            &shared.metrics.in_flight
        };
        gauge.inc();
        Self {
            method,
            metrics: shared.metrics.clone(),
            started: Instant::now(),
            permit: None,
            code: None,
            _in_flight: shared.in_flight.token(),
        }
    }

    /// How the call ended, once that is known.
    pub(crate) fn set(&mut self, code: Code) {
        self.code = Some(code);
    }

    fn refuse(mut self, fault: Fault, correlation: &str) -> Response<Body> {
        self.set(fault.code());
        tracing::debug!(method = self.method.name, %fault, "call refused");
        let mut response = Status::from(fault).into_http::<Body>();
        mark(response.headers_mut(), correlation);
        response
    }

    fn hand_over(
        mut self,
        mut response: Response<Body>,
        correlation: &str,
        stopping: CancellationToken,
    ) -> Response<Body> {
        mark(response.headers_mut(), correlation);
        if let Some(status) = Status::from_header_map(response.headers()) {
            if let Some(status) = unreadable::judged(&status) {
                self.set(status.code());
                let mut response = status.into_http::<Body>();
                mark(response.headers_mut(), correlation);
                return response;
            }
            self.set(status.code());
            return response;
        }
        let stopping = (self.method.streaming).then_some(stopping);
        response.map(|body| Body::new(CallBody::new(body, self, stopping)))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let took = (!self.method.streaming).then(|| self.started.elapsed());
        // Dropped without an end: the caller hung up.
        self.method
            .metrics
            .ended(self.code.unwrap_or(Code::Cancelled), took);
        let gauge = if self.method.streaming {
            &self.metrics.streams
        } else {
            &self.metrics.in_flight
        };
        gauge.dec();
    }
}

fn mark(headers: &mut HeaderMap, correlation: &str) {
    if let Ok(value) = HeaderValue::from_str(correlation) {
        headers.insert(CORRELATION_HEADER, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_time_wins_and_leaves_the_caller_a_margin() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        assert_eq!(time_for(None, s(10), s(60)), s(10));
        assert_eq!(time_for(None, s(10), s(2)), s(2));
        assert_eq!(time_for(Some(s(3)), s(10), s(60)), ms(2950));
        assert_eq!(time_for(Some(ms(100)), s(10), s(60)), ms(95));
        assert_eq!(time_for(Some(s(600)), s(10), s(60)), s(60));
        assert_eq!(time_for(Some(s(0)), s(10), s(60)), s(0));
    }

    #[test]
    fn reads_grpc_timeouts_and_nothing_else() {
        assert_eq!(grpc_timeout("10S"), Some(Duration::from_secs(10)));
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(
            grpc_timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in ["", "S", "1", "123456789S", "-1S", "+1S", "1x", "1é"] {
            assert_eq!(grpc_timeout(bad), None, "{bad}");
        }
    }
}
