//! Durable storage: a write-ahead log, snapshots, and small files that are replaced atomically.
//!
//! Owns: syncs, the distinction of damage from a torn tail, and the on-disk formats (drawn in `FORMAT.md`).
//! Deliberately does not know: the meaning of the bytes, their writers, threads, clocks.
//!
//! ```text
//!   Wal ──────────┐                     ┌──► RealDisk  one folder of a file system
//!   Snapshots ────┼──► Disk, DiskFile ──┤
//!   write_atomic ─┘                     └──► SimDisk   in memory: crashes, torn writes, full disk, bit flips
//! ```
//!
//! The caller implements group commit: drain a queue into [`Wal::append`], call [`Wal::commit`] once, complete all.
//!
//! Start reading at [`Wal`], then [`Disk`], then [`Snapshots`].

mod atomic;
mod disk;
mod envelope;
mod real;
mod sim;
mod snapshot;
mod wal;

pub use atomic::{AtomicError, MAX_ATOMIC_BYTES, read_atomic, write_atomic};
pub use disk::{Disk, DiskFile};
pub use envelope::EnvelopeError;
pub use real::{RealDisk, RealFile};
pub use sim::{SECTOR_BYTES, SimDisk, SimFile};
pub use snapshot::{
    CHUNK_BYTES, Chunk, FileEntry, FileReader, FileWriter, Install, InstallError, MAX_FILES, MAX_MANIFEST_BYTES,
    Manifest, ManifestError, Newest, Snapshot, SnapshotError, SnapshotId, SnapshotWriter, Snapshots,
};
pub use wal::{
    AppendError, CommitError, Fault, Lsn, MAX_RECORD_BYTES, MIN_SEGMENT_BYTES, OpenError, Peeked, ReadWal, Recovered,
    SEGMENT_BYTES, SPARE_SEGMENTS, Wal, WalOptions, WalStats,
};
