//! Performs the effects of parts.

use meridian_raft::Members;
use meridian_replication::{follower, server};
use meridian_shard::Entry;

use super::Replica;
use crate::context::{Ctx, DOUBT, Facts, SnapshotFacts};
use crate::effect::Effect;
use crate::log_bytes::LogBytes;
use crate::{Command, SnapshotMeta, consensus, divergence, drain, membership, reads, snapshots, space, writes};

impl Replica {
    pub(super) fn facts(&self) -> Facts {
        let snapshots = &self.snapshots;
        Facts {
            out_of_service: self.out_of_service.is_some(),
            in_doubt: self.is_in_doubt(),
            term: self.consensus.leading(),
            leading: self.is_leading(),
            caught_up: self.consensus.is_caught_up(),
            draining: self.drain.is_draining(),
            has_space: self.has_space(),
            admits_small: self.admits_small(),
            free_bytes: self.space.free(),
            memory_short: self.memory.is_short(),
            snapshot_frees_space: self.snapshot_frees_space(),
            oldest_fsync: self.consensus.oldest_fsync(self.now.mono),
            snapshots: SnapshotFacts {
                newest: snapshots.newest(),
                newest_number: snapshots.newest_number(),
                bytes: snapshots.bytes(),
                speed: snapshots.speed(),
                taking: snapshots.is_taking(),
                installing: snapshots.is_installing(),
            },
        }
    }

    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Command(command) => self.out.push(command),
            Effect::Answer(to, answer) => self.answer(to, answer),
            Effect::GiveBackReads => part!(self, reads, reads::Event::GiveBack(DOUBT)),
            Effect::RecheckReads => self.recheck_reads(),
            Effect::ServeTails => self.serve_news(),
            Effect::CloseTails => self.serve(server::Event::Close),
            Effect::StopLeading => self.stop_leading(),
            Effect::BeginToLead => part!(self, consensus, consensus::Event::BackInService),
            Effect::TakeSnapshot { index, term, members } => self.write_snapshot(index, term, &members),
            Effect::TakeLastSnapshot => {
                part!(self, snapshots, snapshots::Event::Take);
                part!(self, drain, drain::Event::SnapshotTried);
            }
            Effect::LeaveService(reason) => self.leave_service(reason),
            Effect::SkipEntry(index) => drop(self.state.change().apply(index, &Entry::Noop)),
            Effect::Continue(output) => part!(self, consensus, consensus::Event::Continue(*output)),
            Effect::Apply(committed) => self.apply(committed),
            Effect::ReadIndexConfirmed { context, index } => self.read_index_confirmed(context, index),
            Effect::TermBegun => part!(self, writes, writes::Event::TermBegun),
            Effect::Announce => self.announce(),
            Effect::CaughtUp => self.state.change().defer_merging(false),
            Effect::MembersChanged(index) => {
                part!(self, membership, membership::Event::Applied(index));
                self.announce();
            }
            Effect::ForgetNode(node) => self.directory.remove(node),
            Effect::FollowLinks => self.follow(follower::Event::Start),
            Effect::DropCollection { uid } => {
                let admission = self.admission();
                part!(self, writes, writes::Event::Forget { uid, admission });
            }
            Effect::LearnCollection { uid, def } => {
                let admission = self.admission();
                part!(self, writes, writes::Event::Learn { uid, def, admission });
            }
            Effect::CompactLog { keep_from } => {
                if !self.divergence.check_pending(self.now.mono) {
                    part!(self, consensus, consensus::Event::Compact { keep_from });
                }
            }
            Effect::ForgetLogBefore(index) => self.state.change().forget_log_before(index),
            Effect::SnapshotOffered { from, snapshot } => {
                part!(self, snapshots, snapshots::Event::Offered { from, snapshot });
            }
            Effect::InstallSnapshot { from, snapshot } => {
                part!(self, snapshots, snapshots::Event::Install { from, snapshot });
            }
            Effect::ReplaceState { meta, state } => {
                self.membership.replace(&meta);
                *self.state.change() = self.settings.prepared(*state);
                self.consensus.forget_places();
                self.log_bytes = LogBytes::default();
                part!(self, divergence, divergence::Event::StateReplaced);
            }
            Effect::InstallPeerState { snapshot, meta, state } => {
                part!(self, divergence, divergence::Event::InstallPeerState { snapshot, meta, state });
            }
            Effect::AdoptPeerState { index, manifest, state } => {
                *self.state.change() = *state;
                part!(self, snapshots, snapshots::Event::Adopted { index, manifest });
            }
        }
    }

    /// Passes an image of the state to the shell for writing.
    pub(super) fn write_snapshot(&mut self, index: u64, term: u64, members: &Members) {
        part!(self, space, space::Event::SnapshotBegun);
        let meta = SnapshotMeta {
            needs: self.state.behavior(),
            index,
            term,
            voters: members.voters.iter().copied().collect(),
            learners: members.learners.iter().copied().collect(),
            addresses: self.membership.addresses().clone(),
            membership_version: self.membership.version(),
        };
        let image = Box::new(self.state.image());
        self.out.push(Command::TakeSnapshot { id: index, meta: meta.encode(), image });
    }
}
