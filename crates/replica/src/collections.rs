//! Collections that exist on some shards only, because a gateway died during a creation or removal: the leader of each
//! other shard queries shard 1, which decides, periodically, and completes the operation.

use std::time::Duration;

use meridian_model::{CollectionDef, CollectionUid, ShardNumber};
use meridian_proto::frame::{NodeId, PeerMessage, ShardCall};

use crate::context::Ctx;
use crate::effect::Effect;

/// Schedule of queries to shard 1.
#[derive(Debug)]
pub(crate) struct Collections {
    /// Time of the last query.
    asked: Duration,
}

/// Events about collections of all shards.
#[derive(Debug)]
pub(crate) enum Event {
    /// Time has passed. `decider`: the leader of shard 1, if known.
    Tick { decider: Option<NodeId> },
    /// The current or recent collections of shard 1, and the largest uid that it has allocated.
    Definitions { largest: CollectionUid, standing: Vec<(CollectionUid, CollectionDef)> },
}

impl Collections {
    pub(crate) fn new(now: Duration) -> Self {
        Self { asked: now }
    }

    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Tick { decider } => self.tick(cx, decider),
            Event::Definitions { largest, standing } => definitions(cx, largest, standing),
        }
    }

    fn tick(&mut self, cx: &mut Ctx<'_>, decider: Option<NodeId>) {
        let due = cx.now.mono.saturating_sub(self.asked) >= cx.settings.reconcile_every;
        if !due || !mends(cx) {
            return;
        }
        self.asked = cx.now.mono;
        if let Some(decider) = decider {
            let call = cx.numbers.allocate();
            cx.send(decider, PeerMessage::Call(call, ShardCall::Definitions.into()));
        }
    }
}

/// In other regions the deltas of shard 1 have this effect.
fn mends(cx: &Ctx<'_>) -> bool {
    cx.me().shard != ShardNumber::FIRST && cx.facts.leading && cx.state.is_primary()
}

/// Collections dropped by then stay dropped.
fn definitions(cx: &mut Ctx<'_>, largest: CollectionUid, standing: Vec<(CollectionUid, CollectionDef)>) {
    if !mends(cx) {
        return;
    }
    let state = cx.state;
    let gone = (state.collections())
        .map(meridian_shard::Collection::uid)
        .filter(|held| *held <= largest && standing.iter().all(|(uid, _)| uid != held));
    for uid in gone {
        cx.counters.collections_mended += 1;
        cx.effects.push(Effect::DropCollection { uid });
    }
    for (uid, def) in standing {
        if state.collection_by_uid(uid).is_none() && !state.is_dropped(uid) {
            cx.counters.collections_mended += 1;
            cx.effects.push(Effect::LearnCollection { uid, def });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::testing::Bench;
    use meridian_model::ReplicaId;
    use meridian_proto::frame::Call;

    /// Collections of the leader of shard 2.
    fn leader() -> (Bench, Collections) {
        let mut bench = Bench::new();
        bench.identity.genesis.shard = second();
        bench.facts.leading = true;
        let collections = Collections::new(bench.now.mono);
        (bench, collections)
    }

    fn second() -> ShardNumber {
        ShardNumber::all(2).last().unwrap()
    }

    fn decider() -> Option<NodeId> {
        Some(NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(1) })
    }

    #[test]
    fn leaders_of_other_shards_query_shard_1_periodically() {
        let (mut bench, mut collections) = leader();
        let mut tick = |bench: &mut Bench| bench.lend(|cx| collections.handle(cx, Event::Tick { decider: decider() }));
        assert!(tick(&mut bench).is_empty());
        bench.pass(bench.settings.reconcile_every);
        bench.facts.leading = false;
        assert!(tick(&mut bench).is_empty(), "only a leader mends");
        bench.facts.leading = true;
        let effects = tick(&mut bench);
        let [Effect::Command(Command::Send(to, PeerMessage::Call(_, Call::Shard(_, ShardCall::Definitions))))] =
            effects.as_slice()
        else {
            panic!("{effects:?}")
        };
        assert_eq!(Some(*to), decider());
        assert!(tick(&mut bench).is_empty());
    }

    #[test]
    fn collections_follow_drops_and_creations_of_shard_1() {
        let (mut bench, mut collections) = leader();
        bench.create_collection("words");
        let held = bench.state.collections().next().unwrap();
        let (uid, def) = (held.uid(), held.def().clone());
        let mut definitions =
            |largest, standing| bench.lend(|cx| collections.handle(cx, Event::Definitions { largest, standing }));
        assert!(definitions(uid, vec![(uid, def.clone())]).is_empty(), "nothing is left undone");
        assert!(definitions(CollectionUid(uid.0 - 1), Vec::new()).is_empty(), "it is younger than that word");
        let effects = definitions(uid, Vec::new());
        assert!(matches!(effects.as_slice(), [Effect::DropCollection { uid: gone }] if *gone == uid));
        let new = CollectionUid(uid.0 + 1);
        let effects = definitions(new, vec![(uid, def.clone()), (new, def)]);
        assert!(matches!(effects.as_slice(), [Effect::LearnCollection { uid, .. }] if *uid == new));
        assert_eq!(bench.counters.collections_mended, 2);
    }
}
