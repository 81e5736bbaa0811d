//! Stopping without a pause: the leadership is handed over first.

use std::time::Duration;

use crate::{Command, Replica};

/// A handover that does not succeed in this time is given up: the others elect without help.
const GIVE_UP: Duration = Duration::from_secs(5);

/// Asked to stop.
#[derive(Debug)]
pub(crate) struct Draining {
    since: Duration,
    done: bool,
}

impl Replica {
    pub(crate) fn drain(&mut self) {
        if self.draining.is_none() {
            self.draining = Some(Draining { since: self.now.mono, done: false });
            self.tick_drain();
        }
    }

    pub(crate) fn tick_drain(&mut self) {
        let Some(Draining { since, done: false }) = self.draining else { return };
        let led = self.raft.status().role == meridian_raft::Role::Leader;
        let alone = self.raft.members().voters.len() <= 1;
        if !led || alone || self.now.mono.saturating_sub(since) >= GIVE_UP {
            self.draining = Some(Draining { since, done: true });
            self.out.push(Command::Drained);
        } else {
            self.hand_over();
        }
    }

    /// Hands the leadership to the voter that has the most of the log.
    pub(crate) fn hand_over(&mut self) {
        let status = self.raft.status();
        if status.transferring_to.is_some() {
            return;
        }
        let heir =
            status.peers.iter().filter(|peer| peer.voter && peer.recently_active).max_by_key(|peer| peer.matched);
        if let Some(heir) = heir {
            // Refused only when this replica no longer leads, which is what is wanted.
            let _ = self.raft.transfer_leader(heir.id);
        }
    }
}
