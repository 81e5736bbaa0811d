//! Limits on clients: body size, read time, connections, response size.

use std::time::Duration;

use meridian_config::Limits;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::assert_response;
use super::fake::{KEY, Server};

const COUNT: &str = "/collections/c/points/count";

/// Sends bytes, then reads until the server closes the connection.
async fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset ends the connection like a close.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(extra: &str) -> String {
    format!("POST {COUNT} HTTP/1.1\r\nhost: x\r\napi-key: {KEY}\r\ncontent-type: application/json\r\n{extra}\r\n")
}

#[tokio::test]
async fn a_body_too_large_is_cut_with_413() {
    let server = Server::with(Limits { request_body_bytes: 2_000, ..Limits::default() }).await;
    let large = vec![b' '; 2_001];
    let sent =
        server.raw(Method::POST, COUNT).header("content-type", "application/json").body(large).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let chunked = format!(
        "{}bb8\r\n{}\r\n0\r\n\r\n",
        head("transfer-encoding: chunked\r\nconnection: close\r\n"),
        " ".repeat(3_000)
    );
    assert!(exchange(&server, chunked.as_bytes()).await.starts_with("HTTP/1.1 413"), "without a content-length too");
    assert!(!server.gateway.received_any());
}

#[tokio::test]
async fn a_client_that_sends_a_whole_oversized_body_receives_the_413() {
    // Larger than all socket buffers, so that the client can read only after the server has read the body.
    let server = Server::with(Limits { request_body_bytes: 4 << 20, ..Limits::default() }).await;
    let large = " ".repeat(15 << 20);
    let whole = format!("{}{large}", head(&format!("content-length: {}\r\nconnection: close\r\n", large.len())));
    assert!(exchange(&server, whole.as_bytes()).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn all_bodies_together_are_bounded() {
    let server =
        Server::with(Limits { request_body_bytes: 4_096, inflight_requests_bytes: 2_048, ..Limits::default() }).await;
    let sent = server
        .raw(Method::POST, COUNT)
        .header("content-type", "application/json")
        .body(vec![b' '; 4_000])
        .send()
        .await
        .unwrap();
    assert_eq!((sent.status(), &sent.headers()["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap()));
    // The reservation of the refused body is released.
    let small = server.call(Method::POST, COUNT, json!({})).await;
    assert_response(&small, 404, "doesn't exist");
}

#[tokio::test]
async fn a_slow_body_is_cut() {
    let server = Server::with(Limits { request_idle_timeout_ms: 50, ..Limits::default() }).await;
    let answer = exchange(&server, head("content-length: 10\r\nconnection: close\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

/// A response before the end of the body closes the connection and says so; otherwise the connection stays open.
#[tokio::test]
async fn an_answer_ahead_of_the_body_closes() {
    let server = Server::start().await;
    let unread = "POST /collections/%00/points/count HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n";
    let answer = exchange(&server, unread.as_bytes()).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 4") && answer.contains("connection: close"), "{answer}");
    let read = server.raw(Method::POST, COUNT).json(&json!({})).send().await.unwrap();
    assert!(!read.headers().contains_key("connection"), "{read:?}");
    let none = server.raw(Method::GET, "/collections/nowhere").send().await.unwrap();
    assert!(!none.headers().contains_key("connection"), "{none:?}");
}

#[tokio::test]
async fn a_slow_or_silent_head_is_cut() {
    let server = Server::with(Limits { request_headers_timeout_ms: 50, ..Limits::default() }).await;
    exchange(&server, b"GET / HTTP/1.1\r\nhost: x\r\n").await;
    exchange(&server, b"").await;
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let server = Server::start().await;
    let answer = exchange(&server, head(&format!("x-long: {}\r\n", "x".repeat(20_000))).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = "x: y\r\n".repeat(200);
    let answer = exchange(&server, head(&many).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn bodies_of_other_types_are_refused() {
    let server = Server::start().await;
    let form = server.raw(Method::POST, COUNT).body("{}").send().await.unwrap();
    assert_eq!(form.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let zipped =
        server.raw(Method::POST, COUNT).header("content-encoding", "gzip").json(&json!({})).send().await.unwrap();
    assert_eq!(zipped.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let server = Server::with(Limits { connections: 1, request_headers_timeout_ms: 100, ..Limits::default() }).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    // Answered after the idle connection is closed.
    assert_eq!(server.bare(Method::GET, "/livez").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_gateway_that_never_answers_is_not_waited_for() {
    let server = Server::with(Limits { request_timeout_ms: 50, ..Limits::default() }).await;
    server.gateway.set_stuck();
    assert_response(
        &server.call(Method::GET, "/collections", serde_json::Value::Null).await,
        408,
        "no answer within 50ms",
    );
}

#[tokio::test]
async fn stopping_finishes_open_requests_and_takes_no_more() {
    let server = Server::with(Limits { request_timeout_ms: 300, ..Limits::default() }).await;
    server.gateway.set_stuck();
    let open = tokio::spawn(server.raw(Method::GET, "/collections").send());
    while !server.gateway.received_any() {
        tokio::task::yield_now().await;
    }
    server.stop.cancel();
    assert_eq!(open.await.unwrap().unwrap().status(), 408, "the open request was answered");
    tokio::time::timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_drain_ends_when_its_time_is_over() {
    let server = Server::with(Limits { drain_timeout_ms: 20, ..Limits::default() }).await;
    server.gateway.set_stuck();
    let open = tokio::spawn(server.raw(Method::GET, "/collections").send());
    while !server.gateway.received_any() {
        tokio::task::yield_now().await;
    }
    server.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap();
    assert!(open.await.unwrap().is_err());
}

/// Waits until `what` holds.
async fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_disconnected_client_cancels_its_request() {
    let server = Server::start().await;
    server.gateway.set_stuck();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(format!("{}{{}}", head("content-length: 2\r\n")).as_bytes()).await.unwrap();
    wait_until(|| server.gateway.received_any()).await;
    assert_eq!(server.gateway.abandoned(), 0);
    drop(stream);
    wait_until(|| server.gateway.abandoned() == 1).await;
}

#[tokio::test]
async fn reads_beyond_capacity_are_refused_early_and_keep_their_connection() {
    let server = Server::start().await;
    server.gateway.set_full(true);
    for path in ["query", "query/batch", "search", "scroll", "count", ""] {
        let path = format!("/collections/c/points/{path}");
        let request = server.raw(Method::POST, path.trim_end_matches('/')).json(&json!({}));
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["retry-after"]),
            (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
        );
        assert!(!response.headers().contains_key("connection"), "{path}");
    }
    assert!(!server.gateway.received_any(), "the gateway received nothing");
    let write = server.call(Method::PUT, "/collections/c/points", json!({"points": [{"id": 1, "vector": [1]}]})).await;
    assert_response(&write, 404, "doesn't exist");
    server.gateway.set_full(false);
    assert_response(&server.call(Method::POST, COUNT, json!({})).await, 404, "doesn't exist");
}

#[tokio::test]
async fn an_oversized_response_is_refused_and_its_memory_released() {
    let limits = Limits {
        response_body_bytes: 65_536,
        inflight_requests_bytes: 400_000,
        request_body_bytes: 100_000,
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    server.call(Method::PUT, "/collections/c", json!({"vectors": {"size": 1, "distance": "Dot"}})).await;
    for id in [1, 2] {
        let point = json!({"id": id, "vector": [1], "payload": {"text": "x".repeat(40_000)}});
        let (status, body) = server.call(Method::PUT, "/collections/c/points", json!({"points": [point]})).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    let scroll = |limit| server.call(Method::POST, "/collections/c/points/scroll", json!({"limit": limit}));
    assert_response(&scroll(2).await, 400, "the answer must be at most 65536 bytes");
    for _ in 0..20 {
        assert_eq!(scroll(1).await.0, StatusCode::OK, "memory of earlier responses is released");
    }
    let (_, body) = server.call(Method::POST, "/collections/c/points/scroll", json!({"with_payload": false})).await;
    assert_eq!(body["result"]["points"].as_array().unwrap().len(), 2);
}
