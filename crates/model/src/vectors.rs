//! The vectors of one point.

use std::fmt;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::VectorName;

/// The vectors of one point by name, in the order of names.
///
/// Most points have one. A list that is as long as it must be takes a tenth of a node of the standard library's map, and a
/// request of many small points needs no more memory than a few times its bytes. It is encoded as a map.
#[derive(Clone, PartialEq, Default)]
pub struct Vectors(Vec<(VectorName, Vec<f32>)>);

impl Vectors {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One, without a name.
    #[must_use]
    pub fn unnamed(vector: Vec<f32>) -> Self {
        Self(vec![(VectorName::new(), vector)])
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.as_str().cmp(name))
    }

    /// The vector of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Vec<f32>> {
        self.place(name).ok().map(|at| &self.0[at].1)
    }

    /// The vector of that name.
    #[must_use]
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Vec<f32>> {
        self.place(name).ok().map(|at| &mut self.0[at].1)
    }

    /// Whether there is one of that name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Puts a vector under a name, and returns the one that stood there.
    pub fn insert(&mut self, name: VectorName, vector: Vec<f32>) -> Option<Vec<f32>> {
        match self.place(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, vector)),
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (name, vector));
                None
            }
        }
    }

    /// Takes the vector of that name out.
    pub fn remove(&mut self, name: &str) -> Option<Vec<f32>> {
        self.place(name).ok().map(|at| self.0.remove(at).1)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and vectors.
    pub fn iter(&self) -> Iter<'_> {
        self.0.iter().map(|(name, vector)| (name, vector))
    }

    /// Names and vectors, which may be changed.
    pub fn iter_mut(&mut self) -> IterMut<'_> {
        self.0.iter_mut().map(|(name, vector)| (&*name, vector))
    }

    /// The names.
    pub fn keys(&self) -> impl Iterator<Item = &VectorName> {
        self.0.iter().map(|(name, _)| name)
    }

    /// The vectors.
    pub fn values(&self) -> impl Iterator<Item = &Vec<f32>> {
        self.0.iter().map(|(_, vector)| vector)
    }

    /// The vectors, which may be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.0.iter_mut().map(|(_, vector)| vector)
    }
}

/// What [`Vectors::iter`] returns.
pub type Iter<'a> = std::iter::Map<
    std::slice::Iter<'a, (VectorName, Vec<f32>)>,
    fn(&'a (VectorName, Vec<f32>)) -> (&'a VectorName, &'a Vec<f32>),
>;

/// What [`Vectors::iter_mut`] returns.
pub type IterMut<'a> = std::iter::Map<
    std::slice::IterMut<'a, (VectorName, Vec<f32>)>,
    fn(&'a mut (VectorName, Vec<f32>)) -> (&'a VectorName, &'a mut Vec<f32>),
>;

impl fmt::Debug for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Index<&str> for Vectors {
    type Output = Vec<f32>;

    fn index(&self, name: &str) -> &Vec<f32> {
        self.get(name).expect("no vector of that name")
    }
}

impl IntoIterator for Vectors {
    type Item = (VectorName, Vec<f32>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Vectors {
    type Item = (&'a VectorName, &'a Vec<f32>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Vectors {
    type Item = (&'a VectorName, &'a mut Vec<f32>);
    type IntoIter = IterMut<'a>;

    fn into_iter(self) -> IterMut<'a> {
        self.iter_mut()
    }
}

impl FromIterator<(VectorName, Vec<f32>)> for Vectors {
    fn from_iter<I: IntoIterator<Item = (VectorName, Vec<f32>)>>(vectors: I) -> Self {
        let mut all = Self::new();
        for (name, vector) in vectors {
            all.insert(name, vector);
        }
        all
    }
}

impl<const N: usize> From<[(VectorName, Vec<f32>); N]> for Vectors {
    fn from(vectors: [(VectorName, Vec<f32>); N]) -> Self {
        vectors.into_iter().collect()
    }
}

impl Serialize for Vectors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Vectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vectors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of vectors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vectors, A::Error> {
                let mut vectors = Vectors::new();
                while let Some((name, vector)) = map.next_entry()? {
                    vectors.insert(name, vector);
                }
                Ok(vectors)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_and_encodes_what_a_map_does(entries in prop::collection::vec(("[abc]{0,2}", prop::collection::vec(-9f32..9.0, 0..3)), 0..8)) {
            let map: BTreeMap<VectorName, Vec<f32>> = entries.iter().cloned().collect();
            let vectors: Vectors = entries.into_iter().collect();
            prop_assert!(vectors.iter().eq(map.iter()));
            let bytes = postcard::to_allocvec(&vectors).unwrap();
            prop_assert_eq!(&bytes, &postcard::to_allocvec(&map).unwrap());
            prop_assert_eq!(&postcard::from_bytes::<Vectors>(&bytes).unwrap(), &vectors);
            prop_assert_eq!(serde_json::to_string(&vectors).unwrap(), serde_json::to_string(&map).unwrap());
            for name in ["", "a", "bc"] {
                prop_assert_eq!(vectors.get(name), map.get(name));
                let (mut less, mut fewer) = (vectors.clone(), map.clone());
                prop_assert_eq!(less.remove(name), fewer.remove(name));
                prop_assert!(less.into_iter().eq(fewer));
            }
        }
    }
}
