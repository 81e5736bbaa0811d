//! Bounds on the memory that a decoded body takes.

use super::*;

/// A budget that has so much left.
struct LimitedBudget(std::sync::Mutex<usize>);

impl Budget for LimitedBudget {
    fn take(&self, bytes: usize) -> bool {
        let mut left = self.0.lock().unwrap();
        left.checked_sub(bytes).map(|rest| *left = rest).is_some()
    }
}

fn metered_alone<T>(body: &str, decode: impl FnOnce(&[u8], &Limits) -> Result<T, Fault>) -> (Result<T, Fault>, usize) {
    metered(body.len(), None, || decode(body.as_bytes(), &Limits::default()))
}

/// As many of `element` as a body of about 4 MiB holds.
fn many(before: &str, element: &str, after: &str) -> String {
    let count = (4 << 20) / (element.len() + 1);
    format!("{before}{}{after}", vec![element; count].join(","))
}

#[test]
fn a_body_that_becomes_far_larger_is_refused_while_it_is_decoded() {
    let filters = many(r#"{"filter":{"must":["#, "{}", "]}}");
    let searches = many(r#"{"searches":["#, "{}", "]}");
    let shoulds = many(r#"{"filter":{"should":["#, r#"{"must":{}}"#, "]}}");
    let ids = many(r#"{"ids":["#, "1", "]}");
    let texts = many(r#"{"with_payload":["#, r#""""#, "]}");
    let values = many(r#"{"filter":{"must":{"key":"a","match":{"any":["#, "1", "]}}}}");
    let points = many(r#"{"points":["#, r#"{"id":1,"vector":[1]}"#, "]}");
    let columns = many(r#"{"batch":{"ids":[1],"vectors":["#, "[1]", "]}}");
    check(metered_alone(&filters, count).0, 413, "the request body of");
    check(metered_alone(&searches, query_batch).0, 413, "once it is decoded");
    check(metered_alone(&shoulds, scroll).0, 413, "once it is decoded");
    check(metered_alone(&ids, retrieve).0, 413, "once it is decoded");
    check(metered_alone(&texts, scroll).0, 413, "once it is decoded");
    check(metered_alone(&values, count).0, 413, "once it is decoded");
    check(metered_alone(&points, upsert).0, 413, "once it is decoded");
    check(metered_alone(&columns, upsert).0, 413, "once it is decoded");
}

#[test]
fn unsupported_fields_are_skipped_without_being_built() {
    let prefetch = many(r#"{"prefetch":["#, "[]", "]}");
    let (refused, used) = metered_alone(&prefetch, query);
    check(refused, 501, "prefetch");
    assert_eq!(used, 0);
    let lists = many(r#"{"filter":{"must":{"key":"a","match":{"value":["#, "[]", "]}}}}");
    let (refused, used) = metered_alone(&lists, count);
    check(refused, 400, "can be matched");
    assert!(used < 64 << 10, "{used}");
}

#[test]
fn ordinary_bodies_of_full_size_are_decoded() {
    let vector: Vec<f32> = (0..100).map(|n| (n as f32 * 0.731).sin()).collect();
    let point =
        json!({"id": 123_456, "vector": vector, "payload": {"city": "Berlin", "count": 17, "tags": ["a", "b"]}});
    let point = point.to_string();
    let count = Limits::default().request_body_bytes / (point.len() + 1) - 1;
    let points = format!(r#"{{"points":[{}]}}"#, vec![&*point; count].join(","));
    let (ops, used) = metered_alone(&points, upsert);
    assert_eq!(ops.unwrap().len(), count);
    assert!(used < 2 * points.len(), "{used} bytes of {}", points.len());
    let nested = json!({"points": [{"id": 1, "vector": [1], "payload": {"n": vec![vec![0; 2]; 100_000]}}]}).to_string();
    let (ops, used) = metered_alone(&nested, upsert);
    assert!(ops.is_ok() && used <= nested.len() * 3 + (1 << 20), "a payload is text: {used} bytes of {}", nested.len());
}

#[test]
fn a_body_that_finds_no_room_is_refused_and_says_what_it_took() {
    let budget = std::sync::Arc::new(LimitedBudget(std::sync::Mutex::new(64 << 10)));
    let ids = json!({"ids": (0..9_000).collect::<Vec<_>>()}).to_string();
    let decode = || retrieve(ids.as_bytes(), &Limits::default());
    let (refused, taken) = metered(ids.len(), Some(budget.clone()), decode);
    check(refused, 429, "use all memory");
    assert_eq!(taken + *budget.0.lock().unwrap(), 64 << 10);
    let small = || count(b"{}", &Limits::default());
    assert!(metered(2, Some(budget), small).0.is_ok(), "what needs nothing takes nothing");
    check(
        create_collection(CollectionName::new("c").unwrap(), &[b' '; 40_000], &SHAPE, &Limits::default()),
        413,
        "at most 32768 bytes",
    );
}
