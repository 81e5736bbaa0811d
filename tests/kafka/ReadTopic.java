import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.time.Duration;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Prints the value of every committed record a topic holds at this moment, one a line, partition by partition.
 *
 * <p>It stops at the end offsets it asked for first, not after a silence: on a busy machine a silence proves nothing.
 */
final class ReadTopic {
    public static void main(String[] args) {
        var settings = Map.<String, Object>of(
                "bootstrap.servers", args[0],
                "isolation.level", "read_committed",
                "auto.offset.reset", "none",
                "enable.auto.commit", false,
                "default.api.timeout.ms", 30_000);
        var string = new StringDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, string, string)) {
            List<TopicPartition> partitions = consumer.partitionsFor(args[1]).stream()
                    .map(info -> new TopicPartition(info.topic(), info.partition()))
                    .toList();
            // To a reader of committed records the end is the last stable offset.
            var remaining = new HashMap<>(consumer.endOffsets(partitions));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (true) {
                // The position also passes the markers that end transactions, which are no records.
                remaining.entrySet().removeIf(end -> consumer.position(end.getKey()) >= end.getValue());
                if (remaining.isEmpty()) {
                    return;
                }
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    System.out.println(record.value());
                }
            }
        }
    }
}
