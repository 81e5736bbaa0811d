//! Who may occupy the peer port before proving who it is.
//!
//! A connection that has not proven itself is worth nothing yet, and anybody can open thousands. So few of them are held per
//! source address and in all; beyond that the oldest makes room for the newest, because an honest peer proves itself within
//! a few round trips. Addresses from which a peer has proven itself before make room last. Proven connections count
//! elsewhere: load balancers show many peers under one address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// Unproven connections from one address: the members of the largest region behind one load balancer, twice.
const PER_ADDRESS: usize = 64;
/// Unproven connections in all. Each holds a socket and the buffers of a TLS handshake, about 64 KiB.
const IN_ALL: usize = 256;
/// Addresses of proven peers that are remembered: several times the pods of the largest cluster.
const KNOWN: usize = 1024;

/// A connection that waits to prove itself.
pub(super) type Ticket = u64;

/// What is held open for strangers.
#[derive(Debug, Default)]
pub(super) struct Gate {
    next: Ticket,
    /// By arrival.
    waiting: BTreeMap<Ticket, IpAddr>,
    by_address: HashMap<IpAddr, BTreeSet<Ticket>>,
    /// When a peer of an address last proved itself, as a ticket.
    known: HashMap<IpAddr, Ticket>,
}

impl Gate {
    /// Takes in a connection; also the one that makes room for it, if one must.
    pub fn arrive(&mut self, from: IpAddr) -> (Ticket, Option<Ticket>) {
        let from = source(from);
        let crowded = self.by_address.get(&from).filter(|held| held.len() >= PER_ADDRESS);
        let displaced = match crowded {
            Some(held) => held.first().copied(),
            None if self.waiting.len() >= IN_ALL => self.oldest(),
            None => None,
        };
        if let Some(displaced) = displaced {
            self.leave(displaced);
        }
        self.next += 1;
        self.waiting.insert(self.next, from);
        self.by_address.entry(from).or_default().insert(self.next);
        (self.next, displaced)
    }

    /// The connection is over, or has proven itself.
    pub fn leave(&mut self, ticket: Ticket) {
        let Some(from) = self.waiting.remove(&ticket) else { return };
        if let Some(held) = self.by_address.get_mut(&from) {
            held.remove(&ticket);
            if held.is_empty() {
                self.by_address.remove(&from);
            }
        }
    }

    /// The connection has proven itself: its address is known from now on.
    pub fn proven(&mut self, ticket: Ticket) {
        let Some(from) = self.waiting.get(&ticket).copied() else { return };
        self.leave(ticket);
        self.next += 1;
        self.known.insert(from, self.next);
        if self.known.len() > KNOWN
            && let Some(oldest) = self.known.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address)
        {
            self.known.remove(&oldest);
        }
    }

    fn oldest(&self) -> Option<Ticket> {
        let stranger = self.waiting.iter().find(|(_, from)| !self.known.contains_key(from));
        stranger.or(self.waiting.first_key_value()).map(|(ticket, _)| *ticket)
    }
}

/// The address that counts: who has one IPv6 address has all of its network.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: usize) -> IpAddr {
        let [high, low] = u16::try_from(last).unwrap().to_be_bytes();
        IpAddr::from([10, 0, high, low])
    }

    #[test]
    fn one_address_displaces_only_itself() {
        let mut gate = Gate::default();
        let (other, _) = gate.arrive(v4(2));
        let first: Vec<Ticket> = (0..PER_ADDRESS).map(|_| gate.arrive(v4(1)).0).collect();
        for nth in 0..1_000 {
            let (_, displaced) = gate.arrive(v4(1));
            assert!(displaced.is_some_and(|gone| gone != other));
            assert_eq!(displaced == first.get(nth).copied(), nth < PER_ADDRESS, "the oldest goes");
        }
        assert_eq!(gate.waiting.len(), PER_ADDRESS + 1);
    }

    #[test]
    fn many_addresses_displace_each_other_before_one_that_proved_itself() {
        let mut gate = Gate::default();
        let (operator, _) = gate.arrive(v4(1));
        gate.proven(operator);
        let (again, _) = gate.arrive(v4(1));
        for address in 2..10_000 {
            let (_, displaced) = gate.arrive(v4(address));
            assert_ne!(displaced, Some(again));
            assert!(gate.waiting.len() <= IN_ALL);
        }
        assert!(gate.waiting.contains_key(&again));
    }

    #[test]
    fn what_left_takes_no_room_and_what_is_known_is_bounded() {
        let mut gate = Gate::default();
        for address in 0..10_000 {
            let (ticket, displaced) = gate.arrive(v4(address));
            assert_eq!(displaced, None);
            if address % 2 == 0 { gate.proven(ticket) } else { gate.leave(ticket) }
        }
        assert!(gate.waiting.is_empty() && gate.by_address.is_empty());
        assert_eq!(gate.known.len(), KNOWN);
    }

    #[test]
    fn a_network_of_version_six_counts_as_one_address() {
        let mut gate = Gate::default();
        for host in 0..1_000u16 {
            gate.arrive(IpAddr::from([0xfd00, 0, 0, 1, 0, 0, 0, host]));
        }
        assert_eq!(gate.waiting.len(), PER_ADDRESS);
        gate.arrive("::ffff:10.0.0.1".parse().unwrap());
        assert!(gate.by_address.contains_key(&IpAddr::from([10, 0, 0, 1])));
    }
}
