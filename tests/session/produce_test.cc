// Produce: every error code, batches stored once and where the answer says, acknowledged when durable and in order.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "dataplane/kafka/messages/api_versions.h"
#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::ErrorCode;
using kafka::ProduceResponse;

class ProduceTest : public LaneTest {
 protected:
  static TopicSettings append_time() {
    TopicSettings settings;
    settings.log_append_time = true;
    return settings;
  }
  ErrorCode error_of(Client& client, const std::string& topic, int32_t partition, const Bytes& batch,
                     kafka::Version version = 9) {
    produce(client, {{topic, partition, batch}}, version);
    return answer_of<ProduceResponse>(client, version)->topics[0].partitions[0].error_code;
  }
  // The drive fails whatever is under way, and the log's second attempt.
  void fail_drive() {
    drive().fail_next(DriveOp::write, 1000);
    drive().fail_next(DriveOp::flush, 1000);
  }
};

TEST_F(ProduceTest, EveryVersionStoresABatch) {
  start({{"t", {0}}});
  Client& client = connect();
  for (kafka::Version version = 3; version <= 13; ++version) {
    SCOPED_TRACE(version);
    produce(client, {{"t", 0, batch_of(2)}}, version);
    const auto answer = answer_of<ProduceResponse>(client, version);
    ASSERT_EQ(answer->topics.size(), 1u);
    if (version < 13) {
      EXPECT_EQ(answer->topics[0].name, "t");
    } else {
      EXPECT_EQ(answer->topics[0].topic_id, id_of("t"));
    }
    const auto& partition = answer->topics[0].partitions[0];
    EXPECT_EQ(partition.error_code, ErrorCode::NONE);
    EXPECT_EQ(partition.base_offset, 2 * (version - 3));
    EXPECT_EQ(partition.log_append_time_ms, -1);
    EXPECT_EQ(partition.log_start_offset, version >= 5 ? 0 : -1);
    EXPECT_EQ(answer->node_endpoints.size(), 0u);
  }
}

// ---- errors ----

struct ErrorCase {
  const char* label;
  const char* topic;
  int32_t partition;
  kafka::Version version;
  int16_t acks;
  std::function<void(Bytes&)> change;  // of a good batch
  ErrorCode error;
};

// Changes a covered byte of the header and mends the CRC.
std::function<void(Bytes&)> set_attributes(uint16_t attributes) {
  return [=](Bytes& batch) {
    store_big(batch.data() + offsetof(kafka::RecordBatchHeader, attributes), attributes);
    kafka::BatchBuilder::mend_crc(batch, crc32c);
  };
}

Bytes twice(const Bytes& batch) {
  Bytes both = batch;
  both.insert(both.end(), batch.begin(), batch.end());
  return both;
}

