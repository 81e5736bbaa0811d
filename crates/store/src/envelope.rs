//! The envelope around all content except log frames: kind, format version, checksum, length.
//!
//! All versions of all formats keep it, so that an old binary can name a newer version.

/// Length of the envelope before the body.
pub(crate) const ENVELOPE_BYTES: usize = 24;

/// Eight bytes that identify the kind of content.
pub(crate) type Kind = [u8; 8];

/// Why an envelope cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The content is of another kind.
    #[error("kind must be {expected:?} (got {found:02x?})")]
    Kind {
        /// First bytes of the content, up to eight.
        found: Vec<u8>,
        /// Expected kind.
        expected: String,
    },
    /// The content is truncated.
    #[error("truncated: {found} bytes, expected {expected}")]
    Length {
        /// Available bytes.
        found: u64,
        /// Length in the envelope.
        expected: u64,
    },
    /// The checksum does not match.
    #[error("checksum {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Checksum of the content.
        found: u32,
        /// Value in the envelope.
        expected: u32,
    },
    /// The format version is newer than supported.
    #[error(
        "written by a newer release: format version {found}, this build reads up to {supported}; run the newer release"
    )]
    FutureVersion {
        /// Value in the envelope.
        found: u32,
        /// Newest supported version.
        supported: u32,
    },
    /// Versions count from 1.
    #[error("format version 0")]
    NoVersion,
}

/// Encodes `kind | version | checksum | length | body`, see `FORMAT.md`.
pub(crate) fn encode_envelope(kind: Kind, version: u32, body: &[u8]) -> Vec<u8> {
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

/// Decodes an envelope; returns version and body. Bytes after the body are ignored.
pub(crate) fn decode_envelope(kind: Kind, supported: u32, bytes: &[u8]) -> Result<(u32, &[u8]), EnvelopeError> {
    let head = bytes.get(..8.min(bytes.len())).unwrap_or_default();
    if head != kind {
        let expected = String::from_utf8_lossy(&kind).into_owned();
        return Err(EnvelopeError::Kind { found: head.to_vec(), expected });
    }
    let short = |expected: u64| EnvelopeError::Length { found: bytes.len() as u64, expected };
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
        return Err(EnvelopeError::Checksum { found, expected });
    }
    if version > supported {
        return Err(EnvelopeError::FutureVersion { found: version, supported });
    }
    if version == 0 {
        return Err(EnvelopeError::NoVersion);
    }
    Ok((version, &sealed[ENVELOPE_BYTES..]))
}

fn checksum(sealed: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&sealed[..12]), &sealed[16..])
}

/// Little-endian number at `at`; the caller has checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes"))
}

/// Little-endian number at `at`; the caller has checked the length.
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
        let sealed = encode_envelope(KIND, 2, b"x");
        assert_eq!(decode_envelope(KIND, 1, &sealed), Err(EnvelopeError::FutureVersion { found: 2, supported: 1 }));
        assert_eq!(decode_envelope(KIND, 1, &encode_envelope(KIND, 0, b"x")), Err(EnvelopeError::NoVersion));
    }

    proptest! {
        #[test]
        fn unseal_undoes_seal_and_sees_any_change(body: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let mut sealed = encode_envelope(KIND, 1, &body);
            prop_assert_eq!(decode_envelope(KIND, 1, &sealed), Ok((1, body.as_slice())));
            let at = at.index(sealed.len());
            prop_assert!(decode_envelope(KIND, 1, &sealed[..at]).is_err());
            sealed[at] ^= 1 << bit;
            prop_assert!(decode_envelope(KIND, 1, &sealed).is_err());
        }
    }
}
