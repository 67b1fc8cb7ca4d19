// What becomes possible later: acknowledgements, requests that waited for room, a new view, the control plane's
// mailbox, and the end.
#include <gtest/gtest.h>

#include "dataplane/kafka/messages/api_versions.h"
#include "dataplane/kafka/messages/init_producer_id.h"
#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::ApiVersionsRequest;
using kafka::ApiVersionsResponse;
using kafka::ErrorCode;
using kafka::FetchResponse;
using kafka::ProduceResponse;

class WakeTest : public LaneTest {
 protected:
  void stop() { tell({.kind = ToLaneKind::stop}); }
  bool stopped(Nanoseconds within = second_ns) {
    return run_until([&] { return asked(ToControlKind::lane_stopped) == 1; }, within);
  }
};

// ---- acknowledgements ----

TEST_F(WakeTest, CommitsThatFinishOutOfOrderAreAcknowledgedInOrder) {
  setup.units.commit_bytes_max = 16 * 1024;
  setup.units.inflight_writes_max = 4;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    setup.drive.seed = seed;
    setup.drive.slow_one_in = 3;
    start({{"t", {0}}});
    std::vector<Client*> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(&connect());
    for (int round = 0; round < 10; ++round) {
      for (Client* client : clients) produce(*client, {{"t", 0, batch_of(1, 9000)}});
    }
    std::vector<int64_t> offsets;
    for (Client* client : clients) {
      int64_t last = -1;
      for (int round = 0; round < 10; ++round) {
        const auto answer = answer_of<ProduceResponse>(*client, 9);
        const int64_t offset = answer->topics[0].partitions[0].base_offset;
        EXPECT_GT(offset, last);
        EXPECT_LT(offset, partition("t").durable.value);
        last = offset;
        offsets.push_back(offset);
      }
    }
    std::ranges::sort(offsets);
    for (int64_t i = 0; i < 40; ++i) EXPECT_EQ(offsets[static_cast<size_t>(i)], i);
    TearDown();
  }
}

