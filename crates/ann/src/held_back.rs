//! Points of a batch that come in last, so that they can be asked for as strangers to all others.

use crate::mix::{SlotMap, mix};

/// A sample of the points of a batch, evenly drawn however many there are (Vitter, ACM TOMS 11(1), 1985, algorithm R).
pub(crate) struct HeldBack<'a> {
    room: usize,
    /// Points that were offered.
    offered: u64,
    held: Vec<(u32, &'a [f32])>,
    places: SlotMap<usize>,
}

impl<'a> HeldBack<'a> {
    /// Holds so many back, at most.
    pub fn new(room: usize) -> Self {
        Self { room, offered: 0, held: Vec::new(), places: SlotMap::default() }
    }

    /// Takes a point, and returns one that is to come in now, if one is.
    pub fn offer(&mut self, slot: u32, vector: &'a [f32]) -> Option<(u32, &'a [f32])> {
        // The later vector of a slot counts, so the earlier need not come in at all.
        if let Some(place) = self.places.get(&slot) {
            self.held[*place].1 = vector;
            return None;
        }
        self.offered += 1;
        let place = if self.held.len() < self.room {
            self.held.push((slot, vector));
            self.held.len() - 1
        } else {
            let place = (mix(self.offered) % self.offered) as usize;
            if place >= self.room {
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

    /// Those that are held.
    pub fn release(self) -> Vec<(u32, &'a [f32])> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn each_point_comes_in_once_and_the_last_of_a_slot_counts() {
        let vectors: Vec<[f32; 1]> = (0..20_000_u16).map(|x| [f32::from(x)]).collect();
        // Some twice, one behind the other or far apart.
        let slot = |nth: u32| if nth % 4 < 2 { nth / 4 } else { nth / 2 };
        for room in [0, 1, 300, 5_000] {
            let mut held_back = HeldBack::new(room);
            let mut come: Vec<(u32, &[f32])> = Vec::new();
            for (nth, vector) in (0..).zip(&vectors) {
                come.extend(held_back.offer(slot(nth), vector));
            }
            let held = held_back.release();
            assert_eq!(held.len(), room.min(10_000), "{room}");
            let spread = held.iter().filter(|(_, vector)| vector[0] < 10_000.0).count();
            assert!(room < 300 || (held.len() / 4..held.len() / 2).contains(&spread), "{spread} of {room}");
            let in_order: HashMap<u32, f32> = (0..).zip(&vectors).map(|(nth, vector)| (slot(nth), vector[0])).collect();
            let in_turn = come.into_iter().chain(held).map(|(slot, vector)| (slot, vector[0])).collect();
            assert_eq!(in_order, in_turn, "{room}");
        }
    }
}
