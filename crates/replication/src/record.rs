//! Records of a delta log, and their sizes.

use meridian_model::{Delta, Op, Position, Seq, Statement};
use serde::{Deserialize, Serialize};

/// A record of a delta log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// One committed upsert or delete.
    Delta(Delta),
    /// A watermark without a delta: the log ends at `at`, or ended there when the record was sent.
    Mark {
        /// Position of the newest delta.
        at: Position,
        /// Completeness statement of the origin's leader, for a position of at most `at`.
        complete: Option<Statement>,
    },
}

impl Record {
    /// Position of the record in the log; of a mark, the position that it reports.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Delta(delta) => delta.position(),
            Self::Mark { at, .. } => *at,
        }
    }

    /// Position of the record that must be received before this one.
    #[must_use]
    pub fn predecessor(&self) -> Position {
        match self {
            Self::Delta(delta) => Position { epoch: delta.epoch, seq: Seq(delta.seq.0.saturating_sub(1)) },
            Self::Mark { at, .. } => *at,
        }
    }
}

/// Bytes of a record, as counted by the credit of [`crate::Effect::Follow`].
#[must_use]
pub fn record_bytes(record: &Record) -> u64 {
    match record {
        Record::Delta(delta) => delta_bytes(delta),
        Record::Mark { .. } => 0,
    }
}

/// Approximate encoded size of a delta, in bytes.
pub(crate) fn delta_bytes(delta: &Delta) -> u64 {
    const HEAD: usize = 64;
    let body = match &delta.op {
        Op::Upsert { vectors, payload, .. } => {
            vectors.iter().map(|(name, vector)| name.len() + 4 * vector.len() + 8).sum::<usize>() + payload.0.len()
        }
        Op::CreateCollection { def, .. } => 64 * def.vectors.len(),
        Op::Delete { .. } | Op::DropCollection { .. } | Op::Nothing => 0,
    };
    (HEAD + body) as u64
}
