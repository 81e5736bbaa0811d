//! Starts and stops leader-only work.

use meridian_proto::frame::{Lead, PeerMessage};
use meridian_replication::follower;

use super::Replica;
use crate::context::Ctx;
use crate::{Command, consensus, membership, positions, versions, writes};

impl Replica {
    /// Returns `true` if this replica may propose.
    pub(crate) fn is_leading(&self) -> bool {
        self.consensus.leading().is_some() && self.is_trusted()
    }

    pub(super) fn lead_notice(&self) -> Option<Lead> {
        let term = self.consensus.leading().filter(|_| self.is_leading())?;
        let (members, applied) = (self.membership.members().collect(), self.state.applied());
        Some(Lead { term, members, applied, behavior: self.state.behavior() })
    }

    /// Announces the leadership to the region, if this replica leads.
    pub(super) fn announce(&mut self) {
        let Some(lead) = self.lead_notice() else { return };
        self.directory.led_by(self.identity.node(), &lead);
        for node in self.directory.connected() {
            self.out.push(Command::Send(node, PeerMessage::Lead(lead.clone())));
        }
    }

    pub(super) fn stop_leading(&mut self) {
        self.out.push(Command::Leads(false));
        part!(self, writes, writes::Event::LeadershipLost);
        part!(self, positions, positions::Event::LeadershipLost);
        self.follow(follower::Event::Stop);
        part!(self, membership, membership::Event::LeadershipLost);
        part!(self, versions, versions::Event::LeadershipLost);
    }

    /// Leaves service for good: log or state is damaged, diverged or of a later version.
    pub(super) fn leave_service(&mut self, reason: String) {
        if self.out_of_service.is_none() {
            self.out_of_service = Some(reason.clone());
            part!(self, consensus, consensus::Event::OutOfService);
            self.stop_leading();
            self.out.push(Command::OutOfService(reason));
        }
    }
}
