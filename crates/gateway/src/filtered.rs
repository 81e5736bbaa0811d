//! Deletes by filter: a linearizable read of the matching points, then conditional writes that delete each point only
//! if it is unchanged since the read.
//!
//! ```text
//!   uid ──► read a page of every shard ──► write it ──► … until no shard has more
//!                  ▲                          │
//!                  └── other table, or a point that is to be read again
//! ```
//! Only this gateway continues the operation. A forwarding gateway never sends it again: a second evaluation would
//! delete points written in the meantime.

use std::collections::BTreeMap;

use meridian_model::client::{Body, PointOp, Refusal, ReplyBody};
use meridian_model::{
    CollectionUid, ConditionalChange, Filter, LogIndex, PointChange, PointId, RequestIndexes, ShardNumber, Stamp,
    TableVersion, Traceparent, VersionVector, WriteId,
};
use meridian_proto::frame::{MatchQuery, PartBody, ReadDemand, ReadPart, ShardAnswer, ShardCall};

use crate::pending::Pending;
use crate::settings::InjectedBug;
use crate::writes::unexpected;
use crate::{Ctx, Gateway, Phase};

/// A delete by filter in progress.
#[derive(Debug)]
pub(super) struct FilteredDelete {
    /// Specific to this attempt: a second evaluation of the same request makes other writes, which must not get the
    /// results of these.
    id: WriteId,
    uid: CollectionUid,
    phase: DeletePhase,
    /// Start of the next page for each unfinished shard.
    unread: BTreeMap<ShardNumber, Option<PointId>>,
    /// Pages that were read and are being deleted.
    pages: BTreeMap<ShardNumber, Page>,
    /// Number of writes so far; the number of each is its part of the operation.
    writes: u32,
    /// The largest sequence among the writes.
    newest: u64,
    /// Positions that were read and written.
    covers: VersionVector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeletePhase {
    FindingUid,
    Reading,
    Writing,
}

/// Matching points of a shard.
#[derive(Debug)]
struct Page {
    from: Option<PointId>,
    points: Vec<(PointId, Stamp)>,
    /// Start of the next page, if there is one.
    next: Option<PointId>,
    read_at: LogIndex,
}

/// Calls to shards; true if only the leader can answer.
type Calls = Vec<(ShardNumber, bool, ShardCall)>;

impl FilteredDelete {
    fn new(id: WriteId) -> Self {
        Self {
            id,
            uid: CollectionUid(0),
            phase: DeletePhase::FindingUid,
            unread: BTreeMap::new(),
            pages: BTreeMap::new(),
            writes: 0,
            newest: 0,
            covers: VersionVector::default(),
        }
    }

    fn reads(&mut self, table: TableVersion, filter: &Filter, limit: usize) -> Calls {
        self.phase = DeletePhase::Reading;
        let read = |(shard, from): (&ShardNumber, &Option<PointId>)| {
            let (collection, filter, from) = (self.uid, filter.clone(), *from);
            let query = MatchQuery { collection, table, filter, from, limit };
            (*shard, false, ShardCall::Match(query, linearizable()))
        };
        self.unread.iter().map(read).collect()
    }

    /// Handles pages read from shards.
    fn have_read(&mut self, answers: Vec<(ShardNumber, ShardAnswer)>) -> Result<(), Refusal> {
        for (shard, answer) in answers {
            let (body, covers) = match answer {
                ShardAnswer::Part(ReadPart { body, covers, .. }) => (body, covers),
                other => return Err(unexpected(shard, &other)),
            };
            match body {
                // The table has changed: the page is read again.
                Some(PartBody::NotOwner(_)) => {}
                Some(PartBody::Matched { points, next, read_at }) => {
                    self.covers.merge(&covers);
                    let from = self.unread.remove(&shard).flatten();
                    if !points.is_empty() {
                        self.pages.insert(shard, Page { from, points, next, read_at });
                    } else if next.is_some() {
                        self.unread.insert(shard, next);
                    }
                }
                Some(PartBody::Wrong(fault)) => return Err(Refusal::BadInput(fault)),
                Some(PartBody::Failed(fault)) => return Err(Refusal::Internal(fault)),
                _ => return Err(unexpected(shard, &ShardAnswer::NoCollection)),
            }
        }
        Ok(())
    }

    fn writes(&mut self, table: TableVersion, trace: Option<Traceparent>) -> Calls {
        self.phase = DeletePhase::Writing;
        let (mut calls, collection) = (Calls::new(), self.uid);
        for (shard, page) in &self.pages {
            self.writes += 1;
            let (id, part, read_at) = (self.id, self.writes, page.read_at);
            let change = |(point, seen): &(PointId, Stamp)| ConditionalChange {
                point: *point,
                seen: seen.clone(),
                change: PointChange::Delete,
            };
            let changes = page.points.iter().map(change).collect();
            let call = ShardCall::ConditionalWrite { id, part, table, collection, read_at, changes, trace };
            calls.push((*shard, true, call));
        }
        calls
    }

