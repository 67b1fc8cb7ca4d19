// ListOffsets: the special timestamps, by time from memory and from the drive, and what cannot be answered.
#include <gtest/gtest.h>

#include "dataplane/kafka/messages/list_offsets.h"
#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::ErrorCode;
using kafka::ListOffsetsRequest;
using kafka::ListOffsetsResponse;

class ListOffsetsTest : public LaneTest {
 protected:
  struct Wanted {
    std::string topic = "t";
    int32_t partition = 0;
    int64_t timestamp = 0;
    int32_t leader_epoch = -1;
  };
  void ask(Client& client, const std::vector<Wanted>& wanted, kafka::Version version = 9) {
    std::vector<ListOffsetsRequest::Partition> partitions(wanted.size());
    std::vector<ListOffsetsRequest::Topic> topics(wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      partitions[i] = {wanted[i].partition, wanted[i].leader_epoch, wanted[i].timestamp};
      topics[i].name = std::string_view(wanted[i].topic);
      topics[i].partitions = {&partitions[i], 1};
    }
    ListOffsetsRequest request;
    request.topics = kafka::Slice<ListOffsetsRequest::Topic>(std::span(topics));
    send(client, request, version);
  }
  ListOffsetsResponse::Partition look_up(Client& client, const Wanted& wanted, kafka::Version version = 9) {
    ask(client, {wanted}, version);
    const auto answer = answer_of<ListOffsetsResponse>(client, version);
    return answer->topics[0].partitions[0];
  }

  // Three batches; times within them go up and down:
  //   0: 1000   1: 1010   2: 1005  |  3: 1200   4: 1100  |  5: 1150   6: 1300, compressed
  void fill(Client& client, const std::string& topic = "t") {
    kafka::BatchBuilder first, second, third;
    first.add(1000, "a", "0").add(1010, "b", "1").add(1005, "c", std::string(6000, '2'));
    second.add(1200, "d", "3").add(1100, "e", "4");
    third.header.attributes = 2;  // snappy, as far as the header says: such batches are not opened
    third.header.first_timestamp = 1150;
    third.header.max_timestamp = 1300;
    third.header.last_offset_delta = 1;
    third.header.record_count = 2;
    third.count_records = false;
    third.add_raw(Bytes(50, std::byte{1}), 2);
    int64_t next = 0;
    for (const auto* batch : {&first, &second, &third}) {
      ASSERT_EQ(produced(client, {topic, 0, batch->build(crc32c)}), next);
      next += batch == &first ? 3 : 2;
    }
  }
};

struct TimeCase {
  const char* label;
  int64_t timestamp;
  int64_t offset;
  int64_t found;  // timestamp of the answer
  ErrorCode error = ErrorCode::NONE;
  int32_t leader_epoch = 3;
};

constexpr TimeCase time_cases[] = {
    {"latest", -1, 7, -1},
    {"earliest", -2, 0, -1},
    {"largest timestamp", -3, 5, 1300},
    {"earliest local is earliest", -4, 0, -1},
    {"latest tiered: there are no tiers", -5, -1, -1},
    {"earliest pending upload: of a later Kafka", -6, -1, -1, ErrorCode::UNSUPPORTED_VERSION},
    {"smallest number", INT64_MIN, -1, -1, ErrorCode::UNSUPPORTED_VERSION},
    {"zero", 0, 0, 1000},
    {"before all", 1, 0, 1000},
    {"exactly the first", 1000, 0, 1000},
    {"one later", 1001, 1, 1010},
    {"the first that is late enough, not the nearest", 1006, 1, 1010},
    {"exactly the largest of a batch", 1010, 1, 1010},
    {"between batches", 1011, 3, 1200},
    {"in time order behind a later record", 1100, 3, 1200},
    {"a compressed batch is not opened: its first offset", 1201, 5, 1300},
    {"the largest of all", 1300, 5, 1300},
    {"later than all", 1301, -1, -1, ErrorCode::NONE, -1},
    {"largest number", INT64_MAX, -1, -1, ErrorCode::NONE, -1},
};

TEST_F(ListOffsetsTest, SpecialTimestampsAndByTime) {
  for (const bool from_drive : {false, true}) {
    SCOPED_TRACE(from_drive ? "from the drive" : "from memory");
    start({{"t", {0}, {}, 3}});
    Client& client = connect();
    fill(client);
    for (const TimeCase& each : time_cases) {
      SCOPED_TRACE(each.label);
      if (from_drive) log().shed_resident(UINT64_MAX);
      const auto found = look_up(client, {.timestamp = each.timestamp});
      EXPECT_EQ(found.error_code, each.error);
      EXPECT_EQ(found.offset, each.offset);
      EXPECT_EQ(found.timestamp, each.found);
      if (each.error == ErrorCode::NONE) {
        EXPECT_EQ(found.leader_epoch, each.leader_epoch);
      }
    }
    EXPECT_EQ(log().statistics().reads > 0, from_drive);
    TearDown();
  }
}

