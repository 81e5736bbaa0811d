//! Gateways that wait until a write is visible here: their calls are parked until the positions are applied.

use std::time::Duration;

use meridian_model::VersionVector;
use meridian_proto::frame::ShardAnswer;

use crate::context::Ctx;
use crate::effect::Requester;

/// Time for which a leader parks a call; then the gateway repeats it. Shorter than the gateway's wait for a replica.
const PARKED_FOR: Duration = Duration::from_millis(300);
/// Most parked calls; further ones are refused temporarily.
const PARKED: usize = 16_384;

/// Calls of gateways for positions that are not applied yet.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    parked: Vec<Parked>,
}

#[derive(Debug)]
struct Parked {
    from: Requester,
    positions: VersionVector,
    until: Duration,
}

/// Events about positions.
#[derive(Debug)]
pub(crate) enum Event {
    /// A gateway's call to this leader, answered once the positions are applied, or after a while that they are not.
    Await { from: Requester, positions: VersionVector },
    /// Entries were applied, or time has passed.
    StateMoved,
    /// This replica lost leadership. Only a leader may answer: every linearizable read of the shard sees what it has
    /// applied.
    LeadershipLost,
}

impl Positions {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Await { from, positions } => self.park(cx, from, positions),
            Event::StateMoved => self.recheck(cx),
            Event::LeadershipLost => {
                for parked in std::mem::take(&mut self.parked) {
                    cx.answer(parked.from, ShardAnswer::NotLeader(None));
                }
            }
        }
    }

    /// Returns true if no call is parked.
    pub(crate) fn is_idle(&self) -> bool {
        self.parked.is_empty()
    }

    fn park(&mut self, cx: &mut Ctx<'_>, from: Requester, positions: VersionVector) {
        if cx.covers(&positions) {
            return cx.answer(from, ShardAnswer::Reached(true));
        }
        if self.parked.len() >= PARKED {
            return cx.answer(from, ShardAnswer::Busy(format!("{PARKED} writes wait until they are visible")));
        }
        let until = cx.now.mono + PARKED_FOR;
        self.parked.push(Parked { from, positions, until });
    }

    fn recheck(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.mono;
        self.parked.retain(|Parked { from, positions, until }| {
            let is_applied = cx.covers(positions);
            if is_applied || *until <= now {
                cx.answer(*from, ShardAnswer::Reached(is_applied));
                return false;
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effect;
    use crate::testing::Bench;
    use meridian_model::{Epoch, OriginShard, Position, Seq, ShardNumber};

    fn upto(seq: u64) -> VersionVector {
        let origin = OriginShard { region: crate::testing::identity(1, 1).genesis.region, shard: ShardNumber::FIRST };
        [(origin, Position { epoch: Epoch(1), seq: Seq(seq) })].into_iter().collect()
    }

    fn from(call: u64) -> Requester {
        Requester::Own(call)
    }

    #[test]
    fn an_applied_position_is_answered_at_once_and_others_after_a_wait() {
        let (mut bench, mut positions) = (Bench::new(), Positions::default());
        let event = Event::Await { from: from(1), positions: VersionVector::default() };
        let effects = bench.lend(|cx| positions.handle(cx, event));
        assert!(matches!(effects.as_slice(), [Effect::Answer(to, ShardAnswer::Reached(true))] if *to == from(1)));
        let event = Event::Await { from: from(2), positions: upto(1) };
        assert!(bench.lend(|cx| positions.handle(cx, event)).is_empty());
        bench.pass(PARKED_FOR - Duration::from_millis(1));
        assert!(bench.lend(|cx| positions.handle(cx, Event::StateMoved)).is_empty());
        bench.pass(Duration::from_millis(1));
        let effects = bench.lend(|cx| positions.handle(cx, Event::StateMoved));
        assert!(matches!(effects.as_slice(), [Effect::Answer(to, ShardAnswer::Reached(false))] if *to == from(2)));
        assert!(positions.is_idle());
    }

    #[test]
    fn a_position_that_is_applied_later_is_answered_then() {
        let (mut bench, mut positions) = (Bench::new(), Positions::default());
        let event = Event::Await { from: from(1), positions: upto(1) };
        assert!(bench.lend(|cx| positions.handle(cx, event)).is_empty());
        bench.create_collection("words");
        let effects = bench.lend(|cx| positions.handle(cx, Event::StateMoved));
        assert!(matches!(effects.as_slice(), [Effect::Answer(_, ShardAnswer::Reached(true))]));
    }

    #[test]
    fn a_former_leader_reports_it() {
        let (mut bench, mut positions) = (Bench::new(), Positions::default());
        for call in [1, 2] {
            let event = Event::Await { from: from(call), positions: upto(1) };
            bench.lend(|cx| positions.handle(cx, event));
        }
        let effects = bench.lend(|cx| positions.handle(cx, Event::LeadershipLost));
        assert!(matches!(effects.as_slice(), [Effect::Answer(..), Effect::Answer(_, ShardAnswer::NotLeader(None))]));
        assert!(positions.is_idle());
    }
}