TEST_F(ProduceTest, ErrorCodesAndNothingStored) {
  const auto good = [](Bytes&) {};
  const ErrorCase cases[] = {
      {"unknown topic", "none", 0, 9, -1, good, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"unknown topic id", "none", 0, 13, -1, good, ErrorCode::UNKNOWN_TOPIC_ID},
      {"unknown partition", "t", 7, 9, -1, good, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"unknown partition by id", "t", 7, 13, -1, good, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"another lane's", "t", 1, 9, -1, good, ErrorCode::NOT_LEADER_OR_FOLLOWER},
      {"acks 2", "t", 0, 9, 2, good, ErrorCode::INVALID_REQUIRED_ACKS},
      {"acks -2", "t", 0, 9, -2, good, ErrorCode::INVALID_REQUIRED_ACKS},
      {"a flipped bit", "t", 0, 9, -1, [](Bytes& b) { b.back() ^= std::byte{1}; }, ErrorCode::CORRUPT_MESSAGE},
      {"unknown magic", "t", 0, 9, -1, [](Bytes& b) { b[16] = std::byte{3}; }, ErrorCode::CORRUPT_MESSAGE},
      {"old magic", "t", 0, 9, -1, [](Bytes& b) { b[16] = std::byte{1}; }, ErrorCode::INVALID_RECORD},
      {"no bytes", "t", 0, 9, -1, [](Bytes& b) { b.clear(); }, ErrorCode::INVALID_RECORD},
      {"half a header", "t", 0, 9, -1, [](Bytes& b) { b.resize(30); }, ErrorCode::INVALID_RECORD},
      {"half a batch", "t", 0, 9, -1, [](Bytes& b) { b.resize(b.size() - 5); }, ErrorCode::INVALID_RECORD},
      {"two batches", "t", 0, 9, -1, [](Bytes& b) { b = twice(b); }, ErrorCode::INVALID_RECORD},
      {"one byte too large", "small", 0, 9, -1, [](Bytes& b) { b = batch_of_size(501); }, ErrorCode::MESSAGE_TOO_LARGE},
      {"no key in a compacted topic", "compacted", 0, 9, -1, good, ErrorCode::INVALID_RECORD},
      {"zstd too early", "t", 0, 6, -1, set_attributes(4), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE},
      {"unknown codec", "t", 0, 9, -1, set_attributes(5), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE},
      {"control batch", "t", 0, 9, -1, set_attributes(0x20), ErrorCode::INVALID_RECORD},
      {"transactional batch", "t", 0, 9, -1, set_attributes(0x10), ErrorCode::INVALID_RECORD},
      {"LogAppendTime from a client", "t", 0, 9, -1, set_attributes(0x08), ErrorCode::INVALID_TIMESTAMP},
  };
  TopicSettings small, compacted;
  small.max_message_bytes = 500;
  compacted.compacted = true;
  start({{"t", {0, 1}}, {"small", {0}, small}, {"compacted", {0}, compacted}});
  Client& client = connect();
  std::map<ErrorCode, uint64_t> counted;
  for (const ErrorCase& each : cases) {
    SCOPED_TRACE(each.label);
    Bytes batch = batch_of(2);
    each.change(batch);
    produce(client, {{each.topic, each.partition, batch}}, each.version, each.acks);
    const auto answer = answer_of<ProduceResponse>(client, each.version);
    const auto& partition = answer->topics[0].partitions[0];
    EXPECT_EQ(partition.index, each.partition);
    EXPECT_EQ(partition.error_code, each.error) << to_string(partition.error_code);
    EXPECT_EQ(partition.base_offset, -1);
    EXPECT_EQ(partition.log_start_offset, -1);
    EXPECT_EQ(errors(each.error), ++counted[each.error]);
  }
  for (const char* topic : {"t", "small", "compacted"}) EXPECT_EQ(partition(topic).appended.value, 0);
  EXPECT_EQ(log().statistics().payload_bytes, 0u);
  EXPECT_EQ(error_of(client, "small", 0, batch_of_size(500)), ErrorCode::NONE) << "exactly as large as allowed";
}

TEST_F(ProduceTest, AGoodBatchBesideABadOneIsStored) {
  start({{"t", {0, 0, 1}}});
  Client& client = connect();
  Bytes bad = batch_of(1);
  bad.back() ^= std::byte{1};
  produce(client, {{"t", 0, bad}, {"t", 1, batch_of(3)}, {"none", 0, batch_of(1)}, {"t", 2, batch_of(1)}});
  const auto answer = answer_of<ProduceResponse>(client, 9);
  ASSERT_EQ(answer->topics.size(), 4u);
  const ErrorCode expected[] = {ErrorCode::CORRUPT_MESSAGE, ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                                ErrorCode::NOT_LEADER_OR_FOLLOWER};
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(answer->topics[i].partitions[0].error_code, expected[i]);
  EXPECT_EQ(partition("t", 0).durable.value, 0);
  EXPECT_EQ(partition("t", 1).durable.value, 3);
}

TEST_F(ProduceTest, ARequestWithoutBatchesIsAnswered) {
  start({{"t", {0}}});
  Client& client = connect();
  produce(client, {});
  EXPECT_EQ(answer_of<ProduceResponse>(client, 9)->topics.size(), 0u);
}

