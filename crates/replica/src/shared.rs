//! A value that is read while it waits to be written; [`crate::gate`] says who waits for whom.

use std::ops::{Deref, DerefMut};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::gate::{Alone, Gate, Inside};

/// A value behind a gate. A thread that holds a guard of it must not ask for another.
#[derive(Debug)]
pub struct Shared<T> {
    gate: Gate,
    /// Never contended: the gate lets nobody in that would have to wait here.
    value: RwLock<T>,
}

/// To look at the value.
#[must_use = "it is let go when dropped"]
pub struct Reading<'a, T> {
    // Let go before the gate is left.
    value: RwLockReadGuard<'a, T>,
    _inside: Inside<'a>,
}

/// To change the value.
#[must_use = "it is let go when dropped"]
pub struct Writing<'a, T> {
    // Let go before the gate is left.
    value: RwLockWriteGuard<'a, T>,
    _alone: Alone<'a>,
}

impl<T> Shared<T> {
    /// Holds this value.
    pub fn new(value: T) -> Self {
        Self { gate: Gate::default(), value: RwLock::new(value) }
    }

    #[cfg(test)]
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Waits while it is written, and while a writer waits for readers that came after it.
    pub fn read(&self) -> Reading<'_, T> {
        let _inside = self.gate.enter();
        Reading { value: self.value.read(), _inside }
    }

    /// Waits for those that read now, and for those that begin to before these are done.
    pub fn write(&self) -> Writing<'_, T> {
        let _alone = self.gate.enter_alone();
        Writing { value: self.value.write(), _alone }
    }

    /// To change the value, if nobody looks at it.
    pub fn try_write(&self) -> Option<Writing<'_, T>> {
        let _alone = self.gate.try_enter_alone()?;
        Some(Writing { value: self.value.write(), _alone })
    }
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Deref for Writing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Writing<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
