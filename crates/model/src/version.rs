//! What a release cannot read, because a later one wrote it.

use std::fmt;

use crate::BehaviorVersion;

/// Written by a newer release: refused by name, and never damage. The bytes stay as they are, for the newer release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionUnknown {
    /// Of what the version is.
    pub kind: VersionKind,
    /// The version that the bytes need.
    pub needs: u32,
    /// The newest version that this build knows.
    pub knows: u32,
}

/// Of what a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    /// Of the rules by which something is applied: a [`BehaviorVersion`].
    Behavior,
    /// Of the form in which something is written.
    Format,
}

impl VersionUnknown {
    /// Refuses `needs` if this build does not know it.
    ///
    /// # Errors
    /// When `needs` is newer than [`BehaviorVersion::newest`].
    pub fn check(needs: BehaviorVersion) -> Result<(), Self> {
        let knows = BehaviorVersion::newest();
        let unknown = Self { kind: VersionKind::Behavior, needs: needs.0.into(), knows: knows.0.into() };
        if needs > knows { Err(unknown) } else { Ok(()) }
    }

    /// Format version `found`, where this build reads up to `knows`.
    #[must_use]
    pub fn format(found: impl Into<u32>, knows: impl Into<u32>) -> Self {
        Self { kind: VersionKind::Format, needs: found.into(), knows: knows.into() }
    }
}

/// For errors: `written by a newer release: behavior version 2, this build knows up to 1; run the newer release`.
impl fmt::Display for VersionUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, needs, knows } = self;
        let (kind, verb) = match kind {
            VersionKind::Behavior => ("behavior", "knows"),
            VersionKind::Format => ("format", "reads"),
        };
        write!(
            f,
            "written by a newer release: {kind} version {needs}, this build {verb} up to {knows}; run the newer release"
        )
    }
}

impl std::error::Error for VersionUnknown {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_both_versions_and_the_remedy() {
        let newest = BehaviorVersion::newest();
        let next = newest.next();
        assert_eq!(VersionUnknown::check(newest), Ok(()));
        assert_eq!(
            VersionUnknown::check(next).unwrap_err().to_string(),
            format!(
                "written by a newer release: behavior version {next}, this build knows up to {newest}; run the newer release"
            )
        );
        assert_eq!(
            VersionUnknown::format(5_u8, 4_u8).to_string(),
            "written by a newer release: format version 5, this build reads up to 4; run the newer release"
        );
    }
}
