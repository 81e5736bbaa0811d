//! Collections that a gateway created or dropped in some shards and not in others, because it died half-way: each other
//! shard's leader asks shard 1, which decides, now and then, and does what was left undone.

use meridian_model::{CollectionDef, CollectionUid, Op, ShardNumber, WriteId};
use meridian_proto::frame::ShardCall;

use crate::Replica;
use crate::shard_calls::{Kind, Requester, shard_message};

/// Part number of drops that a shard takes over from shard 1.
const PART_FORGOTTEN: u32 = (1 << 16) + 1;
/// Nobody waits for what is mended here.
const NOBODY: Requester = Requester::Own(0);

impl Replica {
    pub(crate) fn reconcile_collections(&mut self) {
        let due = self.now.mono.saturating_sub(self.reconciled) >= self.settings.reconcile_every;
        if !due || !self.mends_collections() {
            return;
        }
        self.reconciled = self.now.mono;
        if let Some(decider) = self.nodes.leader(ShardNumber::FIRST) {
            let call = self.number();
            self.send(decider, shard_message(call, ShardCall::Definitions));
        }
    }

    /// Elsewhere the deltas of shard 1 tell.
    fn mends_collections(&self) -> bool {
        self.me().shard != ShardNumber::FIRST && self.is_leading() && self.is_primary()
    }

    /// What stands in shard 1, or stood there a while ago: what was dropped by then stays dropped.
    pub(crate) fn definitions_heard(&mut self, largest: CollectionUid, standing: Vec<(CollectionUid, CollectionDef)>) {
        if !self.mends_collections() {
            return;
        }
        let gone: Vec<CollectionUid> = (self.state.collections())
            .map(meridian_shard::Collection::uid)
            .filter(|held| *held <= largest && standing.iter().all(|(uid, _)| uid != held))
            .collect();
        for uid in gone {
            self.counters.collections_mended += 1;
            let ops = vec![Op::DropCollection { uid }];
            self.propose_ops(NOBODY, Kind::Dropped(uid), WriteId(u128::from(uid.0)), PART_FORGOTTEN, ops);
        }
        for (uid, def) in standing {
            if self.state.collection_by_uid(uid).is_none() && !self.state.is_dropped(uid) {
                self.counters.collections_mended += 1;
                self.learn(NOBODY, uid, def);
            }
        }
    }
}
