//! Kafka transport of the delta log: publishes this shard's log, and follows those of other regions.
//!
//! Decides nothing: the machine determines who publishes (the leader) and what is read. The publisher reads the log
//! like another region, by tail calls with credit, so that memory is bounded and a slow broker delays nobody else.
//!
//! ```text
//!   engine ──Leads──────► publish thread ──Tail calls──► machine        topic ──► validated or created
//!          ──TailAnswer──►      │ records, acks=all, idempotent         published_position ──► where publishing resumes
//!                               ▼
//!                             broker
//!                               │ from an assigned offset, no consumer group
//!   engine ◄──Records, Poison── follow thread (one per origin shard)
//!          ──Follow, FollowCredit, Unfollow──►
//! ```
//!
//! Start at [`KafkaThreads`]. [`Status`] holds the current error of each thread; a new error is logged once.

mod client;
mod convert;
mod follow;
mod publish;
mod published_position;
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

/// Peer number of the publisher as a tail reader; connections of other regions count up from 1.
pub const PUBLISHER: Peer = Peer::Connection(u64::MAX);

/// Kafka part of the node's configuration.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// The own region and shard.
    pub own: OriginShard,
    /// Number of shards of this region.
    pub shards: u16,
    /// Topic to publish to, if any.
    pub sink: Option<Topic>,
}

impl KafkaConfig {
    /// Extracts it from the node's configuration.
    #[must_use]
    pub fn from_node(config: &NodeConfig) -> Self {
        let sink = config.delta_log.as_ref().map(|log| &log.kafka);
        Self {
            own: OriginShard { region: config.region.clone(), shard: config.shard },
            shards: config.shards,
            sink: sink
                .map(|kafka| Topic { bootstrap_servers: kafka.bootstrap_servers.clone(), name: kafka.topic.clone() }),
        }
    }
}

/// Handle of the Kafka threads, owned by the engine thread.
pub struct KafkaThreads {
    handle: Handle,
    status: Arc<Status>,
    publisher: Option<Sender<publish::PublisherCommand>>,
    followers: HashMap<u64, Sender<follow::FollowerCommand>>,
}

impl KafkaThreads {
    /// Starts the publisher, if a topic is configured.
    ///
    /// # Errors
    /// When the thread cannot be spawned.
    pub fn start(plan: &KafkaConfig, handle: &Handle, status: Arc<Status>) -> std::io::Result<Self> {
        let publisher = match plan.sink.clone() {
            None => None,
            Some(sink) => {
                let (sender, commands) = channel();
                let (own, shards) = (plan.own.clone(), plan.shards);
                let mut publisher = publish::Publisher::new(sink, own, shards, handle.clone(), Arc::clone(&status));
                std::thread::Builder::new().name("kafka-publish".into()).spawn(move || publisher.run(&commands))?;
                Some(sender)
            }
        };
        Ok(Self { handle: handle.clone(), status, publisher, followers: HashMap::new() })
    }

    /// Status of the threads.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Reports to the publisher whether this replica is the leader.
    pub fn leads(&self, leads: bool) {
        self.send_to_publisher(publish::PublisherCommand::Leads(leads));
    }

    /// Passes an answer of the log tail to the publisher.
    pub fn tail_answer(&self, call: u64, answer: TailAnswer) {
        self.send_to_publisher(publish::PublisherCommand::Tail(call, answer));
    }

    fn send_to_publisher(&self, command: publish::PublisherCommand) {
        if let Some(publisher) = &self.publisher {
            // The publisher ends only with the process.
            let _ = publisher.send(command);
        }
    }

    /// Starts to follow an origin shard.
    pub fn follow(&mut self, call: u64, origin: OriginShard, topic: Topic, after: SourcePosition, credit: u64) {
        let (sender, commands) = channel();
        let name = format!("kafka-{}-{}", origin.region, origin.shard);
        let follower = follow::Follower::new(call, topic, origin, after, credit, self.handle.clone());
        let status = Arc::clone(&self.status);
        match std::thread::Builder::new().name(name).spawn(move || follower.run(&commands, &status)) {
            Ok(_) => drop(self.followers.insert(call, sender)),
            Err(error) => tracing::error!(%error, "cannot spawn a Kafka thread; the link is stopped"),
        }
    }

    /// Grants a follower more bytes.
    pub fn credit(&self, call: u64, bytes: u64) {
        if let Some(follower) = self.followers.get(&call) {
            // The follower may have ended.
            let _ = follower.send(follow::FollowerCommand::Credit(bytes));
        }
    }

    /// Stops a follower by closing its command channel.
    pub fn unfollow(&mut self, call: u64) {
        self.followers.remove(&call);
    }
}
