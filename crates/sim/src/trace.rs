//! A hash of all events and commands of machines, to compare two builds: equal hashes mean equal behavior.
//!
//! Hashed are the time, the pod, the decoded event and the decoded commands. Call numbers are replaced by their order
//! of appearance at the pod, since skipping a number is no change of behavior. The write ids of a delete by filter
//! contain such a number and are hashed unchanged.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use meridian_proto::frame::{NodeId, PeerMessage, RegionMessage};
use meridian_replica::{Command, Event, Peer};

use crate::clock::Micros;

/// The party that allocated a call number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    /// The pod itself.
    Own,
    /// Another replica of its region.
    Node(NodeId),
    /// Another region.
    Peer(Peer),
    /// A replica of its group, in a message of raft-rs.
    Raft(u64),
}

/// The hash of the events and commands so far.
#[derive(Debug)]
pub struct Trace {
    hash: Fnv,
    /// Order of appearance of each number, by pod and party.
    numbers: BTreeMap<(usize, Party, u64), usize>,
}

impl Trace {
    pub fn new() -> Self {
        Self { hash: Fnv(0xcbf2_9ce4_8422_2325), numbers: BTreeMap::new() }
    }

    /// The hash of everything recorded so far.
    pub fn finish(&self) -> u64 {
        self.hash.0
    }

    /// Records an event of a machine.
    pub fn event(&mut self, at: Micros, pod: usize, event: &Event) {
        self.put(format_args!("{at} {pod} "));
        match event {
            Event::Tick { random } => self.put(format_args!("tick {random}")),
            Event::Client { ticket, request } => self.put(format_args!("client {ticket} {request:?}")),
            Event::Gone { ticket } => self.put(format_args!("gone {ticket}")),
            Event::Met(hello) => self.put(format_args!("met {hello:?}")),
            Event::Connected(peer) => self.put(format_args!("connected {peer:?}")),
            Event::Lost(peer) => self.put(format_args!("lost {peer:?}")),
            Event::Heard(peer) => self.put(format_args!("heard {peer:?}")),
            Event::Peer(from, message) => self.peer_message(pod, false, *from, message),
            Event::Region(from, message) => self.region_message(pod, false, from, message),
            Event::Topology { ticket, call } => self.put(format_args!("topology {ticket} {call:?}")),
            Event::Persisted { number, first } => {
                let number = self.order(pod, Party::Own, *number);
                self.put(format_args!("persisted {number} {first}"));
            }
            Event::ReadDone { job, result } => {
                let job = self.order(pod, Party::Own, *job);
                self.put(format_args!("read done {job} {result:?}"));
            }
            Event::ReadRefused { job, why } => {
                let job = self.order(pod, Party::Own, *job);
                self.put(format_args!("read refused {job} {why}"));
            }
            Event::SnapshotTaken { id, manifest } => {
                self.put(format_args!("snapshot taken {id} "));
                self.bytes(manifest.as_deref());
            }
            Event::ChunkRead { to, call, bytes } => {
                let call = self.order(pod, Party::Node(*to), *call);
                self.put(format_args!("chunk read {to:?} {call} "));
                self.bytes(bytes.as_deref());
            }
            Event::InstallWants { file, offset, len } => self.put(format_args!("install wants {file} {offset} {len}")),
            Event::Installed { meta, state } => {
                self.put(format_args!("installed {} {:?} ", state.applied(), state.vv()));
                self.bytes(Some(meta));
            }
            Event::InstallFailed(why) => self.put(format_args!("install failed {why}")),
            Event::Records { call, records, origin_shards } => {
                let call = self.order(pod, Party::Own, *call);
                self.put(format_args!("records {call} {records:?} {origin_shards}"));
            }
            Event::Poison { call, poison } => {
                let call = self.order(pod, Party::Own, *call);
                self.put(format_args!("poison {call} {poison:?}"));
            }
            Event::FreeBytes(free) => self.put(format_args!("free {free}")),
            Event::MemoryUsed { bytes, limit } => self.put(format_args!("memory {bytes} {limit}")),
            Event::Drain => self.put(format_args!("drain")),
            Event::Finish { within } => self.put(format_args!("finish {within:?}")),
        }
        self.put(format_args!("\n"));
    }

    /// Records a command of the machine.
    pub fn command(&mut self, pod: usize, command: &Command) {
        match command {
            Command::Persist { number, records } => {
                let number = self.order(pod, Party::Own, *number);
                self.put(format_args!("persist {number} "));
                records.iter().for_each(|record| self.bytes(Some(record)));
            }
            Command::Send(to, message) => self.peer_message(pod, true, *to, message),
            Command::SendRegion(to, message) => self.region_message(pod, true, to, message),
            Command::Read { job, what, deadline } => {
                let job = self.order(pod, Party::Own, *job);
                self.put(format_args!("read {job} {what:?} {deadline:?}"));
            }
            Command::CancelRead { job } => {
                let job = self.order(pod, Party::Own, *job);
                self.put(format_args!("cancel read {job}"));
            }
            Command::TakeSnapshot { id, meta, image: _ } => {
                self.put(format_args!("take snapshot {id} "));
                self.bytes(Some(meta));
            }
            Command::ReadChunk { to, call, snapshot, file, offset, len } => {
                let call = self.order(pod, Party::Node(*to), *call);
                self.put(format_args!("read chunk {to:?} {call} {snapshot} {file} {offset} {len}"));
            }
            Command::Install { id, manifest } => {
                self.put(format_args!("install {id} "));
                self.bytes(Some(manifest));
            }
            Command::InstallChunk { file, offset, bytes } => {
                self.put(format_args!("install chunk {file} {offset} "));
                self.bytes(Some(bytes));
            }
            Command::Follow { call, origin, topic, after, credit } => {
                let call = self.order(pod, Party::Own, *call);
                self.put(format_args!("follow {call} {origin:?} {topic:?} {after:?} {credit}"));
            }
            Command::FollowCredit { call, bytes } => {
                let call = self.order(pod, Party::Own, *call);
                self.put(format_args!("follow credit {call} {bytes}"));
            }
            Command::Unfollow { call } => {
                let call = self.order(pod, Party::Own, *call);
                self.put(format_args!("unfollow {call}"));
            }
            Command::Release { .. }
            | Command::HandedOver { .. }
            | Command::Dial(..)
            | Command::Reply { .. }
            | Command::TopologyReply { .. }
            | Command::Merged { .. }
            | Command::Traced(_)
            | Command::Leads(_)
            | Command::Poisoned { .. }
            | Command::OutOfService(_)
            | Command::Drained
            | Command::Finished { .. } => self.put(format_args!("{command:?}")),
        }
        self.put(format_args!("\n"));
    }

