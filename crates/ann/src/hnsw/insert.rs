//! How a node comes into the graph: first its neighbours are sought, then it is linked with them.

use crate::codes::Code;
use crate::near::Near;

use super::beam::Scratch;
use super::graph::{Graph, choose_diverse};
use super::measure::{Measure, Target};
use super::patience::Patience;

/// Nearest nodes that are kept of a survey though diversity does not choose them: one of them becomes the parent.
const PARENTS: usize = 8;

/// Where a vector would be linked in, as the graph is now.
#[derive(Clone)]
pub(crate) struct Survey {
    pub code: Option<Code>,
    /// Births there were.
    pub frozen: u64,
    pub level: usize,
    /// From floor 0 up to the highest that there was: nodes to link to, nearest first.
    pub floors: Vec<Vec<u32>>,
}

impl Graph {
    /// Seeks neighbours for a vector that will be the `nth` birth from now, from 1 (Alg. 1).
    pub fn survey(&self, vector: &[f32], nth: u64, measure: Measure<'_>, scratch: &mut Scratch) -> Survey {
        let (frozen, level) = (self.births, self.level_of_birth(self.births + nth));
        measure.aim_at_vector(vector, &mut scratch.target);
        let code = measure.code(&scratch.target);
        let Some(entry) = self.entry else { return Survey { code, frozen, level, floors: Vec::new() } };
        let top = level.min(self.level(entry));
        let mut floors = vec![Vec::new(); top + 1];
        let mut from: Vec<Near> = self.land(&scratch.target, top, measure).into_iter().collect();
        for floor in (0..=top).rev() {
            scratch.seen.reset(self.nodes());
            self.scout(from.iter().copied(), floor, (self.ef_construct, Patience::endless()), measure, scratch);
            from = scratch.pool.nears().collect();
            let mut kept = Vec::with_capacity(self.m);
            choose_diverse(&from, self.m, &mut kept, measure, &mut scratch.other);
            kept.extend(from.iter().take(PARENTS));
            kept.sort_unstable();
            kept.dedup();
            floors[floor] = kept.iter().map(|near| near.id()).collect();
        }
        Survey { code, frozen, level, floors }
    }

    /// Links a new node; its vector and code are in their rows already. `node` is free, or the next new one. What was born since
    /// the survey, which knew nothing of it, is compared too.
    pub fn link_in(&mut self, node: u32, survey: &Survey, measure: Measure<'_>, target: &mut Target) {
        let block: Vec<u32> = self.born_after(survey.frozen).collect();
        self.occupy(node, survey.level);
        let Some(entry) = self.entry else {
            self.entry = Some(node);
            return;
        };
        for floor in (0..=survey.level).rev() {
            let surveyed = survey.floors.get(floor).into_iter().flatten().copied();
            let still = surveyed.filter(|x| (1..=survey.frozen).contains(&self.birth[*x as usize]));
            let since = block.iter().copied().filter(|x| floor == 0 || self.level(*x) >= floor);
            let mut found = measure.sorted(node, still.chain(since), target);
            if floor == 0 && found.is_empty() {
                found = measure.sorted(node, std::iter::once(entry), target);
            }
            let mut chosen = Vec::with_capacity(self.m);
            choose_diverse(&found, self.m, &mut chosen, measure, target);
            if floor == 0 {
                let with_room = found.iter().find(|near| self.has_room(near.id()));
                let parent = with_room.or(found.first()).expect("there is the entry at least").id();
                self.adopt(node, parent, measure, target);
            }
            let chosen: Vec<u32> = chosen.iter().map(|near| near.id()).collect();
            self.relink(node, floor, &chosen, measure, target);
            for peer in chosen {
                self.relink(peer, floor, &[node], measure, target);
            }
        }
        if survey.level > self.level(entry) {
            self.entry = Some(node);
        }
    }
}
