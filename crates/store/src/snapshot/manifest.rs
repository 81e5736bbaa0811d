//! The manifest of a snapshot.

use crate::envelope::{EnvelopeError, Kind, decode_envelope, encode_envelope, u32_at, u64_at};

const KIND: Kind = *b"MRDNSNAP";
const VERSION: u32 = 1;

/// Size limit of an encoded manifest, which is sent in one frame: 16 MiB.
pub const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// Limit of files per snapshot: each costs an open and an fsync at install.
pub const MAX_FILES: usize = 65_536;

/// Length limit of a file name.
const MAX_NAME_BYTES: usize = 128;

/// Id of a snapshot; larger is newer. Chosen by the caller, such as the applied index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

impl std::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Name: 1 to 128 bytes of `A-Z a-z 0-9 . _ -`, starting with a letter or a digit.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of its content.
    pub hash: [u8; 32],
}

/// Table of contents of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Id of the snapshot.
    pub id: SnapshotId,
    /// Metadata of the caller.
    pub meta: Vec<u8>,
    /// Files, in the order in which they were added.
    pub files: Vec<FileEntry>,
}

/// Why a manifest cannot be decoded or encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Damaged, of another kind, or newer.
    #[error("manifest")]
    Envelope(#[from] EnvelopeError),
    /// Truncated.
    #[error("manifest is truncated in {0}")]
    Truncated(&'static str),
    /// Trailing bytes.
    #[error("manifest has {0} trailing bytes")]
    Trailing(usize),
    /// Larger than [`MAX_MANIFEST_BYTES`], or more than [`MAX_FILES`] files.
    #[error("manifest must have at most {MAX_MANIFEST_BYTES} bytes and {MAX_FILES} files (got {bytes} and {files})")]
    TooLarge {
        /// Encoded length.
        bytes: u64,
        /// Number of files.
        files: usize,
    },
    /// An invalid or duplicate file name.
    #[error("file name must be valid and unique (got {0:?})")]
    Name(String),
}

impl Manifest {
    /// Entry of a file by name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|entry| entry.name == name)
    }

    /// Sum of all file lengths, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, entry| sum.saturating_add(entry.bytes))
    }

    /// Encodes the manifest for disk and network; see `FORMAT.md`.
    ///
    /// # Errors
    /// When it is too large, or a name is invalid.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        self.check_names()?;
        let mut body = Vec::new();
        body.extend_from_slice(&self.id.0.to_le_bytes());
        let counts = [self.meta.len(), self.files.len()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        counts.iter().for_each(|n| body.extend_from_slice(&n.to_le_bytes()));
        body.extend_from_slice(&self.meta);
        for entry in &self.files {
            body.push(u8::try_from(entry.name.len()).expect("names are checked above"));
            body.extend_from_slice(entry.name.as_bytes());
            body.extend_from_slice(&entry.bytes.to_le_bytes());
            body.extend_from_slice(&entry.hash);
        }
        let sealed = encode_envelope(KIND, VERSION, &body);
        self.check_size(sealed.len())?;
        Ok(sealed)
    }

    /// Decodes the output of [`Manifest::encode`].
    ///
    /// # Errors
    /// On any other bytes, including those of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let (_, body) = decode_envelope(KIND, VERSION, bytes)?;
        let trailing = bytes.len() - body.len() - crate::envelope::ENVELOPE_BYTES;
        if trailing > 0 {
            return Err(ManifestError::Trailing(trailing));
        }
        let manifest = Self::decode_body(body)?;
        manifest.check_size(bytes.len())?;
        Ok(manifest)
    }

    /// Decodes the body of the envelope; a fuzzing entry point behind the checksum.
    ///
    /// # Errors
    /// As for [`Self::decode`].
    #[doc(hidden)]
    pub fn decode_body(body: &[u8]) -> Result<Self, ManifestError> {
        let mut rest = body;
        let id = SnapshotId(u64_at(take(&mut rest, 8, "the id")?, 0));
        let meta_bytes = u32_at(take(&mut rest, 4, "a length")?, 0) as usize;
        let count = u32_at(take(&mut rest, 4, "a count")?, 0) as usize;
        let meta = take(&mut rest, meta_bytes, "the meta bytes")?.to_vec();
        // Not reserved: the count is untrusted.
        let mut files = Vec::new();
        for _ in 0..count {
            files.push(take_entry(&mut rest)?);
        }
        if !rest.is_empty() {
            return Err(ManifestError::Trailing(rest.len()));
        }
        let manifest = Self { id, meta, files };
        manifest.check_names()?;
        Ok(manifest)
    }

    fn check_size(&self, bytes: usize) -> Result<(), ManifestError> {
        let (bytes, files) = (bytes as u64, self.files.len());
        if bytes > MAX_MANIFEST_BYTES || files > MAX_FILES {
            return Err(ManifestError::TooLarge { bytes, files });
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), ManifestError> {
        let mut names = std::collections::BTreeSet::new();
        for entry in &self.files {
            if !is_allowed(&entry.name) || !names.insert(entry.name.as_str()) {
                return Err(ManifestError::Name(entry.name.clone()));
            }
        }
        Ok(())
    }
}

/// Whether a file of a snapshot may have this name.
pub(super) fn is_allowed(name: &str) -> bool {
    let is_allowed_char = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let reserved = name == super::MANIFEST_FILE || name.starts_with(super::PROGRESS_FILE);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts_well && name.len() <= MAX_NAME_BYTES && name.chars().all(is_allowed_char) && !reserved
}

fn take_entry(rest: &mut &[u8]) -> Result<FileEntry, ManifestError> {
    let length = usize::from(take(rest, 1, "a name")?[0]);
    let name = String::from_utf8_lossy(take(rest, length, "a name")?).into_owned();
    let bytes = u64_at(take(rest, 8, "a length")?, 0);
    let mut hash = [0; 32];
    hash.copy_from_slice(take(rest, 32, "a hash")?);
    Ok(FileEntry { name, bytes, hash })
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize, what: &'static str) -> Result<&'a [u8], ManifestError> {
    let (head, tail) = rest.split_at_checked(bytes).ok_or(ManifestError::Truncated(what))?;
    *rest = tail;
    Ok(head)
}