// KIP-951: who is not the leader says who is, and where.
TEST_F(ProduceTest, NotLeaderNamesTheLeaderFromVersionTenOn) {
  setup.hosts = {"one.example", "two.example"};
  start({{"t", {0, 1}, {}, 5}});
  Client& client = connect();
  for (const kafka::Version version : std::array<kafka::Version, 4>{9, 10, 12, 13}) {
    SCOPED_TRACE(version);
    produce(client, {{"t", 1, batch_of(1)}}, version);
    const auto answer = answer_of<ProduceResponse>(client, version);
    const auto& partition = answer->topics[0].partitions[0];
    EXPECT_EQ(partition.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    if (version < 10) {
      EXPECT_EQ(partition.current_leader.leader_id, -1);
      EXPECT_EQ(answer->node_endpoints.size(), 0u);
      continue;
    }
    EXPECT_EQ(partition.current_leader.leader_id, 11);
    EXPECT_EQ(partition.current_leader.leader_epoch, 5);
    ASSERT_EQ(answer->node_endpoints.size(), 2u);
    EXPECT_EQ(answer->node_endpoints[1].node_id, 11);
    EXPECT_EQ(answer->node_endpoints[1].host, "two.example");
    EXPECT_EQ(answer->node_endpoints[1].port, 9093);
  }
}

// ---- sequences ----

struct SequenceCase {
  const char* label;
  int16_t epoch;
  int32_t sequence;
  uint32_t count;
  ErrorCode error;
  int64_t base_offset;
};

TEST_F(ProduceTest, SequencesOfAnIdempotentProducer) {
  // In this order, by producer 7.
  const SequenceCase cases[] = {
      {"first", 0, 0, 2, ErrorCode::NONE, 0},
      {"next", 0, 2, 1, ErrorCode::NONE, 2},
      {"sent again", 0, 2, 1, ErrorCode::NONE, 2},
      {"the first one again", 0, 0, 2, ErrorCode::NONE, 0},
      {"gap", 0, 4, 1, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1},
      {"overlap", 0, 1, 3, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1},
      {"third", 0, 3, 1, ErrorCode::NONE, 3},
      {"fourth", 0, 4, 1, ErrorCode::NONE, 4},
      {"fifth", 0, 5, 1, ErrorCode::NONE, 5},
      {"sixth: the first is forgotten", 0, 6, 1, ErrorCode::NONE, 6},
      {"first of those remembered, again", 0, 2, 1, ErrorCode::NONE, 2},
      {"behind what is remembered", 0, 0, 2, ErrorCode::DUPLICATE_SEQUENCE_NUMBER, -1},
      {"new epoch, not from 0", 1, 7, 1, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1},
      {"new epoch", 1, 0, 1, ErrorCode::NONE, 7},
      {"old epoch", 0, 7, 1, ErrorCode::INVALID_PRODUCER_EPOCH, -1},
  };
  start({{"t", {0}}});
  Client& client = connect();
  for (const SequenceCase& each : cases) {
    SCOPED_TRACE(each.label);
    produce(client, {{"t", 0, sequenced_batch(7, each.epoch, each.sequence, each.count)}});
    const auto answer = answer_of<ProduceResponse>(client, 9);
    EXPECT_EQ(answer->topics[0].partitions[0].error_code, each.error);
    EXPECT_EQ(answer->topics[0].partitions[0].base_offset, each.base_offset);
  }
  EXPECT_EQ(partition("t").durable.value, 8);
}

TEST_F(ProduceTest, ADuplicateIsAnsweredWhenTheOriginalIsDurable) {
  start({{"t", {0}}});
  Client &first = connect(), &second = connect();
  drive().hold(true);
  produce(first, {{"t", 0, sequenced_batch(7, 0, 0)}});
  run_for(millisecond_ns);
  produce(second, {{"t", 0, sequenced_batch(7, 0, 0)}});
  EXPECT_FALSE(answered(second));
  drive().hold(false);
  EXPECT_EQ(answer_of<ProduceResponse>(first, 9)->topics[0].partitions[0].base_offset, 0);
  EXPECT_EQ(answer_of<ProduceResponse>(second, 9)->topics[0].partitions[0].base_offset, 0);
  EXPECT_EQ(partition("t").appended.value, 1);
}

TEST_F(ProduceTest, ADuplicateIsAnsweredWithTheTimeOfTheOriginal) {
  start({{"stamped", {0}, append_time()}, {"plain", {0}}});
  Client& client = connect();
  const auto time_of = [&](const char* topic) {
    produce(client, {{topic, 0, sequenced_batch(7, 0, 0)}});
    const auto answer = answer_of<ProduceResponse>(client, 9);
    EXPECT_EQ(answer->topics[0].partitions[0].error_code, ErrorCode::NONE);
    EXPECT_EQ(answer->topics[0].partitions[0].base_offset, 0);
    return answer->topics[0].partitions[0].log_append_time_ms;
  };
  const Milliseconds stamped = time_of("stamped");
  EXPECT_GT(stamped, 0);
  EXPECT_EQ(time_of("plain"), -1);
  run_for(50 * millisecond_ns);
  EXPECT_EQ(time_of("stamped"), stamped);
  EXPECT_EQ(time_of("plain"), -1);
}

// What happens to the commits under way does not concern it.
TEST_F(ProduceTest, ADuplicateOfADurableBatchIsAnsweredWhileOthersWait) {
  start({{"t", {0}}});
  Client &first = connect(), &other = connect();
  EXPECT_EQ(produced(first, {"t", 0, sequenced_batch(7, 0, 0)}), 0);
  drive().hold(true);
  produce(other, {{"t", 0, batch_of(1)}});
  run_for(millisecond_ns);
  EXPECT_EQ(produced(first, {"t", 0, sequenced_batch(7, 0, 0)}), 0);
  EXPECT_FALSE(answered(other));
  drive().hold(false);
  EXPECT_EQ(answer_of<ProduceResponse>(other, 9)->topics[0].partitions[0].base_offset, 1);
}

TEST_F(ProduceTest, ProducersOfDifferentPartitionsDoNotShareSequences) {
  start({{"t", {0, 0}}});
  Client& client = connect();
  EXPECT_EQ(error_of(client, "t", 0, sequenced_batch(7, 0, 0, 3)), ErrorCode::NONE);
  EXPECT_EQ(error_of(client, "t", 1, sequenced_batch(7, 0, 0, 3)), ErrorCode::NONE);
  EXPECT_EQ(error_of(client, "t", 1, sequenced_batch(7, 0, 3)), ErrorCode::NONE);
  EXPECT_EQ(error_of(client, "t", 0, sequenced_batch(7, 0, 3)), ErrorCode::NONE);
}

// ---- acks=0 ----

TEST_F(ProduceTest, WithoutAcknowledgementNothingIsAnswered) {
  start({{"t", {0}}});
  Client& client = connect();
  for (int i = 0; i < 3; ++i) produce(client, {{"t", 0, batch_of(1)}}, 9, 0);
  EXPECT_FALSE(answered(client));
  EXPECT_EQ(partition("t").durable.value, 3);
  EXPECT_EQ(produced(client, {"t", 0, batch_of(1)}), 3) << "and the next answer is of the next request";
}

TEST_F(ProduceTest, WithoutAcknowledgementAnErrorClosesTheConnection) {
  const auto bad = [] {
    Bytes batch = batch_of(1);
    batch.back() ^= std::byte{1};
    return batch;
  };
  start({{"t", {0, 1}}});
  const BatchFor cases[] = {{"t", 0, bad()}, {"none", 0, batch_of(1)}, {"t", 1, batch_of(1)}};
  for (const BatchFor& each : cases) {
    Client& client = connect();
    produce(client, {{"t", 0, batch_of(1)}, each}, 9, 0);
    EXPECT_TRUE(closed(client));
    EXPECT_TRUE(client.frames.empty());
  }
  run_for(10 * millisecond_ns);
  EXPECT_EQ(partition("t").durable.value, 3) << "what is right is stored";
}

// ---- durability and order ----

TEST_F(ProduceTest, AcknowledgedOnlyWhenDurable) {
  start({{"t", {0}}});
  for (const int16_t acks : {int16_t{1}, int16_t{-1}}) {
    SCOPED_TRACE(acks);
    Client& client = connect();
    const int64_t before = partition("t").durable.value;
    drive().hold(true);
    produce(client, {{"t", 0, batch_of(1)}}, 9, acks);
    EXPECT_FALSE(answered(client, second_ns));
    EXPECT_EQ(partition("t").appended.value, before + 1);
    EXPECT_EQ(partition("t").durable.value, before);
    drive().hold(false);
    EXPECT_EQ(answer_of<ProduceResponse>(client, 9)->topics[0].partitions[0].base_offset, before);
    EXPECT_EQ(partition("t").durable.value, before + 1);
  }
}

TEST_F(ProduceTest, AnswersComeInRequestOrder) {
  start({{"t", {0}}});
  Client& client = connect();
  drive().hold(true);
  produce(client, {{"t", 0, batch_of(1)}});      // waits for the drive
  send(client, kafka::ApiVersionsRequest{}, 0);  // could be answered
  produce(client, {{"none", 0, batch_of(1)}});   // an error, could be answered
  produce(client, {{"t", 0, batch_of(1)}});
  fetch(client, {{"t", 0, 0}}, {.max_wait_ms = 0});
  EXPECT_FALSE(answered(client));
  drive().hold(false);
  for (int32_t i = 1; i <= 5; ++i) {
    ASSERT_TRUE(answered(client));
    EXPECT_EQ(client.frames.front().correlation_id, i);
    client.frames.pop_front();
  }
}

TEST_F(ProduceTest, AFirstDriveErrorIsNotSeen) {
  start({{"t", {0}}});
  Client& client = connect();
  ASSERT_EQ(produced(client, {"t", 0, batch_of(1)}), 0);
  drive().fail_next(DriveOp::write, 1);
  EXPECT_EQ(produced(client, {"t", 0, batch_of(1)}), 1);
  EXPECT_EQ(log().statistics().write_errors, 1u);
  EXPECT_EQ(produced(client, {"t", 0, batch_of(1)}), 2);
  EXPECT_EQ(stored(client, "t").size(), 3u);
}

TEST_F(ProduceTest, AfterTheSecondDriveErrorStorageErrorAndReadsGoOn) {
  start({{"t", {0, 0}}});
  Client &client = connect(), &silent = connect(), &reader = connect();
  ASSERT_EQ(produced(client, {"t", 0, sequenced_batch(7, 0, 0, 2)}), 0);
  drive().hold(true);
  for (int i = 0; i < 3; ++i) produce(client, {{"t", 0, sequenced_batch(7, 0, 2 + i)}, {"none", 0, batch_of(1)}});
  produce(silent, {{"t", 1, batch_of(1)}}, 9, 0);
  run_for(millisecond_ns);
  fail_drive();
  drive().hold(false);
  for (int i = 0; i < 3; ++i) {
    const auto answer = answer_of<ProduceResponse>(client, 9);
    const auto& partition = answer->topics[0].partitions[0];
    EXPECT_EQ(partition.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    EXPECT_EQ(partition.base_offset, -1);
    EXPECT_EQ(answer->topics[1].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        << "an error that was there before stays";
    EXPECT_EQ(answer->topics[1].name, "none");
  }
  EXPECT_TRUE(closed(silent)) << "the only way to say it without an answer";
  EXPECT_EQ(log().state(), LogState::read_only);
  EXPECT_EQ(error_of(client, "t", 0, batch_of(1)), ErrorCode::KAFKA_STORAGE_ERROR);
  EXPECT_EQ(partition("t").appended.value, 2) << "as if it had never been appended";
  EXPECT_EQ(stored(reader, "t").size(), 1u);
  EXPECT_EQ(errors(ErrorCode::KAFKA_STORAGE_ERROR), 4u);
}

// ---- no room ----

TEST_F(ProduceTest, WithoutRoomInTheLogRequestsWaitAndNothingIsAppendedTwice) {
  start({{"t", {0}}});
  drive().hold(true);
  constexpr int clients = 8, each = 4;
  std::vector<Client*> all;
  for (int i = 0; i < clients; ++i) {
    all.push_back(&connect());
    for (int j = 0; j < each; ++j) {
      produce(*all.back(), {{"t", 0, batch_of(1, 30 * KiB, wall_start_ms + i * each + j)}});
    }
  }
  run_for(50 * millisecond_ns);
  ASSERT_LT(partition("t").appended.value, clients * each) << "the log should have been full";
  drive().hold(false);
  std::map<int64_t, int> offsets;
  for (int i = 0; i < clients; ++i) {
    int64_t last = -1;
    for (int j = 0; j < each; ++j) {
      const auto answer = answer_of<ProduceResponse>(*all[static_cast<size_t>(i)], 9);
      const auto& partition = answer->topics[0].partitions[0];
      ASSERT_EQ(partition.error_code, ErrorCode::NONE);
      EXPECT_GT(partition.base_offset, last);
      last = partition.base_offset;
      EXPECT_TRUE(offsets.emplace(last, i * each + j).second);
    }
  }
  const std::vector<Bytes> batches = stored(*all[0], "t");
  ASSERT_EQ(batches.size(), size_t{clients * each});
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto header = header_of(batches[i]);
    EXPECT_EQ(header.base_offset, static_cast<int64_t>(i));
    EXPECT_EQ(header.first_timestamp, wall_start_ms + offsets[static_cast<int64_t>(i)]) << "where the answer said";
    EXPECT_TRUE(crc_is_right(batches[i]));
  }
}

// One request with more than the log takes at once: it goes on where it was interrupted, with the errors it had.
TEST_F(ProduceTest, ARequestInterruptedHalfWayKeepsItsProgress) {
  setup.units.commit_bytes_max = 32 * 1024;
  setup.units.inflight_bytes_max = 32 * 1024;
  setup.units.inflight_writes_max = 1;
  start({{"t", {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}});
  Client& client = connect();
  drive().hold(true);
  std::vector<BatchFor> batches;
  for (int i = 0; i < 20; ++i) {
    batches.push_back({i % 7 == 3 ? "none" : "t", i % 10, batch_of(1, 10 * KiB, wall_start_ms + i)});
  }
  produce(client, batches);
  run_for(50 * millisecond_ns);
  const uint64_t before = log().statistics().payload_bytes;
  ASSERT_GT(before, 0u);
  ASSERT_LT(before, 170 * KiB) << "the log should have been full";
  drive().hold(false);
  const auto answer = answer_of<ProduceResponse>(client, 9);
  std::map<int32_t, int64_t> next;
  for (uint32_t i = 0; i < 20; ++i) {
    const auto& partition = answer->topics[i].partitions[0];
    EXPECT_EQ(partition.error_code, i % 7 == 3 ? ErrorCode::UNKNOWN_TOPIC_OR_PARTITION : ErrorCode::NONE);
    EXPECT_EQ(partition.base_offset, i % 7 == 3 ? -1 : next[partition.index]++);
  }
  for (const auto& [index, end] : next) {
    EXPECT_EQ(partition("t", static_cast<size_t>(index)).durable.value, end);
  }
  EXPECT_EQ(errors(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), 3u) << "counted once";
}

// All memory of responses is taken: the request waits before anything is appended.
TEST_F(ProduceTest, WithoutMemoryForTheAnswerNothingIsAppended) {
  start({{"t", {0}}});
  Client& client = connect();
  std::vector<std::pair<BufferIndex, uint8_t>> taken;
  uint8_t order = 0;
  for (BufferIndex buffer; (buffer = send_buffers().allocate_at_most(8, &order)) != no_buffer;) {
    taken.emplace_back(buffer, order);
  }
  produce(client, {{"t", 0, batch_of(1)}});
  EXPECT_FALSE(answered(client));
  EXPECT_EQ(partition("t").appended.value, 0);
  for (const auto& [buffer, held_order] : taken) send_buffers().free(buffer, held_order);
  EXPECT_EQ(answer_of<ProduceResponse>(client, 9)->topics[0].partitions[0].base_offset, 0);
}

// An answer that no memory of this lane can ever hold must not wait for it: those behind would wait as well.
TEST_F(ProduceTest, AnAnswerLargerThanAllSendMemoryDoesNotHoldUpOthers) {
  setup.broker.request_bytes_max = 1 * MiB;
  setup.broker.receive_bytes = 40 * MiB;
  setup.receive_bytes = 48 * MiB;
  setup.send_bytes = 512 * KiB;
  start({{"t", {0}}});
  Client &greedy = connect(), &honest = connect();
  produce(greedy, std::vector<BatchFor>(30, {std::string(30'000, 'x'), 0, batch_of(1)}));
  run_for(50 * millisecond_ns);
  drive().hold(true);
  for (int i = 0; i < 60; ++i) produce(honest, {{"t", 0, batch_of(1, 30 * KiB)}});
  run_for(50 * millisecond_ns);
  drive().hold(false);
  for (int i = 0; i < 60; ++i) answer_of<ProduceResponse>(honest, 9, second_ns);
  EXPECT_TRUE(closed(greedy));
  EXPECT_EQ(partition("t").appended.value, 60) << "nothing of a request that cannot be answered";
  EXPECT_EQ(await(ToControlKind::notice).text,
            "connection from 10.0.0.1:40000 closed: the answer is larger than half of memory.send_bytes");
}

// ---- LogAppendTime ----

struct AppendTimeCase {
  const char* label;
  uint32_t copybreak;
  size_t value_bytes;
  bool copied;
  bool busy;  // the log has no room when the request comes
};

TEST_F(ProduceTest, LogAppendTimeIsWrittenAndTheCrcIsRight) {
  const AppendTimeCase cases[] = {
      {"copied", UINT32_MAX, 8 * KiB, true, false},
      {"copied, small", 1024, 10, true, false},
      {"gathered", 0, 20 * KiB, false, false},
      {"copied, after a busy log", UINT32_MAX, 8 * KiB, true, true},
      {"gathered, after a busy log", 0, 20 * KiB, false, true},
  };
  for (const AppendTimeCase& each : cases) {
    SCOPED_TRACE(each.label);
    setup.units.copybreak = each.copybreak;
    start({{"plain", {0}}, {"t", {0}, append_time()}});
    Client &client = connect(), &other = connect();
    constexpr int busy_requests = 30;
    if (each.busy) {
      drive().hold(true);
      for (int i = 0; i < busy_requests; ++i) produce(other, {{"plain", 0, batch_of(1, 30 * KiB)}});
      run_for(50 * millisecond_ns);
      ASSERT_LT(partition("plain").appended.value, busy_requests);
    }
    const uint64_t copied_before = log().statistics().payload_bytes_copied;
    const Bytes sent = batch_of(3, each.value_bytes, 1234);
    produce(client, {{"t", 0, sent}, {"t", 0, sent}});
    run_for(50 * millisecond_ns);
    const Milliseconds released_at = wall_ms();
    drive().hold(false);
    const auto answer = answer_of<ProduceResponse>(client, 9);
    for (uint32_t i = 0; i < 2; ++i) {
      const auto& partition = answer->topics[i].partitions[0];
      EXPECT_EQ(partition.error_code, ErrorCode::NONE) << to_string(partition.error_code);
      EXPECT_EQ(partition.base_offset, 3 * i);
    }
    if (!each.busy) {
      const uint64_t copied = log().statistics().payload_bytes_copied - copied_before;
      EXPECT_EQ(copied == 2 * sent.size(), each.copied) << copied;
    }
    if (each.busy) {
      for (int i = 0; i < busy_requests; ++i) answer_of<ProduceResponse>(other, 9);
    }
    for (const bool from_drive : {false, true}) {
      SCOPED_TRACE(from_drive);
      if (from_drive) log().shed_resident(UINT64_MAX);
      const std::vector<Bytes> batches = stored(other, "t");
      ASSERT_EQ(batches.size(), 2u);
      for (uint32_t i = 0; i < 2; ++i) {
        const auto header = header_of(batches[i]);
        EXPECT_EQ(header.base_offset, 3 * i);
        EXPECT_EQ(header.attributes & kafka::attributes::log_append_time, kafka::attributes::log_append_time);
        EXPECT_EQ(header.max_timestamp, answer->topics[i].partitions[0].log_append_time_ms);
        EXPECT_EQ(header.first_timestamp, 1234);
        EXPECT_TRUE(crc_is_right(batches[i]));
        EXPECT_TRUE(std::equal(batches[i].begin() + sizeof header, batches[i].end(), sent.begin() + sizeof header));
        if (each.busy) {
          EXPECT_GE(header.max_timestamp, released_at) << "the time of the append";
        }
      }
    }
    TearDown();
  }
}

// ---- memory ----

// The reservation of a large request is held until its batch is durable: the drive's pace is felt by the sender.
TEST_F(ProduceTest, ALargeRequestKeepsItsReservationUntilItIsDurable) {
  start({{"t", {0}}});
  Client& client = connect();
  drive().hold(true);
  produce(client, {{"t", 0, batch_of(1, 100 * KiB)}});
  run_for(50 * millisecond_ns);
  EXPECT_EQ(partition("t").appended.value, 1);
  EXPECT_GT(metrics().reserved_bytes.get(), 0u);
  drop(client);
  EXPECT_GT(metrics().reserved_bytes.get(), 0u) << "also when the producer has gone meanwhile";
  drive().hold(false);
  run_for(50 * millisecond_ns);
  EXPECT_EQ(metrics().reserved_bytes.get(), 0u);
}

}  // namespace
}  // namespace penstock::session_test
