//! Tests of CORS headers.

use meridian_config::Limits;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;

use super::fake::{KEY, Server};

const PAGE: &str = "https://app.example.com";
const QUERY: &str = "/collections/c/points/query";

/// A browser's preflight request; it never carries a key.
fn preflight(server: &Server, origin: &str) -> RequestBuilder {
    server
        .bare(Method::OPTIONS, QUERY)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "api-key,content-type,x-required-freshness")
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn allowed(request: RequestBuilder) -> (u16, Option<String>) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), header(&response, "access-control-allow-origin").map(Into::into))
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_call_with_a_key() {
    let server = Server::with_cors(Limits::default(), &["http://localhost:3000", PAGE]).await;
    let answer = preflight(&server, PAGE).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(header(&answer, "access-control-allow-headers"), Some("api-key,content-type,x-required-freshness"));
    assert_eq!(header(&answer, "access-control-max-age"), Some("600"));
    assert_eq!(header(&answer, "access-control-allow-credentials"), None);
    let methods = header(&answer, "access-control-allow-methods").unwrap();
    assert!(["GET", "POST", "PUT", "PATCH", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
    assert!(header(&answer, "vary").unwrap().contains("origin"), "caches keep one response per origin");

    let query = || server.bare(Method::POST, QUERY).header("origin", PAGE).json(&json!({}));
    let answer = query().header("api-key", KEY).send().await.unwrap();
    assert_eq!(answer.status(), 404, "the collection does not exist");
    assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE), "a page may read errors too");
    let exposed = header(&answer, "access-control-expose-headers").unwrap();
    assert!(["x-staleness-ms", "x-consistency-token", "retry-after"].iter().all(|name| exposed.contains(name)));
    assert_eq!(allowed(query()).await, (401, Some(PAGE.into())), "the key is still required");
}

#[tokio::test]
async fn other_origins_are_not_allowed() {
    let server = Server::with_cors(Limits::default(), &[PAGE]).await;
    for origin in ["https://evil.example.com", "http://app.example.com", "https://app.example.com:444", "null"] {
        assert_eq!(allowed(preflight(&server, origin)).await.1, None, "{origin}");
        let version = server.bare(Method::GET, "/").header("origin", origin);
        assert_eq!(allowed(version).await, (200, None), "{origin}");
    }
}

#[tokio::test]
async fn a_star_allows_all_origins_and_an_empty_list_none() {
    let server = Server::with_cors(Limits::default(), &["*"]).await;
    assert_eq!(allowed(preflight(&server, "https://any.example.com")).await, (200, Some("*".into())));
    let server = Server::start().await;
    assert_eq!(allowed(preflight(&server, PAGE)).await, (401, None));
    assert_eq!(allowed(server.bare(Method::GET, "/").header("origin", PAGE)).await, (200, None));
}
