//! The gate under every order in which threads can take their turns (shuttle walks them), or under many where there are too many.
//!
//! It is compiled here a second time, over the model's mutex in place of the system's. A thread that waits for ever is found as a
//! deadlock, so "must be able to come in" is: all that could let it in waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use gate::Gate;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize};
use shuttle::thread;

#[path = "../src/gate.rs"]
mod gate;

mod sync {
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
}

/// Two halves that a writer sets one after the other, and what a reader must never see apart.
#[derive(Default)]
struct Row([AtomicUsize; 2]);

impl Row {
    fn write(&self, value: usize) {
        self.0.iter().for_each(|half| half.store(value, SeqCst));
    }

    fn read(&self) -> usize {
        let [first, second] = self.0.each_ref().map(|half| half.load(SeqCst));
        assert_eq!(first, second, "a torn row");
        first
    }
}

#[derive(Default)]
struct Shared {
    gate: Gate,
    row: Row,
    is_done: AtomicBool,
}

fn shared() -> Arc<Shared> {
    Arc::default()
}

fn spawn(shared: &Arc<Shared>, run: impl FnOnce(&Shared) + Send + 'static) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || run(&shared))
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

#[test]
fn nobody_sees_a_torn_row_and_all_come_in() {
    let model = || {
        let shared = shared();
        let read = |shared: &Shared| {
            let _inside = shared.gate.enter();
            shared.row.read();
        };
        let write = |shared: &Shared| {
            let _alone = shared.gate.enter_alone();
            shared.row.write(shared.row.read() + 1);
        };
        let try_write = |shared: &Shared| {
            if let Some(_alone) = shared.gate.try_enter_alone() {
                shared.row.write(shared.row.read() + 10);
            }
        };
        join([
            spawn(&shared, read),
            spawn(&shared, write),
            spawn(&shared, read),
            spawn(&shared, write),
            spawn(&shared, try_write),
        ]);
        let _inside = shared.gate.enter();
        assert!([2, 12].contains(&shared.row.read()));
    };
    shuttle::check_random(model, 20_000);
    shuttle::check_pct(model, 20_000, 3);
}

/// A slow reader is inside, a writer waits for it: who comes now must not wait for the slow one, which here leaves only after it.
#[test]
fn a_reader_does_not_wait_for_those_whom_a_writer_waits_for() {
    shuttle::check_dfs(
        || {
            let shared = shared();
            let slow = shared.gate.enter();
            let writer = spawn(&shared, |shared| {
                let _alone = shared.gate.enter_alone();
                shared.row.write(1);
            });
            let quick = spawn(&shared, |shared| {
                let _inside = shared.gate.enter();
                assert_eq!(shared.row.read(), 0);
            });
            join([quick]);
            drop(slow);
            join([writer]);
        },
        None,
    );
}

/// Readers that come one after the other, each before the last has left, must not keep a writer out: it waits for two generations.
#[test]
fn a_writer_comes_in_however_many_read() {
    shuttle::check_random(
        || {
            let shared = shared();
            let old = shared.gate.enter();
            let writer = spawn(&shared, |shared| {
                let _alone = shared.gate.enter_alone();
                shared.is_done.store(true, SeqCst);
            });
            while shared.gate.look() != (true, false, 0) {
                thread::yield_now();
            }
            let young = shared.gate.enter();
            drop(old);
            while shared.gate.look() != (true, true, 0) {
                thread::yield_now();
            }
            let late = spawn(&shared, |shared| {
                let _inside = shared.gate.enter();
                assert!(shared.is_done.load(SeqCst), "the door was open for a third generation");
            });
            drop(young);
            join([writer, late]);
        },
        20_000,
    );
}

/// Writers that come one after the other, as entries of a log are applied, must let in between whoever waited.
#[test]
fn a_reader_that_waited_comes_in_before_the_next_writer() {
    shuttle::check_random(
        || {
            let shared = shared();
            let first = shared.gate.enter_alone();
            let reader = spawn(&shared, |shared| {
                let _inside = shared.gate.enter();
                assert_eq!(shared.row.read(), 1, "another writer came first");
            });
            while shared.gate.look() != (true, true, 1) {
                thread::yield_now();
            }
            shared.row.write(1);
            drop(first);
            let second = shared.gate.enter_alone();
            shared.row.write(2);
            drop(second);
            join([reader]);
        },
        20_000,
    );
}

#[test]
fn only_a_gate_with_nobody_inside_is_taken_without_waiting() {
    shuttle::check_dfs(
        || {
            let shared = shared();
            let inside = shared.gate.enter();
            assert!(shared.gate.try_enter_alone().is_none());
            drop(inside);
            let alone = shared.gate.try_enter_alone();
            assert!(alone.is_some() && shared.gate.try_enter_alone().is_none());
            let reader = spawn(&shared, |shared| {
                let _inside = shared.gate.enter();
                assert_eq!(shared.row.read(), 1);
            });
            shared.row.write(1);
            drop(alone);
            join([reader]);
        },
        None,
    );
}
