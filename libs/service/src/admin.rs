//! The admin pages: metrics, liveness, readiness, configuration.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};

use crate::SharedRegistry;
use crate::readiness::Readiness;

#[derive(Clone)]
struct Pages {
    readiness: Readiness,
    metrics: SharedRegistry,
    config: String,
}

/// `/metrics`, `/livez`, `/readyz` and `/config` (which must be masked already).
pub(crate) fn router(readiness: Readiness, metrics: SharedRegistry, config: &Value) -> Router {
    let pages = Pages {
        readiness,
        metrics,
        config: config.to_string(),
    };
    Router::new()
        .route("/metrics", get(metrics_page))
        // Alive means that this answers; backends are the business of readiness.
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready_page))
        .route("/config", get(config_page))
        .with_state(pages)
}

async fn metrics_page(State(pages): State<Pages>) -> impl IntoResponse {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, TEXT)], pages.metrics.encode())
}

async fn ready_page(State(pages): State<Pages>) -> impl IntoResponse {
    let state = pages.readiness.state();
    let ready = state.is_ready();
    let body = json!({
        "ready": ready,
        "degraded": state.is_degraded(),
        "stopping": state.stopping,
        "dependencies": state.dependencies,
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
}

async fn config_page(State(pages): State<Pages>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/json")],
        format!("{}\n", pages.config),
    )
}
