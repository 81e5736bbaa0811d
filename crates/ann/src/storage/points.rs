//! Points: the vectors of nodes, and the slot of each node.

use std::borrow::Cow;

use meridian_pages::Pages;

use super::slot_table::SlotTable;
use crate::filter::Filter;
use crate::metric::Space;
use crate::neighbor::{Neighbor, TopK};
use crate::storage::datatype::Datatype;
use crate::storage::vector_store::{VectorStorage, VectorStore};

/// Slot of a free node; therefore no slot may have this number.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// Nodes that a scan collects before it compares them, so that vectors can be prefetched.
const SCAN_BATCH: usize = 256;

/// A dense table of nodes (`0..nodes`). A node is free or holds the vector of one slot.
pub(crate) struct Points {
    pub vectors: VectorStore,
    /// Per node; [`NO_SLOT`] if free.
    slots: Pages<u32>,
    by_slot: SlotTable,
    /// Free nodes; the last one is reused first.
    free: Vec<u32>,
}

impl Points {
    pub fn new(dim: usize, datatype: Datatype, storage: VectorStorage) -> Self {
        let vectors = VectorStore::new(dim, datatype, storage);
        Self { vectors, slots: Pages::default(), by_slot: SlotTable::default(), free: Vec::new() }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// Number of nodes, including free ones.
    pub fn nodes(&self) -> u32 {
        self.slots.len() as u32
    }

    pub fn node_of(&self, slot: u32) -> Option<u32> {
        self.by_slot.get(slot)
    }

    /// [`NO_SLOT`] if the node is free.
    #[inline]
    pub fn slot_of(&self, node: u32) -> u32 {
        self.slots[node as usize]
    }

    /// Whether a node holds a point.
    #[inline]
    pub fn is_occupied(&self, node: u32) -> bool {
        self.slot_of(node) != NO_SLOT
    }

    pub fn vector(&self, slot: u32) -> Option<Cow<'_, [f32]>> {
        self.node_of(slot).map(|node| self.vectors.row(node))
    }

    pub fn free(&self) -> &[u32] {
        &self.free
    }

    /// Assigns a node to a slot that has none.
    pub fn insert(&mut self, slot: u32, vector: &[f32]) -> u32 {
        let node = if let Some(node) = self.free.pop() {
            self.set_slot(node, slot);
            node
        } else {
            self.slots.push(slot);
            self.nodes() - 1
        };
        self.vectors.put(node, vector);
        let is_new = self.by_slot.insert(slot, node);
        debug_assert!(is_new, "slot {slot} held a node");
        node
    }

    fn set_slot(&mut self, node: u32, slot: u32) {
        *self.slots.get_mut(node as usize).expect("one of the nodes") = slot;
    }

    /// Frees the node of a slot and returns it.
    pub fn remove(&mut self, slot: u32) -> Option<u32> {
        let node = self.by_slot.remove(slot)?;
        self.set_slot(node, NO_SLOT);
        self.free.push(node);
        Some(node)
    }

    /// Compares the query with every visible node whose slot the filter accepts.
    pub fn scan(
        &self,
        space: &Space,
        query: &[f32],
        filter: Option<&Filter<'_>>,
        visible: impl Fn(u32) -> bool,
        nearest: &mut TopK,
    ) {
        let mut compare = |batch: &[u32]| {
            self.vectors.for_each(space, query, batch, |distance, node| self.push_hit(distance, node, nearest));
        };
        let mut batch = Vec::with_capacity(SCAN_BATCH);
        self.for_each(filter, |_, node| {
            if visible(node) {
                batch.push(node);
                if batch.len() == SCAN_BATCH {
                    compare(&batch);
                    batch.clear();
                }
            }
        });
        compare(&batch);
    }

    /// Adds the slot of a node at a distance.
    #[inline(always)]
    pub fn push_hit(&self, distance: f32, node: u32, nearest: &mut TopK) {
        if nearest.admits(distance) {
            nearest.push(Neighbor::new(distance, self.slot_of(node)));
        }
    }

    /// Calls `visit` with every slot that the filter accepts, and its node.
    pub fn for_each(&self, filter: Option<&Filter<'_>>, mut visit: impl FnMut(u32, u32)) {
        if let Some(listed) = filter.and_then(Filter::listed) {
            return self.by_slot.get_all(listed.iter().copied()).for_each(|(slot, node)| visit(slot, node));
        }
        let mut node = 0;
        for slots in self.slots.slices() {
            for &slot in slots {
                if slot != NO_SLOT && filter.is_none_or(|filter| filter.accepts(slot)) {
                    visit(slot, node);
                }
                node += 1;
            }
        }
    }

    /// The current points, read-only.
    pub fn view(&mut self) -> Self {
        let (slots, by_slot) = (self.slots.clone(), self.by_slot.clone());
        Self { vectors: self.vectors.view(), slots, by_slot, free: Vec::new() }
    }

    /// As [`Self::view`], with the order in which free nodes are reused.
    pub fn image(&mut self) -> Self {
        let free = self.free.clone();
        Self { free, ..self.view() }
    }

    /// Bytes of the tables, without vectors.
    pub fn table_bytes(&self) -> usize {
        self.slots.bytes() + self.by_slot.bytes() + self.free.capacity() * 4
    }

    /// Adds the next node of a snapshot; false if a slot occurs twice. Vectors are added separately, and free nodes by
    /// [`Self::set_free`].
    pub fn restore(&mut self, slot: u32) -> bool {
        let node = self.nodes();
        self.slots.push(slot);
        slot == NO_SLOT || self.by_slot.insert(slot, node)
    }

    /// Sets the order in which free nodes are reused; false unless it names each free node once.
    pub fn set_free(&mut self, free: Vec<u32>) -> bool {
        let mut sorted = free.clone();
        sorted.sort_unstable();
        let actual = (0..self.nodes()).filter(|node| !self.is_occupied(*node));
        let complete = actual.eq(sorted.iter().copied());
        self.free = free;
        complete
    }
}
