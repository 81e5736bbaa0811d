//! What is wrong with brokers just now, for reports; into the log it goes once.

use std::collections::BTreeMap;

use meridian_model::{OriginShard, Position};
use parking_lot::RwLock;

/// What the threads that speak with brokers say of themselves.
#[derive(Debug, Default)]
pub struct Status(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    publishing: Option<String>,
    published: Option<Position>,
    following: BTreeMap<OriginShard, String>,
}

impl Status {
    /// Why nothing is published, if so.
    #[must_use]
    pub fn publishing(&self) -> Option<String> {
        self.0.read().publishing.clone()
    }

    /// The newest position that the broker has confirmed.
    #[must_use]
    pub fn published(&self) -> Option<Position> {
        self.0.read().published
    }

    /// Why nothing comes of an origin shard, if so.
    #[must_use]
    pub fn following(&self, origin: &OriginShard) -> Option<String> {
        self.0.read().following.get(origin).cloned()
    }

    pub(super) fn set_published(&self, position: Option<Position>) {
        self.0.write().published = position;
    }

    pub(super) fn set_publishing(&self, fault: Option<String>) {
        let before = std::mem::replace(&mut self.0.write().publishing, fault.clone());
        match (before, fault) {
            (before, Some(fault)) if before.as_ref() != Some(&fault) => {
                tracing::error!(%fault, "deltas are not published to Kafka; trying again");
            }
            (Some(_), None) => tracing::info!("deltas are published to Kafka again"),
            _ => {}
        }
    }

    pub(super) fn set_following(&self, origin: &OriginShard, fault: Option<String>) {
        let mut inner = self.0.write();
        let before = match fault.clone() {
            Some(fault) => inner.following.insert(origin.clone(), fault),
            None => inner.following.remove(origin),
        };
        drop(inner);
        match (before, fault) {
            (before, Some(fault)) if before.as_ref() != Some(&fault) => {
                tracing::error!(%origin, %fault, "nothing comes from Kafka; trying again");
            }
            (Some(_), None) => tracing::info!(%origin, "Kafka is read again"),
            _ => {}
        }
    }
}
