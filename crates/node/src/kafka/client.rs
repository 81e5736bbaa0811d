//! Clients of a broker, with the settings that exactness rests on.

use std::time::Duration;

use meridian_proto::record::RECORD_BYTES;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};

/// How long a broker may take to answer a question of ours.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Before the first new attempt; each later one waits twice as long.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(100);
/// No attempt waits longer.
pub(super) const RETRY_MOST: Duration = Duration::from_secs(2);
/// Bytes that a reader fetches ahead.
const FETCH_AHEAD_KIB: u32 = 16 << 10;
/// Bytes that wait to be sent: JSON takes three times what the credit counts.
const SEND_QUEUE_KIB: u32 = 64 << 10;

/// Remembers what the library says is wrong.
#[derive(Default)]
pub(super) struct Ear(Mutex<Option<String>>);

impl Ear {
    /// What was said last, once.
    pub(super) fn heard(&self) -> Option<String> {
        self.0.lock().take()
    }

    pub(super) fn hear(&self, what: String) {
        *self.0.lock() = Some(what);
    }
}

impl ClientContext for Ear {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        self.hear(reason.to_owned());
    }
}

impl ConsumerContext for Ear {}

fn common(bootstrap_servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap_servers)
        .set("client.id", "meridian")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.nagle.disable", "true");
    config
}

/// Reads from given offsets only: no group, no commits, nothing that a broker remembers of us.
pub(super) fn reader(bootstrap_servers: &str) -> KafkaResult<BaseConsumer<Ear>> {
    common(bootstrap_servers)
        // The library asks for a name; nothing is stored under it.
        .set("group.id", "meridian")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false")
        .set("queued.max.messages.kbytes", FETCH_AHEAD_KIB.to_string())
        .set("fetch.error.backoff.ms", "50")
        .set("fetch.queue.backoff.ms", "20")
        .create_with_context(Ear::default())
}

/// What a client that manages topics, or one that produces, is made from. A record that the broker does not confirm is sent
/// until it does, in order and once; giving up on one would leave a gap before the next.
pub(super) fn writer(bootstrap_servers: &str) -> ClientConfig {
    let mut config = common(bootstrap_servers);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", RECORD_BYTES.to_string())
        .set("queue.buffering.max.kbytes", SEND_QUEUE_KIB.to_string())
        .set("retry.backoff.ms", "50")
        .set("linger.ms", "0");
    config
}
