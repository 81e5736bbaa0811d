//! Sampling of holdouts from a bulk load. They are inserted last, after they served as recall queries.

use crate::hash::{SlotMap, splitmix64};

/// A uniform sample of the points of a batch of unknown length (Vitter, ACM TOMS 11(1), 1985, algorithm R).
pub(crate) struct HoldoutSampler<'a> {
    capacity: usize,
    /// Points pushed.
    seen: u64,
    held: Vec<(u32, &'a [f32])>,
    places: SlotMap<usize>,
}

impl<'a> HoldoutSampler<'a> {
    /// Holds out `capacity` points, at most.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, seen: 0, held: Vec::new(), places: SlotMap::default() }
    }

    /// Adds a point; returns the point to insert now, if any.
    pub fn push(&mut self, slot: u32, vector: &'a [f32]) -> Option<(u32, &'a [f32])> {
        // The later vector of a slot replaces the earlier one, which need not be inserted at all.
        if let Some(place) = self.places.get(&slot) {
            self.held[*place].1 = vector;
            return None;
        }
        self.seen += 1;
        let place = if self.held.len() < self.capacity {
            self.held.push((slot, vector));
            self.held.len() - 1
        } else {
            let place = (splitmix64(self.seen) % self.seen) as usize;
            if place >= self.capacity {
                return Some((slot, vector));
            }
            place
        };
        self.places.insert(slot, place);
        let before = std::mem::replace(&mut self.held[place], (slot, vector));
        (before.0 != slot).then(|| {
            self.places.remove(&before.0);
            before
        })
    }

    /// The points held out.
    pub fn into_held(self) -> Vec<(u32, &'a [f32])> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn each_slot_is_inserted_once_with_its_last_vector() {
        let vectors: Vec<[f32; 1]> = (0..20_000_u16).map(|x| [f32::from(x)]).collect();
        // Some slots occur twice, in succession or far apart.
        let slot = |nth: u32| if nth % 4 < 2 { nth / 4 } else { nth / 2 };
        for capacity in [0, 1, 300, 5_000] {
            let mut sampler = HoldoutSampler::new(capacity);
            let mut inserted: Vec<(u32, &[f32])> = Vec::new();
            for (nth, vector) in (0..).zip(&vectors) {
                inserted.extend(sampler.push(slot(nth), vector));
            }
            let held = sampler.into_held();
            assert_eq!(held.len(), capacity.min(10_000), "{capacity}");
            let spread = held.iter().filter(|(_, vector)| vector[0] < 10_000.0).count();
            assert!(capacity < 300 || (held.len() / 4..held.len() / 2).contains(&spread), "{spread} of {capacity}");
            let in_order: HashMap<u32, f32> = (0..).zip(&vectors).map(|(nth, vector)| (slot(nth), vector[0])).collect();
            let in_turn = inserted.into_iter().chain(held).map(|(slot, vector)| (slot, vector[0])).collect();
            assert_eq!(in_order, in_turn, "{capacity}");
        }
    }
}