    /// Injected bug: deletes by filter as they were before conditional writes existed.
    fn unconditional(&mut self, pending: &Pending, table: TableVersion, trace: Option<Traceparent>) -> Calls {
        let Body::DeleteByFilter { collection, .. } = &pending.request.body else { return Calls::new() };
        self.phase = DeletePhase::Writing;
        let mut calls = Calls::new();
        for (shard, page) in &self.pages {
            self.writes += 1;
            let ops = page.points.iter().map(|(point, _)| PointOp::Delete { point: *point }).collect();
            let (id, collection) = (WriteId(self.id.0 ^ u128::from(self.writes)), collection.clone());
            let (sent_at, indexes) = (page.read_at, RequestIndexes::default());
            calls.push((*shard, true, ShardCall::Write { id, table, sent_at, collection, ops, indexes, trace }));
        }
        calls
    }

    /// Handles the results of conditional writes.
    fn have_written_pages(&mut self, answers: Vec<(ShardNumber, ShardAnswer)>) -> Result<(), Refusal> {
        for (shard, answer) in answers {
            let Some(Page { from, points, next, .. }) = self.pages.remove(&shard) else { continue };
            let go_on = match answer {
                ShardAnswer::Written(last, covers) => {
                    self.newest = self.newest.max(last.0);
                    self.covers.merge(&covers);
                    next
                }
                ShardAnswer::Conditional { last, covers, retry } => {
                    self.newest = self.newest.max(last.0);
                    self.covers.merge(&covers);
                    // Later ones are final; where another change came first, reading them again does no harm.
                    let again = retry.first().and_then(|first| points.get(*first as usize));
                    again.map(|(point, _)| *point).or(next)
                }
                ShardAnswer::NotOwner(_) => {
                    self.unread.insert(shard, from);
                    continue;
                }
                ShardAnswer::Full => return Err(Refusal::ReadOnly),
                ShardAnswer::Wrong(fault) => return Err(Refusal::Internal(fault)),
                other => return Err(unexpected(shard, &other)),
            };
            if let Some(point) = go_on {
                self.unread.insert(shard, Some(point));
            }
        }
        Ok(())
    }
}

impl Gateway {
    pub(super) fn begin_delete_by_filter(&mut self, cx: &mut Ctx<'_>, number: u64) {
        let own = cx.numbers.allocate();
        let replica = cx.me.replica.0;
        let Some(pending) = self.requests.get(&number) else { return };
        let Body::DeleteByFilter { collection, .. } = &pending.request.body else { return };
        // The client's id is random; this replica numbers its attempts.
        let id = WriteId(pending.request.id.0 ^ (u128::from(own) << 64 | u128::from(replica)));
        let call = ShardCall::Describe(collection.clone(), linearizable());
        self.begin_phase(
            cx,
            number,
            Phase::DeleteByFilter(FilteredDelete::new(id)),
            vec![(ShardNumber::FIRST, false, call)],
        );
    }

    pub(super) fn filtered_answered(
        &mut self,
        cx: &mut Ctx<'_>,
        number: u64,
        mut delete: FilteredDelete,
        answers: Vec<(ShardNumber, ShardAnswer)>,
    ) {
        let taken = match delete.phase {
            DeletePhase::FindingUid => match uid_of(answers) {
                Ok(Some(uid)) => {
                    delete.uid = uid;
                    delete.unread = ShardNumber::all(cx.shards).map(|shard| (shard, None)).collect();
                    Ok(())
                }
                Ok(None) => return self.finish_no_collection(cx, number),
                Err(refusal) => Err(refusal),
            },
            DeletePhase::Reading => delete.have_read(answers),
            DeletePhase::Writing => delete.have_written_pages(answers),
        };
        match taken {
            Err(refusal) => self.finish(cx, number, Err(refusal)),
            Ok(()) => self.go_on_deleting(cx, number, delete),
        }
    }

    /// Writes pages that were read, else reads the next ones, else finishes.
    fn go_on_deleting(&mut self, cx: &mut Ctx<'_>, number: u64, mut delete: FilteredDelete) {
        let Some(pending) = self.requests.get(&number) else { return };
        let Body::DeleteByFilter { filter, .. } = &pending.request.body else { return };
        let table = cx.table.version;
        let trace = pending.request.traceparent.as_deref().and_then(|text| text.parse().ok());
        let calls = if !delete.pages.is_empty() && self.settings.injects(InjectedBug::DeleteUnconditionally) {
            delete.unconditional(pending, table, trace)
        } else if !delete.pages.is_empty() {
            delete.writes(table, trace)
        } else if !delete.unread.is_empty() {
            delete.reads(table, filter, self.settings.match_page)
        } else {
            return self.finish_written(cx, number, ReplyBody::Written(delete.newest), delete.covers);
        };
        self.begin_phase(cx, number, Phase::DeleteByFilter(delete), calls);
    }
}

/// The demand of a linearizable read: it reflects every write that the region acknowledged before.
fn linearizable() -> ReadDemand {
    ReadDemand { index: true, ..ReadDemand::default() }
}

/// The uid that shard 1 reports for the collection; `None` if there is none of that name.
fn uid_of(answers: Vec<(ShardNumber, ShardAnswer)>) -> Result<Option<CollectionUid>, Refusal> {
    match answers.into_iter().next() {
        Some((_, ShardAnswer::Part(ReadPart { body: Some(PartBody::Collection { uid, .. }), .. }))) => Ok(Some(uid)),
        Some((_, ShardAnswer::Part(ReadPart { body: None, .. }))) => Ok(None),
        Some((_, ShardAnswer::Part(ReadPart { body: Some(PartBody::Failed(fault)), .. }))) => {
            Err(Refusal::Internal(fault))
        }
        Some((shard, other)) => Err(unexpected(shard, &other)),
        None => Ok(None),
    }
}
