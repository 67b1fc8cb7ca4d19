// Fetch: whole durable batches within the limits, waiting for min_bytes, and every way a partition cannot be fetched.
#include <gtest/gtest.h>

#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::ErrorCode;
using kafka::FetchResponse;

class FetchTest : public LaneTest {
 protected:
  // `count` batches of three records each, all of the same size, in "t".
  void fill(int count, size_t value_bytes = 300) {
    Client& client = connect();
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(produced(client, {"t", 0, batch_of(3, value_bytes, wall_start_ms + i)}), 3 * i);
    }
    batch_bytes_ = batch_of(3, value_bytes).size();
  }
  static std::vector<int64_t> offsets_of(const FetchResponse::Partition& partition) {
    std::vector<int64_t> offsets;
    for (const Bytes& batch : batches_of(partition.records)) {
      EXPECT_TRUE(crc_is_right(batch));
      offsets.push_back(header_of(batch).base_offset);
    }
    return offsets;
  }
  // A fetch that goes on waiting.
  Client& waiting_fetch(int32_t max_wait_ms, int32_t min_bytes, int64_t offset = 0, kafka::Version version = 12) {
    Client& client = connect();
    fetch(client, {{"t", 0, offset}}, {.max_wait_ms = max_wait_ms, .min_bytes = min_bytes}, version);
    run_for(5 * millisecond_ns);
    EXPECT_TRUE(client.frames.empty());
    return client;
  }
  size_t batch_bytes_ = 0;
};

TEST_F(FetchTest, EveryVersionBringsTheBatches) {
  start({{"t", {0}}});
  fill(2);
  Client& client = connect();
  for (kafka::Version version = 4; version <= 17; ++version) {
    SCOPED_TRACE(version);
    const auto answer = fetched(client, {{"t"}}, {}, version);
    EXPECT_EQ(answer->error_code, ErrorCode::NONE);
    EXPECT_EQ(answer->session_id, 0) << "no fetch sessions";
    const auto& partition = answer->topics[0].partitions[0];
    EXPECT_EQ(partition.error_code, ErrorCode::NONE);
    EXPECT_EQ(partition.high_watermark, 6);
    EXPECT_EQ(partition.last_stable_offset, 6);
    EXPECT_EQ(offsets_of(partition), (std::vector<int64_t>{0, 3}));
  }
  EXPECT_EQ(metrics().fetch_bytes.get(), 14 * 2 * batch_bytes_);
}

// ---- limits and offsets ----

struct LimitCase {
  const char* label;
  int64_t offset;
  int32_t partition_bytes;
  int32_t max_bytes;
  std::vector<int64_t> batches;  // base offsets
  ErrorCode error = ErrorCode::NONE;
};

TEST_F(FetchTest, LimitsAndOffsets) {
  start({{"t", {0}}});
  fill(4);
  const auto size = static_cast<int32_t>(batch_bytes_);
  const LimitCase cases[] = {
      {"all", 0, 1 << 20, 1 << 20, {0, 3, 6, 9}},
      {"from the second on", 3, 1 << 20, 1 << 20, {3, 6, 9}},
      {"from inside a batch: the whole batch", 4, 1 << 20, 1 << 20, {3, 6, 9}},
      {"from the last record of a batch", 5, 1 << 20, 1 << 20, {3, 6, 9}},
      {"the partition's limit: exactly two", 0, 2 * size, 1 << 20, {0, 3}},
      {"the partition's limit: not quite two", 0, 2 * size - 1, 1 << 20, {0}},
      {"the request's limit: exactly three", 0, 1 << 20, 3 * size, {0, 3, 6}},
      {"the request's limit: not quite three", 0, 1 << 20, 3 * size - 1, {0, 3}},
      {"first batch larger than the partition's limit", 0, size - 1, 1 << 20, {0}},
      {"first batch larger than the request's limit", 0, 1 << 20, 1, {0}},
      {"no bytes wanted: still one batch", 3, 0, 0, {3}},
      {"negative limits", 3, -1, -1, {3}},
      {"at the end", 12, 1 << 20, 1 << 20, {}},
      {"beyond the end", 13, 1 << 20, 1 << 20, {}, ErrorCode::OFFSET_OUT_OF_RANGE},
      {"largest number", INT64_MAX, 1 << 20, 1 << 20, {}, ErrorCode::OFFSET_OUT_OF_RANGE},
      {"negative", -1, 1 << 20, 1 << 20, {}, ErrorCode::OFFSET_OUT_OF_RANGE},
  };
  Client& client = connect();
  for (const LimitCase& each : cases) {
    SCOPED_TRACE(each.label);
    const auto answer =
        fetched(client, {{"t", 0, each.offset, each.partition_bytes}}, {.min_bytes = 0, .max_bytes = each.max_bytes});
    const auto& partition = answer->topics[0].partitions[0];
    EXPECT_EQ(partition.error_code, each.error);
    EXPECT_EQ(offsets_of(partition), each.batches);
    EXPECT_EQ(partition.high_watermark, 12);
    EXPECT_EQ(partition.log_start_offset, 0);
  }
}

