import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.introspect.Annotated;
import com.fasterxml.jackson.databind.introspect.JacksonAnnotationIntrospector;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import io.strimzi.api.kafka.model.mirrormaker2.KafkaMirrorMaker2;

/**
 * Reads YAML documents and takes each KafkaMirrorMaker2 among them as Strimzi does, but for one thing: Strimzi's classes keep
 * fields that they do not know, here they are refused. Prints how many there were.
 */
final class Check {
    public static void main(String[] args) throws Exception {
        var strict = new ObjectMapper()
                .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
                .setAnnotationIntrospector(new JacksonAnnotationIntrospector() {
                    @Override
                    public Boolean hasAnySetter(Annotated annotated) {
                        return false;
                    }
                });
        var yaml = new ObjectMapper(new YAMLFactory());
        int found = 0;
        try (var documents = yaml.readerFor(JsonNode.class).<JsonNode>readValues(System.in)) {
            while (documents.hasNextValue()) {
                JsonNode document = documents.nextValue();
                if (!"KafkaMirrorMaker2".equals(document.path("kind").asText())) {
                    continue;
                }
                KafkaMirrorMaker2 parsed = strict.treeToValue(document, KafkaMirrorMaker2.class);
                // What was read is all that was written: no field fell under the table.
                JsonNode spec = new ObjectMapper().valueToTree(parsed.getSpec());
                if (!spec.equals(document.get("spec"))) {
                    throw new IllegalStateException("read back as " + spec + " from " + document.get("spec"));
                }
                found++;
            }
        }
        System.out.println(found);
    }
}
