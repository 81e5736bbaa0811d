//! Which points a read or a delete is about.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{BehaviorVersion, PayloadPath, PointId};

/// A point passes when it passes all of `must`, at least one of `should` (if there are any), none of `must_not`.
///
/// ```
/// use meridian_model::{Condition, Filter, Range, Scalar};
///
/// // Qdrant's {"must": [{"key": "author.name", "match": {"value": "Ann"}}], "must_not": [{"key": "year", "range": {"lt": 2000}}]}
/// let filter = Filter {
///     must: vec![Condition::Any { key: "author.name".parse()?, any: vec![Scalar::Text("Ann".into())] }],
///     must_not: vec![Condition::Range {
///         key: "year".parse()?,
///         range: Range { lt: Some(2000.0), ..Range::default() },
///     }],
///     ..Filter::default()
/// };
/// assert!(filter.should.is_empty(), "an empty list demands nothing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Every one has to hold.
    pub must: Vec<Condition>,
    /// At least one has to hold, if there are any.
    pub should: Vec<Condition>,
    /// None may hold.
    pub must_not: Vec<Condition>,
}

impl Filter {
    /// The behavior version that evaluating the filter needs: the largest of its conditions.
    #[must_use]
    pub fn needs(&self) -> BehaviorVersion {
        let all = self.must.iter().chain(&self.should).chain(&self.must_not);
        all.map(Condition::needs).max().unwrap_or(BehaviorVersion::FIRST)
    }
}

/// One statement about a point. A condition on an array holds when it holds for one of its elements, and on a path that
/// selects several values when it holds for one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// The value under `key` equals one of `any`.
    Any {
        /// Path into the payload.
        key: PayloadPath,
        /// Values that match.
        any: Vec<Scalar>,
    },
    /// There is a value under `key`, and it equals none of `except`.
    Except {
        /// Path into the payload.
        key: PayloadPath,
        /// Values that do not match.
        except: Vec<Scalar>,
    },
    /// The number under `key` lies within all the given bounds.
    Range {
        /// Path into the payload.
        key: PayloadPath,
        /// The bounds.
        range: Range,
    },
    /// The point is one of these.
    HasId(BTreeSet<PointId>),
    /// A filter inside a filter.
    Nested(Box<Filter>),
}

impl Condition {
    fn needs(&self) -> BehaviorVersion {
        match self {
            Self::Any { key, .. } | Self::Except { key, .. } | Self::Range { key, .. } => key.needs(),
            Self::HasId(_) => BehaviorVersion::FIRST,
            Self::Nested(filter) => filter.needs(),
        }
    }
}

/// A value that a payload field may be compared with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scalar {
    /// A text, compared byte by byte.
    Text(String),
    /// A whole number.
    Int(i64),
    /// True or false.
    Bool(bool),
}

/// Bounds on a number; an absent bound always holds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Range {
    /// Less than.
    pub lt: Option<f64>,
    /// Less than or equal.
    pub lte: Option<f64>,
    /// Greater than.
    pub gt: Option<f64>,
    /// Greater than or equal.
    pub gte: Option<f64>,
}

impl Range {
    /// True when `value` keeps every bound.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.lt.is_none_or(|bound| value < bound)
            && self.lte.is_none_or(|bound| value <= bound)
            && self.gt.is_none_or(|bound| value > bound)
            && self.gte.is_none_or(|bound| value >= bound)
    }
}
