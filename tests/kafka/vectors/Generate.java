// Writes the test vectors of the Kafka codec, made by Apache Kafka's own classes. README.md says how to run it.
//
// A line is: <api name> <request|response> <version> <variant> <hex>. Variants:
//   full    every field set, two elements in outer arrays and one in inner ones, all known tags present
//   nulls   every nullable field null, one element in every other array, no tags
//   empty   empty strings and arrays, negative numbers, no tags
//   named   chosen values that codec_test.cc looks up field by field
// Record batches for the validator are lines: Batch records 2 <label> <hex>.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Struct;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.SimpleRecord;

public class Generate {
  enum Variant { full, nulls, empty }

  static final Map<ApiMessageType, int[]> RANGES = new TreeMap<>(Map.of(
      ApiMessageType.PRODUCE, new int[] {3, 13}, ApiMessageType.FETCH, new int[] {4, 17},
      ApiMessageType.LIST_OFFSETS, new int[] {1, 10}, ApiMessageType.METADATA, new int[] {0, 13},
      ApiMessageType.FIND_COORDINATOR, new int[] {0, 6}, ApiMessageType.API_VERSIONS, new int[] {0, 4},
      ApiMessageType.CREATE_TOPICS, new int[] {2, 7}, ApiMessageType.DELETE_TOPICS, new int[] {1, 6},
      ApiMessageType.INIT_PRODUCER_ID, new int[] {0, 5}, ApiMessageType.DESCRIBE_CLUSTER, new int[] {0, 2}));
  static {
    RANGES.put(ApiMessageType.DELETE_RECORDS, new int[] {0, 2});
  }

  public static void main(String[] arguments) throws Exception {
    for (Map.Entry<ApiMessageType, int[]> entry : RANGES.entrySet()) {
      ApiMessageType api = entry.getKey();
      for (int version = entry.getValue()[0]; version <= entry.getValue()[1]; ++version) {
        for (Variant variant : Variant.values()) {
          short v = (short) version;
          emit(api.name, "request", v, variant, api.requestSchemas()[v], api.newRequest(), api.newRequest());
          emit(api.name, "response", v, variant, api.responseSchemas()[v], api.newResponse(), api.newResponse());
        }
      }
    }
    for (Variant variant : Variant.values()) {
      for (short v = 1; v <= 2; ++v)
        emit("RequestHeader", "request", v, variant, RequestHeaderData.SCHEMAS[v], new RequestHeaderData(), null);
      for (short v = 0; v <= 1; ++v)
        emit("ResponseHeader", "response", v, variant, ResponseHeaderData.SCHEMAS[v], new ResponseHeaderData(), null);
    }
    named();
    batches();
  }

  // Fills the version's schema, lets the message class read and write it, and prints what the class wrote.
  static void emit(String name, String kind, short version, Variant variant, Schema schema, ApiMessage message,
      ApiMessage again) {
    counter = 0;
    Struct struct = (Struct) value(schema, variant, 0);
    ByteBuffer bytes = ByteBuffer.allocate(schema.sizeOf(struct));
    schema.write(bytes, struct);
    bytes.flip();
    message.read(new ByteBufferAccessor(bytes.duplicate()), version);
    ByteBuffer written = MessageUtil.toByteBufferAccessor(message, version).buffer();
    if (!written.equals(bytes)) throw new IllegalStateException(name + " " + kind + " " + version + " " + variant);
    print(name, kind, version, variant.name(), written);
  }

  static int counter;

  static Object value(Type type, Variant variant, int depth) {
    ++counter;
    if (type instanceof Schema schema) return struct(schema, variant, depth);
    if (type.isNullable() && variant == Variant.nulls) return null;
    if (type.isArray()) {
      int size = variant == Variant.empty ? 0 : variant == Variant.full && depth == 0 ? 2 : 1;
      List<Object> elements = new ArrayList<>();
      for (int i = 0; i < size; ++i) elements.add(value(type.arrayElementType().get(), variant, depth + 1));
      return elements.toArray();
    }
    boolean negative = variant == Variant.empty;
    String name = type.toString();
    if (name.endsWith("RECORDS")) return negative ? MemoryRecords.EMPTY : records("k" + counter, "v");
    if (name.endsWith("STRING")) return negative ? "" : "text-" + counter + "-\u00e9";
    return switch (name) {
      case "BOOLEAN" -> !negative;
      case "INT8" -> (byte) (negative ? -counter : counter);
      case "INT16" -> (short) (negative ? -counter : 0x100 + counter);
      case "INT32" -> negative ? -counter : 0x1020300 + counter;
      case "INT64" -> negative ? (long) -counter : 0x102030405060700L + counter;
      case "UUID" -> negative ? Uuid.ZERO_UUID : new Uuid(0x0a0b0c0d0e0f1011L + counter, -counter);
      default -> throw new IllegalStateException(name);
    };
  }

  static Struct struct(Schema schema, Variant variant, int depth) {
    Struct struct = new Struct(schema);
    for (BoundField field : schema.fields()) {
      if (field.def.type instanceof TaggedFields tagged) {
        TreeMap<Integer, Object> tags = new TreeMap<>();
        if (variant == Variant.full)
          for (Map.Entry<Integer, Field> tag : tagged.fields().entrySet())
            tags.put(tag.getKey(), value(tag.getValue().type, variant, depth + 1));
        struct.set(field, tags);
      } else {
        struct.set(field, value(field.def.type, variant, depth));
      }
    }
    return struct;
  }

