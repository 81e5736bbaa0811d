//! The envelope around everything that is not a log frame: kind, format version, checksum, length.
//!
//! All versions of all formats keep this envelope, so that an old binary can name a version it does not know.

/// Bytes before the body.
pub(crate) const ENVELOPE_BYTES: usize = 24;

/// Eight letters that tell one kind of content from another.
pub(crate) type Kind = [u8; 8];

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Another kind of content, or none.
    #[error("not of kind {expected:?}: starts with {found:02x?}")]
    Kind {
        /// The first bytes, as many as there are.
        found: Vec<u8>,
        /// The kind asked for.
        expected: String,
    },
    /// Shorter than it says.
    #[error("{found} bytes, expected {expected}")]
    Length {
        /// Bytes that are there.
        found: u64,
        /// Bytes that should be.
        expected: u64,
    },
    /// The content was changed.
    #[error("checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Computed from the content.
        found: u32,
        /// As written.
        expected: u32,
    },
    /// Written by a newer release.
    #[error(
        "written by a newer release: format version {found}, this build reads up to {supported}; run the newer release"
    )]
    FutureVersion {
        /// As written.
        found: u32,
        /// The newest known here.
        supported: u32,
    },
    /// Versions count from 1.
    #[error("format version 0")]
    NoVersion,
}

/// `kind | version | checksum | length | body`, see `FORMAT.md`.
pub(crate) fn seal(kind: Kind, version: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENVELOPE_BYTES + body.len());
    out.extend_from_slice(&kind);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(body);
    let crc = checksum(&out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The version and the body of sealed `bytes`; what follows the body is not looked at.
pub(crate) fn unseal(kind: Kind, supported: u32, bytes: &[u8]) -> Result<(u32, &[u8]), SealError> {
    let head = bytes.get(..8.min(bytes.len())).unwrap_or_default();
    if head != kind {
        let expected = String::from_utf8_lossy(&kind).into_owned();
        return Err(SealError::Kind { found: head.to_vec(), expected });
    }
    let short = |expected: u64| SealError::Length { found: bytes.len() as u64, expected };
    if bytes.len() < ENVELOPE_BYTES {
        return Err(short(ENVELOPE_BYTES as u64));
    }
    let (version, expected, length) = (u32_at(bytes, 8), u32_at(bytes, 12), u64_at(bytes, 16));
    let whole = length.saturating_add(ENVELOPE_BYTES as u64);
    let Some(sealed) = usize::try_from(whole).ok().and_then(|whole| bytes.get(..whole)) else {
        return Err(short(whole));
    };
    let found = checksum(sealed);
    if found != expected {
        return Err(SealError::Checksum { found, expected });
    }
    if version > supported {
        return Err(SealError::FutureVersion { found: version, supported });
    }
    if version == 0 {
        return Err(SealError::NoVersion);
    }
    Ok((version, &sealed[ENVELOPE_BYTES..]))
}

fn checksum(sealed: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&sealed[..12]), &sealed[16..])
}

/// The little-endian number at `at`; the caller has checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes"))
}

/// The little-endian number at `at`; the caller has checked the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIND: Kind = *b"MRDNTEST";

    #[test]
    fn a_newer_version_is_named() {
        let sealed = seal(KIND, 2, b"x");
        assert_eq!(unseal(KIND, 1, &sealed), Err(SealError::FutureVersion { found: 2, supported: 1 }));
        assert_eq!(unseal(KIND, 1, &seal(KIND, 0, b"x")), Err(SealError::NoVersion));
    }

    proptest! {
        #[test]
        fn unseal_undoes_seal_and_sees_any_change(body: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let mut sealed = seal(KIND, 1, &body);
            prop_assert_eq!(unseal(KIND, 1, &sealed), Ok((1, body.as_slice())));
            let at = at.index(sealed.len());
            prop_assert!(unseal(KIND, 1, &sealed[..at]).is_err());
            sealed[at] ^= 1 << bit;
            prop_assert!(unseal(KIND, 1, &sealed).is_err());
        }
    }
}