TEST_F(ListOffsetsTest, OfAnEmptyPartition) {
  start({{"t", {0}, {}, 3}});
  Client& client = connect();
  for (const int64_t timestamp : {int64_t{-1}, int64_t{-2}, int64_t{-4}}) {
    EXPECT_EQ(look_up(client, {.timestamp = timestamp}).offset, 0);
  }
  for (const int64_t timestamp : {int64_t{-3}, int64_t{-5}, int64_t{0}, int64_t{1000}}) {
    SCOPED_TRACE(timestamp);
    const auto found = look_up(client, {.timestamp = timestamp});
    EXPECT_EQ(found.error_code, ErrorCode::NONE);
    EXPECT_EQ(found.offset, -1);
    EXPECT_EQ(found.timestamp, -1);
  }
}

TEST_F(ListOffsetsTest, EveryVersion) {
  start({{"t", {0}, {}, 3}});
  Client& client = connect();
  fill(client);
  for (kafka::Version version = 1; version <= 10; ++version) {
    SCOPED_TRACE(version);
    const auto found = look_up(client, {.timestamp = 1001}, version);
    EXPECT_EQ(found.error_code, ErrorCode::NONE);
    EXPECT_EQ(found.offset, 1);
    EXPECT_EQ(found.timestamp, 1010);
    EXPECT_EQ(found.leader_epoch, version >= 4 ? 3 : -1);
  }
}

TEST_F(ListOffsetsTest, LatestIsTheDurableEnd) {
  start({{"t", {0}}});
  Client &client = connect(), &producing = connect();
  fill(client);
  drive().hold(true);
  kafka::BatchBuilder later;
  later.add(9000, "k", "v");
  produce(producing, {{"t", 0, later.build(crc32c)}});
  run_for(millisecond_ns);
  ASSERT_EQ(partition("t").appended.value, 8);
  EXPECT_EQ(look_up(client, {.timestamp = -1}).offset, 7);
  EXPECT_EQ(look_up(client, {.timestamp = -3}).timestamp, 1300);
  EXPECT_EQ(look_up(client, {.timestamp = 5000}).offset, -1);
}

TEST_F(ListOffsetsTest, OfLogAppendTimeAllRecordsHaveTheTimeOfTheBatch) {
  TopicSettings settings;
  settings.log_append_time = true;
  start({{"t", {0}, settings}});
  Client& client = connect();
  ASSERT_EQ(produced(client, {"t", 0, batch_of(3, 20, 1000)}), 0);
  const auto found = look_up(client, {.timestamp = wall_start_ms});
  EXPECT_EQ(found.offset, 0);
  EXPECT_GE(found.timestamp, wall_start_ms);
  EXPECT_EQ(look_up(client, {.timestamp = found.timestamp + 1}).offset, -1);
}

struct ErrorCase {
  const char* label;
  const char* topic;
  int32_t partition;
  int32_t leader_epoch;
  ErrorCode error;
};

TEST_F(ListOffsetsTest, Errors) {
  const ErrorCase cases[] = {
      {"unknown topic", "none", 0, -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"unknown partition", "t", 9, -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"another lane's", "t", 1, -1, ErrorCode::NOT_LEADER_OR_FOLLOWER},
      {"older epoch", "t", 0, 2, ErrorCode::FENCED_LEADER_EPOCH},
      {"the same epoch", "t", 0, 3, ErrorCode::NONE},
      {"newer epoch", "t", 0, 4, ErrorCode::UNKNOWN_LEADER_EPOCH},
  };
  start({{"t", {0, 1}, {}, 3}});
  Client& client = connect();
  for (const ErrorCase& each : cases) {
    SCOPED_TRACE(each.label);
    const auto found = look_up(client, {each.topic, each.partition, -1, each.leader_epoch});
    EXPECT_EQ(found.error_code, each.error);
    EXPECT_EQ(found.offset, each.error == ErrorCode::NONE ? 0 : -1);
  }
}