TEST_F(WakeTest, LatencyIsCountedFromTheWholeRequestToTheAnswer) {
  start({{"t", {0}}});
  Client& client = connect();
  drive().hold(true);
  produce(client, {{"t", 0, batch_of(1)}});
  run_for(second_ns);
  drive().hold(false);
  answer_of<ProduceResponse>(client, 9);
  EXPECT_EQ(metrics().produce_latency.count.get(), 1u);
  EXPECT_GE(metrics().produce_latency.sum_us.get(), 990'000u);
  EXPECT_LE(metrics().produce_latency.sum_us.get(), 1'100'000u);
}

// ---- a new view ----

TEST_F(WakeTest, AViewIsConfirmedByVersion) {
  start({});
  for (int i = 0; i < 3; ++i) {
    const auto view = view_of({{"t", {0}}});
    tell({.kind = ToLaneKind::view, .view = view});
    EXPECT_EQ(await(ToControlKind::view_applied).version, view->version);
  }
}

TEST_F(WakeTest, PartitionsThatANewViewAddsAreOpened) {
  start({{"t", {0}}});
  Client& client = connect();
  EXPECT_EQ(produced(client, {"t", 0, batch_of(2)}), 0);
  EXPECT_EQ(produced(client, {"t", 1, batch_of(1)}), -static_cast<int64_t>(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
  apply({{"t", {0, 0}}, {"u", {0}}});
  EXPECT_EQ(produced(client, {"t", 1, batch_of(1)}), 0);
  EXPECT_EQ(produced(client, {"u", 0, batch_of(1)}), 0);
  EXPECT_EQ(produced(client, {"t", 0, batch_of(1)}), 2) << "what was there stays";
}

TEST_F(WakeTest, ATopicDeletedWithItsBatchesUnderWay) {
  start({{"t", {0}}, {"u", {0}}});
  Client& client = connect();
  drive().hold(true);
  produce(client, {{"t", 0, batch_of(1)}});
  produce(client, {{"u", 0, batch_of(1)}});
  run_for(millisecond_ns);
  apply({{"u", {0}}});
  drive().hold(false);
  EXPECT_EQ(answer_of<ProduceResponse>(client, 9)->topics[0].partitions[0].error_code, ErrorCode::NONE)
      << "they had been appended";
  EXPECT_EQ(answer_of<ProduceResponse>(client, 9)->topics[0].partitions[0].base_offset, 0);
  EXPECT_EQ(produced(client, {"t", 0, batch_of(1)}), -static_cast<int64_t>(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

TEST_F(WakeTest, ATopicDeletedWhileItsBatchWaitsForRoom) {
  start({{"t", {0}}, {"u", {0}}});
  drive().hold(true);
  Client &filling = connect(), &client = connect();
  for (int i = 0; i < 40; ++i) produce(filling, {{"u", 0, batch_of(1, 30 * KiB)}});
  run_for(10 * millisecond_ns);
  ASSERT_LT(partition("u").appended.value, 40);
  produce(client, {{"t", 0, batch_of(1, 30 * KiB)}});
  run_for(10 * millisecond_ns);
  apply({{"u", {0}}});
  drive().hold(false);
  EXPECT_EQ(answer_of<ProduceResponse>(client, 9)->topics[0].partitions[0].error_code,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
  for (int64_t i = 0; i < 40; ++i) {
    EXPECT_EQ(answer_of<ProduceResponse>(filling, 9)->topics[0].partitions[0].base_offset, i);
  }
}

// ---- room ----

TEST_F(WakeTest, WhoWaitedForRoomLongestIsServedFirst) {
  start({{"t", {0}}});
  drive().hold(true);
  Client& filling = connect();
  for (int i = 0; i < 40; ++i) produce(filling, {{"t", 0, batch_of(1, 30 * KiB)}});
  run_for(10 * millisecond_ns);
  const int64_t full_at = partition("t").appended.value;
  ASSERT_LT(full_at, 40);
  std::vector<Client*> waiting;
  for (int i = 0; i < 5; ++i) {
    waiting.push_back(&connect());
    produce(*waiting.back(), {{"t", 0, batch_of(1, 30 * KiB)}});
    run_for(10 * millisecond_ns);
  }
  drop(*waiting[2]);  // one leaves from the middle of the line
  drive().hold(false);
  int64_t last = full_at;  // the first in line is `filling`
  for (const size_t i : {0u, 1u, 3u, 4u}) {
    const int64_t offset = answer_of<ProduceResponse>(*waiting[i], 9)->topics[0].partitions[0].base_offset;
    EXPECT_GT(offset, last);
    last = offset;
  }
  for (int i = 0; i < 40; ++i) answer_of<ProduceResponse>(filling, 9);
  EXPECT_EQ(partition("t").durable.value, 44);
}

// ---- the mailbox to the control plane ----

TEST_F(WakeTest, AFullMailboxLosesNothing) {
  setup.control_capacity = 1;
  start({});
  hold_outbox(true);
  std::vector<Client*> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(&connect());
    ask_metadata(*clients.back(), {"new-" + std::to_string(i)});
    run_for(millisecond_ns);
  }
  hold_outbox(false);
  for (int i = 0; i < 5; ++i) {
    const ToControl ask = await(ToControlKind::ensure_topics);
    EXPECT_EQ(ask.topics, std::vector<std::string>{"new-" + std::to_string(i)}) << "in order";
    tell({.kind = ToLaneKind::topics_ensured, .token = ask.token, .errors = {17}});
    EXPECT_EQ(answer_of<kafka::MetadataResponse>(*clients[static_cast<size_t>(i)], 9)->topics[0].error_code,
              ErrorCode::INVALID_TOPIC_EXCEPTION);
  }
}

// ---- deadlines ----

// The caller sleeps until the deadline it is told; a waiting fetch must end then without anything else happening.
TEST_F(WakeTest, TheDeadlineOfAWaitingFetchIsTold) {
  start({{"t", {0}}});
  Client& client = connect();
  fetch(client, {{"t"}}, {.max_wait_ms = 300});
  run_for(millisecond_ns);
  EXPECT_LE(broker().next_deadline(), now() + 300 * millisecond_ns);
  EXPECT_GT(broker().next_deadline(), now());
}

TEST_F(WakeTest, WithoutConnectionsThereIsNoDeadline) {
  start({});
  Client& client = connect();
  EXPECT_LE(broker().next_deadline(), now() + second_ns) << "silence is looked for";
  drop(client);
  EXPECT_EQ(broker().next_deadline(), never_ns);
}

// ---- the end ----

TEST_F(WakeTest, AStopOfAnIdleLane) {
  start({{"t", {0}}});
  Client& client = connect();
  stop();
  EXPECT_TRUE(stopped());
  EXPECT_TRUE(lane().stopped());
  EXPECT_TRUE(closed(client));
  EXPECT_FALSE(streams().accepts);
  run_for(second_ns);
  EXPECT_EQ(asked(ToControlKind::lane_stopped), 1u) << "said once";
}

TEST_F(WakeTest, AStopAnswersWholeRequestsFirst) {
  start({{"t", {0}}});
  Client &producing = connect(), &creating = connect(), &half = connect(), &slow = connect();
  ASSERT_EQ(produced(slow, {"t", 0, batch_of(1, 100 * KiB)}), 0);
  drive().hold(true);
  for (int i = 0; i < 5; ++i) produce(producing, {{"t", 0, batch_of(1)}});
  ask_metadata(creating, {"new"});
  write_part(half, produce_frame(half, {{"t", 0, batch_of(1, 1000)}}), 0, 500);
  streams().stop_reading(slow.peer, true);
  fetch(slow, {{"t"}});
  const ToControl ask = await(ToControlKind::ensure_topics);
  run_for(millisecond_ns);
  stop();
  EXPECT_FALSE(stopped());
  EXPECT_TRUE(closed(half));
  EXPECT_NE(broker().pending_report(), "0 connections");
  tell({.kind = ToLaneKind::topics_ensured, .token = ask.token, .errors = {0}});
  answer_of<kafka::MetadataResponse>(creating, 9);
  EXPECT_FALSE(stopped());
  drive().hold(false);
  for (int64_t i = 1; i <= 5; ++i) {
    EXPECT_EQ(answer_of<ProduceResponse>(producing, 9)->topics[0].partitions[0].base_offset, i);
  }
  EXPECT_TRUE(closed(producing));
  EXPECT_FALSE(stopped()) << "one has not taken its answer";
  streams().stop_reading(slow.peer, false);
  EXPECT_EQ(batches_of(answer_of<FetchResponse>(slow, 12)->topics[0].partitions[0].records).size(), 1u);
  EXPECT_TRUE(stopped());
  EXPECT_EQ(broker().pending_report(), "0 connections");
}

TEST_F(WakeTest, AStopDoesNotWaitForWaitingFetches) {
  start({{"t", {0}}});
  Client& client = connect();
  fetch(client, {{"t"}}, {.max_wait_ms = 60'000});
  run_for(millisecond_ns);
  stop();
  EXPECT_TRUE(stopped());
  EXPECT_TRUE(closed(client));
}

// More whole requests have come than one connection may have unanswered.
TEST_F(WakeTest, AStopAnswersAlsoWhatIsBehindTheMostUnanswered) {
  start({{"t", {0}}});
  drive().hold(true);
  Client& client = connect();
  Bytes all;
  for (int i = 0; i < 80; ++i) {
    const Bytes frame = produce_frame(client, {{"t", 0, batch_of(1, 100)}});
    all.insert(all.end(), frame.begin(), frame.end());
  }
  write(client, all);
  run_for(10 * millisecond_ns);
  ASSERT_EQ(partition("t").appended.value, responses_per_connection_max);
  const size_t whole = streams().received[client.peer] / (all.size() / 80);
  ASSERT_GT(whole, responses_per_connection_max);
  stop();
  run_for(10 * millisecond_ns);
  drive().hold(false);
  for (size_t i = 0; i < whole; ++i) answer_of<ProduceResponse>(client, 9);
  EXPECT_TRUE(stopped());
}

TEST_F(WakeTest, AStopWaitsForBatchesThatNobodyWaitsFor) {
  start({{"t", {0}}});
  Client& client = connect();
  drive().hold(true);
  produce(client, {{"t", 0, batch_of(1)}}, 9, 0);
  run_for(millisecond_ns);
  stop();
  EXPECT_FALSE(stopped());
  drive().hold(false);
  EXPECT_TRUE(stopped());
  EXPECT_EQ(partition("t").durable.value, 1);
}

TEST_F(WakeTest, AStopAnswersWhatWaitsForRoom) {
  start({{"t", {0}}});
  drive().hold(true);
  std::vector<Client*> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(&connect());
    for (int j = 0; j < 4; ++j) produce(*clients.back(), {{"t", 0, batch_of(1, 30 * KiB)}});
  }
  run_for(10 * millisecond_ns);
  ASSERT_LT(partition("t").appended.value, 40);
  stop();
  run_for(10 * millisecond_ns);
  drive().hold(false);
  for (Client* client : clients) {
    EXPECT_EQ(answer_of<ProduceResponse>(*client, 9)->topics[0].partitions[0].error_code, ErrorCode::NONE);
  }
  EXPECT_TRUE(stopped());
}

TEST_F(WakeTest, NobodyIsAcceptedAfterAStop) {
  start({{"t", {0}}});
  Client& client = connect();
  drive().hold(true);
  produce(client, {{"t", 0, batch_of(1)}});
  run_for(millisecond_ns);
  stop();
  run_for(millisecond_ns);
  EXPECT_EQ(streams().connect(now(), 9092), UINT32_MAX);
  drive().hold(false);
  EXPECT_TRUE(stopped());
}

}  // namespace
}  // namespace penstock::session_test
