//! Runs the replica machine: one thread drives it, others execute its commands.
//!
//! ```text
//!   HTTP, peers ──Inbox──► engine thread: Replica::step ──Persist──► log thread (group commit) ──Persisted──┐
//!                             ▲      │  │                                                                  │
//!                             │      │  ├──Read──► search threads ──ReadDone──┐                             │
//!                             │      │  └──snapshots──► snapshot thread ──────┤                             │
//!                             └──────┼──────────────────────────────────────┴─────────────────────────────┘
//!                                    └──Send──► peer::Hub
//! ```

mod admission;
mod engine;
mod heartbeat;
mod log_thread;
mod report;
mod retired;
mod search_threads;
mod snapshot_thread;
mod supervisor;

pub use engine::{Engine, Handle};
pub use report::NodeReporter;
pub use supervisor::{Supervisor, SupervisorError};

/// Spawns a thread that the replica cannot run without. A panic in it is a violated invariant: the process aborts and
/// recovers from the disk.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    struct EndWithPanic;
    impl Drop for EndWithPanic {
        fn drop(&mut self) {
            if std::thread::panicking() {
                std::process::abort();
            }
        }
    }
    let guarded = move || {
        let _guard = EndWithPanic;
        work();
    };
    std::thread::Builder::new().name(name.into()).spawn(guarded).map(drop)
}
