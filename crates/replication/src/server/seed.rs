//! Pages of the live points, for a reader whose position is no longer in the log.

use meridian_model::{CollectionUid, PointId, Position};
use meridian_proto::frame::{SeedPage, SeedPoint};

use super::Ctx;

/// Returns the page after `after` of a seed whose first page was read at `at`; `None` if this replica cannot serve it.
pub(super) fn page(cx: &Ctx<'_>, at: Option<Position>, after: Option<(CollectionUid, PointId)>) -> Option<SeedPage> {
    let read_at = cx.state.position(cx.state.origin());
    let is_able = match at {
        // Later pages must not be older than the first one.
        Some(at) => at <= read_at && at.epoch == read_at.epoch,
        None => cx.is_leading,
    };
    if !cx.is_trusted || !is_able {
        return None;
    }
    let chunk = cx.state.seed_chunk(after, cx.seed_page_bytes, |_| true);
    let points = (chunk.points.into_iter())
        .map(|point| SeedPoint {
            collection: point.collection,
            point: point.point,
            vectors: point.vectors,
            payload: point.payload,
            committed_at: point.stamp.hlc,
            position: Position { epoch: point.stamp.epoch, seq: point.stamp.seq },
        })
        .collect();
    Some(SeedPage {
        at: at.unwrap_or(read_at),
        read_at,
        largest_uid: cx.state.largest_uid(),
        collections: chunk.collections,
        points,
        next: chunk.next,
        origin_shards: cx.shards,
    })
}
