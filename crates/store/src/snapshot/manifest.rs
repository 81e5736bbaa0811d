//! What a snapshot consists of.

use crate::seal::{Kind, SealError, seal, u32_at, u64_at, unseal};

const KIND: Kind = *b"MRDNSNAP";
const VERSION: u32 = 1;

/// Largest encoded manifest; it crosses the network in one piece. 16 MiB.
pub const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// Most files of one snapshot: each costs an open and an fsync to install.
pub const MAX_FILES: usize = 65_536;

/// Longest file name.
const MAX_NAME_BYTES: usize = 128;

/// Number of a snapshot: larger is newer. The caller's choice, such as the applied index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

impl std::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One immutable file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name: 1 to 128 bytes of `A-Z a-z 0-9 . _ -`, starting with a letter or a digit.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its content.
    pub hash: [u8; 32],
}

/// A snapshot's table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Which snapshot.
    pub id: SnapshotId,
    /// The caller's bytes.
    pub meta: Vec<u8>,
    /// Its files, in the order they were added.
    pub files: Vec<FileEntry>,
}

/// Why bytes are no manifest, or a manifest cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Damaged, of another kind, or newer.
    #[error("manifest")]
    Seal(#[from] SealError),
    /// Its parts do not add up.
    #[error("manifest ends in the middle of {0}")]
    Cut(&'static str),
    /// Bytes behind the last file.
    #[error("manifest has {0} bytes too many")]
    Trailing(usize),
    /// Larger than [`MAX_MANIFEST_BYTES`], or more than [`MAX_FILES`] files.
    #[error("manifest of {bytes} bytes and {files} files: at most {MAX_MANIFEST_BYTES} and {MAX_FILES} are possible")]
    TooLarge {
        /// Encoded length.
        bytes: u64,
        /// Number of files.
        files: usize,
    },
    /// A name that is not allowed, or stands twice.
    #[error("file name {0:?} is not allowed, or stands twice")]
    Name(String),
}

impl Manifest {
    /// The entry of a file.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|entry| entry.name == name)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, entry| sum.saturating_add(entry.bytes))
    }

    /// As written to disk and sent to others; see `FORMAT.md`.
    ///
    /// # Errors
    /// When it is too large, or a name is not allowed.
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
        let sealed = seal(KIND, VERSION, &body);
        self.check_size(sealed.len())?;
        Ok(sealed)
    }

    /// Reads what [`Manifest::encode`] wrote.
    ///
    /// # Errors
    /// When `bytes` are anything else, or a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let (_, body) = unseal(KIND, VERSION, bytes)?;
        let trailing = bytes.len() - body.len() - crate::seal::ENVELOPE_BYTES;
        if trailing > 0 {
            return Err(ManifestError::Trailing(trailing));
        }
        let manifest = Self::decode_body(body)?;
        manifest.check_size(bytes.len())?;
        Ok(manifest)
    }

    /// Reads the part inside the envelope, so that a fuzzer gets past the checksum.
    #[doc(hidden)]
    pub fn decode_body(body: &[u8]) -> Result<Self, ManifestError> {
        let mut rest = body;
        let id = SnapshotId(u64_at(take(&mut rest, 8, "the id")?, 0));
        let meta_bytes = u32_at(take(&mut rest, 4, "a length")?, 0) as usize;
        let count = u32_at(take(&mut rest, 4, "a count")?, 0) as usize;
        let meta = take(&mut rest, meta_bytes, "the meta bytes")?.to_vec();
        // Grown as found: a count is no promise.
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

/// True for a name that a file of a snapshot may have.
pub(super) fn is_allowed(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let reserved = name == super::MANIFEST_FILE || name.starts_with(super::PROGRESS_FILE);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts_well && name.len() <= MAX_NAME_BYTES && name.chars().all(plain) && !reserved
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
    let (head, tail) = rest.split_at_checked(bytes).ok_or(ManifestError::Cut(what))?;
    *rest = tail;
    Ok(head)
}
