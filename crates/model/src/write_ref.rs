//! Writes by name: which change of which client's request a delta is.

use serde::{Deserialize, Serialize};

use crate::WriteId;

/// One change of one client's request. Regions remember it, so that a repeat is recognized wherever it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriteRef {
    /// The request.
    pub id: WriteId,
    /// Place of the change in the request, from 0. Of a conditional write: [`conditional_index`].
    pub index: u32,
}

/// Changes of one conditional write are numbered within this many places; no write has more.
pub const CONDITIONAL_PLACES: u32 = 1 << 10;
/// Largest part number of a conditional write: about 4 billion points.
pub const MAX_CONDITIONAL_PART: u32 = u32::MAX / CONDITIONAL_PLACES;

/// The index of a change of an operation that depends on state: `part * 1024 + place`, where `part` numbers the
/// operation's conditional writes over all shards, and `place` is the change's position in that write, from 0. `None` when
/// one of them is out of bounds.
#[must_use]
pub fn conditional_index(part: u32, place: usize) -> Option<u32> {
    let place = u32::try_from(place).ok().filter(|place| *place < CONDITIONAL_PLACES)?;
    (part <= MAX_CONDITIONAL_PART).then(|| part * CONDITIONAL_PLACES + place)
}

/// The places that one shard's changes have in the client's request: ascending, from 0.
///
/// Stored as the number of the request's changes skipped before each one, without zeros at the end: nothing when the shard
/// got the whole request, else about one byte a change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct RequestIndexes {
    skipped: Vec<u32>,
}

/// Numbers that are no [`RequestIndexes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestIndexesError {
    /// The last number is 0, which is not written.
    #[error("indexes end with a 0")]
    Trailing,
    /// The indexes do not fit into 32 bits.
    #[error("indexes exceed {max}", max = u32::MAX)]
    TooLarge,
}

impl RequestIndexes {
    /// The form of these indexes.
    ///
    /// # Errors
    /// When they are not ascending.
    pub fn new(indexes: impl IntoIterator<Item = u32>) -> Result<Self, RequestIndexesError> {
        let (mut skipped, mut next) = (Vec::new(), 0_u32);
        for index in indexes {
            skipped.push(index.checked_sub(next).ok_or(RequestIndexesError::TooLarge)?);
            next = index.checked_add(1).ok_or(RequestIndexesError::TooLarge)?;
        }
        while skipped.last() == Some(&0) {
            skipped.pop();
        }
        Ok(Self { skipped })
    }

    /// Index of each of the first `count` changes, in order.
    pub fn iter(&self, count: usize) -> impl Iterator<Item = u32> {
        let skipped = self.skipped.iter().copied().chain(std::iter::repeat(0));
        skipped.take(count).scan(0_u32, |next, skipped| {
            let index = next.saturating_add(skipped);
            *next = index.saturating_add(1);
            Some(index)
        })
    }

    /// Whether `count` changes can have these indexes.
    #[must_use]
    pub fn fits(&self, count: usize) -> bool {
        let all = self.skipped.iter().try_fold(0_u32, |sum, skipped| sum.checked_add(*skipped));
        let end = u32::try_from(count).ok().and_then(|count| all?.checked_add(count));
        self.skipped.len() <= count && end.is_some()
    }

    /// Changes of the request skipped before each one, without zeros at the end.
    #[must_use]
    pub fn skipped(&self) -> &[u32] {
        &self.skipped
    }
}

impl TryFrom<Vec<u32>> for RequestIndexes {
    type Error = RequestIndexesError;

    fn try_from(skipped: Vec<u32>) -> Result<Self, RequestIndexesError> {
        if skipped.last() == Some(&0) {
            return Err(RequestIndexesError::Trailing);
        }
        let indexes = Self { skipped };
        if indexes.fits(indexes.skipped.len()) { Ok(indexes) } else { Err(RequestIndexesError::TooLarge) }
    }
}

impl From<RequestIndexes> for Vec<u32> {
    fn from(indexes: RequestIndexes) -> Self {
        indexes.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_whole_request_has_no_skipped_places() {
        let whole = RequestIndexes::new(0..40).unwrap();
        assert_eq!((whole.skipped(), whole.iter(3).collect::<Vec<_>>()), (&[][..], vec![0, 1, 2]));
        assert!(whole.fits(0) && whole.fits(40));
    }

    #[test]
    fn numbers_that_are_no_indexes_are_refused() {
        use RequestIndexesError::{TooLarge, Trailing};
        for (skipped, expected) in [
            (vec![], Ok(())),
            (vec![0, 3], Ok(())),
            (vec![3, 0], Err(Trailing)),
            (vec![u32::MAX], Err(TooLarge)),
            (vec![u32::MAX - 1], Ok(())),
            (vec![u32::MAX - 1, 1], Err(TooLarge)),
        ] {
            assert_eq!(RequestIndexes::try_from(skipped.clone()).map(drop), expected, "{skipped:?}");
        }
        assert_eq!(RequestIndexes::new([3, 3]), Err(TooLarge));
        assert!(!RequestIndexes::new([1, 7]).unwrap().fits(1), "more numbers than changes");
    }

    #[test]
    fn changes_of_conditional_writes_are_numbered_without_overlap() {
        assert_eq!(conditional_index(0, 7), Some(7));
        assert_eq!(conditional_index(1, 0), Some(1024));
        assert_eq!(conditional_index(1, 999), Some(2023));
        assert_eq!(conditional_index(MAX_CONDITIONAL_PART, 1023), Some(u32::MAX));
        assert_eq!(conditional_index(MAX_CONDITIONAL_PART + 1, 0), None);
        assert_eq!(conditional_index(1, 1024), None);
    }

    proptest! {
        #[test]
        fn indexes_come_back(indexes in prop::collection::btree_set(0u32..200, 0..40)) {
            let form = RequestIndexes::new(indexes.iter().copied()).unwrap();
            prop_assert!(form.fits(indexes.len()));
            prop_assert!(form.iter(indexes.len()).eq(indexes.iter().copied()));
            prop_assert_eq!(RequestIndexes::try_from(Vec::from(form.clone())), Ok(form));
        }
    }
}
