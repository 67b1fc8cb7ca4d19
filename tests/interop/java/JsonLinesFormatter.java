import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.PrintStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.MessageFormatter;
import org.apache.kafka.common.header.Header;

/** The console consumer's plug-in that prints records.py's form. */
public final class JsonLinesFormatter implements MessageFormatter {
  private final ObjectMapper mapper = new ObjectMapper();

  @Override
  public void writeTo(ConsumerRecord<byte[], byte[]> record, PrintStream output) {
    ObjectNode line = mapper.createObjectNode();
    line.put("p", record.partition()).put("k", record.key()).put("v", record.value());
    ArrayNode headers = line.putArray("h");
    for (Header header : record.headers()) {
      headers.addArray().add(header.key()).add(header.value());
    }
    output.println(line);
  }
}
