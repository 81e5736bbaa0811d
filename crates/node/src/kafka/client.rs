//! Kafka clients, with the settings that exactly-once publishing depends on.

use std::time::Duration;

use meridian_proto::record::RECORD_BYTES;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};

/// Timeout of a broker request.
pub(super) const BROKER_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before the first retry; each later one doubles.
pub(super) const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// Limit of the retry delay.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// Prefetch limit of a consumer, in KiB.
const PREFETCH_KIB: u32 = 16 << 10;
/// Send queue limit of a producer, in KiB: JSON takes three times the bytes that credit counts.
const SEND_QUEUE_KIB: u32 = 64 << 10;

/// Keeps the last error that librdkafka reported.
#[derive(Default)]
pub(super) struct ErrorListener(Mutex<Option<String>>);

impl ErrorListener {
    /// Takes the last error.
    pub(super) fn take_last(&self) -> Option<String> {
        self.0.lock().take()
    }

    pub(super) fn record(&self, error: String) {
        *self.0.lock() = Some(error);
    }
}

impl ClientContext for ErrorListener {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        self.record(reason.to_owned());
    }
}

impl ConsumerContext for ErrorListener {}

fn base_config(bootstrap_servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap_servers)
        .set("client.id", "meridian")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.nagle.disable", "true");
    config
}

/// Creates a consumer that reads from assigned offsets: no consumer group, no commits, no state at the broker.
pub(super) fn create_consumer(bootstrap_servers: &str) -> KafkaResult<BaseConsumer<ErrorListener>> {
    base_config(bootstrap_servers)
        // librdkafka requires a group id; nothing is stored under it.
        .set("group.id", "meridian")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false")
        .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string())
        .set("fetch.error.backoff.ms", "50")
        .set("fetch.queue.backoff.ms", "20")
        .create_with_context(ErrorListener::default())
}

/// Configuration of producers and admin clients. An unconfirmed record is resent until confirmed, in order and once
/// (idempotence); giving up on one would leave a gap.
pub(super) fn producer_config(bootstrap_servers: &str) -> ClientConfig {
    let mut config = base_config(bootstrap_servers);
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
