import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.tools.ConsoleProducer;
import org.apache.kafka.tools.consumer.ConsoleConsumer;

/**
 * Runs Kafka's console producer and consumer once for each job, in one JVM; called as clients/base.py's ProgramClient
 * says. The tools are Kafka's own main classes; only their two plug-ins, what reads and what prints a record, are ours.
 */
final class ConsoleJobs {
  /** What the tools do at the end of the process must happen at the end of a job here. */
  private static final List<Runnable> hooks = new ArrayList<>();

  private static final class Exited extends Error {
    private static final long serialVersionUID = 1;
    final int status;

    Exited(int status, String message) {
      super("exit status " + status + (message == null ? "" : ": " + message));
      this.status = status;
    }
  }

  private interface Tool {
    void run() throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    String verb = arguments[0];
    String bootstrap = arguments[1];
    Exit.setExitProcedure((status, message) -> { throw new Exited(status, message); });
    Exit.setHaltProcedure((status, message) -> { throw new Exited(status, message); });
    Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));

    ObjectMapper mapper = new ObjectMapper();
    PrintStream answers = System.out;
    for (String line : Files.readAllLines(Path.of(arguments[2]))) {
      JsonNode job = mapper.readTree(line);
      try {
        if (verb.equals("produce")) {
          produce(bootstrap, job);
        } else {
          consume(bootstrap, job);
        }
      } catch (Exception | Exited error) {
        ObjectNode answer = mapper.createObjectNode();
        answer.put("topic", job.get("topic").asText()).put("error", error.toString());
        answers.println(answer);
      }
    }
    // Not every thread of the tools is a daemon.
    answers.flush();
    Runtime.getRuntime().halt(0);
  }

  private static void produce(String bootstrap, JsonNode job) throws Exception {
    try (FileInputStream records = new FileInputStream(job.get("file").asText())) {
      System.setIn(records);
      run(() -> ConsoleProducer.main(new String[] {
          "--bootstrap-server", bootstrap, "--topic", job.get("topic").asText(),
          "--compression-codec", job.get("codec").asText(),
          "--line-reader", "JsonLinesReader",
          "--request-required-acks", job.get("acks").asText(),
          "--producer-property", "enable.idempotence=" + job.get("idempotent").asText(),
          "--producer-property", "linger.ms=50"}));
    }
  }

  /** The console consumer reads one partition, from an offset, without a group. */
  private static void consume(String bootstrap, JsonNode job) throws Exception {
    try (PrintStream records = new PrintStream(new FileOutputStream(job.get("file").asText()), false, "UTF-8")) {
      System.setOut(records);
      JsonNode counts = job.get("counts");
      for (int partition = 0; partition < counts.size(); ++partition) {
        int count = counts.get(partition).asInt();
        if (count == 0) continue;
        String[] arguments = {
            "--bootstrap-server", bootstrap, "--topic", job.get("topic").asText(),
            "--partition", Integer.toString(partition), "--offset", job.get("first_offset").asText(),
            "--max-messages", Integer.toString(count), "--timeout-ms", job.get("patience_ms").asText(),
            // Closing waits for the fetch under way.
            "--consumer-property", "fetch.max.wait.ms=50",
            "--formatter", "JsonLinesFormatter"};
        run(() -> ConsoleConsumer.main(arguments));
      }
    }
  }

  private static void run(Tool tool) throws Exception {
    try {
      tool.run();
    } catch (Exited exited) {
      if (exited.status != 0) throw exited;
    } finally {
      hooks.forEach(Runnable::run);
      hooks.clear();
    }
  }

  private ConsoleJobs() {}
}
