//! Tests of the API over real sockets, in front of an in-memory gateway.

mod cors;
mod fake;
mod limits;

use meridian_model::client::Refusal;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

use fake::{KEY, Server};

/// Asserts the status, and that the body contains a text.
#[track_caller]
fn assert_response(answer: &(StatusCode, Value), status: u16, text: &str) {
    assert_eq!(answer.0, status, "{}", answer.1);
    assert!(answer.1.to_string().contains(text), "{text:?} is not in {}", answer.1);
}

async fn with_points() -> Server {
    let server = Server::start().await;
    let (status, body) =
        server.call(Method::PUT, "/collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await;
    assert_eq!((status, &body["result"], &body["status"]), (StatusCode::OK, &json!(true), &json!("ok")));
    let points: Vec<_> = (1..=5).map(|n| json!({"id": n, "vector": [n, 0], "payload": {"n": n}})).collect();
    let (status, body) = server.call(Method::PUT, "/collections/c/points?wait=true", json!({"points": points})).await;
    assert_eq!((status, &body["result"]["status"]), (StatusCode::OK, &json!("completed")));
    server
}

#[tokio::test]
async fn points_are_written_found_and_removed() {
    let server = with_points().await;
    let (_, body) = server
        .call(
            Method::POST,
            "/collections/c/points/query",
            json!({"query": [1, 0], "limit": 2, "offset": 1, "with_payload": true}),
        )
        .await;
    let ids: Vec<_> = body["result"]["points"].as_array().unwrap().iter().map(|p| p["id"].clone()).collect();
    assert_eq!(ids, [json!(4), json!(3)]);
    assert_eq!(body["result"]["points"][0]["payload"], json!({"n": 4}));
    let (_, body) = server.call(Method::POST, "/collections/c/points/query", json!({"query": 5, "limit": 1})).await;
    assert_eq!(body["result"]["points"][0]["id"], 4, "a query by point id excludes that point");
    let (_, body) = server
        .call(
            Method::POST,
            "/collections/c/points/query/batch",
            json!({"searches": [{"query": 1, "limit": 1}, {"query": [1, 0], "limit": 3}]}),
        )
        .await;
    assert_eq!(body["result"][1]["points"].as_array().unwrap().len(), 3);
    let (_, body) =
        server.call(Method::POST, "/collections/c/points/search", json!({"vector": [1, 0], "limit": 1})).await;
    assert_eq!(body["result"][0]["id"], 5);
    let (_, body) = server.call(Method::POST, "/collections/c/points/query", json!({"limit": 1})).await;
    assert_eq!(body["result"]["points"][0]["id"], 1, "a query without a target is ordered by id");
    let (_, body) = server.call(Method::GET, "/collections/c/points/3", Value::Null).await;
    assert_eq!(body["result"], json!({"id": 3, "payload": {"n": 3}, "vector": [3.0, 0.0]}));
    let (_, body) = server.call(Method::POST, "/collections/c/points", json!({"ids": [2, 9]})).await;
    assert_eq!(body["result"], json!([{"id": 2, "payload": {"n": 2}}]));
    let (_, body) = server
        .call(Method::POST, "/collections/c/points/scroll", json!({"limit": 2, "offset": 2, "with_payload": false}))
        .await;
    assert_eq!(body["result"], json!({"points": [{"id": 2}, {"id": 3}], "next_page_offset": 4}));
    server.call(Method::POST, "/collections/c/points/delete", json!({"points": [1]})).await;
    server.call(Method::POST, "/collections/c/points/delete", json!({"filter": {"must_not": [{"has_id": [2]}]}})).await;
    let (_, body) = server.call(Method::POST, "/collections/c/points/count", json!({"exact": true})).await;
    assert_eq!(body["result"], json!({"count": 1}));
}

#[tokio::test]
async fn collections_come_and_go() {
    let server = with_points().await;
    let again = server.call(Method::PUT, "/collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await;
    assert_response(&again, 409, "Wrong input: Collection `c` already exists!");
    let (_, body) = server.call(Method::GET, "/collections", Value::Null).await;
    assert_eq!(body["result"], json!({"collections": [{"name": "c"}]}));
    let (_, body) = server.call(Method::GET, "/collections/c", Value::Null).await;
    assert_eq!(body["result"]["config"]["params"]["vectors"], json!({"size": 2, "distance": "Dot"}));
    assert_eq!(body["result"]["points_count"], 5);
    for (name, exists) in [("c", true), ("d", false)] {
        let (_, body) = server.call(Method::GET, &format!("/collections/{name}/exists"), Value::Null).await;
        assert_eq!(body["result"], json!({"exists": exists}));
    }
    for existed in [true, false] {
        let (_, body) = server.call(Method::DELETE, "/collections/c", Value::Null).await;
        assert_eq!(body["result"], existed);
    }
    assert_response(&server.call(Method::GET, "/collections/c", Value::Null).await, 404, "Not found: Collection `c`");
    let (_, body) = server.call(Method::GET, "/", Value::Null).await;
    assert_eq!((&body["version"], &body["commit"]), (&json!("1.20.0"), &json!("abc")));
}

#[tokio::test]
async fn errors_name_the_invalid_field() {
    let server = with_points().await;
    let q = "/collections/c/points/query";
    assert_response(&server.call(Method::POST, q, json!({"quary": 1})).await, 400, "unknown field `quary`");
    assert_response(&server.call(Method::POST, q, json!({"query": {"fusion": "rrf"}})).await, 501, "fusion");
    assert_response(
        &server.call(Method::POST, q, json!({"query": 77})).await,
        404,
        "Not found: No point with id 77 found",
    );
    assert_response(&server.call(Method::POST, q, json!({"query": 1, "using": "x"})).await, 404, "has no vector");
    assert_response(
        &server.call(Method::POST, &format!("{q}?timeout=0"), json!({})).await,
        400,
        "query parameter timeout",
    );
    assert_response(
        &server.call(Method::POST, &format!("{q}?color=1"), json!({})).await,
        400,
        "unknown query parameter",
    );
    assert_response(&server.call(Method::POST, &format!("{q}?consistency=some"), json!({})).await, 400, "consistency");
    assert_response(&server.call(Method::GET, "/collections/a%2Fb", Value::Null).await, 400, "cannot contain");
    assert_response(&server.call(Method::GET, "/collections/%FF", Value::Null).await, 400, "path");
    assert_response(
        &server.call(Method::GET, "/collections/c/points/x", Value::Null).await,
        400,
        "not a valid point ID",
    );
    assert_response(
        &server.call(Method::GET, "/collections/c/points/9", Value::Null).await,
        404,
        "id 9 does not exist",
    );
    assert_response(&server.call(Method::PATCH, "/collections/c", json!({})).await, 501, "Not supported");
    let discover = "Not supported: discover points (POST /collections/{name}/points/discover)";
    assert_response(&server.call(Method::POST, "/collections/c/points/discover", json!({})).await, 501, discover);
    let index = server.call(Method::DELETE, "/collections/c/index/color", Value::Null).await;
    assert_response(&index, 501, "Not supported: delete payload index (DELETE /collections/{name}/index/{field_name})");
    assert_response(&server.call(Method::PUT, "/collections/c/points/5", json!({})).await, 405, "method");
    assert_response(&server.call(Method::GET, "/collections/c/nothing", Value::Null).await, 404, "no such path");
    assert_response(&server.call(Method::GET, "/etc/passwd", Value::Null).await, 404, "no such path");
    assert_response(&server.call(Method::DELETE, "/", Value::Null).await, 405, "method");
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let server = with_points().await;
    let region = |name: &str| meridian_model::RegionName::new(name).unwrap();
    let shard = meridian_model::ShardNumber::FIRST;
    let cases = [
        (
            Refusal::BadInput("Vector dimension error: expected dim: 4, got 3".into()),
            400,
            "Vector dimension error: expected dim: 4, got 3",
            false,
        ),
        (Refusal::NotFound("x".into()), 404, "Not found: x", false),
        (Refusal::Timeout(Duration::from_secs(1)), 408, "no answer within 1s", false),
        (
            Refusal::Misdirected { primary: region("eu-west"), term: meridian_model::PrimaryTerm(1) },
            421,
            "eu-west",
            false,
        ),
        (Refusal::Overloaded("queue".into()), 429, "queue", true),
        (Refusal::Unavailable { shards: vec![shard], reason: "no leader".into() }, 503, "no leader", true),
        (Refusal::TooStale { staleness_ms: 900 }, 503, "900 ms behind", true),
        (Refusal::Internal("the search failed".into()), 500, "the search failed", false),
        (Refusal::OutcomeUnknown("no answer".into()), 500, "outcome unknown: no answer", false),
        (Refusal::ReadOnly, 507, "disk is full", true),
    ];
    for (refusal, status, text, retry) in cases {
        server.gateway.refuse_next(refusal);
        let response = server.raw(Method::POST, "/collections/c/points/count").json(&json!({})).send().await.unwrap();
        assert_eq!(response.headers().contains_key("retry-after"), retry, "{status}");
        assert!(response.headers().contains_key("x-staleness-ms"));
        let answer = (response.status(), response.json().await.unwrap());
        assert_response(&answer, status, text);
        assert!(answer.1["status"]["error"].is_string());
    }
}

#[tokio::test]
async fn freshness_headers_are_parsed_and_returned() {
    let server = with_points().await;
    let count = || server.raw(Method::POST, "/collections/c/points/count").json(&json!({}));
    let response = count()
        .header("X-Required-Freshness", "100ms; on-stale=wait,fail")
        .header("X-Consistency", "bounded")
        .send()
        .await
        .unwrap();
    let headers = response.headers().clone();
    assert_eq!(
        (&headers["x-staleness-ms"], &headers["x-served-region"]),
        (&"13".parse().unwrap(), &"us-east".parse().unwrap())
    );
    assert!(!headers.contains_key("stale-result"));
    let demand = server.gateway.last().demand;
    assert_eq!(demand.freshness.unwrap().0, Duration::from_millis(100));
    server.gateway.set_stale();
    let token = headers["x-consistency-token"].to_str().unwrap();
    let response = count().header("X-Consistency-Token", token).send().await.unwrap();
    assert_eq!(response.headers()["stale-result"], "true");
    assert!(!server.gateway.last().demand.token.unwrap().is_empty());
    for (name, value) in
        [("X-Consistency", "sometimes"), ("X-Required-Freshness", "soon"), ("X-Consistency-Token", "?")]
    {
        let response = count().header(name, value).send().await.unwrap();
        assert_eq!(response.status(), 400);
        assert!(response.text().await.unwrap().contains(name));
    }
}

#[tokio::test]
async fn a_trace_is_propagated() {
    let server = with_points().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let response = server
        .raw(Method::GET, "/collections")
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .send()
        .await
        .unwrap();
    let sent = response.headers()["traceparent"].to_str().unwrap();
    assert_eq!(server.gateway.last().traceparent.as_deref(), Some(sent));
    assert!(sent.contains(trace) && !sent.contains("b7ad6b7169203331"));
}

#[tokio::test]
async fn every_path_except_version_and_probes_requires_a_key() {
    let server = Server::start().await;
    let paths = [
        "/collections",
        "/collections/c",
        "/collections/c/points/query",
        "/api/v1/cluster",
        "/api/v1/links",
        "/nothing",
        "/healthz/x",
        "/metrics",
    ];
    for path in paths {
        for (name, value) in [
            ("x", "y"),
            ("api-key", "wrong-key"),
            ("authorization", "Bearer wrong-key"),
            ("authorization", KEY),
            ("authorization", "Bearer"),
        ] {
            let response = server.bare(Method::GET, path).header(name, value).send().await.unwrap();
            assert_eq!(response.status(), 401, "{path} {name}: {value}");
        }
    }
    let bearer =
        server.bare(Method::GET, "/collections").header("authorization", format!("bearer {KEY}")).send().await.unwrap();
    assert_eq!(bearer.status(), 200);
    for path in ["/", "/healthz", "/livez"] {
        assert_eq!(server.bare(Method::GET, path).send().await.unwrap().status(), 200);
    }
    let ready = server.bare(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(
        (ready.status(), ready.text().await.unwrap()),
        (StatusCode::SERVICE_UNAVAILABLE, "no leader yet\n".into())
    );
}

#[tokio::test]
async fn the_native_api_reports_and_refuses() {
    let server = Server::start().await;
    let (_, body) = server.call(Method::GET, "/api/v1/cluster", Value::Null).await;
    assert_eq!(body, json!({"of": "cluster"}));
    let response = server.raw(Method::POST, "/api/v1/reindex?shard=1").send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::NOT_IMPLEMENTED, &"application/problem+json".parse().unwrap())
    );
}
