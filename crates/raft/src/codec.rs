//! Reads untrusted little-endian bytes without panics.

use bytes::Bytes;

/// Why bytes cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input is truncated.
    #[error("truncated: {wanted} more bytes needed, {left} left")]
    Truncated {
        /// Length of the next field.
        wanted: usize,
        /// Bytes left.
        left: usize,
    },
    /// Unsupported format version.
    #[error("format version must be {known} (got {found})")]
    UnknownVersion {
        /// Version of the input.
        found: u8,
        /// Supported version.
        known: u8,
    },
    /// Unknown tag byte.
    #[error("unknown {what} {found}")]
    UnknownTag {
        /// Name of the tag.
        what: &'static str,
        /// Its value.
        found: u8,
    },
    /// Trailing bytes.
    #[error("{0} trailing bytes")]
    Trailing(usize),
    /// Well formed, but violates an invariant.
    #[error("{0}")]
    Invalid(&'static str),
}

pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads bytes that begin with a version byte.
    pub(crate) fn versioned(bytes: &'a [u8], known: u8) -> Result<Self, DecodeError> {
        let mut reader = Self(bytes);
        let found = reader.u8()?;
        if found == known { Ok(reader) } else { Err(DecodeError::UnknownVersion { found, known }) }
    }

    /// Reads bytes whose version was checked elsewhere.
    pub(crate) fn unversioned(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, wanted: usize) -> Result<&'a [u8], DecodeError> {
        let truncated = DecodeError::Truncated { wanted, left: self.0.len() };
        let (taken, rest) = self.0.split_at_checked(wanted).ok_or(truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Length-prefixed bytes.
    pub(crate) fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    /// Count-prefixed ids. The count allocates nothing, so an invalid one is harmless.
    pub(crate) fn ids(&mut self) -> Result<Vec<u64>, DecodeError> {
        let count = self.u32()?;
        (0..count).map(|_| self.u64()).collect()
    }

    pub(crate) fn rest(&mut self) -> Bytes {
        Bytes::copy_from_slice(std::mem::take(&mut self.0))
    }

    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("a list or payload of 4 GiB is refused when it is proposed");
    out.extend_from_slice(&len.to_le_bytes());
}

pub(crate) fn put_blob(out: &mut Vec<u8>, blob: &[u8]) {
    put_len(out, blob.len());
    out.extend_from_slice(blob);
}

pub(crate) fn put_ids(out: &mut Vec<u8>, ids: &[u64]) {
    put_len(out, ids.len());
    for id in ids {
        put_u64(out, *id);
    }
}
