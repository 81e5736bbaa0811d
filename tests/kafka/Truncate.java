import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.common.TopicPartition;

/** Deletes all records a topic holds now, as retention does: offsets go on from there. */
final class Truncate {
    public static void main(String[] args) throws Exception {
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", args[0]))) {
            var partitions = admin.describeTopics(java.util.List.of(args[1])).allTopicNames().get().get(args[1]).partitions();
            var wanted = new HashMap<TopicPartition, OffsetSpec>();
            partitions.forEach(partition -> wanted.put(new TopicPartition(args[1], partition.partition()), OffsetSpec.latest()));
            var until = new HashMap<TopicPartition, RecordsToDelete>();
            admin.listOffsets(wanted).all().get().forEach(
                    (partition, end) -> until.put(partition, RecordsToDelete.beforeOffset(end.offset())));
            admin.deleteRecords(until).all().get();
        }
    }
}
