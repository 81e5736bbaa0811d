//! The admin port: `/metrics`, `/livez` and `/readyz`. It requires no key and exposes no user data.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::http::{Reporter, probe};
use crate::metrics::Metrics;

/// Content type of the OpenMetrics text format, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Routes of the admin port; served by [`crate::http::server::serve`].
pub fn router(metrics: Arc<Metrics>, reporter: Arc<dyn Reporter>) -> Router {
    Router::new()
        .route("/metrics", get(text))
        .with_state(metrics)
        .route("/livez", get(|State(reporter): State<Arc<dyn Reporter>>| async move { probe(reporter.live()) }))
        .route("/readyz", get(|State(reporter): State<Arc<dyn Reporter>>| async move { probe(reporter.ready()) }))
        .with_state(reporter)
}

async fn text(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    struct Broken;

    impl Reporter for Broken {
        fn cluster(&self) -> serde_json::Value {
            serde_json::Value::Null
        }

        fn voters(&self) -> Option<u16> {
            None
        }

        fn consistency(&self) -> serde_json::Value {
            serde_json::Value::Null
        }

        fn links(&self) -> serde_json::Value {
            serde_json::Value::Null
        }

        fn live(&self) -> Result<(), String> {
            Err("a failed fsync poisoned the replica".into())
        }

        fn ready(&self) -> Result<(), String> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_admin_port_has_three_paths_and_no_more() {
        let router = router(Arc::new(Metrics::new()), Arc::new(Broken));
        let paths = [
            ("/metrics", 200, "# EOF"),
            ("/livez", 503, "poisoned"),
            ("/readyz", 200, "ok"),
            ("/", 404, ""),
            ("/collections", 404, ""),
        ];
        for (path, status, says) in paths {
            let response = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&body).contains(says), "{path}");
        }
    }
}