    fn peer_message(&mut self, pod: usize, is_sent: bool, other: NodeId, message: &PeerMessage) {
        let (caller, answerer) = parties(is_sent, Party::Node(other));
        self.put(format_args!("{is_sent} {other:?} "));
        match message {
            PeerMessage::Raft(bytes) => {
                let (rest, read) = meridian_raft::split_read_number(bytes);
                let read = read.map(|(replica, number)| self.order(pod, Party::Raft(replica), number));
                self.put(format_args!("raft {read:?} "));
                self.bytes(Some(rest));
            }
            PeerMessage::Call(call, body) => {
                let call = self.order(pod, caller, *call);
                self.put(format_args!("call {call} {body:?}"));
            }
            PeerMessage::Answer(call, answer) => {
                let call = self.order(pod, answerer, *call);
                self.put(format_args!("answer {call} {answer:?}"));
            }
            PeerMessage::Cancel(call) => {
                let call = self.order(pod, caller, *call);
                self.put(format_args!("cancel {call}"));
            }
            PeerMessage::Lead(_) | PeerMessage::Complete(_) | PeerMessage::Disk(_) => {
                self.put(format_args!("{message:?}"));
            }
        }
    }

    fn region_message(&mut self, pod: usize, is_sent: bool, other: &Peer, message: &RegionMessage) {
        let (caller, answerer) = parties(is_sent, Party::Peer(other.clone()));
        self.put(format_args!("{is_sent} {other:?} "));
        match message {
            RegionMessage::Call(call, body) => {
                let call = self.order(pod, caller, *call);
                self.put(format_args!("call {call} {body:?}"));
            }
            RegionMessage::Answer(call, answer) => {
                let call = self.order(pod, answerer, *call);
                self.put(format_args!("answer {call} {answer:?}"));
            }
            RegionMessage::Cancel(call) => {
                let call = self.order(pod, caller, *call);
                self.put(format_args!("cancel {call}"));
            }
        }
    }

    fn order(&mut self, pod: usize, party: Party, number: u64) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry((pod, party, number)).or_insert(next)
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        self.hash.write_fmt(text).expect("hashing does not fail");
    }

    fn bytes(&mut self, bytes: Option<&[u8]>) {
        self.put(format_args!("{:?} ", bytes.map(<[u8]>::len)));
        self.hash.take(bytes.unwrap_or_default());
    }
}

/// The party that allocated the call number of a request, and that of a response.
fn parties(is_sent: bool, other: Party) -> (Party, Party) {
    if is_sent { (Party::Own, other) } else { (other, Party::Own) }
}

/// FNV-1a of 64 bits.
#[derive(Debug)]
struct Fnv(u64);

impl Fnv {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.take(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::{ReplicaId, ShardNumber};
    use meridian_proto::frame::{ReadDemand, ShardCall};

    fn node(replica: u64) -> NodeId {
        NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(replica) }
    }

    /// The hash of calls with these numbers, each sent by this machine or by the other one.
    fn hash_of(calls: &[(bool, u64)]) -> u64 {
        let mut trace = Trace::new();
        for (is_sent, number) in calls {
            let message = PeerMessage::Call(*number, ShardCall::List(ReadDemand::default()).into());
            match is_sent {
                true => trace.command(0, &Command::Send(node(2), message)),
                false => trace.event(7, 0, &Event::Peer(node(2), message)),
            }
        }
        trace.finish()
    }

    #[test]
    fn only_the_order_of_call_numbers_counts() {
        let hash = hash_of(&[(true, 10), (true, 11), (true, 10)]);
        assert_eq!(hash, hash_of(&[(true, 500), (true, 7), (true, 500)]));
        assert_ne!(hash, hash_of(&[(true, 10), (true, 11), (true, 11)]), "another call is repeated");
        assert_ne!(hash, hash_of(&[(true, 10), (true, 11)]), "one is not sent");
    }

    #[test]
    fn equal_call_numbers_of_two_machines_are_distinct() {
        assert_eq!(hash_of(&[(true, 1), (false, 1)]), hash_of(&[(true, 1), (false, 2)]));
    }

    #[test]
    fn the_content_of_commands_counts() {
        let hash = |before| {
            let mut trace = Trace::new();
            trace.command(0, &Command::Release { before, shrink: false });
            trace.finish()
        };
        assert_ne!(hash(1), hash(2));
        assert_eq!(hash(1), hash(1));
    }
}
