//! Counts the memory of a body while it is decoded, so that a small body cannot become a large value.
//!
//! `Deserialize` takes no context, so the counter is thread-local. It sums the allocations of lists, texts and maps: every
//! type of a body that can repeat is a [`List`], `OneOrMany` or `Text`, or charges by itself. Structs need no charge beyond
//! their place in a list, because a body has a fixed number of others.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use meridian_model::PathStep;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Fault;

/// Decoded bytes per byte of a body. With the body itself that makes four.
const FACTOR: usize = 3;
/// Decoded bytes that any body may use in addition, so that small bodies are not refused for fixed costs.
const ALLOWANCE: usize = 1 << 20;
/// Bytes taken from the budget at once; small, so that a small body takes about what it needs.
const PIECE: usize = 16 << 10;
/// From this many bytes on, a list that is reallocated counts in full, old and new: the allocator reuses a small hole at
/// once, but keeps a large one resident for a while.
const LARGE: usize = 64 << 10;
/// Overhead of an allocation, and of an entry of a map, in bytes.
pub const HEADER: usize = 16;

/// Memory shared by all requests in flight.
pub trait Budget: Send + Sync {
    /// Takes `bytes`; false when fewer are left. The caller returns them.
    fn take(&self, bytes: usize) -> bool;
}

/// The count of one body.
struct Meter {
    most: usize,
    used: usize,
    taken: usize,
    budget: Option<Arc<dyn Budget>>,
    stop: Option<Reason>,
}

/// Why decoding was stopped.
#[derive(Clone, Copy)]
enum Reason {
    TooLarge,
    NoRoom,
}

thread_local! {
    static METER: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

/// Runs `decode` on a body of `len` bytes and counts its memory. The second value is the number of bytes taken from
/// `budget`, which the caller returns to it, after an error too.
///
/// # Errors
/// Those of `decode`; [`Fault::TooLarge`] when the body becomes too large, [`Fault::NoRoom`] when the budget is used up.
pub fn metered<T>(
    len: usize,
    budget: Option<Arc<dyn Budget>>,
    decode: impl FnOnce() -> Result<T, Fault>,
) -> (Result<T, Fault>, usize) {
    let most = len.saturating_mul(FACTOR).saturating_add(ALLOWANCE);
    let before = METER.replace(Some(Meter { most, used: 0, taken: 0, budget, stop: None }));
    let decoded = decode();
    let meter = METER.replace(before);
    let Some(meter) = meter else { return (decoded, 0) };
    let decoded = match meter.stop {
        None => decoded,
        Some(Reason::NoRoom) => Err(Fault::NoRoom),
        Some(Reason::TooLarge) => Err(Fault::TooLarge(format!(
            "the request body of {len} bytes must need at most {most} bytes once it is decoded; send fewer or larger elements"
        ))),
    };
    (decoded, meter.taken)
}

/// Counts `bytes` that are about to be allocated.
///
/// # Errors
/// When decoding must stop.
pub fn charge<E: Error>(bytes: usize) -> Result<(), E> {
    METER.with_borrow_mut(|meter| match meter {
        None => Ok(()),
        Some(meter) => meter.charge(bytes).map_err(|reason| {
            meter.stop = Some(reason);
            E::custom("the body needs too much memory")
        }),
    })
}

/// Counts a payload path: a step may have two bytes of text.
///
/// # Errors
/// As [`charge`].
pub fn charge_path<E: Error>(text: &str) -> Result<(), E> {
    charge((1 + text.bytes().filter(|byte| matches!(byte, b'.' | b'[')).count()) * (size_of::<PathStep>() + HEADER))
}

/// The bytes counted so far, for [`release`].
pub fn mark() -> usize {
    METER.with_borrow(|meter| meter.as_ref().map_or(0, |meter| meter.used))
}

/// Uncounts what was counted since `mark`, because it is freed. What was taken from the budget stays taken.
pub fn release(mark: usize) {
    METER.with_borrow_mut(|meter| {
        if let Some(meter) = meter {
            meter.used = mark;
        }
    });
}

/// Counts the growth of a list of `capacity` by one element.
///
/// # Errors
/// As [`charge`].
pub fn charge_push<T, E: Error>(list: &Vec<T>) -> Result<(), E> {
    if list.len() < list.capacity() {
        return Ok(());
    }
    let held = list.capacity().saturating_mul(size_of::<T>());
    let grown = list.capacity().saturating_mul(2).max(4).saturating_mul(size_of::<T>());
    charge(if held >= LARGE { grown } else { grown - held } + if held == 0 { HEADER } else { 0 })
}

impl Meter {
    fn charge(&mut self, bytes: usize) -> Result<(), Reason> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.most {
            return Err(Reason::TooLarge);
        }
        while self.used > self.taken {
            let piece = PIECE.max(self.used - self.taken);
            if !self.budget.as_ref().is_none_or(|budget| budget.take(piece)) {
                return Err(Reason::NoRoom);
            }
            self.taken += piece;
        }
        Ok(())
    }
}

/// A list whose memory is counted.
pub struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<List<T>, A::Error> {
                collect(list).map(List)
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// Deserializes the elements of a list and counts their memory.
///
/// # Errors
/// Those of the elements, and as [`charge`].
pub fn collect<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<T>, A::Error> {
    let mut elements = Vec::new();
    while let Some(element) = list.next_element()? {
        charge_push::<_, A::Error>(&elements)?;
        elements.push(element);
    }
    Ok(elements)
}

/// A text whose memory is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        charge::<D::Error>(text.len() + HEADER)?;
        Ok(Self(text))
    }
}
