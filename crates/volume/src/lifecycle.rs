//! Decisions of a pod while no replica runs in it, and at the end of one.
//!
//! ```text
//!                     Inspected                       Started
//!   Blank ──────────────────────► (Run) ───────────────────────► Running ── Released ──► Retired
//!     │ │ Called(Bootstrap, Join)                                   ▲                   (the process ends)
//!     │ └───────────────────────► (Initialize) ─────────────────────┤
//!     │ Inspected, Unusable                                         │
//!     ├──► Damaged ── Called(Join under a greater id) ► (Initialize)┘
//!     ├──► Foreign: refuses every call
//!     └──► Newer: refuses every call; also after a start that found files of a newer release
//! ```

use meridian_model::{BehaviorVersion, ReplicaId};
use meridian_proto::frame::RELEASE;
use meridian_proto::topology::{Identity, PodStatus, ReplicaStatus, TopologyAnswer, TopologyCall};

use crate::{Assignment, Folder, Retired};

/// State of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodState {
    /// Its folder is blank: it waits for `Bootstrap` or `Join`.
    Blank,
    /// Its folder must not run: it waits for `Join` under a new id.
    Damaged(Damage),
    /// Its folder is another cluster's, region's, shard's or group's, and is not touched.
    Foreign(Identity),
    /// Its folder holds files of a newer release, and is not touched. The reason names a file and its version.
    Newer(String),
    /// This replica runs.
    Running(ReplicaId),
    /// The folder of this replica was moved aside: the process ends, and the next one finds a blank folder.
    Retired(ReplicaId),
}

/// A folder that must not run: its replica may have voted, and the record of its votes is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its replica, as far as its id can be read.
    pub replica: Option<ReplicaId>,
    /// The damage.
    pub reason: String,
}

/// Input of a [`Lifecycle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The folder was inspected, at the start of the process.
    Inspected {
        /// Its state.
        folder: Folder,
        /// Evidence of an earlier replica beside it.
        retired: Option<Retired>,
    },
    /// The replica was opened and runs.
    Started(ReplicaId),
    /// The folder was opened and is damaged.
    Unusable(Damage),
    /// The folder was opened and holds files of a newer release, for this reason.
    Newer(String),
    /// The folder could not be initialized or opened, and is not damaged.
    NotStarted,
    /// The operator calls.
    Called(TopologyCall),
    /// The running replica agreed to be given up.
    Released,
    /// The folder of the running replica was moved aside.
    MovedAside,
}

/// Output of a [`Lifecycle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Wait for the next event.
    Wait,
    /// Open the folder and run the replica; then [`Event::Started`], [`Event::Unusable`], [`Event::Newer`] or
    /// [`Event::NotStarted`].
    Run(Identity),
    /// Initialize the folder for this replica, then as [`Decision::Run`].
    Initialize {
        /// The replica.
        identity: Identity,
        /// The damaged folder to move aside first.
        replaces: Option<Damage>,
    },
    /// Answer the call.
    Answer(TopologyAnswer),
    /// Let the running replica answer the call.
    Forward(TopologyCall),
    /// Let the running replica answer the call; if the answer is `Started`, [`Event::Released`].
    ForwardJoin(TopologyCall),
    /// Move the folder of this replica aside, then [`Event::MovedAside`], and end the process.
    Retire(ReplicaId),
}

/// Supervisor of a pod's replica, without I/O.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    assignment: Assignment,
    state: PodState,
    /// The replica that is being initialized or opened.
    starting: Option<ReplicaId>,
}

impl Lifecycle {
    /// Supervisor of a pod whose folder was not inspected yet.
    #[must_use]
    pub fn new(assignment: Assignment) -> Self {
        Self { assignment, state: PodState::Blank, starting: None }
    }

    /// State of the pod.
    #[must_use]
    pub fn state(&self) -> &PodState {
        &self.state
    }

    /// The replica that is being initialized or opened.
    #[must_use]
    pub fn starting(&self) -> Option<ReplicaId> {
        self.starting
    }

