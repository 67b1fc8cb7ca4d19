import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.Map;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.tools.api.RecordReader;

/** The console producer's plug-in for records.py's form: the stock one knows neither binary fields nor partitions. */
public final class JsonLinesReader implements RecordReader {
  private final ObjectMapper mapper = new ObjectMapper();
  private String topic;

  @Override
  public void configure(Map<String, ?> options) {
    topic = options.get("topic").toString();
  }

  @Override
  public Iterator<ProducerRecord<byte[], byte[]>> readRecords(InputStream input) {
    return new BufferedReader(new InputStreamReader(input, StandardCharsets.UTF_8)).lines().map(this::record).iterator();
  }

  private ProducerRecord<byte[], byte[]> record(String line) {
    try {
      JsonNode fields = mapper.readTree(line);
      ProducerRecord<byte[], byte[]> record =
          new ProducerRecord<>(topic, fields.get("p").asInt(), bytes(fields.get("k")), bytes(fields.get("v")));
      for (JsonNode header : fields.get("h")) {
        record.headers().add(header.get(0).asText(), bytes(header.get(1)));
      }
      return record;
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static byte[] bytes(JsonNode text) throws IOException {
    return text.isNull() ? null : text.binaryValue();
  }
}
