import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Writes a record to one partition for each line of the standard input: {@code name=value,…<tab>value}; headers may be none. */
final class WriteRecords {
    public static void main(String[] args) throws Exception {
        var settings = Map.<String, Object>of("bootstrap.servers", args[0], "acks", "all", "max.block.ms", 30_000);
        var string = new StringSerializer();
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (var producer = new KafkaProducer<>(settings, string, string)) {
            for (String line; (line = lines.readLine()) != null; ) {
                String[] parts = line.split("\t", 2);
                var record = new ProducerRecord<String, String>(args[1], Integer.valueOf(args[2]), null, parts[1]);
                for (String header : parts[0].isEmpty() ? new String[0] : parts[0].split(",")) {
                    String[] pair = header.split("=", 2);
                    record.headers().add(pair[0], pair[1].getBytes(StandardCharsets.UTF_8));
                }
                producer.send(record).get();
            }
        }
    }
}
