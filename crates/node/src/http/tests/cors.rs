//! What a browser is told.

use meridian_config::Limits;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;

use super::fake::{KEY, Server};

const PAGE: &str = "https://app.example.com";
const QUERY: &str = "/collections/c/points/query";

/// What a browser asks before it sends a page's request. It never carries a key.
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
    let server = Server::for_pages(Limits::default(), &["http://localhost:3000", PAGE]).await;
    let answer = preflight(&server, PAGE).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(header(&answer, "access-control-allow-headers"), Some("api-key,content-type,x-required-freshness"));
    assert_eq!(header(&answer, "access-control-max-age"), Some("600"));
    assert_eq!(header(&answer, "access-control-allow-credentials"), None);
    let methods = header(&answer, "access-control-allow-methods").unwrap();
    assert!(["GET", "POST", "PUT", "PATCH", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
    assert!(header(&answer, "vary").unwrap().contains("origin"), "caches keep one answer for each origin");

    let query = || server.bare(Method::POST, QUERY).header("origin", PAGE).json(&json!({}));
    let answer = query().header("api-key", KEY).send().await.unwrap();
    assert_eq!(answer.status(), 404, "there is no such collection");
    assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE), "a page may read errors too");
    let exposed = header(&answer, "access-control-expose-headers").unwrap();
    assert!(["x-staleness-ms", "x-consistency-token", "retry-after"].iter().all(|name| exposed.contains(name)));
    assert_eq!(allowed(query()).await, (401, Some(PAGE.into())), "the key is asked for as ever");
}

#[tokio::test]
async fn pages_of_other_origins_are_not_let_in() {
    let server = Server::for_pages(Limits::default(), &[PAGE]).await;
    for origin in ["https://evil.example.com", "http://app.example.com", "https://app.example.com:444", "null"] {
        assert_eq!(allowed(preflight(&server, origin)).await.1, None, "{origin}");
        let version = server.bare(Method::GET, "/").header("origin", origin);
        assert_eq!(allowed(version).await, (200, None), "{origin}");
    }
}

#[tokio::test]
async fn a_star_lets_all_pages_in_and_nothing_lets_none_in() {
    let server = Server::for_pages(Limits::default(), &["*"]).await;
    assert_eq!(allowed(preflight(&server, "https://any.example.com")).await, (200, Some("*".into())));
    let server = Server::start().await;
    assert_eq!(allowed(preflight(&server, PAGE)).await, (401, None));
    assert_eq!(allowed(server.bare(Method::GET, "/").header("origin", PAGE)).await, (200, None));
}