    /// Handles one event and returns the decision for the shell.
    pub fn handle(&mut self, event: Event) -> Decision {
        match event {
            Event::Inspected { folder, retired } => return self.inspected(folder, retired),
            Event::Called(call) => return self.called(call),
            Event::Started(replica) => (self.state, self.starting) = (PodState::Running(replica), None),
            Event::Unusable(damage) => (self.state, self.starting) = (PodState::Damaged(damage), None),
            Event::Newer(reason) => (self.state, self.starting) = (PodState::Newer(reason), None),
            Event::NotStarted => self.starting = None,
            Event::Released => {
                if let PodState::Running(replica) = self.state {
                    return Decision::Retire(replica);
                }
            }
            Event::MovedAside => {
                if let PodState::Running(replica) = self.state {
                    self.state = PodState::Retired(replica);
                }
            }
        }
        Decision::Wait
    }

    fn inspected(&mut self, folder: Folder, retired: Option<Retired>) -> Decision {
        match (folder, retired) {
            (Folder::Replica(identity), _) if self.assignment.fits(&identity) => {
                self.starting = Some(identity.replica);
                return Decision::Run(identity);
            }
            (Folder::Replica(identity), _) => self.state = PodState::Foreign(identity),
            (Folder::Newer { reason }, _) => self.state = PodState::Newer(reason),
            (Folder::Damaged { replica, reason }, _) => self.state = PodState::Damaged(Damage { replica, reason }),
            // The volume has been in a group: its votes are in the folders beside.
            (Folder::Blank, Some(Retired { newest, name })) => {
                let reason = format!("there is no replica beside {name}");
                self.state = PodState::Damaged(Damage { replica: newest, reason });
            }
            (Folder::Blank, None) => self.state = PodState::Blank,
        }
        Decision::Wait
    }

    fn called(&mut self, call: TopologyCall) -> Decision {
        match (&self.state, call) {
            (PodState::Running(_), call @ TopologyCall::Join { .. }) => Decision::ForwardJoin(call),
            // It is over, and its process will end soon.
            (PodState::Retired(_), TopologyCall::Join { .. }) => Decision::Answer(TopologyAnswer::Started),
            (PodState::Running(_) | PodState::Retired(_), call) => Decision::Forward(call),
            (PodState::Blank, TopologyCall::Status) => status(PodStatus::Blank),
            (PodState::Damaged(Damage { replica, reason }), TopologyCall::Status) => {
                status(PodStatus::Damaged { replica: *replica, reason: reason.clone() })
            }
            (PodState::Foreign(identity), TopologyCall::Status) => {
                status(PodStatus::Foreign { identity: identity.clone() })
            }
            (PodState::Newer(reason), TopologyCall::Status) => status(PodStatus::Newer { reason: reason.clone() }),
            (PodState::Newer(reason), _) => refuse(format!("the volume is not touched: {reason}")),
            (PodState::Foreign(identity), _) => refuse(format!("the volume belongs to {identity} and is not touched")),
            (PodState::Damaged(Damage { replica: Some(damaged), .. }), TopologyCall::Join { identity, .. })
                if identity.replica <= *damaged =>
            {
                refuse("a damaged replica joins under a new id".into())
            }
            (PodState::Damaged(_), TopologyCall::Bootstrap(_)) => {
                refuse("a damaged replica cannot found a group".into())
            }
            (_, TopologyCall::Bootstrap(identity) | TopologyCall::Join { identity, .. }) => self.initialize(identity),
            _ => refuse("not a replica yet".into()),
        }
    }

    fn initialize(&mut self, identity: Identity) -> Decision {
        if !self.assignment.fits(&identity) {
            return refuse(format!("the call speaks of {identity}; the configuration says {}", self.assignment));
        }
        let newest = BehaviorVersion::newest();
        if identity.behavior > newest {
            let needs = identity.behavior;
            let why =
                format!("the group needs behavior version {needs}; release {RELEASE} knows versions up to {newest}");
            return refuse(why);
        }
        if let Some(replica) = self.starting {
            return refuse(format!("replica {replica} is starting"));
        }
        self.starting = Some(identity.replica);
        let replaces = match &self.state {
            PodState::Damaged(damage) => Some(damage.clone()),
            _ => None,
        };
        Decision::Initialize { identity, replaces }
    }
}

fn status(pod: PodStatus) -> Decision {
    Decision::Answer(TopologyAnswer::status(pod))
}

fn refuse(reason: String) -> Decision {
    Decision::Answer(TopologyAnswer::Refused(reason))
}

/// Whether a majority of the group holds everything that earlier replicas of this pod held: the replica of this status has
/// a vote and is ready.
#[must_use]
pub fn has_caught_up(status: &ReplicaStatus) -> bool {
    status.ready && status.voters.iter().any(|member| member.replica == status.identity.replica)
}

#[cfg(test)]
mod tests;
