//! Memory that one writes while others read it, and nobody waits.
//!
//! A view of a table is what the table was when the view was made. What is written later goes where no view looks: behind the last
//! row, or to a **patch**, a copy of the row that the writer and views to come look at in place of the row. When the views that
//! look at a row itself are gone, it takes in its patch.
//!
//! - `rows`: the tables; `patches`: which rows are looked at in another place; `versions`: which views are still there. The latter two
//!   are model-checked (`tests/views_model.rs`).

mod patches;
mod rows;
mod versions;

use bytemuck::{Pod, Zeroable};

pub(crate) use patches::Patches;
pub(crate) use rows::Rows;

/// What the processor fetches at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u8; 64]);

impl Line {
    pub const BYTES: usize = size_of::<Self>();
    pub const ZERO: Self = Self([0; Self::BYTES]);
}

/// Lines as the bytes they are.
pub(crate) fn bytes_of(lines: &[Line]) -> &[u8] {
    bytemuck::cast_slice(lines)
}

/// As [`bytes_of`], to be changed.
pub(crate) fn bytes_of_mut(lines: &mut [Line]) -> &mut [u8] {
    bytemuck::cast_slice_mut(lines)
}
