//! Rotation of certificates and keys in use. Time is the age of the process.
//!
//! ```text
//!   files ──changed──► Rotating::replace ─► what counts now, then what counted until lately
//!                      ShownRotation::replace ─► the former certificate for a while, then the new one
//! ```
//!
//! Kubelets of different machines update the files of one Secret minutes apart, so former values stay accepted for a
//! while.

use std::time::Duration;

/// Time for which a former authority, API key or group key is accepted: kubelets update files up to two minutes apart,
/// and a Secret that was deleted by mistake can be restored.
pub const FORMER_ACCEPTED: Duration = Duration::from_secs(600);
/// Time for which the former certificate is presented, until other pods trust the authority of the new one.
pub const FORMER_SHOWN: Duration = Duration::from_secs(180);

/// Accepted values: the current ones, and former ones for a limited time.
#[derive(Debug, Clone)]
pub struct Rotating<T> {
    current: Vec<T>,
    /// Former values, each with the end of its acceptance.
    former: Vec<(T, Duration)>,
}

impl<T: Clone + PartialEq> Rotating<T> {
    /// Starts with these values.
    #[must_use]
    pub fn new(current: Vec<T>) -> Self {
        Self { current, former: Vec::new() }
    }

    /// Replaces the current values; removed ones are accepted for [`FORMER_ACCEPTED`].
    pub fn replace(&mut self, current: Vec<T>, now: Duration) {
        let gone = std::mem::replace(&mut self.current, current);
        self.former.extend(gone.into_iter().map(|item| (item, now + FORMER_ACCEPTED)));
        self.former.retain(|(item, _)| !self.current.contains(item));
    }

    /// The current values.
    #[must_use]
    pub fn current(&self) -> &[T] {
        &self.current
    }

    /// All accepted values, the current ones first. The flag is true if one expired since the last call: connections
    /// that rest on it must end.
    pub fn accepted(&mut self, now: Duration) -> (Vec<T>, bool) {
        let before = self.former.len();
        self.former.retain(|(_, ends)| *ends > now);
        let former = self.former.iter().map(|(item, _)| item.clone());
        (self.current.iter().cloned().chain(former).collect(), self.former.len() < before)
    }
}

/// The certificate to present: the former or the new one.
#[derive(Debug, Clone)]
pub struct ShownRotation<T> {
    shown: T,
    /// The next value, and the time from which it is presented.
    next: Option<(T, Duration)>,
}

impl<T: Clone + PartialEq> ShownRotation<T> {
    /// Starts with this value.
    #[must_use]
    pub fn new(shown: T) -> Self {
        Self { shown, next: None }
    }

    /// Presents `new` after [`FORMER_SHOWN`]; a later call replaces it and restarts the wait.
    pub fn replace(&mut self, new: T, now: Duration) {
        let known = self.next.as_ref().map_or(&self.shown, |(next, _)| next);
        if *known != new {
            self.next = (self.shown != new).then_some((new, now + FORMER_SHOWN));
        }
    }

    /// The value to present now, and whether it changed since the last call.
    pub fn shown(&mut self, now: Duration) -> (T, bool) {
        match self.next.take_if(|(_, from)| *from <= now) {
            Some((next, _)) => {
                self.shown = next;
                (self.shown.clone(), true)
            }
            None => (self.shown.clone(), false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_replaced_value_is_accepted_for_ten_minutes() {
        let mut keys = Rotating::new(vec!["a"]);
        keys.replace(vec!["b"], s(100));
        assert_eq!(keys.accepted(s(100)), (vec!["b", "a"], false));
        assert_eq!(keys.accepted(s(699)), (vec!["b", "a"], false));
        assert_eq!(keys.accepted(s(700)), (vec!["b"], true));
        assert_eq!(keys.accepted(s(701)), (vec!["b"], false));
    }

    #[test]
    fn a_restored_value_is_current_again() {
        let mut keys = Rotating::new(vec!["a"]);
        keys.replace(vec!["b"], s(0));
        keys.replace(vec!["a", "b"], s(1));
        assert_eq!(keys.accepted(s(1_000)), (vec!["a", "b"], false));
    }

    #[test]
    fn a_second_replacement_does_not_end_the_first_key_early_or_late() {
        let mut keys = Rotating::new(vec!["a"]);
        keys.replace(vec!["b"], s(0));
        keys.replace(vec!["c"], s(300));
        assert_eq!(keys.accepted(s(599)), (vec!["c", "a", "b"], false));
        assert_eq!(keys.accepted(s(600)), (vec!["c", "b"], true));
        assert_eq!(keys.accepted(s(900)), (vec!["c"], true));
    }

    #[test]
    fn the_former_certificate_is_shown_for_three_minutes() {
        let mut shown = ShownRotation::new("a");
        shown.replace("b", s(10));
        shown.replace("b", s(100)); // the same file, read again: nothing waits anew
        assert_eq!(shown.shown(s(189)), ("a", false));
        assert_eq!(shown.shown(s(190)), ("b", true));
        assert_eq!(shown.shown(s(191)), ("b", false));
    }

    #[test]
    fn a_certificate_that_came_back_ends_the_change() {
        let mut shown = ShownRotation::new("a");
        shown.replace("b", s(0));
        shown.replace("a", s(1));
        assert_eq!(shown.shown(s(1_000)), ("a", false));
    }
}