// A request that has to read several batches goes on where it was, and its errors are counted once.
TEST_F(ListOffsetsTest, ManyLookUpsInOneRequestFromTheDrive) {
  start({{"t", {0}, {}, 3}, {"u", {0}, {}, 3}});
  Client& client = connect();
  fill(client);
  fill(client, "u");
  log().shed_resident(UINT64_MAX);
  std::vector<Wanted> wanted;
  std::vector<int64_t> expected;
  for (int round = 0; round < 3; ++round) {
    for (const char* topic : {"t", "none", "u"}) {
      for (const TimeCase& each : time_cases) {
        wanted.push_back({topic, 0, each.timestamp});
        expected.push_back(topic == std::string("none") ? -1 : each.offset);
      }
    }
  }
  ask(client, wanted);
  const auto answer = answer_of<ListOffsetsResponse>(client, 9);
  ASSERT_EQ(answer->topics.size(), wanted.size());
  for (uint32_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(answer->topics[i].partitions[0].offset, expected[i]) << wanted[i].topic << " " << wanted[i].timestamp;
  }
  EXPECT_EQ(errors(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), 3 * std::size(time_cases));
}

TEST_F(ListOffsetsTest, ADamagedBatchIsAStorageError) {
  start({{"t", {0}}});
  Client& client = connect();
  fill(client);
  log().shed_resident(UINT64_MAX);
  for (auto& slot : drive().files().slots) {
    const std::string_view text(reinterpret_cast<const char*>(slot.data()), slot.size());
    const size_t at = text.find(std::string(100, '2'));
    if (at != std::string_view::npos) slot[at] = std::byte{'3'};
  }
  EXPECT_EQ(look_up(client, {.timestamp = 1000}).error_code, ErrorCode::KAFKA_STORAGE_ERROR);
  EXPECT_EQ(look_up(client, {.timestamp = 1100}).error_code, ErrorCode::NONE) << "the others can be read";
}

TEST_F(ListOffsetsTest, AConnectionThatLeavesWhileItsReadIsUnderWay) {
  start({{"t", {0}}});
  Client &client = connect(), &other = connect();
  fill(client);
  log().shed_resident(UINT64_MAX);
  drive().hold(true);
  ask(client, {{.timestamp = 1000}});
  run_for(millisecond_ns);
  drop(client);
  Client& next = connect();  // in the same place
  EXPECT_EQ(next.peer, client.peer);
  ask(next, {{.timestamp = 1100}});
  ask(other, {{.timestamp = 1000}});
  run_for(millisecond_ns);
  drive().hold(false);
  EXPECT_EQ(answer_of<ListOffsetsResponse>(next, 9)->topics[0].partitions[0].offset, 3);
  EXPECT_EQ(answer_of<ListOffsetsResponse>(other, 9)->topics[0].partitions[0].offset, 0);
}

// What they have found so far lies in the memory that their answers need.
TEST_F(ListOffsetsTest, ManyThatWaitHalfDoneDoNotHoldUpEachOther) {
  setup.send_bytes = 64 * KiB;
  start({{"t", {0}}});
  Client& filler = connect();
  fill(filler);
  drop(filler);
  std::vector<Client*> clients;
  for (int i = 0; i < 14; ++i) clients.push_back(&connect());
  log().shed_resident(UINT64_MAX);
  drive().hold(true);
  for (Client* client : clients) ask(*client, {{.timestamp = kafka::list_offsets_latest}, {.timestamp = 1001}});
  run_for(millisecond_ns);
  drive().hold(false);
  int answers = 0;
  for (Client* client : clients) {
    EXPECT_TRUE(run_until([&] { return !client->frames.empty() || client->connection.ended(now()); }, second_ns));
    answers += !client->frames.empty();
  }
  EXPECT_EQ(answers, 8) << "half of the memory, 4 KiB for each";
}

// The response before it is read from the drive as well: both name the same connection.
TEST_F(ListOffsetsTest, BehindAFetchThatReads) {
  start({{"t", {0}}, {"u", {0}}});
  Client& client = connect();
  fill(client);
  fill(client, "u");
  for (int order = 0; order < 2; ++order) {
    log().shed_resident(UINT64_MAX);
    fetch(client, {{"t"}});
    ask(client, {{.topic = "u", .timestamp = 1001}});
    EXPECT_EQ(batches_of(answer_of<kafka::FetchResponse>(client, 12)->topics[0].partitions[0].records).size(), 3u);
    EXPECT_EQ(answer_of<ListOffsetsResponse>(client, 9)->topics[0].partitions[0].offset, 1);
  }
}

}  // namespace
}  // namespace penstock::session_test
