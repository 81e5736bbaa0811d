//! Scans of all matching points, where these are cheaper than a search of the index.

use crate::approximate_index::RecallTunable;
use crate::neighbor::Neighbor;
use crate::once_cell::RacyOnceCell;
use crate::planner::{BINARY_SCAN_MIN_POINTS, MAX_BATCH_QUERIES, MIN_BATCH_QUERIES};
use crate::quantization::code_scan::CodeScan;
use crate::quantization::{CodeBatch, PackedBinaryCodes};
use crate::search_request::SearchRequest;
use crate::storage::vector_store::Vectors;

use super::BufferedIndex;

impl<S: RecallTunable> BufferedIndex<S> {
    /// Approximate scan: calls `visit` with the distance and number of each node that may be among the nearest.
    pub(super) fn scan(
        &self,
        request: &SearchRequest<'_>,
        mut nodes: Vec<u32>,
        packed: Option<&RacyOnceCell<PackedBinaryCodes>>,
        vectors: Vectors<'_>,
        mut visit: impl FnMut(f32, u32),
    ) {
        let Some(codes) = self.index.codes() else {
            self.index.prefilter(request, &mut nodes, vectors.space);
            return vectors.for_each(request.query, &nodes, visit);
        };
        let scan = CodeScan::new(codes, request.query, vectors.space);
        let mut shortlist = scan.shortlist(request);
        if nodes.len() >= BINARY_SCAN_MIN_POINTS {
            scan.prefilter(&mut nodes, packed, shortlist.k());
        }
        scan.for_each(&nodes, |neighbor| shortlist.push(neighbor));
        scan.finish(request, shortlist, vectors)
            .into_iter()
            .for_each(|neighbor| visit(neighbor.distance(), neighbor.id()));
    }

    /// Exact scan: calls `visit` with the distance and number of nodes that include the `k` nearest. With codes, only
    /// vectors that the codes cannot exclude for certain are read.
    pub(super) fn scan_exactly(
        &self,
        request: &SearchRequest<'_>,
        nodes: Vec<u32>,
        vectors: Vectors<'_>,
        visit: impl FnMut(f32, u32),
    ) {
        match self.index.codes() {
            Some(codes) => {
                let scan = CodeScan::new(codes, request.query, vectors.space);
                scan.scan_exactly(request.query, nodes, request.k, vectors, visit);
            }
            None => vectors.for_each(request.query, &nodes, visit),
        }
    }

    /// Approximate scan by transposed codes for the queries without a result yet, if there are enough of them.
    pub(super) fn scan_batched(
        &self,
        request: &SearchRequest<'_>,
        queries: &[&[f32]],
        nodes: &[u32],
        vectors: Vectors<'_>,
        found: &mut [Option<Vec<Neighbor>>],
    ) {
        let Some(codes) = self.index.codes() else { return };
        let mut missing: Vec<_> = queries.iter().zip(found).filter(|(_, found)| found.is_none()).collect();
        if missing.len() < MIN_BATCH_QUERIES {
            return;
        }
        let mut batch = CodeBatch::default();
        for missing in missing.chunks_mut(MAX_BATCH_QUERIES) {
            let begin = |(query, _): &(&&[f32], _)| {
                let scan = CodeScan::new(codes, query, vectors.space);
                let shortlist = scan.shortlist(request);
                (scan, shortlist)
            };
            let mut begun: Vec<_> = missing.iter().map(begin).collect();
            for nodes in nodes.chunks(CodeBatch::NODES) {
                codes.load_batch(nodes, &mut batch);
                begun.iter_mut().for_each(|(scan, shortlist)| scan.push_batch(&mut batch, shortlist));
            }
            for ((query, found), (scan, shortlist)) in missing.iter_mut().zip(begun) {
                **found = Some(scan.finish(&SearchRequest { query, ..*request }, shortlist, vectors));
            }
        }
    }
}
