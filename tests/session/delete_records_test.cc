// DeleteRecords: what consumers see of it, Kafka's errors, and that the answer is durable.
#include "dataplane/kafka/messages/delete_records.h"

#include <gtest/gtest.h>

#include "dataplane/kafka/messages/list_offsets.h"
#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::DeleteRecordsRequest;
using kafka::DeleteRecordsResponse;
using kafka::ErrorCode;

class DeleteRecordsTest : public LaneTest {
 protected:
  void ask(Client& client, const std::string& topic, int64_t offset, int32_t partition = 0,
           kafka::Version version = 2) {
    std::array<DeleteRecordsRequest::Partition, 1> partitions = {{{partition, offset}}};
    std::array<DeleteRecordsRequest::Topic, 1> topics;
    topics[0] = {std::string_view(topic), kafka::Slice<DeleteRecordsRequest::Partition>(std::span(partitions))};
    DeleteRecordsRequest request;
    request.topics = kafka::Slice<DeleteRecordsRequest::Topic>(std::span(topics));
    request.timeout_ms = 1000;
    send(client, request, version);
  }
  struct Result {
    ErrorCode error;
    int64_t low_watermark;
    bool operator==(const Result&) const = default;
  };
  Result answer(Client& client, kafka::Version version = 2) {
    const auto got = answer_of<DeleteRecordsResponse>(client, version);
    const auto& partition = got->topics[0].partitions[0];
    return {partition.error_code, partition.low_watermark};
  }
  Result deleted(Client& client, const std::string& topic, int64_t offset, int32_t partition = 0,
                 kafka::Version version = 2) {
    ask(client, topic, offset, partition, version);
    return answer(client, version);
  }
  int64_t earliest(Client& client, const std::string& topic) {
    return first_at(client, topic, kafka::list_offsets_earliest);
  }
  int64_t first_at(Client& client, const std::string& topic, Milliseconds timestamp) {
    std::array<kafka::ListOffsetsRequest::Partition, 1> partitions = {{{0, -1, timestamp}}};
    std::array<kafka::ListOffsetsRequest::Topic, 1> topics;
    topics[0] = {std::string_view(topic), kafka::Slice<kafka::ListOffsetsRequest::Partition>(std::span(partitions))};
    kafka::ListOffsetsRequest request;
    request.topics = kafka::Slice<kafka::ListOffsetsRequest::Topic>(std::span(topics));
    send(client, request, 5);
    return answer_of<kafka::ListOffsetsResponse>(client, 5)->topics[0].partitions[0].offset;
  }
};

