//! `/metrics`, `/healthz` and `/readyz` over HTTP.
//!
//! It is not: the gateway. It needs no key, answers from memory and never touches Kafka.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::Telemetry;
use crate::refusal::Refusal;
use crate::shutdown::Shutdown;

/// What Prometheus wants to hear about the text it gets.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Binds `listen` and serves until the stop; returns the address, with the port that was free
/// where port 0 was asked for.
///
/// # Errors
/// Refused where the address cannot be bound.
pub(crate) async fn serve(
    listen: &str,
    telemetry: Arc<Telemetry>,
    shutdown: Shutdown,
) -> Result<SocketAddr, Refusal> {
    let refuse = |error: std::io::Error| {
        Refusal::new(format!(
            "telemetry.listen = {listen:?}: cannot listen there: {error}; write a free host:port, port 0 takes one"
        ))
    };
    let listener = TcpListener::bind(listen).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    let app = router(telemetry);
    tokio::spawn(async move {
        let served =
            axum::serve(listener, app).with_graceful_shutdown(async move { shutdown.wait().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "telemetry server ended");
        }
    });
    Ok(address)
}

fn router(telemetry: Arc<Telemetry>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(telemetry)
}

async fn metrics(State(telemetry): State<Arc<Telemetry>>) -> Response {
    match telemetry.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(telemetry): State<Arc<Telemetry>>) -> Response {
    let report = telemetry.readiness().report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get_text(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn serves_metrics_health_and_readiness_with_reasons() {
        let telemetry = Arc::new(Telemetry::new());
        let shutdown = Shutdown::new();
        let address = serve("127.0.0.1:0", telemetry.clone(), shutdown.clone())
            .await
            .unwrap();
        assert_ne!(address.port(), 0);
        assert!(
            get_text(address, "/healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        let readiness = telemetry.readiness();
        readiness.not_ready("forecast", "no production model");
        let answer = get_text(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.contains(r#""forecast":"no production model""#),
            "{answer}"
        );
        readiness.ready("forecast");
        assert!(
            get_text(address, "/readyz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        let answer = get_text(address, "/metrics").await;
        assert!(answer.contains("forewarn_build_info{"), "{answer}");
        assert!(answer.contains("# EOF"), "{answer}");

        let taken = serve(&address.to_string(), telemetry.clone(), shutdown.clone()).await;
        let message = taken.unwrap_err().to_string();
        assert!(message.starts_with("telemetry.listen = "), "{message}");
        shutdown.trigger();
    }
}
