// Responses: taken as the reader takes them, from memory or the drive, and taken away from readers that do not.
#include <gtest/gtest.h>

#include "dataplane/kafka/messages/api_versions.h"
#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::ErrorCode;
using kafka::FetchResponse;

class SendTest : public LaneTest {
 protected:
  static constexpr int32_t all_bytes = 64 << 20;
  void fill(const std::string& topic, int count, size_t value_bytes) {
    Client& client = connect();
    for (int i = 0; i < count; ++i) ASSERT_EQ(produced(client, {topic, 0, batch_of(1, value_bytes)}), i);
    drop(client);
  }
  void fetch_all(Client& client, const std::string& topic = "t") {
    fetch(client, {{topic, 0, 0, all_bytes}}, {.max_bytes = all_bytes});
  }
  void stop_reading(Client& client, bool stopped) { streams().stop_reading(client.peer, stopped); }
  uint64_t held_for_sending() { return buffers().held(Holder::send); }
};

TEST_F(SendTest, ALargeResponseComesWholeThroughASmallWindow) {
  setup.streams.send_window_bytes = 5000;
  start({{"t", {0}}});
  fill("t", 30, 20'000);
  Client& client = connect();
  fetch_all(client);
  const auto answer = answer_of<FetchResponse>(client, 12);
  const std::vector<Bytes> batches = batches_of(answer->topics[0].partitions[0].records);
  ASSERT_EQ(batches.size(), 30u);
  for (size_t i = 0; i < batches.size(); ++i) {
    EXPECT_EQ(header_of(batches[i]).base_offset, static_cast<int64_t>(i));
    EXPECT_TRUE(crc_is_right(batches[i]));
  }
}

// Batches of several partitions stand where the response says, between its encoded bytes.
TEST_F(SendTest, RecordsOfManyPartitionsAreSplicedIn) {
  start({{"t", {0, 0, 0, 0, 0}}});
  Client& client = connect();
  for (int32_t partition : {0, 2, 3}) {
    for (int i = 0; i < 3; ++i) {
      produced(client, {"t", partition, batch_of(1, 3000, wall_start_ms + 10 * partition + i)});
    }
  }
  for (const bool from_drive : {false, true}) {
    if (from_drive) log().shed_resident(UINT64_MAX);
    for (const kafka::Version version : std::array<kafka::Version, 3>{4, 11, 17}) {
      const auto answer = fetched(client, {{"t", 3}, {"t", 1}, {"t", 0}, {"t", 4}, {"t", 2}}, {}, version);
      for (const auto& topic : answer->topics) {
        const auto& partition = topic.partitions[0];
        const std::vector<Bytes> batches = batches_of(partition.records);
        const bool filled = partition.index == 0 || partition.index == 2 || partition.index == 3;
        ASSERT_EQ(batches.size(), filled ? 3u : 0u);
        for (size_t i = 0; i < batches.size(); ++i) {
          EXPECT_EQ(header_of(batches[i]).max_timestamp,
                    wall_start_ms + 10 * partition.index + static_cast<Milliseconds>(i));
        }
      }
    }
  }
}

// Who reads nothing holds what the stream has taken and a batch or two, not the response.
TEST_F(SendTest, ASlowReaderPinsNothing) {
  setup.log.resident_bytes_max = 8 * MiB;
  setup.log.segment_bytes = 8 * MiB;
  start({{"t", {0}}});
  fill("t", 100, 30'000);
  Client& client = connect();
  stop_reading(client, true);
  const uint64_t before = held_for_sending();
  fetch_all(client);
  run_for(10 * millisecond_ns);
  const uint64_t window_pieces = setup.streams.send_window_bytes / 1024 + 60;
  EXPECT_LT(held_for_sending() - before, window_pieces);
  log().shed_resident(UINT64_MAX);  // taken from under it: the rest is read from the drive
  stop_reading(client, false);
  const auto answer = answer_of<FetchResponse>(client, 12);
  EXPECT_EQ(batches_of(answer->topics[0].partitions[0].records).size(), 100u);
  EXPECT_GT(log().statistics().reads, 0u);
}

TEST_F(SendTest, AReaderThatStopsHoldsUpNobodyElse) {
  start({{"t", {0}}});
  fill("t", 30, 20'000);
  Client &stopped = connect(), &reader = connect();
  stop_reading(stopped, true);
  for (int i = 0; i < 5; ++i) fetch_all(stopped);
  run_for(10 * millisecond_ns);
  for (int i = 0; i < 5; ++i) {
    fetch_all(reader);
    EXPECT_EQ(batches_of(answer_of<FetchResponse>(reader, 12)->topics[0].partitions[0].records).size(), 30u);
  }
  EXPECT_EQ(produced(reader, {"t", 0, batch_of(1)}), 30);
  run_for(20 * second_ns);
  EXPECT_FALSE(stopped.connection.ended(now())) << "nobody needs what it holds";
  EXPECT_EQ(metrics().connections_closed_slow.get(), 0u);
}

// What all connections share is used up by readers that take nothing: the one that has taken nothing for longest goes.
TEST_F(SendTest, UnderPressureTheSlowestReaderGivesWay) {
  setup.broker.send_bytes = 100 * KiB;  // two windows
  start({{"t", {0}}});
  fill("t", 30, 20'000);
  Client &slowest = connect(), &slow = connect(), &reader = connect();
  for (Client* client : {&slowest, &slow}) {
    stop_reading(*client, true);
    fetch_all(*client);
    run_for(200 * millisecond_ns);
  }
  fetch_all(reader);
  run_for(500 * millisecond_ns);
  EXPECT_FALSE(slowest.connection.ended(now())) << "it may still be coming";
  EXPECT_EQ(batches_of(answer_of<FetchResponse>(reader, 12)->topics[0].partitions[0].records).size(), 30u);
  EXPECT_TRUE(slowest.connection.ended(now()));
  EXPECT_FALSE(slow.connection.ended(now())) << "one was enough";
  EXPECT_EQ(metrics().connections_closed_slow.get(), 1u);
  EXPECT_EQ(await(ToControlKind::notice).text,
            "connection from 10.0.0.1:40000 closed: it takes no responses, and others wait for their memory");
}

// The memory of responses is full of what readers do not take: a request that waits for it gets it.
TEST_F(SendTest, WhoWaitsForSendMemoryGetsItFromSlowReaders) {
  setup.send_bytes = 256 * KiB;
  setup.streams.send_window_bytes = 1024;
  start({{"t", {0}}});
  Client& honest = connect();
  std::vector<Client*> stopped;
  for (int i = 0; i < 3; ++i) {
    stopped.push_back(&connect());
    stop_reading(*stopped.back(), true);
    for (int j = 0; j < 100; ++j) send(*stopped.back(), kafka::ApiVersionsRequest{}, 3);
  }
  run_for(100 * millisecond_ns);
  EXPECT_LT(send_buffers().free_bytes(), 64 * KiB);
  produce(honest, {{"t", 0, batch_of(1)}});
  EXPECT_EQ(answer_of<kafka::ProduceResponse>(honest, 9)->topics[0].partitions[0].base_offset, 0);
  EXPECT_GE(metrics().connections_closed_slow.get(), 1u);
}

// A connection may have so many unanswered; what it sends beyond is left where it is.
TEST_F(SendTest, ResponsesOfAConnectionAreBounded) {
  start({{"t", {0}}});
  drive().hold(true);
  Client& client = connect();
  for (int i = 0; i < 200; ++i) produce(client, {{"t", 0, batch_of(1)}});
  run_for(50 * millisecond_ns);
  EXPECT_EQ(responses_used(), responses_per_connection_max);
  EXPECT_LT(streams().received[client.peer], 200 * batch_of(1).size());
  drive().hold(false);
  for (int64_t i = 0; i < 200; ++i) {
    ASSERT_EQ(answer_of<kafka::ProduceResponse>(client, 9)->topics[0].partitions[0].base_offset, i);
  }
}

// ---- what cannot be sent to its end ----

TEST_F(SendTest, APartitionDeletedWhileItIsSentClosesTheConnection) {
  start({{"t", {0}}});
  fill("t", 30, 20'000);
  Client& client = connect();
  stop_reading(client, true);
  fetch_all(client);
  run_for(10 * millisecond_ns);
  apply({});
  stop_reading(client, false);
  EXPECT_TRUE(closed(client)) << "its length had been promised";
  EXPECT_TRUE(client.frames.empty());
  EXPECT_EQ(await(ToControlKind::notice).text, "a partition was deleted while it was being fetched: connection closed");
}

TEST_F(SendTest, APartitionThatHasTheSlotOfADeletedOneIsNotSentInItsPlace) {
  start({{"t", {0}}});
  fill("t", 30, 20'000);
  Client& client = connect();
  stop_reading(client, true);
  fetch_all(client);
  run_for(10 * millisecond_ns);
  forget_topic("t");
  apply({{"t", {0}}});
  fill("t", 30, 20'000);
  stop_reading(client, false);
  EXPECT_TRUE(closed(client));
  EXPECT_TRUE(client.frames.empty());
  EXPECT_EQ(await(ToControlKind::notice).text, "a partition was deleted while it was being fetched: connection closed");
}

TEST_F(SendTest, ADamagedBatchIsNeverSent) {
  start({{"t", {0}}});
  Client& client = connect();
  produced(client, {"t", 0, batch_of(1, 5000)});
  kafka::BatchBuilder marked;
  marked.add(wall_start_ms, std::nullopt, std::string(5000, '#'));
  produced(client, {"t", 0, marked.build(crc32c)});
  log().shed_resident(UINT64_MAX);
  for (auto& slot : drive().files().slots) {
    const std::string_view text(reinterpret_cast<const char*>(slot.data()), slot.size());
    const size_t at = text.find("####");
    if (at != std::string_view::npos) slot[at] = std::byte{'*'};
  }
  Client& other = connect();
  fetch(other, {{"t", 0, 0, 1}});
  EXPECT_EQ(batches_of(answer_of<FetchResponse>(other, 12)->topics[0].partitions[0].records).size(), 1u);
  fetch_all(client);
  EXPECT_TRUE(closed(client));
  EXPECT_TRUE(client.frames.empty());
  EXPECT_EQ(errors(ErrorCode::CORRUPT_MESSAGE), 1u);
}

TEST_F(SendTest, AReadErrorClosesTheConnectionAndTheNextAttemptSucceeds) {
  start({{"t", {0}}});
  fill("t", 1, 5000);
  log().shed_resident(UINT64_MAX);
  drive().fail_next(DriveOp::read, 1);
  Client &client = connect(), &again = connect();
  fetch_all(client);
  EXPECT_TRUE(closed(client));
  fetch_all(again);
  EXPECT_EQ(batches_of(answer_of<FetchResponse>(again, 12)->topics[0].partitions[0].records).size(), 1u);
}

// Many read from the drive more than may be read at once: by turns, all of them to the end.
TEST_F(SendTest, ReadersOfColdDataTakeTurns) {
  setup.log.read_bytes_max = 128 * KiB;
  start({{"t", {0}}});
  fill("t", 12, 50'000);
  log().shed_resident(UINT64_MAX);
  std::vector<Client*> readers;
  for (int i = 0; i < 8; ++i) {
    readers.push_back(&connect());
    fetch_all(*readers.back());
  }
  for (Client* reader : readers) {
    EXPECT_EQ(batches_of(answer_of<FetchResponse>(*reader, 12)->topics[0].partitions[0].records).size(), 12u);
  }
}

// All is copied on its way to the drive, so the newest records lie in the log's own memory and leave less of it than
// may be read at once. They give way, and so does what was read, to readers as to producers.
class LogMemoryTest : public SendTest {
 protected:
  static constexpr int batches = 120;
  void fill_memory() {
    setup.units.copybreak = 1 * MiB;
    setup.log_bytes = 3 * MiB;
    setup.log.resident_bytes_max = 2 * MiB;
    setup.log.read_bytes_max = 2 * MiB;
    setup.log.segment_bytes = 16 * MiB;
    start({{"t", {0}}});
    fill("t", batches, 50'000);
  }
  size_t count_of(Client& client) {
    return batches_of(answer_of<FetchResponse>(client, 12)->topics[0].partitions[0].records).size();
  }
};

TEST_F(LogMemoryTest, NewestRecordsGiveWayToReads) {
  fill_memory();
  Client& client = connect();
  fetch_all(client);
  EXPECT_EQ(count_of(client), static_cast<size_t>(batches));
  EXPECT_LT(log().statistics().reads, 4u * batches) << "read again and again";
}

TEST_F(LogMemoryTest, WhatWasReadGivesWayToCommits) {
  fill_memory();
  for (int64_t i = 0; i < 20; ++i) {
    Client& client = connect();
    fetch_all(client);
    EXPECT_EQ(count_of(client), static_cast<size_t>(batches + i));
    EXPECT_EQ(produced(client, {"t", 0, batch_of(1, 50'000)}), batches + i);
    drop(client);
  }
}

// Memory that gives way costs no reader its connection.
TEST_F(LogMemoryTest, ASlowReaderStaysWhileOthersReadColdRecords) {
  fill_memory();
  Client &slow = connect(), &reader = connect();
  stop_reading(slow, true);
  fetch_all(slow);
  run_for(20 * second_ns);
  fetch_all(reader);
  EXPECT_EQ(count_of(reader), static_cast<size_t>(batches));
  EXPECT_FALSE(slow.connection.ended(now()));
  EXPECT_EQ(metrics().connections_closed_slow.get(), 0u);
}

// Several read the same batch from the drive at the same time; once all of them have it nobody wants it any more.
TEST_F(SendTest, WhatSeveralHaveReadAtTheSameTimeCanBeLetGo) {
  start({{"t", {0}}});
  fill("t", 1, 50'000);
  std::vector<Client*> readers;
  for (int i = 0; i < 4; ++i) readers.push_back(&connect());
  log().shed_resident(UINT64_MAX);
  drive().hold(true);
  for (Client* reader : readers) fetch_all(*reader);
  run_for(millisecond_ns);
  drive().hold(false);
  for (Client* reader : readers) {
    EXPECT_EQ(batches_of(answer_of<FetchResponse>(*reader, 12)->topics[0].partitions[0].records).size(), 1u);
  }
  run_for(millisecond_ns);
  log().shed_resident(UINT64_MAX);
  EXPECT_EQ(buffers().held(Holder::read), 0u);
}

TEST_F(SendTest, AReaderThatLeavesInTheMiddleGivesEverythingBack) {
  start({{"t", {0}}});
  fill("t", 30, 20'000);
  for (const bool from_drive : {false, true}) {
    for (const bool by_reset : {false, true}) {
      if (from_drive) log().shed_resident(UINT64_MAX);
      Client& client = connect();
      stop_reading(client, true);
      for (int i = 0; i < 3; ++i) fetch_all(client);
      run_for(100'000);
      by_reset ? reset(client) : drop(client);
      run_for(10 * millisecond_ns);
      EXPECT_EQ(held_for_sending(), 0u);
      EXPECT_EQ(responses_used(), 0u);
    }
  }
}

}  // namespace
}  // namespace penstock::session_test
