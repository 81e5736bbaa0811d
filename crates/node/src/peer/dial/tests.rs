use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;
use crate::peer::tests::{hello, pair};

/// Short, so that the tests are; no test asserts a time.
fn timing(attempts: usize) -> Timing {
    Timing {
        greeting: Duration::from_millis(500),
        attempt_every: Duration::from_millis(20),
        attempts,
        ..Timing::REGION
    }
}

/// Dials a party that leaves the first `silent` attempts without an answer; how many attempts were under way at once, and
/// how many were made.
async fn dialled(attempts: usize, silent: usize) -> (usize, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::new(listener.local_addr().unwrap().to_string());
    let (begun, under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let greet = |_tcp: TcpStream| {
        let number = begun.fetch_add(1, Ordering::Relaxed);
        let counted = Counted::new(&under_way, &most);
        async move {
            let _counted = counted;
            if number < silent {
                std::future::pending::<()>().await;
            }
            Ok((pair().await, hello(), CancellationToken::new()))
        }
    };
    establish(&endpoint, &timing(attempts), Instant::now(), &greet).await;
    (most.load(Ordering::Relaxed), begun.load(Ordering::Relaxed))
}

/// Counts attempts while they are under way.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(under_way: &'a AtomicUsize, most: &AtomicUsize) -> Self {
        most.fetch_max(under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Self(under_way)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn between_regions_attempts_start_beside_one_that_is_not_answered() {
    let (at_once, attempts) = dialled(12, 3).await;
    assert!(at_once >= 4, "{at_once} at once");
    assert!(attempts >= 4);
}

#[tokio::test]
async fn inside_a_region_an_attempt_ends_before_the_next_begins() {
    let (at_once, attempts) = dialled(1, 2).await;
    assert_eq!(at_once, 1);
    assert!(attempts >= 3);
}

#[test]
fn the_deadlines_are_those_that_a_healed_network_needs() {
    let (region, group) = (Timing::REGION, Timing::GROUP);
    assert_eq!((region.connect, region.greeting), (Duration::from_millis(300), Duration::from_secs(1)));
    assert_eq!(group.connect, Duration::from_secs(3));
    for timing in [region, group] {
        assert!(timing.attempt_every <= Duration::from_millis(500));
        assert!(timing.user_timeout < Duration::from_secs(2));
        assert!(timing.heartbeat * 3 <= timing.user_timeout && timing.user_timeout < timing.silence);
    }
}
