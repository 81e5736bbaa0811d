//! Current errors of the Kafka threads for reports; each change is logged once.

use std::collections::BTreeMap;

use meridian_model::{OriginShard, Position};
use parking_lot::RwLock;

/// Status of the Kafka threads.
#[derive(Debug, Default)]
pub struct Status(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    publish_error: Option<String>,
    published: Option<Position>,
    follow_errors: BTreeMap<OriginShard, String>,
}

impl Status {
    /// The error that stops publishing, if any.
    #[must_use]
    pub fn publish_error(&self) -> Option<String> {
        self.0.read().publish_error.clone()
    }

    /// Newest position confirmed by the broker.
    #[must_use]
    pub fn published(&self) -> Option<Position> {
        self.0.read().published
    }

    /// The error that stops an origin shard, if any.
    #[must_use]
    pub fn follow_error(&self, origin: &OriginShard) -> Option<String> {
        self.0.read().follow_errors.get(origin).cloned()
    }

    pub(super) fn set_published(&self, position: Option<Position>) {
        self.0.write().published = position;
    }

    pub(super) fn set_publish_error(&self, error: Option<String>) {
        let previous = std::mem::replace(&mut self.0.write().publish_error, error.clone());
        match (previous, error) {
            (previous, Some(error)) if previous.as_ref() != Some(&error) => {
                tracing::error!(%error, "publishing to Kafka failed; retrying");
            }
            (Some(_), None) => tracing::info!("publishing to Kafka resumed"),
            _ => {}
        }
    }

    pub(super) fn set_follow_error(&self, origin: &OriginShard, error: Option<String>) {
        let mut inner = self.0.write();
        let previous = match error.clone() {
            Some(error) => inner.follow_errors.insert(origin.clone(), error),
            None => inner.follow_errors.remove(origin),
        };
        drop(inner);
        match (previous, error) {
            (previous, Some(error)) if previous.as_ref() != Some(&error) => {
                tracing::error!(%origin, %error, "reading from Kafka failed; retrying");
            }
            (Some(_), None) => tracing::info!(%origin, "reading from Kafka resumed"),
            _ => {}
        }
    }
}
