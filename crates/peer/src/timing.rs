//! Timing of connections: how fast they are opened, and how a dead network between their ends is detected.
//!
//! A packet lost without a reset leaves a connection that looks open on both sides. TCP repeats it after 0.2, 0.4, 0.8
//! … s, so after an outage of a minute the connection may stay unused for another minute. Four mechanisms end such a
//! connection, each where the others do not apply:
//!
//! ```text
//!   TCP user timeout   sent bytes are not acknowledged: the network is dead          seen by the sender
//!   heartbeats         keep both directions busy, so that the user timeout applies
//!   silence            no byte arrived: a middlebox acknowledges for a dead peer
//!   TCP keepalive      the same while a process is stopped, or before the first frame
//! ```

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Timing of one kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time limit of a TCP connect.
    pub connect: Duration,
    /// Time limit of TLS and the `Hello` exchange together.
    pub greeting: Duration,
    /// Longest time from the start of one attempt to the start of the next.
    pub attempt_every: Duration,
    /// Concurrent attempts.
    pub attempts: usize,
    /// Time limit for acknowledgements by the other kernel; then the connection ends.
    pub user_timeout: Duration,
    /// Time without an outgoing frame after which a heartbeat is sent.
    pub heartbeat: Duration,
    /// Time without incoming bytes after which the connection ends.
    pub silence: Duration,
}

impl Timing {
    /// Inside a region: round trips of a few milliseconds. The allowed silence is long, because a process may wait for
    /// a processor; the user timeout does not depend on processes.
    pub const REGION: Self = Self {
        connect: Duration::from_millis(300),
        greeting: Duration::from_secs(1),
        attempt_every: Duration::from_millis(500),
        attempts: 1,
        user_timeout: Duration::from_secs(1),
        heartbeat: Duration::from_millis(250),
        silence: Duration::from_secs(4),
    };
    /// Between regions: round trips above 300 ms exist, so an attempt may take long, and a new one starts beside it.
    pub const GROUP: Self = Self {
        connect: Duration::from_secs(3),
        greeting: Duration::from_secs(3),
        attempt_every: Duration::from_millis(500),
        attempts: 12, // connect and greeting, a new one every 500 ms
        user_timeout: Duration::from_millis(1_500),
        heartbeat: Duration::from_millis(250),
        silence: Duration::from_secs(4),
    };
    /// Calls of the operator, which opens a connection for each call and sends nothing else on it.
    pub const CALL: Self = Self { silence: Duration::from_secs(30), ..Self::REGION };
}

/// Time before the first keepalive probe, and between probes.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// Sets the socket options by which the kernel ends a dead connection.
///
/// # Errors
/// A socket option is refused.
pub fn watch(stream: &TcpStream, timing: &Timing) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(timing.user_timeout))?;
    Ok(())
}
