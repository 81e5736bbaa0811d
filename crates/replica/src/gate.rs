//! Who may be inside: any number of readers, or one writer.
//!
//! Readers differ: one takes 50 µs, another looks at every point for 50 ms. A lock that shuts its door as soon as a writer waits
//! makes each reader that comes then wait for the slowest one inside; one that lets all pass keeps the writer waiting for ever. So
//! a writer waits in two parts: first, with the door open, for those that were inside when it came; then, with the door shut,
//! for those that came meanwhile.
//!
//! ```text
//!              writer comes        old ones are gone      all are gone      writer leaves
//!   ───────────────┼───────────────────────┼────────────────────┼─────────────────┼──────────
//!   door    open   │         open          │        shut        │      shut       │   open
//! ```
//!
//! A reader therefore waits for a slower one only if that came while a writer waited for others, and a writer waits no longer than
//! twice as long as a reader takes. Who waited before the door is inside as soon as it opens, ahead of the next writer. A thread that is inside must not come in once more: it could wait for itself.

use crate::sync::{Condvar, Mutex, MutexGuard};

/// The door and who is behind it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    crowd: Mutex<Crowd>,
    /// Whenever a writer may go on.
    fewer: Condvar,
    /// When the door opens.
    opened: Condvar,
}

#[derive(Debug, Default)]
struct Crowd {
    /// Readers inside, of two generations: those of the current one came after the writer that waits.
    readers: [usize; 2],
    current: usize,
    /// No reader comes in.
    is_shut: bool,
    /// Readers before the shut door.
    waiting: usize,
    /// Times that they were let in, and the generation that those of the last time are of.
    admissions: (u64, usize),
    /// A writer waits or is inside.
    is_claimed: bool,
}

/// A reader that is inside.
#[must_use = "it leaves when dropped"]
pub(crate) struct Inside<'a> {
    gate: &'a Gate,
    generation: usize,
}

/// A writer that is inside, alone.
#[must_use = "it leaves when dropped"]
pub(crate) struct Alone<'a> {
    gate: &'a Gate,
}

impl Gate {
    /// Comes in to read, when the door is open.
    pub fn enter(&self) -> Inside<'_> {
        let mut crowd = self.crowd();
        if !crowd.is_shut {
            let generation = crowd.current;
            crowd.readers[generation] += 1;
            return Inside { gate: self, generation };
        }
        crowd.waiting += 1;
        let (before, _) = crowd.admissions;
        while crowd.admissions.0 == before {
            crowd = wait(&self.opened, crowd);
        }
        // No other writer has come and gone since: it would have had to wait for this reader.
        Inside { gate: self, generation: crowd.admissions.1 }
    }

    /// Comes in to write, when all that must be waited for have left.
    pub fn enter_alone(&self) -> Alone<'_> {
        let mut crowd = self.crowd();
        while crowd.is_claimed {
            crowd = wait(&self.fewer, crowd);
        }
        crowd.is_claimed = true;
        let old = crowd.current;
        crowd.current = 1 - old;
        while crowd.readers[old] > 0 {
            crowd = wait(&self.fewer, crowd);
        }
        crowd.is_shut = true;
        while crowd.readers != [0, 0] {
            crowd = wait(&self.fewer, crowd);
        }
        Alone { gate: self }
    }

    /// Comes in to write if nobody is inside or waits to write.
    pub fn try_enter_alone(&self) -> Option<Alone<'_>> {
        let mut crowd = self.crowd();
        if crowd.is_claimed || crowd.readers != [0, 0] {
            return None;
        }
        (crowd.is_claimed, crowd.is_shut) = (true, true);
        Some(Alone { gate: self })
    }

    /// Whether a writer waits or is inside, whether readers that come have to wait, and how many do.
    #[cfg(test)]
    pub fn look(&self) -> (bool, bool, usize) {
        let crowd = self.crowd();
        (crowd.is_claimed, crowd.is_shut, crowd.waiting)
    }

    /// No panic leaves a crowd half counted.
    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn wait<'a>(condition: &Condvar, crowd: MutexGuard<'a, Crowd>) -> MutexGuard<'a, Crowd> {
    condition.wait(crowd).unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut crowd = self.gate.crowd();
        crowd.readers[self.generation] -= 1;
        if crowd.readers[self.generation] == 0 && crowd.is_claimed {
            self.gate.fewer.notify_all();
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let mut crowd = self.gate.crowd();
        (crowd.is_claimed, crowd.is_shut) = (false, false);
        // Whoever waited is inside from now on, before it runs: the next writer might be quicker to come than it to wake up.
        let generation = crowd.current;
        crowd.readers[generation] += std::mem::take(&mut crowd.waiting);
        crowd.admissions = (crowd.admissions.0 + 1, generation);
        self.gate.opened.notify_all();
        self.gate.fewer.notify_all();
    }
}
