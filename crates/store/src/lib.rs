//! Bytes that survive: a write-ahead log, snapshots, and small files replaced as a whole.
//!
//! Owns: when bytes are synced, how damage is told from a torn tail, and the formats that lie on the disk
//! (drawn in `FORMAT.md`). Deliberately does not know: what the bytes mean, who wrote them, threads, clocks.
//!
//! ```text
//!   Wal ──────────┐                     ┌──► RealDisk  one folder of a file system
//!   Snapshots ────┼──► Disk, DiskFile ──┤
//!   write_atomic ─┘                     └──► SimDisk   in memory: crashes, tears, fills, flips
//! ```
//!
//! Group commit is the caller's loop: drain a queue into [`Wal::append`], call [`Wal::commit`] once, complete all.
//!
//! Start reading at [`Wal`], then [`Disk`], then [`Snapshots`].

mod atomic;
mod disk;
mod real;
mod seal;
mod sim;
mod snapshot;
mod wal;

pub use atomic::{AtomicError, MAX_ATOMIC_BYTES, read_atomic, write_atomic};
pub use disk::{Disk, DiskFile};
pub use real::{RealDisk, RealFile};
pub use seal::SealError;
pub use sim::{SECTOR_BYTES, SimDisk, SimFile};
pub use snapshot::{
    CHUNK_BYTES, Chunk, FileEntry, FileReader, FileWriter, Install, InstallError, MAX_FILES, MAX_MANIFEST_BYTES,
    Manifest, ManifestError, Newest, Snapshot, SnapshotError, SnapshotId, SnapshotWriter, Snapshots,
};
pub use wal::{
    AppendError, CommitError, Fault, Lsn, MAX_RECORD_BYTES, MIN_SEGMENT_BYTES, OpenError, Peeked, ReadWal, Recovered,
    SEGMENT_BYTES, SPARE_SEGMENTS, Wal, WalOptions, WalStats,
};
