//! Creates and drops collections: shard 1 decides, the other shards replicate its decision.

use meridian_model::{CollectionDef, CollectionName, CollectionUid, LogIndex, Op, Seq, WriteId};
use meridian_proto::frame::ShardAnswer;
use meridian_shard::CollectionChange;

use super::proposal::Changes;
use super::{Admission, INTERNAL, Kind, Writes};
use crate::context::Ctx;
use crate::effect::Requester;

/// Part number of creates that replicate a decision of shard 1.
const PART_REPLICATED_CREATE: u32 = 1 << 16;
/// Part number of drops that replicate a decision of shard 1.
const PART_REPLICATED_DROP: u32 = (1 << 16) + 1;

impl Writes {
    pub(super) fn create(
        &mut self,
        cx: &mut Ctx<'_>,
        from: Requester,
        (id, sent_at): (WriteId, LogIndex),
        def: CollectionDef,
        admission: Admission,
    ) {
        let state = cx.state;
        // A repeated create is answered with the uid of the first one.
        if let Some(done) = state.write_result(id, 0) {
            return cx.answer(from, Kind::Created.answer(done, state.vv().clone()));
        }
        if state.collection(&def.name).is_some() {
            return cx.answer(from, ShardAnswer::Exists);
        }
        let most = cx.settings.collections;
        if state.collections().count() + self.creates_waiting() >= most {
            let fault = format!(
                "collections must be at most {most} (got {most} already); drop one, or raise limits.collections"
            );
            return cx.answer(from, ShardAnswer::Wrong(fault));
        }
        let uid = CollectionUid(self.next_stamp(cx).0);
        let changes = Changes::whole(sent_at, vec![Op::CreateCollection { uid, def }]);
        self.propose(cx, (from, Kind::Created), ((id, 0), None), changes, admission);
    }

    fn creates_waiting(&self) -> usize {
        let creates = |waiters: &&Vec<(Requester, Kind)>| waiters.iter().any(|(_, kind)| *kind == Kind::Created);
        self.waiting.values().filter(creates).count()
    }

    pub(super) fn learn(
        &mut self,
        cx: &mut Ctx<'_>,
        from: Requester,
        (uid, def): (CollectionUid, CollectionDef),
        admission: Admission,
    ) {
        let state = cx.state;
        if state.collection_by_uid(uid).is_some() || state.is_dropped(uid) {
            let last = Seq(state.next_seq().0 - 1);
            return cx.answer(from, ShardAnswer::Written(last, state.vv().clone()));
        }
        // The decision depends only on the applied state, and so does a repeat.
        let changes = Changes::whole(state.applied(), vec![Op::CreateCollection { uid, def }]);
        let id = WriteId(u128::from(uid.0));
        self.propose(cx, (from, Kind::Written), ((id, PART_REPLICATED_CREATE), None), changes, admission);
    }

    pub(super) fn remove(&mut self, cx: &mut Ctx<'_>, uid: CollectionUid, admission: Admission) {
        let changes = Changes::whole(cx.state.applied(), vec![Op::DropCollection { uid }]);
        let id = WriteId(u128::from(uid.0));
        self.propose(cx, (INTERNAL, Kind::Dropped(uid)), ((id, PART_REPLICATED_DROP), None), changes, admission);
    }

    /// Shard 1 resolves the name, so that every repeat and every other shard drops the same collection, not one created
    /// meanwhile. The other shards record the drop even without the collection: its create may still be in flight.
    pub(super) fn drop_collection(
        &mut self,
        cx: &mut Ctx<'_>,
        from: Requester,
        (id, sent_at): (WriteId, LogIndex),
        (name, upto): (&CollectionName, Option<CollectionUid>),
        admission: Admission,
    ) {
        let state = cx.state;
        let done = state.write_result(id, 0).map(|done| done.collection.clone());
        let standing = state.collection(name).map(|held| held.uid());
        let (gone, upto) = match (upto, &done) {
            // The first copy of a repeat dropped the collection: it is the newest dropped one.
            (None, Some(_)) => (Vec::new(), state.newest_dropped(name)),
            (None, None) => (Vec::from_iter(standing), standing.or_else(|| state.newest_dropped(name))),
            (Some(upto), _) => {
                let older = standing.filter(|uid| *uid < upto);
                let meant = Some(upto).filter(|uid| *uid > CollectionUid(0) && !state.is_dropped(*uid));
                (older.into_iter().chain(meant).collect(), Some(upto))
            }
        };
        let upto = upto.unwrap_or(CollectionUid(0));
        if gone.is_empty() || done.is_some() {
            let existed = matches!(done, Some(Some(CollectionChange::Dropped { existed: true })));
            return cx.answer(from, ShardAnswer::Dropped { existed, upto, covers: state.vv().clone() });
        }
        let changes = Changes::whole(sent_at, gone.into_iter().map(|uid| Op::DropCollection { uid }).collect());
        self.propose(cx, (from, Kind::Dropped(upto)), ((id, 0), None), changes, admission);
    }
}
