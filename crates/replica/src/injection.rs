//! Injected bugs that the simulation must catch.
//!
//! Only the feature `fault-injection` makes them reachable, and only `meridian-sim` enables it. Without it
//! [`Settings::injects`] is constant, so that no branch remains and call sites need no `cfg`.

use meridian_shard::State;

use crate::Settings;

/// A bug that the simulation must catch. Each of them was once a real bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedBug {
    /// Counts the own vote for an entry before the own fsync.
    AckBeforeFsync,
    /// Applies a delta again that was applied before. In the state.
    #[cfg(feature = "fault-injection")]
    SkipVvCheck,
    /// Applies the delta after a missing one. In the follower.
    #[cfg(feature = "fault-injection")]
    AcceptGap,
    /// States completeness without a ReadIndex round.
    StateUnproven,
    /// Counts a statement whose position is not applied.
    CountUnapplied,
    /// Uses a stepped wall clock without confirmation by the group.
    BelieveSteps,
    /// Computes ages from the wall clock.
    AgeByWall,
    /// Ignores the time during which the boot clock stood still.
    ForgetStandstill,
    /// Answers a strong read without a ReadIndex round.
    ReadWithoutIndex,
    /// Starts under the old id after the log was lost. In the simulation's operator.
    #[cfg(feature = "fault-injection")]
    VoteAfterLogLoss,
    /// Answers from a state that is older than demanded without marking it. In the gateway.
    #[cfg(feature = "fault-injection")]
    UnmarkedStale,
    /// Treats a log with a damaged middle as one with a torn end. In the simulation's pod.
    #[cfg(feature = "fault-injection")]
    AcceptLogDamage,
    /// Serves from a state with a detected divergence from its group's.
    ServeDivergence,
    /// Reports a write as visible in a secondary region once the primary region has acknowledged it. In the gateway.
    #[cfg(feature = "fault-injection")]
    VisibleTooEarly,
    /// Deletes by filter the points that matched when they were read, also those that changed since. In the gateway.
    #[cfg(feature = "fault-injection")]
    DeleteUnconditionally,
    /// Refuses a write whose outcome is unknown. In the gateway.
    #[cfg(feature = "fault-injection")]
    RefuseUnknown,
    /// Finalizes a behavior version that a member does not support.
    FinalizeUnchecked,
    /// Writes what other regions have not finalized.
    PublishUnchecked,
}

#[cfg(feature = "fault-injection")]
impl InjectedBug {
    /// All bugs.
    pub const ALL: [Self; 18] = [
        Self::AckBeforeFsync,
        Self::SkipVvCheck,
        Self::AcceptGap,
        Self::StateUnproven,
        Self::CountUnapplied,
        Self::BelieveSteps,
        Self::AgeByWall,
        Self::ForgetStandstill,
        Self::ReadWithoutIndex,
        Self::VoteAfterLogLoss,
        Self::UnmarkedStale,
        Self::AcceptLogDamage,
        Self::ServeDivergence,
        Self::VisibleTooEarly,
        Self::DeleteUnconditionally,
        Self::RefuseUnknown,
        Self::FinalizeUnchecked,
        Self::PublishUnchecked,
    ];

    /// Returns the gateway's name of this bug, if it is injected in the gateway.
    pub(crate) fn of_gateway(self) -> Option<meridian_gateway::InjectedBug> {
        match self {
            Self::UnmarkedStale => Some(meridian_gateway::InjectedBug::UnmarkedStale),
            Self::VisibleTooEarly => Some(meridian_gateway::InjectedBug::VisibleTooEarly),
            Self::DeleteUnconditionally => Some(meridian_gateway::InjectedBug::DeleteUnconditionally),
            Self::RefuseUnknown => Some(meridian_gateway::InjectedBug::RefuseUnknown),
            _ => None,
        }
    }
}

#[cfg(feature = "fault-injection")]
impl Settings {
    /// Returns `true` if this bug is injected.
    pub(crate) fn injects(&self, bug: InjectedBug) -> bool {
        self.injected_bug == Some(bug)
    }

    /// Makes the state apply deltas twice if [`InjectedBug::SkipVvCheck`] is injected.
    pub(crate) fn inject_into_state(&self, state: &mut State) {
        if self.injects(InjectedBug::SkipVvCheck) {
            state.skip_vv_check();
        }
    }
}

#[cfg(not(feature = "fault-injection"))]
impl Settings {
    pub(crate) const fn injects(&self, _: InjectedBug) -> bool {
        false
    }

    pub(crate) const fn inject_into_state(&self, _: &mut State) {}
}