TEST_F(DeleteRecordsTest, MovesTheLogStartInEveryVersion) {
  start({{"t", {0}}});
  Client& client = connect();
  for (int i = 0; i < 8; ++i) ASSERT_EQ(produced(client, {"t", 0, batch_of(2)}), 2 * i);
  for (kafka::Version version = 0; version <= 2; ++version) {
    const int64_t before = 3 * (version + 1);
    EXPECT_EQ(deleted(client, "t", before, 0, version), (Result{ErrorCode::NONE, before}));
    EXPECT_EQ(earliest(client, "t"), before);
    EXPECT_EQ(partition("t").log_start, Offset(before));
    const auto below = fetched(client, {{"t", 0, before - 1}});
    EXPECT_EQ(below->topics[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    EXPECT_EQ(below->topics[0].partitions[0].log_start_offset, before);
    // A batch that is deleted in part is served whole, as Kafka does.
    EXPECT_EQ(header_of(stored(client, "t", before)[0]).base_offset.get(), before / 2 * 2);
  }
  EXPECT_EQ(deleted(client, "t", 4), (Result{ErrorCode::NONE, 9})) << "never back";
  EXPECT_EQ(deleted(client, "t", -1), (Result{ErrorCode::NONE, 16}));
  EXPECT_EQ(earliest(client, "t"), 16);
  EXPECT_EQ(produced(client, {"t", 0, batch_of(1)}), 16);
}

// What is deleted of a batch is not found by its time either.
TEST_F(DeleteRecordsTest, WithinABatchTheFirstThatIsLeftIsFoundByTime) {
  start({{"t", {0}}});
  Client& client = connect();
  kafka::BatchBuilder builder;
  for (int i = 0; i < 5; ++i) builder.add(1000 + i, std::nullopt, "value");
  ASSERT_EQ(produced(client, {"t", 0, builder.build(crc32c)}), 0);
  EXPECT_EQ(first_at(client, "t", 0), 0);
  ASSERT_EQ(deleted(client, "t", 2), (Result{ErrorCode::NONE, 2}));
  EXPECT_EQ(first_at(client, "t", 0), 2);
  EXPECT_EQ(first_at(client, "t", 1001), 2);
  EXPECT_EQ(first_at(client, "t", 1003), 3);
}

TEST_F(DeleteRecordsTest, WhatKafkaRefuses) {
  TopicSettings compacted;
  compacted.compacted = true;
  compacted.deletes = false;
  TopicSettings both = compacted;
  both.deletes = true;
  start({{"t", {0, 1}}, {"compacted", {0}, compacted}, {"both", {0}, both}});
  Client& client = connect();
  ASSERT_EQ(produced(client, {"t", 0, batch_of(3)}), 0);
  struct Row {
    std::string topic;
    int32_t partition;
    int64_t offset;
    ErrorCode error;
  };
  for (const Row& row : {Row{"t", 0, 4, ErrorCode::OFFSET_OUT_OF_RANGE}, Row{"t", 0, -2, ErrorCode::OFFSET_OUT_OF_RANGE},
                         Row{"t", 0, INT64_MAX, ErrorCode::OFFSET_OUT_OF_RANGE},
                         Row{"t", 1, 0, ErrorCode::NOT_LEADER_OR_FOLLOWER},
                         Row{"t", 2, 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
                         Row{"t", -1, 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
                         Row{"u", 0, 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
                         Row{"compacted", 0, 0, ErrorCode::POLICY_VIOLATION}}) {
    EXPECT_EQ(deleted(client, row.topic, row.offset, row.partition), (Result{row.error, -1})) << row.topic << row.offset;
  }
  EXPECT_EQ(deleted(client, "both", 0), (Result{ErrorCode::NONE, 0}));
  EXPECT_EQ(deleted(client, "t", 3), (Result{ErrorCode::NONE, 3}));
  EXPECT_EQ(errors(ErrorCode::OFFSET_OUT_OF_RANGE), 3u);
}

TEST_F(DeleteRecordsTest, TheAnswerWaitsUntilItIsDurable) {
  start({{"t", {0}}});
  Client& client = connect();
  ASSERT_EQ(produced(client, {"t", 0, batch_of(3)}), 0);
  drive().hold(true);
  ask(client, "t", 2);
  EXPECT_FALSE(answered(client));
  EXPECT_EQ(partition("t").log_start, Offset(0));
  drive().hold(false);
  EXPECT_EQ(answer(client), (Result{ErrorCode::NONE, 2}));
  EXPECT_EQ(partition("t").log_start, Offset(2));
}

TEST_F(DeleteRecordsTest, WhatIsLostIsAStorageError) {
  start({{"t", {0}}});
  Client& client = connect();
  ASSERT_EQ(produced(client, {"t", 0, batch_of(3)}), 0);
  drive().fail_next(DriveOp::write, 1000);
  drive().fail_next(DriveOp::flush, 1000);
  EXPECT_EQ(deleted(client, "t", 2), (Result{ErrorCode::KAFKA_STORAGE_ERROR, -1}));
  EXPECT_EQ(log().state(), LogState::read_only);
  EXPECT_EQ(partition("t").log_start, Offset(0));
  EXPECT_EQ(deleted(client, "t", 2), (Result{ErrorCode::KAFKA_STORAGE_ERROR, -1}));
}

// As retention.ms and retention.bytes say; the topic's settings may change.
TEST_F(DeleteRecordsTest, RetentionMovesItToo) {
  setup.log.retention_interval_ns = millisecond_ns;
  TopicSettings short_lived, small;
  short_lived.retention_ms = 1000;
  small.retention_bytes = 0;
  start({{"t", {0}, short_lived}, {"u", {0}, small}, {"v", {0}}});
  Client& client = connect();
  for (const std::string topic : {"t", "u", "v"}) ASSERT_EQ(produced(client, {topic, 0, batch_of(3, 20, wall_ms())}), 0);
  run_for(500 * millisecond_ns);
  EXPECT_EQ(earliest(client, "t"), 0);
  EXPECT_EQ(earliest(client, "u"), 3);
  run_for(700 * millisecond_ns);
  EXPECT_EQ(earliest(client, "t"), 3);
  EXPECT_EQ(earliest(client, "v"), 0);
  apply({{"t", {0}, short_lived}, {"u", {0}, small}, {"v", {0}, small}});
  run_for(10 * millisecond_ns);
  EXPECT_EQ(earliest(client, "v"), 3);
  EXPECT_EQ(metrics().retention_moves.get(), 3u);
}

}  // namespace
}  // namespace penstock::session_test
