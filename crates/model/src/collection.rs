//! What a collection is: its name, its vectors, their distances.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Name of a vector inside a point; the unnamed one is the empty text.
pub type VectorName = String;

/// How two vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Distance {
    /// Cosine similarity; vectors are normalised when they are written.
    Cosine,
    /// Inner product, larger is nearer.
    Dot,
    /// Euclidean distance, smaller is nearer.
    Euclid,
    /// Sum of absolute differences, smaller is nearer.
    Manhattan,
}

/// Parameters of the graph (Malkov and Yashunin, arXiv 1603.09320): `m` links a node, `ef_construct` the beam when building.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HnswParams {
    /// Links a node on the upper layers; the lowest has twice as many. 4 to 128.
    pub m: u16,
    /// Beam width while building. 8 to 4,096.
    pub ef_construct: u16,
    /// Codes of a node's neighbours beside its links: faster searches for twice the memory.
    pub inline_storage: bool,
    /// Kilobytes (1,024 bytes) of vectors of a shard that a query may compare in place of the graph, after its filter. Up to
    /// so many the answer is the exact one. 0: only where a scan is cheaper.
    pub full_scan_threshold: u32,
}

/// Of [`HnswParams::full_scan_threshold`], as in Qdrant: 25,600 vectors of 100 dimensions, which a scan by codes compares
/// in less than 1 ms.
const FULL_SCAN_THRESHOLD: u32 = 10_000;

impl Default for HnswParams {
    fn default() -> Self {
        Self { m: 16, ef_construct: 100, inline_storage: false, full_scan_threshold: FULL_SCAN_THRESHOLD }
    }
}

/// As people read them.
#[derive(Serialize, Deserialize)]
struct Named {
    m: u16,
    ef_construct: u16,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    inline_storage: bool,
    #[serde(default = "default_threshold", skip_serializing_if = "is_default_threshold")]
    full_scan_threshold: u32,
}

fn default_threshold() -> u32 {
    FULL_SCAN_THRESHOLD
}

fn is_default_threshold(threshold: &u32) -> bool {
    *threshold == FULL_SCAN_THRESHOLD
}

/// Says in bytes, beside `m`, that there is inline storage: what was written before there was any is read as it was meant.
const INLINE_STORAGE: u16 = 1 << 15;
/// Says in bytes, beside `m`, that a threshold follows, which is not the default.
const THRESHOLD_FOLLOWS: u16 = 1 << 14;

impl Serialize for HnswParams {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { m, ef_construct, inline_storage, full_scan_threshold } = *self;
        if serializer.is_human_readable() {
            return Named { m, ef_construct, inline_storage, full_scan_threshold }.serialize(serializer);
        }
        let m = m | if inline_storage { INLINE_STORAGE } else { 0 };
        if is_default_threshold(&full_scan_threshold) {
            (m, ef_construct).serialize(serializer)
        } else {
            (m | THRESHOLD_FOLLOWS, ef_construct, full_scan_threshold).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for HnswParams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let Named { m, ef_construct, inline_storage, full_scan_threshold } = Named::deserialize(deserializer)?;
            return Ok(Self { m, ef_construct, inline_storage, full_scan_threshold });
        }
        // Three at most; the third is there if the first says so.
        deserializer.deserialize_tuple(3, Bytes)
    }
}

/// Reads the form without names.
struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = HnswParams;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m with flags, ef_construct, and a threshold where a flag says so")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<HnswParams, A::Error> {
        let missing = |nth| A::Error::invalid_length(nth, &self);
        let m: u16 = seq.next_element()?.ok_or_else(|| missing(0))?;
        let ef_construct = seq.next_element()?.ok_or_else(|| missing(1))?;
        let full_scan_threshold = match m & THRESHOLD_FOLLOWS {
            0 => FULL_SCAN_THRESHOLD,
            _ => seq.next_element()?.ok_or_else(|| missing(2))?,
        };
        let inline_storage = m & INLINE_STORAGE != 0;
        Ok(HnswParams {
            m: m & !(INLINE_STORAGE | THRESHOLD_FOLLOWS),
            ef_construct,
            inline_storage,
            full_scan_threshold,
        })
    }
}

/// One vector that every point of a collection may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VectorDef {
    /// Dimensions, 1 to 65,536.
    pub dim: u32,
    /// How two of them are compared.
    pub distance: Distance,
    /// Parameters of its graph.
    pub hnsw: HnswParams,
}

/// Name of a collection: 1 to 255 bytes without control characters or any of `< > : " / \ | ? *`, and neither `.` nor
/// `..`, which clients and proxies take for a way through a path. Never a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectionName(Arc<str>);

/// A collection name that breaks the rule of [`CollectionName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectionNameError {
    /// Empty, or longer than 255 bytes.
    #[error("collection name must be 1 to 255 bytes long (got {0})")]
    Length(usize),
    /// Holds a character that is not allowed.
    #[error("collection name cannot contain {0:?}")]
    Character(char),
    /// A way through a path.
    #[error("collection name cannot be {0:?}")]
    Dots(String),
}

impl CollectionName {
    /// # Errors
    /// When `name` breaks the rule above.
    pub fn new(name: &str) -> Result<Self, CollectionNameError> {
        if name.is_empty() || name.len() > 255 {
            return Err(CollectionNameError::Length(name.len()));
        }
        if matches!(name, "." | "..") {
            return Err(CollectionNameError::Dots(name.into()));
        }
        let refused = |c: &char| c.is_control() || "<>:\"/\\|?*".contains(*c);
        match name.chars().find(refused) {
            Some(c) => Err(CollectionNameError::Character(c)),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CollectionName {
    type Error = CollectionNameError;

    fn try_from(name: String) -> Result<Self, CollectionNameError> {
        Self::new(&name)
    }
}

impl From<CollectionName> for String {
    fn from(name: CollectionName) -> String {
        name.0.as_ref().into()
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a collection was created with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionDef {
    /// Its name; free again once the collection is deleted.
    pub name: CollectionName,
    /// Its vectors by name; one named with the empty text is the unnamed vector.
    pub vectors: BTreeMap<VectorName, VectorDef>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        for name in ["", ".", "..", "a/b", "a\\b", "a\0", "a:b", "?", &"a".repeat(256)] {
            assert!(CollectionName::new(name).is_err(), "{name:?}");
        }
        for name in ["a", "...", "a.b", "\u{fc}n\u{ef}", &"a".repeat(255)] {
            assert!(CollectionName::new(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn what_was_told_before_there_was_inline_storage_is_read_as_it_was_meant() {
        let read = |text: &str| serde_json::from_str::<HnswParams>(text).expect("parameters");
        assert_eq!(read(r#"{"m":16,"ef_construct":100}"#), HnswParams::default());
        let other = HnswParams { full_scan_threshold: 0, ..HnswParams::default() };
        assert_eq!(read(r#"{"m":16,"ef_construct":100,"full_scan_threshold":0}"#), other);
        for inline_storage in [false, true] {
            let params = HnswParams { m: 24, ef_construct: 300, inline_storage, ..HnswParams::default() };
            let text = serde_json::to_string(&params).expect("text");
            assert_eq!((read(&text), text.contains("inline_storage")), (params, inline_storage));
        }
    }
}
