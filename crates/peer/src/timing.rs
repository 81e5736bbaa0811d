//! How fast a connection is made, and how it notices that the network between its ends is gone.
//!
//! A packet that is lost without a reset leaves a connection that looks open on both sides: TCP repeats it after 0.2, 0.4,
//! 0.8 … s, so a network that was away for a minute is used again up to a minute after it is whole. Four means end such a
//! connection, each where the others are blind:
//!
//! ```text
//!   TCP user timeout   what was sent is not acknowledged: the network is gone       seen by whoever sends
//!   heartbeats         keep both directions busy, so that the user timeout has something to measure
//!   silence            no byte came: a middlebox acknowledges for a peer that is gone
//!   TCP keepalive      the same while a process is stopped, or before anything is said
//! ```

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How one kind of connection is made and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A TCP connect ends after this.
    pub connect: Duration,
    /// TLS and what both sides say of themselves end after this.
    pub greeting: Duration,
    /// The next attempt begins at most this long after the last one began.
    pub attempt_every: Duration,
    /// Attempts under way at once.
    pub attempts: usize,
    /// What was sent is acknowledged by the other kernel within this, or the connection ends.
    pub user_timeout: Duration,
    /// A heartbeat is sent when nothing else was for this long.
    pub heartbeat: Duration,
    /// Bytes come within this, or the connection ends.
    pub silence: Duration,
}

impl Timing {
    /// Inside a region: round trips of a few milliseconds. Silence is long, because a process may wait for a processor; the
    /// user timeout does not depend on processes.
    pub const REGION: Self = Self {
        connect: Duration::from_millis(300),
        greeting: Duration::from_secs(1),
        attempt_every: Duration::from_millis(500),
        attempts: 1,
        user_timeout: Duration::from_secs(1),
        heartbeat: Duration::from_millis(250),
        silence: Duration::from_secs(4),
    };
    /// Between regions: round trips above 300 ms exist, so an attempt may take long and a new one starts beside it.
    pub const GROUP: Self = Self {
        connect: Duration::from_secs(3),
        greeting: Duration::from_secs(3),
        attempt_every: Duration::from_millis(500),
        attempts: 12, // connect and greeting, a new one every 500 ms
        user_timeout: Duration::from_millis(1_500),
        heartbeat: Duration::from_millis(250),
        silence: Duration::from_secs(4),
    };
    /// Of the operator, which opens a connection for each call and says nothing else on it.
    pub const CALL: Self = Self { silence: Duration::from_secs(30), ..Self::REGION };
}

/// Between keepalive probes, and before the first.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// Tells the kernel when to give a connection up.
///
/// # Errors
/// When the kernel does not take it.
pub fn watch(stream: &TcpStream, timing: &Timing) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(timing.user_timeout))?;
    Ok(())
}