// Only the first partition with data may go beyond the limits.
TEST_F(FetchTest, TheRequestsLimitIsSharedByItsPartitions) {
  start({{"t", {0, 0, 0, 0}}});
  Client& client = connect();
  for (int32_t partition = 1; partition < 4; ++partition) {
    for (int i = 0; i < 3; ++i) produced(client, {"t", partition, batch_of(1, 300)});
  }
  const auto size = static_cast<int32_t>(batch_of(1, 300).size());
  const auto count = [&](int32_t max_bytes) {
    const auto answer = fetched(client, {{"t", 0}, {"t", 1}, {"t", 2}, {"t", 3}}, {.max_bytes = max_bytes});
    std::vector<size_t> counts;
    for (const auto& topic : answer->topics) counts.push_back(batches_of(topic.partitions[0].records).size());
    return counts;
  };
  EXPECT_EQ(count(1 << 20), (std::vector<size_t>{0, 3, 3, 3}));
  EXPECT_EQ(count(5 * size), (std::vector<size_t>{0, 3, 2, 0}));
  EXPECT_EQ(count(3 * size), (std::vector<size_t>{0, 3, 0, 0}));
  EXPECT_EQ(count(size / 2), (std::vector<size_t>{0, 1, 0, 0}));
}

TEST_F(FetchTest, BetweenDurableAndAppendedIsEmpty) {
  start({{"t", {0}}});
  fill(1);
  drive().hold(true);
  Client &producing = connect(), &client = connect();
  produce(producing, {{"t", 0, batch_of(4)}});
  run_for(5 * millisecond_ns);
  ASSERT_EQ(partition("t").appended.value, 7);
  for (const int64_t offset : {3, 5, 7}) {
    SCOPED_TRACE(offset);
    const auto answer = fetched(client, {{"t", 0, offset}});
    EXPECT_EQ(answer->topics[0].partitions[0].error_code, ErrorCode::NONE);
    EXPECT_EQ(answer->topics[0].partitions[0].records.size(), 0u);
    EXPECT_EQ(answer->topics[0].partitions[0].high_watermark, 3);
  }
  EXPECT_EQ(fetched(client, {{"t", 0, 8}})->topics[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
  EXPECT_EQ(offsets_of(fetched(client, {{"t", 0, 0}})->topics[0].partitions[0]), (std::vector<int64_t>{0}));
}

// ---- errors ----

TEST_F(FetchTest, UnknownByNameAndById) {
  start({{"t", {0}}});
  Client& client = connect();
  EXPECT_EQ(fetched(client, {{"none"}}, {.max_wait_ms = 20'000}, 12)->topics[0].partitions[0].error_code,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
  const auto by_id = fetched(client, {{"none"}}, {.max_wait_ms = 20'000}, 13);
  EXPECT_EQ(by_id->topics[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
  EXPECT_EQ(by_id->topics[0].topic_id, id_of("none"));
  EXPECT_EQ(by_id->topics[0].partitions[0].high_watermark, -1);
  EXPECT_EQ(fetched(client, {{"t", 1}}, {.max_wait_ms = 20'000}, 13)->topics[0].partitions[0].error_code,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

TEST_F(FetchTest, NotLeaderNamesTheLeader) {
  setup.hosts = {"", "two.example"};
  start({{"t", {1}, {}, 4}});
  Client& client = connect();
  for (const kafka::Version version : std::array<kafka::Version, 3>{11, 12, 16}) {
    SCOPED_TRACE(version);
    const auto answer = fetched(client, {{"t"}}, {.max_wait_ms = 20'000}, version);
    const auto& partition = answer->topics[0].partitions[0];
    EXPECT_EQ(partition.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    EXPECT_EQ(partition.current_leader.leader_id, version >= 12 ? 11 : -1);
    EXPECT_EQ(partition.current_leader.leader_epoch, version >= 12 ? 4 : -1);
    ASSERT_EQ(answer->node_endpoints.size(), version >= 16 ? 2u : 0u);
    if (version < 16) continue;
    EXPECT_EQ(answer->node_endpoints[1].node_id, 11);
    EXPECT_EQ(answer->node_endpoints[1].host, "two.example");
    EXPECT_EQ(answer->node_endpoints[1].port, 9093);
  }
}

TEST_F(FetchTest, AnOldEpochIsToldWhoLeadsAndInWhichEpoch) {
  start({{"t", {0}, {}, 4}});
  Client& client = connect();
  const auto answer = fetched(client, {{.topic = "t", .leader_epoch = 3}}, {}, 16);
  const auto& partition = answer->topics[0].partitions[0];
  EXPECT_EQ(partition.error_code, ErrorCode::FENCED_LEADER_EPOCH);
  EXPECT_EQ(partition.current_leader.leader_id, 10);
  EXPECT_EQ(partition.current_leader.leader_epoch, 4);
  EXPECT_EQ(answer->node_endpoints.size(), 2u);
}

struct EpochCase {
  const char* label;
  int32_t epoch;
  ErrorCode error;
};

TEST_F(FetchTest, LeaderEpochs) {
  const EpochCase cases[] = {
      {"not checked", -1, ErrorCode::NONE},
      {"older", 2, ErrorCode::FENCED_LEADER_EPOCH},
      {"the same", 3, ErrorCode::NONE},
      {"newer", 4, ErrorCode::UNKNOWN_LEADER_EPOCH},
  };
  start({{"t", {0}, {}, 3}});
  fill(1);
  Client& client = connect();
  for (const EpochCase& each : cases) {
    SCOPED_TRACE(each.label);
    const auto answer = fetched(client, {{.topic = "t", .leader_epoch = each.epoch}}, {.max_wait_ms = 20'000});
    const auto& partition = answer->topics[0].partitions[0];
    EXPECT_EQ(partition.error_code, each.error);
    ASSERT_EQ(offsets_of(partition).size(), each.error == ErrorCode::NONE ? 1u : 0u);
  }
  EXPECT_EQ(header_of(stored(client, "t")[0]).partition_leader_epoch, 3);
}

TEST_F(FetchTest, AnErrorOfOnePartitionDoesNotKeepTheOthersBack) {
  start({{"t", {0}}});
  fill(1);
  Client& client = connect();
  const auto answer = fetched(client, {{"none"}, {"t"}, {"t", 0, 99}}, {.max_wait_ms = 20'000, .min_bytes = 1'000'000});
  EXPECT_EQ(answer->topics[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
  EXPECT_EQ(offsets_of(answer->topics[1].partitions[0]), (std::vector<int64_t>{0}));
  EXPECT_EQ(answer->topics[2].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
}

// ---- waiting ----

TEST_F(FetchTest, WaitsForTheFirstBatch) {
  start({{"t", {0}}});
  Client& client = waiting_fetch(20'000, 1);
  run_for(second_ns);
  ASSERT_TRUE(client.frames.empty());
  fill(1);
  EXPECT_EQ(offsets_of(answer_of<FetchResponse>(client, 12, millisecond_ns)->topics[0].partitions[0]),
            (std::vector<int64_t>{0}));
}

TEST_F(FetchTest, WaitsForMinBytes) {
  start({{"t", {0}}});
  const size_t size = batch_of(3, 300).size();
  Client& client = waiting_fetch(20'000, static_cast<int32_t>(2 * size + 1));
  fill(2);
  EXPECT_FALSE(answered(client));
  Client& producing = connect();
  produced(producing, {"t", 0, batch_of(1)});
  EXPECT_EQ(offsets_of(answer_of<FetchResponse>(client, 12, millisecond_ns)->topics[0].partitions[0]),
            (std::vector<int64_t>{0, 3, 6}));
}

TEST_F(FetchTest, MinBytesMayComeFromSeveralPartitions) {
  start({{"t", {0, 0}}});
  Client &client = connect(), &producing = connect();
  const auto size = static_cast<int32_t>(batch_of(1).size());
  fetch(client, {{"t", 0}, {"t", 1}}, {.max_wait_ms = 20'000, .min_bytes = 2 * size});
  produced(producing, {"t", 0, batch_of(1)});
  EXPECT_FALSE(answered(client));
  produced(producing, {"t", 1, batch_of(1)});
  const auto answer = answer_of<FetchResponse>(client, 12, millisecond_ns);
  EXPECT_EQ(offsets_of(answer->topics[0].partitions[0]).size(), 1u);
  EXPECT_EQ(offsets_of(answer->topics[1].partitions[0]).size(), 1u);
}

TEST_F(FetchTest, AfterMaxWaitWhatThereIs) {
  start({{"t", {0}}});
  fill(1);
  Client& client = waiting_fetch(500, 1'000'000);
  const Nanoseconds asked_at = now() - 5 * millisecond_ns;
  EXPECT_EQ(offsets_of(answer_of<FetchResponse>(client, 12)->topics[0].partitions[0]), (std::vector<int64_t>{0}));
  EXPECT_GE(now() - asked_at, 500 * millisecond_ns);
  EXPECT_LT(now() - asked_at, 510 * millisecond_ns);
}

TEST_F(FetchTest, EachFetchHasItsOwnDeadline) {
  start({{"t", {0}}});
  Client& client = connect();
  for (int i = 0; i < 3; ++i) fetch(client, {{"t"}}, {.max_wait_ms = 100});
  const Nanoseconds asked_at = now();
  for (int i = 1; i <= 3; ++i) {
    answer_of<FetchResponse>(client, 12);
    EXPECT_GE(now() - asked_at, i * 100 * millisecond_ns);
    EXPECT_LT(now() - asked_at, i * 100 * millisecond_ns + 5 * millisecond_ns);
  }
}

TEST_F(FetchTest, WithoutPartitionsNothingIsWaitedFor) {
  start({{"t", {0}}});
  Client& client = connect();
  EXPECT_EQ(fetched(client, {}, {.max_wait_ms = 20'000})->topics.size(), 0u);
}

TEST_F(FetchTest, NegativeMaxWaitIsNone) {
  start({{"t", {0}}});
  Client& client = connect();
  EXPECT_EQ(fetched(client, {{"t"}}, {.max_wait_ms = -1})->topics[0].partitions[0].records.size(), 0u);
}

// Answered when the data is durable, not when it is appended.
TEST_F(FetchTest, AWaitingFetchSeesOnlyWhatIsDurable) {
  start({{"t", {0}}});
  Client &client = waiting_fetch(20'000, 1), &producing = connect();
  drive().hold(true);
  produce(producing, {{"t", 0, batch_of(1)}});
  EXPECT_FALSE(answered(client));
  drive().hold(false);
  EXPECT_EQ(offsets_of(answer_of<FetchResponse>(client, 12)->topics[0].partitions[0]), (std::vector<int64_t>{0}));
}

TEST_F(FetchTest, ManyWaitForOnePartition) {
  start({{"t", {0}}});
  std::vector<Client*> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(&waiting_fetch(20'000, 1));
  drop(*clients[3]);
  drop(*clients[7]);
  drop(*clients[0]);
  fill(1);
  for (const size_t i : {1u, 2u, 4u, 5u, 6u}) {
    EXPECT_EQ(offsets_of(answer_of<FetchResponse>(*clients[i], 12)->topics[0].partitions[0]).size(), 1u);
  }
}

TEST_F(FetchTest, ATopicDeletedWhileItIsWaitedFor) {
  start({{"t", {0}}, {"stays", {0}}});
  Client &by_name = waiting_fetch(20'000, 1), &by_id = waiting_fetch(20'000, 1, 0, 13), &other = connect();
  fetch(other, {{"stays"}, {"t"}}, {.max_wait_ms = 20'000});
  run_for(5 * millisecond_ns);
  apply({{"stays", {0}}});
  EXPECT_EQ(answer_of<FetchResponse>(by_name, 12)->topics[0].partitions[0].error_code,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
  EXPECT_EQ(answer_of<FetchResponse>(by_id, 13)->topics[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
  const auto answer = answer_of<FetchResponse>(other, 12);
  EXPECT_EQ(answer->topics[0].partitions[0].error_code, ErrorCode::NONE);
  EXPECT_EQ(answer->topics[1].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

TEST_F(FetchTest, ATopicCreatedAgainIsEmptyAndAnother) {
  start({{"t", {0}}});
  fill(2);
  const kafka::Uuid old_id = id_of("t");
  apply({});
  forget_topic("t");
  apply({{"t", {0}}});
  ASSERT_NE(id_of("t"), old_id);
  Client& client = connect();
  const auto answer = fetched(client, {{"t"}});
  EXPECT_EQ(answer->topics[0].partitions[0].error_code, ErrorCode::NONE);
  EXPECT_EQ(answer->topics[0].partitions[0].high_watermark, 0);
  EXPECT_EQ(fetched(client, {{"t", 0, 3}})->topics[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
  EXPECT_EQ(produced(client, {"t", 0, batch_of(1)}), 0);
}

// ---- from the drive ----

TEST_F(FetchTest, WhatIsNotInMemoryComesFromTheDrive) {
  start({{"t", {0}}});
  fill(20, 5000);
  Client& client = connect();
  const std::vector<Bytes> resident = stored(client, "t");
  EXPECT_EQ(log().statistics().reads, 0u);
  log().shed_resident(UINT64_MAX);
  EXPECT_EQ(stored(client, "t"), resident);
  EXPECT_GT(log().statistics().reads, 0u);
}

}  // namespace
}  // namespace penstock::session_test