  static MemoryRecords records(String key, String value) {
    return MemoryRecords.withRecords(Compression.NONE, new SimpleRecord(1_700_000_000_000L, bytes(key), bytes(value)));
  }

  static void named() {
    ProduceRequestData produce = new ProduceRequestData().setTransactionalId(null).setAcks((short) -1).setTimeoutMs(30_000);
    ProduceRequestData.TopicProduceData topic = new ProduceRequestData.TopicProduceData().setName("orders");
    topic.partitionData().add(new ProduceRequestData.PartitionProduceData().setIndex(7).setRecords(records("key", "value")));
    produce.topicData().add(topic);
    printNamed("Produce", "request", 9, produce);

    FetchResponseData fetch = new FetchResponseData().setThrottleTimeMs(5).setSessionId(77);
    FetchResponseData.PartitionData partition = new FetchResponseData.PartitionData().setPartitionIndex(3)
        .setHighWatermark(1000).setLastStableOffset(999).setLogStartOffset(10)
        .setAbortedTransactions(List.of(new FetchResponseData.AbortedTransaction().setProducerId(42).setFirstOffset(900)))
        .setCurrentLeader(new FetchResponseData.LeaderIdAndEpoch().setLeaderId(2).setLeaderEpoch(6))
        .setRecords(records("key", "value"));
    fetch.responses().add(new FetchResponseData.FetchableTopicResponse()
        .setTopicId(new Uuid(1, 2)).setPartitions(List.of(partition)));
    fetch.nodeEndpoints().add(new FetchResponseData.NodeEndpoint().setNodeId(2).setHost("lane-2").setPort(9094));
    printNamed("Fetch", "response", 16, fetch);

    MetadataResponseData metadata = new MetadataResponseData().setClusterId("cluster").setControllerId(1);
    metadata.brokers().add(new MetadataResponseData.MetadataResponseBroker().setNodeId(1).setHost("localhost").setPort(9092).setRack("a"));
    metadata.topics().add(new MetadataResponseData.MetadataResponseTopic().setErrorCode((short) 3).setName(null).setTopicId(new Uuid(1, 2)));
    metadata.topics().add(new MetadataResponseData.MetadataResponseTopic().setName("orders").setTopicId(new Uuid(3, 4))
        .setPartitions(List.of(new MetadataResponseData.MetadataResponsePartition().setPartitionIndex(0).setLeaderId(1)
            .setLeaderEpoch(4).setReplicaNodes(List.of(1)).setIsrNodes(List.of(1)))));
    printNamed("Metadata", "response", 12, metadata);

    CreateTopicsRequestData create = new CreateTopicsRequestData().setTimeoutMs(1234).setValidateOnly(true);
    CreateTopicsRequestData.CreatableTopic creatable = new CreateTopicsRequestData.CreatableTopic().setName("orders")
        .setNumPartitions(12).setReplicationFactor((short) -1);
    creatable.configs().add(new CreateTopicsRequestData.CreatableTopicConfig().setName("cleanup.policy").setValue("compact"));
    creatable.configs().add(new CreateTopicsRequestData.CreatableTopicConfig().setName("retention.ms").setValue(null));
    create.topics().add(creatable);
    printNamed("CreateTopics", "request", 7, create);

    ApiVersionsResponseData versions = new ApiVersionsResponseData().setThrottleTimeMs(9).setFinalizedFeaturesEpoch(31);
    versions.apiKeys().add(new ApiVersionsResponseData.ApiVersion().setApiKey((short) 0).setMaxVersion((short) 13));
    printNamed("ApiVersions", "response", 3, versions);
  }

  static void batches() {
    Header[] headers = {new RecordHeader("h", bytes("1")), new RecordHeader("null", (byte[]) null)};
    SimpleRecord[] records = {
        new SimpleRecord(1000L, bytes("a"), bytes("first"), headers), new SimpleRecord(990L, null, bytes("keyless")),
        new SimpleRecord(1005L, bytes("b"), null), new SimpleRecord(1005L, bytes("c"), new byte[200])};
    printBatch("plain", MemoryRecords.withRecords(Compression.NONE, records));
    printBatch("gzip", MemoryRecords.withRecords(Compression.gzip().build(), records));
    printBatch("idempotent", MemoryRecords.withIdempotentRecords(Compression.NONE, 4000L, (short) 3, 17, records));
    printBatch("transactional", MemoryRecords.withTransactionalRecords(Compression.NONE, 4000L, (short) 3, 17, records));
    printBatch("keyed", MemoryRecords.withRecords(Compression.NONE, records[0], records[2]));
  }

  static void printNamed(String name, String kind, int version, ApiMessage message) {
    print(name, kind, (short) version, "named", MessageUtil.toByteBufferAccessor(message, (short) version).buffer());
  }

  static void printBatch(String label, MemoryRecords records) { print("Batch", "records", (short) 2, label, records.buffer()); }

  static void print(String name, String kind, short version, String label, ByteBuffer buffer) {
    byte[] bytes = new byte[buffer.remaining()];
    buffer.duplicate().get(bytes);
    System.out.println(name + " " + kind + " " + version + " " + label + " " + HexFormat.of().formatHex(bytes));
  }

  static byte[] bytes(String text) { return text.getBytes(StandardCharsets.UTF_8); }
}
