//! How much effort reaches which recall: the work on the curve that `tuning.rs` describes, on points.

use crate::comparison::Comparison;
use crate::mix::mix;
use crate::near::Near;
use crate::points::NO_SLOT;
use crate::space::Space;
use crate::structure::{Ask, Scanning, Structure, Vectors};
use crate::tuning::{ASKED, Drawing, Piece, SHORTLIST};

use super::Queued;

/// Nodes that are tried for one to be asked for.
const TRIES: u64 = 256;

impl<S: Structure> Queued<S> {
    /// Whether another curve is to be drawn before the next block.
    pub(super) fn is_curve_due(&self) -> bool {
        self.queue.taken() == 0 && self.curve.is_due(self.points.len(), self.structure.learnt_from())
    }

    /// Begins to draw one.
    pub(super) fn drawing(&self) -> Drawing {
        // Points may have left since lists were learnt; a curve of fewer would be due again at once.
        let points = self.points.len().max(self.structure.learnt_from());
        Drawing::new(points, self.structure.codes().is_some())
    }

    /// Does a piece of the work, which no search sees. What is hidden counts: that depends on when blocks are merged.
    pub(super) fn draw(&self, drawing: &mut Drawing, space: Space) {
        let vectors = Vectors { rows: &self.points.vectors, space };
        let nodes = self.points.nodes();
        // Spread over all of them, and not in the order in which they came.
        let candidates = (0..TRIES).map(|t| mix(mix(drawing.query as u64) + t) as u32 % nodes);
        let is_fit = |node: &u32| self.points.slot_of(*node) != NO_SLOT && self.structure.does_without(*node);
        let Some(query) = candidates.into_iter().find(is_fit) else {
            return drawing.skip();
        };
        let vector = &vectors.row(query);
        let is_held = |node: &u32| *node != query && self.points.slot_of(*node) != NO_SLOT;
        match drawing.next(nodes, S::EFFORTS.len()) {
            Piece::Compare(nodes) => {
                let mut nodes: Vec<u32> = nodes.filter(is_held).collect();
                match self.structure.codes() {
                    Some(codes) => {
                        let comparison = Comparison::new(codes, vector, space);
                        comparison.sift(&mut nodes, None, SHORTLIST);
                        comparison.each(&nodes, |near| drawing.compared(near));
                    }
                    None => vectors.each(vector, &nodes, |distance, node| drawing.compared(Near::new(distance, node))),
                }
            }
            Piece::Rank(mut nears) => {
                vectors.compare_again(vector, &mut nears);
                nears.sort_unstable();
                let truth = nears.iter().map(|near| near.id()).collect();
                drawing.ranked(truth, self.structure.without(query, vectors));
            }
            Piece::Search(effort) => {
                let params = S::with_effort(S::EFFORTS[effort], ASKED);
                let points = self.points.len();
                let ask = Ask {
                    query: vector,
                    k: ASKED,
                    params: &params,
                    points,
                    matching: points,
                    is_filtered: false,
                    scanning: Scanning::Sketches,
                    without: drawing.without(),
                };
                let mut found = self.structure.find(&ask, |node| is_held(&node), vectors);
                if let Some(found) = &mut found {
                    found.sort_unstable();
                    found.truncate(ASKED);
                }
                drawing.searched(effort, S::EFFORTS.len(), found.as_deref());
            }
            Piece::Another => {}
        }
    }
}
