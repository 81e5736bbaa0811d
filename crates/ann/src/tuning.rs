//! How much effort reaches which recall.
//!
//! Some of the points are asked for, as if they had never come in: nothing is found by a point itself, nor lost where links go by
//! it, so the queries are like those of users. What a search of each effort finds of their true neighbours makes a curve, and a
//! wanted recall is read off it. It is drawn anew whenever there are a quarter more points and after lists were learnt anew;
//! between two blocks, so it follows from the writes alone.

use crate::index::Recall;
use crate::near::{Near, Nearest};
use crate::structure::Without;

/// Neighbours that are asked for.
pub(crate) const ASKED: usize = 10;
/// Points from which on a curve is drawn: before, a scan is about as fast.
const FEWEST: usize = 4_096;
/// Points that are asked for: what 4,000 neighbours tell of a recall of 0.9 is off by half a point.
const QUERIES: usize = 400;
/// As many where each comparison is one of vectors, which takes ten times as long.
const QUERIES_BY_VECTORS: usize = 160;
/// Nodes that a piece of work compares.
const PIECE: u32 = 8_192;
/// Nearest by code that are compared by their vectors.
pub(crate) const SHORTLIST: usize = 4 * ASKED;

/// What was found with each effort.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Curve {
    /// Points there were.
    pub points: u32,
    /// True neighbours that were to be found.
    pub wanted: u32,
    /// Those that were, by effort, the least first. Empty until there was a curve.
    pub found: Vec<u32>,
}

impl Curve {
    /// Whether it is time to draw another, of so many points and a structure that was learnt from so many.
    pub fn is_due(&self, points: usize, learnt_from: usize) -> bool {
        points >= FEWEST && (4 * points >= 5 * self.points as usize || learnt_from > self.points as usize)
    }

    /// The effort that reaches a recall, of these; the greatest where none does, none where there is no curve. Between two efforts
    /// recall grows with the logarithm of the effort.
    pub fn effort(&self, recall: Recall, efforts: &[usize]) -> Option<usize> {
        if self.wanted == 0 {
            return None;
        }
        let recall = recall.share();
        let mut below: Option<(f64, f64)> = None;
        // A smaller effort that happened to find more shows what a greater one can.
        let mut most = 0.0_f64;
        for (effort, found) in efforts.iter().zip(&self.found) {
            most = most.max(f64::from(*found) / f64::from(self.wanted));
            let log = (*effort as f64).ln();
            if most >= recall {
                let Some((before, least)) = below else { return Some(*effort) };
                let share = (recall - least) / (most - least);
                return Some((before + share * (log - before)).exp().ceil() as usize);
            }
            below = Some((log, most));
        }
        efforts.last().copied()
    }
}

/// A curve that is being drawn.
pub(crate) struct Drawing {
    pub curve: Curve,
    /// Which of the points is asked for.
    pub query: usize,
    queries: usize,
    phase: Phase,
}

enum Phase {
    /// Nodes that were compared, and the nearest of them.
    Compare(u32, Nearest),
    /// The true neighbours, what a search without the point must know, and efforts that were tried.
    Try(Vec<u32>, Without, usize),
}

/// What a piece of the work is about.
pub(crate) enum Piece {
    /// Compare the query with these nodes.
    Compare(std::ops::Range<u32>),
    /// Compare it with these by their vectors; they are the nearest.
    Rank(Vec<Near>),
    /// Search with the effort of this number, [`Drawing::without`] the point.
    Search(usize),
    /// Nothing, but another query is up.
    Another,
}

impl Drawing {
    pub fn new(points: usize, by_codes: bool) -> Self {
        let curve = Curve { points: points as u32, ..Curve::default() };
        let queries = if by_codes { QUERIES } else { QUERIES_BY_VECTORS };
        Self { curve, query: 0, queries, phase: Phase::begin() }
    }

    /// Whether the curve stands.
    pub fn is_done(&self) -> bool {
        self.query >= self.queries
    }

    /// Goes on to the next query.
    pub fn skip(&mut self) {
        self.query += 1;
        self.phase = Phase::begin();
    }

    /// What to do next. `nodes`: how many there are; `efforts`: how many are tried.
    pub fn next(&mut self, nodes: u32, efforts: usize) -> Piece {
        match &mut self.phase {
            Phase::Compare(at, _) if *at < nodes => {
                let piece = *at..nodes.min(*at + PIECE);
                *at = piece.end;
                Piece::Compare(piece)
            }
            Phase::Compare(_, nearest) => {
                let nearest = std::mem::replace(nearest, Nearest::new(0));
                Piece::Rank(nearest.into_sorted())
            }
            Phase::Try(_, _, tried) if *tried < efforts => {
                *tried += 1;
                Piece::Search(*tried - 1)
            }
            Phase::Try(..) => {
                self.skip();
                Piece::Another
            }
        }
    }

    /// What searches must know that [`Piece::Search`] asks for.
    pub fn without(&self) -> Option<&Without> {
        match &self.phase {
            Phase::Try(_, without, _) => Some(without),
            Phase::Compare(..) => None,
        }
    }

    /// Takes in what [`Piece::Compare`] asked for.
    pub fn compared(&mut self, near: Near) {
        if let Phase::Compare(_, nearest) = &mut self.phase {
            nearest.offer(near);
        }
    }

    /// Takes in what [`Piece::Rank`] asked for, nearest first, and what searches without the point must know.
    pub fn ranked(&mut self, mut truth: Vec<u32>, without: Without) {
        truth.truncate(ASKED);
        self.curve.wanted += truth.len() as u32;
        self.phase = Phase::Try(truth, without, 0);
    }

    /// Takes in what [`Piece::Search`] asked for; none where so much effort would compare with all. What has found all is taken to
    /// find all with every greater effort, of which there are `efforts`.
    pub fn searched(&mut self, effort: usize, efforts: usize, found: Option<&[Near]>) {
        if let Phase::Try(truth, _, tried) = &mut self.phase {
            let right = |found: &[Near]| found.iter().filter(|near| truth.contains(&near.id())).count();
            let right = found.map_or(truth.len(), right);
            self.curve.found.resize(efforts, 0);
            self.curve.found[effort] += right as u32;
            if right == truth.len() {
                self.curve.found[effort + 1..].iter_mut().for_each(|found| *found += right as u32);
                *tried = efforts;
            }
        }
    }
}

impl Phase {
    fn begin() -> Self {
        Self::Compare(0, Nearest::new(SHORTLIST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_recall_is_read_off_the_curve() {
        let recall = |share| Recall::new(share).expect("between 0 and 1");
        let efforts = [10, 20, 40, 80];
        let curve = Curve { points: 5_000, wanted: 100, found: vec![80, 90, 88, 98] };
        assert_eq!(curve.effort(recall(0.5), &efforts), Some(10), "the least there is");
        assert_eq!(curve.effort(recall(0.9), &efforts), Some(20));
        assert_eq!(curve.effort(recall(0.85), &efforts), Some(15), "the middle, in logarithms");
        assert_eq!(curve.effort(recall(0.94), &efforts), Some(57));
        assert_eq!(curve.effort(recall(0.99), &efforts), Some(80), "as much as there is");
        assert_eq!(Curve::default().effort(recall(0.9), &efforts), None);
        assert!(!Curve::default().is_due(4_095, 2_048) && Curve::default().is_due(4_096, 0));
        assert!(!curve.is_due(6_249, 5_000) && curve.is_due(6_250, 0) && curve.is_due(5_001, 5_001));
    }
}
