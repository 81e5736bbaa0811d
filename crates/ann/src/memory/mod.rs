//! Tables that are read while they are written, without locks.
//!
//! A view of a table never changes. Later writes go where no view reads: behind the last row, or to a **patch**, a copy
//! of the row. The writer and later views read the patch in place of the row. It is merged back when all views that
//! read the row itself are dropped.
//!
//! - `rows`: the tables; `patches`: copies of rows; `versions`: views that are alive. The latter two are model-checked
//!   (`tests/views_model.rs`).

mod patches;
mod rows;
mod versions;

use bytemuck::{Pod, Zeroable};

pub(crate) use patches::Patches;
pub(crate) use rows::Rows;

/// A cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u8; 64]);

impl Line {
    pub const BYTES: usize = size_of::<Self>();
    pub const ZERO: Self = Self([0; Self::BYTES]);
}

/// Lines as bytes.
pub(crate) fn bytes_of(lines: &[Line]) -> &[u8] {
    bytemuck::cast_slice(lines)
}

/// Lines as mutable bytes.
pub(crate) fn bytes_of_mut(lines: &mut [Line]) -> &mut [u8] {
    bytemuck::cast_slice_mut(lines)
}
