//! The broker's side of following: publishing this shard's delta log, and reading those of others.
//!
//! Decides nothing: the machine says who publishes (the leader) and what is read from where; the log itself is read as another
//! region would read it, by calls of the tail with credit, so that memory is bounded and a slow broker slows nobody else.
//!
//! ```text
//!   engine ──Leads──────► publish thread ──Tail calls──► machine        topic ──► checks or makes it
//!          ──TailAnswer──►      │ records, acks=all, idempotent         newest ─► where publishing goes on
//!                               ▼
//!                             broker
//!                               │ from a given offset, no group
//!   engine ◄──Records, Poison── follow thread (one for each origin shard)
//!          ──Follow, FollowCredit, Unfollow──►
//! ```
//!
//! Start at [`Room`]. What goes wrong stands in [`Status`] while it does, and in the log once.

mod client;
mod convert;
mod follow;
mod newest;
mod publish;
mod status;
mod topic;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use meridian_config::NodeConfig;
use meridian_model::{OriginShard, Topic};
use meridian_proto::frame::TailAnswer;
use meridian_replica::Peer;
use meridian_shard::SourcePosition;

use crate::shell::Handle;

pub use status::Status;

/// The number under which the publisher reads the tail; connections of other regions count up from 1.
pub const PUBLISHER: Peer = Peer::Connection(u64::MAX);

/// What the configuration says of brokers.
#[derive(Debug, Clone)]
pub struct Plan {
    /// This region and shard.
    pub own: OriginShard,
    /// Shards of this region.
    pub shards: u16,
    /// Where deltas are published.
    pub sink: Option<Topic>,
}

impl Plan {
    /// What `config` says.
    #[must_use]
    pub fn of(config: &NodeConfig) -> Self {
        let sink = config.delta_log.as_ref().map(|log| &log.kafka);
        Self {
            own: OriginShard { region: config.region.clone(), shard: config.shard },
            shards: config.shards,
            sink: sink
                .map(|kafka| Topic { bootstrap_servers: kafka.bootstrap_servers.clone(), name: kafka.topic.clone() }),
        }
    }
}

/// The threads that speak with brokers, as the engine thread sees them.
pub struct Room {
    handle: Handle,
    status: Arc<Status>,
    publisher: Option<Sender<publish::Order>>,
    followers: HashMap<u64, Sender<follow::Order>>,
}

impl Room {
    /// Starts the publisher, if there is anything to publish to.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(plan: &Plan, handle: &Handle, status: Arc<Status>) -> std::io::Result<Self> {
        let publisher = match plan.sink.clone() {
            None => None,
            Some(sink) => {
                let (sender, orders) = channel();
                let (own, shards) = (plan.own.clone(), plan.shards);
                let mut publisher = publish::Publisher::new(sink, own, shards, handle.clone(), Arc::clone(&status));
                std::thread::Builder::new().name("kafka-publish".into()).spawn(move || publisher.run(&orders))?;
                Some(sender)
            }
        };
        Ok(Self { handle: handle.clone(), status, publisher, followers: HashMap::new() })
    }

    /// What its threads say of themselves.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// This replica leads its shard, or does not any more.
    pub fn leads(&self, leads: bool) {
        self.order(publish::Order::Leads(leads));
    }

    /// What the machine answers to the publisher's call.
    pub fn tail(&self, call: u64, answer: TailAnswer) {
        self.order(publish::Order::Tail(call, answer));
    }

    fn order(&self, order: publish::Order) {
        if let Some(publisher) = &self.publisher {
            // The thread ends only with the process.
            let _ = publisher.send(order);
        }
    }

    /// Begins to read an origin shard.
    pub fn follow(&mut self, call: u64, origin: OriginShard, topic: Topic, after: SourcePosition, credit: u64) {
        let (sender, orders) = channel();
        let name = format!("kafka-{}-{}", origin.region, origin.shard);
        let follower = follow::Follower::new(call, topic, origin, after, credit, self.handle.clone());
        let status = Arc::clone(&self.status);
        match std::thread::Builder::new().name(name).spawn(move || follower.run(&orders, &status)) {
            Ok(_) => drop(self.followers.insert(call, sender)),
            Err(fault) => tracing::error!(%fault, "no thread to read Kafka with; the link stands still"),
        }
    }

    /// A follower may hand over so many bytes more.
    pub fn credit(&self, call: u64, bytes: u64) {
        if let Some(follower) = self.followers.get(&call) {
            // One that has just ended needs none.
            let _ = follower.send(follow::Order::Credit(bytes));
        }
    }

    /// Ends a follower: its thread sees that nobody can give it orders any more.
    pub fn unfollow(&mut self, call: u64) {
        self.followers.remove(&call);
    }
}
