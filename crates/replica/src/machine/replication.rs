//! Delta logs between regions: what the crate `meridian-replication` is lent, and what it wants done.

use std::time::Duration;

use meridian_raft::Raft;
use meridian_replication::Effect;
use meridian_replication::follower::{self, Propose};
use meridian_shard::Entry;

use super::Replica;
use crate::context::Ctx;
#[cfg(feature = "fault-injection")]
use crate::injection::InjectedBug;
use crate::{Command, completeness};

/// The log of this replica's group.
struct GroupLog<'a>(&'a mut Raft);

impl Propose for GroupLog<'_> {
    fn propose(&mut self, entry: &Entry) -> bool {
        self.0.propose(entry.encode()).is_ok()
    }
}

impl Replica {
    /// Gives the follower an event and does what it wants done.
    pub(super) fn follow(&mut self, event: follower::Event<'_>) {
        let mut effects = std::mem::take(&mut self.replication_effects);
        let admits_growth = !self.follower.is_idle() && self.admits_growth();
        let mut cx = follower::Ctx {
            now: self.now.mono,
            shard: self.identity.genesis.shard,
            state: &self.state,
            log: &mut GroupLog(&mut self.raft),
            admits_growth,
            numbers: &mut self.numbers,
            counters: &mut self.counters.links,
            effects: &mut effects,
            #[cfg(feature = "fault-injection")]
            accept_gap: self.settings.injects(InjectedBug::AcceptGap),
        };
        self.follower.handle(&mut cx, event);
        effects.drain(..).for_each(|effect| self.perform_replication(effect));
        self.replication_effects = effects;
    }

    fn perform_replication(&mut self, effect: Effect) {
        match effect {
            Effect::SendRegion(peer, message) => self.out.push(Command::SendRegion(peer, message)),
            Effect::Follow { call, origin, topic, after, credit } => {
                self.out.push(Command::Follow { call, origin, topic, after, credit });
            }
            Effect::FollowCredit { call, bytes } => self.out.push(Command::FollowCredit { call, bytes }),
            Effect::Unfollow { call } => self.out.push(Command::Unfollow { call }),
            Effect::Poisoned { origin, poison } => self.out.push(Command::Poisoned { origin, poison }),
            Effect::Statement { origin, statement } => {
                let at_least = Duration::ZERO;
                part!(self, statements, completeness::Event::Heard { origin, statement, at_least });
            }
            Effect::RecheckReads => self.recheck_reads(),
        }
    }
}
