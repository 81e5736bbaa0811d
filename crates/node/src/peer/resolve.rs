//! Where a party is: its name is resolved anew for each attempt, and the last answer serves while the resolver is silent.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// An attempt waits this long for the resolver before it goes to the address that was known last: the system's own resolver
/// repeats a lost question after 5 s, when the network may long be whole.
const PATIENCE: Duration = Duration::from_millis(200);
/// Questions to the resolver under way at once for one name; each holds a thread.
const LOOKUPS: usize = 4;

/// `host:port`, and what is known of it.
pub(super) struct Endpoint {
    address: String,
    known: Arc<Mutex<Vec<SocketAddr>>>,
    lookups: Arc<Semaphore>,
}

impl Endpoint {
    pub fn new(address: String) -> Self {
        Self { address, known: Arc::default(), lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address for an attempt; attempts take turns among the addresses of the name. A stale one does no harm: TLS
    /// verifies the name.
    ///
    /// # Errors
    /// When the name was never resolved.
    pub async fn resolve(&self, attempt: usize) -> io::Result<SocketAddr> {
        if let Ok(address) = self.address.parse() {
            return Ok(address);
        }
        let mut fault = io::Error::new(io::ErrorKind::TimedOut, format!("{} is not resolved yet", self.address));
        if let Ok(permit) = Arc::clone(&self.lookups).try_acquire_owned() {
            let (address, known) = (self.address.clone(), Arc::clone(&self.known));
            // Goes on when the attempt does not wait for it, and serves the next one.
            let lookup = tokio::spawn(async move {
                let found: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
                if !found.is_empty() {
                    *known.lock() = found;
                }
                drop(permit);
                Ok::<(), io::Error>(())
            });
            if let Ok(Ok(Err(refused))) = timeout(PATIENCE, lookup).await {
                fault = refused;
            }
        }
        let known = self.known.lock();
        known.get(attempt.checked_rem(known.len()).unwrap_or(0)).copied().ok_or(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_cannot_be_resolved_any_more_stands_where_it_stood() {
        let endpoint = Endpoint::new("no-such-host.invalid:8082".into());
        assert!(endpoint.resolve(0).await.is_err());
        let two: Vec<SocketAddr> = ["127.0.0.1:1", "127.0.0.2:1"].map(|text| text.parse().unwrap()).to_vec();
        endpoint.known.lock().clone_from(&two);
        assert_eq!(endpoint.resolve(0).await.unwrap(), two[0]);
        assert_eq!(endpoint.resolve(1).await.unwrap(), two[1]);
        assert_eq!(endpoint.resolve(2).await.unwrap(), two[0]);
    }

    #[tokio::test]
    async fn while_the_resolver_is_silent_attempts_go_to_the_last_address() {
        let endpoint = Endpoint::new("no-such-host.invalid:8082".into());
        let all = Arc::clone(&endpoint.lookups).acquire_many_owned(LOOKUPS as u32).await.unwrap();
        assert_eq!(endpoint.resolve(0).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let address = "127.0.0.1:1".parse().unwrap();
        *endpoint.known.lock() = vec![address];
        assert_eq!(endpoint.resolve(0).await.unwrap(), address);
        drop(all);
    }
}
