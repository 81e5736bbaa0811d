//! Changes that depend on state: each takes place only if its point is still as it was read.

use serde::{Deserialize, Serialize};

use crate::{PointId, Stamp};

/// One change of a point, valid for one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionalChange {
    /// Which point.
    pub point: PointId,
    /// The stamp that the point had when it was read; the change does nothing to a point of another stamp.
    pub seen: Stamp,
    /// What becomes of it.
    pub change: PointChange,
}

/// What a [`ConditionalChange`] makes of its point. New kinds are added at the end: the order is part of the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PointChange {
    /// The point is removed.
    Delete,
}
