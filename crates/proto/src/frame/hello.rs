//! Greetings: who speaks, and which versions it speaks.

use meridian_model::{BehaviorVersion, ClusterId, RegionName};

use super::NodeId;

/// Oldest protocol version that this build speaks.
const OLDEST_PROTOCOL: u16 = 1;
/// Newest protocol version that this build speaks. A release speaks its own version and the one before. A version states what
/// both sides may rely on; an additional message or field needs no new one.
const NEWEST_PROTOCOL: u16 = 1;

/// The sender of a connection's frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its cluster; a connection to another cluster is refused.
    pub cluster: ClusterId,
    /// Its region.
    pub region: RegionName,
    /// Its replica; absent for the operator, for a pod without a replica, and between regions.
    pub node: Option<NodeId>,
    /// Address of its own peer port, so that the receiver can dial back. Empty between regions.
    pub address: String,
    /// The versions that it knows.
    pub build: Build,
}

/// The versions that a build knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The protocol versions that it speaks.
    pub protocols: Protocols,
    /// The newest behavior version that it knows.
    pub behavior: BehaviorVersion,
    /// Its release, for messages only.
    pub release: String,
}

impl Build {
    /// This build.
    #[must_use]
    pub fn current() -> Self {
        Self {
            protocols: Protocols { oldest: OLDEST_PROTOCOL, newest: NEWEST_PROTOCOL },
            behavior: BehaviorVersion::newest(),
            release: super::RELEASE.into(),
        }
    }
}

/// A range of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// The oldest, at least 1.
    pub oldest: u16,
    /// The newest, not before `oldest`.
    pub newest: u16,
}

/// Two builds that have no protocol version in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "peer speaks protocol {} to {}; this build speaks {} to {}",
    peer.oldest, peer.newest, own.oldest, own.newest
)]
pub struct NoCommonProtocol {
    /// The versions of this build.
    pub own: Protocols,
    /// The versions of the peer.
    pub peer: Protocols,
}

impl Protocols {
    /// The greatest protocol version that this build and a peer speak. Both ends of a connection use that one.
    ///
    /// # Errors
    /// When there is none.
    pub fn common(self, peer: Self) -> Result<u16, NoCommonProtocol> {
        let newest = self.newest.min(peer.newest);
        if newest >= self.oldest.max(peer.oldest) { Ok(newest) } else { Err(NoCommonProtocol { own: self, peer }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(oldest: u16, newest: u16) -> Protocols {
        Protocols { oldest, newest }
    }

    #[test]
    fn both_sides_use_the_greatest_version_that_both_speak() {
        for (one, other, common) in [
            (versions(1, 1), versions(1, 1), 1),
            (versions(1, 2), versions(2, 3), 2),
            (versions(1, 5), versions(2, 3), 3),
            (versions(3, 4), versions(4, 9), 4),
        ] {
            assert_eq!(one.common(other), Ok(common));
            assert_eq!(other.common(one), Ok(common));
        }
    }

    #[test]
    fn builds_without_a_common_version_refuse_each_other_by_their_versions() {
        let refused = versions(1, 1).common(versions(3, 4)).unwrap_err();
        assert_eq!(refused.to_string(), "peer speaks protocol 3 to 4; this build speaks 1 to 1");
        let refused = versions(3, 4).common(versions(1, 1)).unwrap_err();
        assert_eq!(refused.to_string(), "peer speaks protocol 1 to 1; this build speaks 3 to 4");
    }

    #[test]
    fn this_build_speaks_with_itself() {
        let Build { protocols, behavior, release } = Build::current();
        assert_eq!(protocols.common(protocols), Ok(NEWEST_PROTOCOL));
        assert_eq!((behavior, release.as_str()), (BehaviorVersion::newest(), env!("CARGO_PKG_VERSION")));
    }
}
