//! For tests only: an artificial behavior version 2, so that the rules of upgrades are proven before a second release
//! exists. It exists in builds with debug assertions; images have none.
//!
//! A payload with the key [`KEY`], at any depth, and a condition on it need version 2. A build that knows version 1 alone
//! refuses them, as a real earlier release would refuse what it does not know. A process knows version 2 if
//! `MERIDIAN_TEST_NEXT_VERSION=1` is set when it starts; a thread plays either release while it holds a [`PlayedRelease`].

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::{BehaviorVersion, PathStep, PayloadPath};

/// The artificial version.
const NEXT: BehaviorVersion = BehaviorVersion(2);
/// The key of payloads that need it.
const KEY: &str = "meridian.next";
/// The key as payloads contain it: their texts have no space between a key and its colon.
const KEY_IN_TEXT: &str = "\"meridian.next\":";
/// `1` makes a process know [`NEXT`].
const VARIABLE: &str = "MERIDIAN_TEST_NEXT_VERSION";

thread_local! {
    static PLAYED: Cell<Option<BehaviorVersion>> = const { Cell::new(None) };
}

/// Makes the thread behave as a release whose newest behavior version is the given one, until it is dropped.
#[derive(Debug)]
#[must_use = "the thread plays the release until this value is dropped"]
pub struct PlayedRelease {
    before: Option<BehaviorVersion>,
    /// It belongs to its thread.
    is_not_send: PhantomData<*const ()>,
}

impl PlayedRelease {
    /// Plays a release that knows behavior versions up to `newest`.
    pub fn knowing(newest: BehaviorVersion) -> Self {
        Self { before: PLAYED.replace(Some(newest)), is_not_send: PhantomData }
    }
}

impl Drop for PlayedRelease {
    fn drop(&mut self) {
        PLAYED.set(self.before);
    }
}

/// See [`BehaviorVersion::newest`].
pub(crate) fn newest() -> BehaviorVersion {
    static OF_PROCESS: OnceLock<BehaviorVersion> = OnceLock::new();
    let of_process = || {
        let is_set = std::env::var_os(VARIABLE).is_some_and(|value| value == "1");
        if is_set { NEXT } else { BehaviorVersion::RELEASED }
    };
    PLAYED.get().unwrap_or_else(|| *OF_PROCESS.get_or_init(of_process))
}

/// The behavior version that a payload of this text needs.
pub(crate) fn needed_by_payload(text: &str) -> BehaviorVersion {
    if text.contains(KEY_IN_TEXT) { NEXT } else { BehaviorVersion::FIRST }
}

/// The behavior version that a condition on this path needs.
pub(crate) fn needed_by_path(path: &PayloadPath) -> BehaviorVersion {
    let is_key = |step: &PathStep| matches!(step, PathStep::Key(key) if key == KEY);
    if path.steps().iter().any(is_key) { NEXT } else { BehaviorVersion::FIRST }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::PointOp;
    use crate::{CollectionUid, Condition, Filter, Op, Payload, PointId, Scalar, Vectors, VersionUnknown};

    #[test]
    fn builds_without_debug_assertions_do_not_contain_it() {
        assert!(include_str!("lib.rs").contains("#[cfg(debug_assertions)]\nmod artificial;"));
    }

    #[test]
    fn a_thread_plays_a_release_until_the_guard_is_dropped() {
        let own = BehaviorVersion::newest();
        let next = PlayedRelease::knowing(NEXT);
        assert_eq!(VersionUnknown::check(NEXT), Ok(()));
        {
            let _previous = PlayedRelease::knowing(BehaviorVersion::FIRST);
            assert!(VersionUnknown::check(NEXT).is_err());
            let other_thread = std::thread::scope(|scope| scope.spawn(BehaviorVersion::newest).join().unwrap());
            assert_eq!(other_thread, own);
        }
        assert_eq!(BehaviorVersion::newest(), NEXT);
        drop(next);
        assert_eq!(BehaviorVersion::newest(), own);
    }

    #[test]
    fn a_payload_with_the_key_needs_the_next_version_and_its_value_does_not() {
        for (text, needs) in [
            ("", BehaviorVersion::FIRST),
            (r#"{"a":"meridian.next"}"#, BehaviorVersion::FIRST),
            (r#"{"a":"\"meridian.next\":1"}"#, BehaviorVersion::FIRST),
            (r#"{"a":1,"meridian.next":2}"#, NEXT),
            (r#"{"a":{"meridian.next":null}}"#, NEXT),
        ] {
            let payload = Payload(text.into());
            assert_eq!(payload.needs(), needs, "{text}");
            let (point, vectors) = (PointId::Num(1), Vectors::new());
            let op = PointOp::Upsert { point, vectors: vectors.clone(), payload: payload.clone() };
            assert_eq!(op.needs(), needs);
            assert_eq!(Op::Upsert { collection: CollectionUid(1), point, vectors, payload }.needs(), needs);
        }
    }

    #[test]
    fn a_condition_on_the_key_needs_the_next_version() {
        for (path, needs) in
            [("a.b", BehaviorVersion::FIRST), ("\"meridian.next\"", NEXT), ("a.\"meridian.next\"", NEXT)]
        {
            let condition = Condition::Any { key: path.parse().unwrap(), any: vec![Scalar::Int(1)] };
            let nested = Condition::Nested(Box::new(Filter { must_not: vec![condition], ..Filter::default() }));
            assert_eq!(Filter { should: vec![nested], ..Filter::default() }.needs(), needs, "{path}");
        }
    }
}
