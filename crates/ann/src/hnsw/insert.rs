//! Inserts of nodes: a search for neighbors, then linking.

use crate::neighbor::Neighbor;
use crate::quantization::Code;

use super::beam::Scratch;
use super::early_termination::EarlyTermination;
use super::graph::{Graph, select_neighbors_heuristic};
use super::scorer::{PreparedQuery, Scorer};

/// Nearest candidates that a plan keeps although the heuristic rejects them: one of them becomes the parent.
const PARENT_CANDIDATES: usize = 8;

/// Neighbors of a future node, found on the graph before its block is applied.
#[derive(Clone)]
pub(crate) struct InsertPlan {
    pub code: Option<Code>,
    /// Sequence number of the last insert at the time of the search.
    pub snapshot_seq: u64,
    pub level: usize,
    /// Per level from 0 up to the highest existing one: candidates, nearest first.
    pub neighbors: Vec<Vec<u32>>,
}

impl Graph {
    /// Searches neighbors for a vector that will be the `nth` insert from now, from 1 (Alg. 1).
    pub fn plan_insert(&self, vector: &[f32], nth: u64, scorer: Scorer<'_>, scratch: &mut Scratch) -> InsertPlan {
        let (snapshot_seq, level) = (self.last_insert_seq, self.level_of(self.last_insert_seq + nth));
        scorer.set_query_vector(vector, &mut scratch.query);
        let code = scorer.code(&scratch.query);
        let Some(entry) = self.entry else { return InsertPlan { code, snapshot_seq, level, neighbors: Vec::new() } };
        let top = level.min(self.level(entry));
        let mut neighbors = vec![Vec::new(); top + 1];
        let mut from: Vec<Neighbor> = self.search_entry_point(&scratch.query, top, scorer).into_iter().collect();
        for level in (0..=top).rev() {
            scratch.visited.reset(self.nodes());
            self.search_layer(
                from.iter().copied(),
                level,
                (self.ef_construct, EarlyTermination::disabled()),
                scorer,
                scratch,
            );
            from = scratch.candidates.neighbors().collect();
            let mut kept = Vec::with_capacity(self.m);
            select_neighbors_heuristic(&from, self.m, &mut kept, scorer, &mut scratch.other);
            kept.extend(from.iter().take(PARENT_CANDIDATES));
            kept.sort_unstable();
            kept.dedup();
            neighbors[level] = kept.iter().map(|neighbor| neighbor.id()).collect();
        }
        InsertPlan { code, snapshot_seq, level, neighbors }
    }

    /// Links a new node, a free one or the next new one, whose vector and code are stored. Nodes inserted since the
    /// plan was made are compared too.
    pub fn insert(&mut self, node: u32, plan: &InsertPlan, scorer: Scorer<'_>, query: &mut PreparedQuery) {
        let block: Vec<u32> = self.inserted_after(plan.snapshot_seq).collect();
        self.allocate_node(node, plan.level);
        let Some(entry) = self.entry else {
            self.entry = Some(node);
            return;
        };
        for level in (0..=plan.level).rev() {
            let surveyed = plan.neighbors.get(level).into_iter().flatten().copied();
            let still = surveyed.filter(|x| (1..=plan.snapshot_seq).contains(&self.insert_seq[*x as usize]));
            let since = block.iter().copied().filter(|x| level == 0 || self.level(*x) >= level);
            let mut found = scorer.sorted(node, still.chain(since), query);
            if level == 0 && found.is_empty() {
                found = scorer.sorted(node, std::iter::once(entry), query);
            }
            let mut chosen = Vec::with_capacity(self.m);
            select_neighbors_heuristic(&found, self.m, &mut chosen, scorer, query);
            if level == 0 {
                let with_room = found.iter().find(|neighbor| self.has_child_capacity(neighbor.id()));
                let parent = with_room.or(found.first()).expect("the entry point is a candidate").id();
                self.attach_subtree(node, parent, scorer, query);
            }
            let chosen: Vec<u32> = chosen.iter().map(|neighbor| neighbor.id()).collect();
            self.connect_with_pruning(node, level, &chosen, scorer, query);
            for peer in chosen {
                self.connect_with_pruning(peer, level, &[node], scorer, query);
            }
        }
        if plan.level > self.level(entry) {
            self.entry = Some(node);
        }
    }
}
