// Cutting requests, credit and reservations, connections that say nothing, and the ways a connection ends.
#include <gtest/gtest.h>

#include "dataplane/kafka/messages/api_versions.h"
#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::ApiVersionsRequest;
using kafka::ApiVersionsResponse;
using kafka::ProduceResponse;

class ReceiveTest : public LaneTest {
 protected:
  static Bytes prefix_of(int32_t length) {
    Bytes bytes(4);
    store_big(bytes.data(), length);
    return bytes;
  }
  // A Produce request of about `bytes`; the batch is as large as topic "t" takes.
  Bytes large_frame(Client& client, size_t bytes = 200 * KiB) {
    return produce_frame(client, {{"t", 0, batch_of(1, bytes)}});
  }
  uint64_t allowed(const Client& client) { return streams().allowed[client.peer]; }
};

// ---- the length prefix ----

struct LengthCase {
  const char* label;
  int32_t length;
  bool closes;
};

TEST_F(ReceiveTest, LengthPrefixBounds) {
  const LengthCase cases[] = {
      {"smallest number", INT32_MIN, true},
      {"negative", -1, true},
      {"zero", 0, true},
      {"one less than key, version and correlation id", 7, true},
      {"key, version and correlation id", 8, false},
      {"fits a small buffer", 4092, false},
      {"one more than a small buffer", 4093, false},
      {"the largest request", 256 * 1024, false},
      {"one more than the largest request", 256 * 1024 + 1, true},
      {"largest number", INT32_MAX, true},
      {"letters: a client of another protocol", 0x47455420, true},
  };
  start({});
  uint64_t malformed = 0;
  for (const LengthCase& each : cases) {
    SCOPED_TRACE(each.label);
    Client& client = connect();
    write(client, prefix_of(each.length));
    EXPECT_EQ(closed(client, 20 * millisecond_ns), each.closes);
    malformed += each.closes;
    EXPECT_EQ(metrics().connections_closed_malformed.get(), malformed);
    drop(client);
  }
}

TEST_F(ReceiveTest, APrefixInFourPiecesIsAPrefix) {
  start({});
  Client& client = connect();
  const Bytes frame = frame_of(ApiVersionsRequest{}, 0, 7);
  for (size_t i = 0; i < frame.size(); ++i) {
    write_part(client, frame, i, i + 1);
    run_for(10'000);
  }
  EXPECT_EQ(answer_of<ApiVersionsResponse>(client, 0).frame.correlation_id, 7);
}

TEST_F(ReceiveTest, PipelinedRequestsAreAnsweredInOrder) {
  start({});
  Client& client = connect();
  Bytes all;
  constexpr int32_t count = 200;
  for (int32_t i = 0; i < count; ++i) {
    const Bytes frame = frame_of(ApiVersionsRequest{}, 0, i);
    all.insert(all.end(), frame.begin(), frame.end());
  }
  write(client, all);
  for (int32_t i = 0; i < count; ++i) {
    ASSERT_EQ(answer_of<ApiVersionsResponse>(client, 0).frame.correlation_id, i);
  }
  EXPECT_EQ(metrics().requests.get(), uint64_t{count});
}

// ---- credit and reservations ----

TEST_F(ReceiveTest, AnIdleConnectionHasOneSmallBufferOfCredit) {
  start({});
  Client& client = connect();
  EXPECT_EQ(allowed(client), small_credit_bytes);
  send(client, ApiVersionsRequest{}, 0);
  answer_of<ApiVersionsResponse>(client, 0);
  EXPECT_LE(allowed(client) - streams().received[client.peer], small_credit_bytes);
  EXPECT_GT(allowed(client) - streams().received[client.peer], 0u);
}

TEST_F(ReceiveTest, ALargeRequestIsAllowedExactlyToItsEnd) {
  start({{"t", {0}}});
  Client& client = connect();
  const Bytes frame = large_frame(client);
  write_part(client, frame, 0, 5000);
  run_for(10 * millisecond_ns);
  EXPECT_EQ(allowed(client), frame.size());
  EXPECT_EQ(metrics().reserved_bytes.get(), streams().receive_cost(frame.size()));
  write_part(client, frame, 5000, frame.size());
  EXPECT_EQ(answer_of<ProduceResponse>(client, 9)->topics[0].partitions[0].error_code, kafka::ErrorCode::NONE);
  run_for(millisecond_ns);
  EXPECT_EQ(metrics().reserved_bytes.get(), 0u) << "given back when the commit is durable";
}

// Room for three largest requests besides the one that is kept: newcomers may take half, one and a half.
TEST_F(ReceiveTest, WithoutAGrantNoCreditBeyondASmallBuffer) {
  start({{"t", {0}}});
  Client &first = connect(), &second = connect(), &third = connect();
  std::vector<Client*> clients = {&first, &second, &third};
  std::vector<Bytes> frames;
  for (Client* client : clients) {
    frames.push_back(large_frame(*client, 250 * KiB));
    write_part(*client, frames.back(), 0, 100 * KiB);
    run_for(10 * millisecond_ns);
  }
  EXPECT_EQ(allowed(first), frames[0].size());
  EXPECT_EQ(allowed(second), frames[1].size()) << "the part that is kept for the oldest waiter";
  EXPECT_EQ(allowed(third), small_credit_bytes);
  EXPECT_EQ(streams().received[third.peer], small_credit_bytes);
  EXPECT_EQ(metrics().reservations_waiting.get(), 1u);

  write_part(first, frames[0], 100 * KiB, frames[0].size());
  answer_of<ProduceResponse>(first, 9);
  run_for(10 * millisecond_ns);
  EXPECT_EQ(allowed(third), frames[2].size());
  EXPECT_EQ(metrics().reservations_waiting.get(), 0u);
  write_part(third, frames[2], 100 * KiB, frames[2].size());
  write_part(second, frames[1], 100 * KiB, frames[1].size());
  answer_of<ProduceResponse>(third, 9);
  answer_of<ProduceResponse>(second, 9);
}

TEST_F(ReceiveTest, ProvenConnectionsHaveRoomWhereNewcomersWait) {
  start({{"t", {0}}});
  Client& proven = connect();
  ASSERT_EQ(produced(proven, {"t", 0, batch_of(1, 200 * KiB)}), 0);
  Client &first = connect(), &second = connect(), &third = connect();
  for (Client* newcomer : {&first, &second, &third}) {
    write_part(*newcomer, large_frame(*newcomer, 250 * KiB), 0, 100);
    run_for(10 * millisecond_ns);
  }
  ASSERT_EQ(metrics().reservations_waiting.get(), 1u);
  EXPECT_EQ(produced(proven, {"t", 0, batch_of(1, 200 * KiB)}), 1);
  EXPECT_EQ(metrics().reservations_waiting.get(), 1u);
}

TEST_F(ReceiveTest, AWaiterThatLeavesIsNotGrantedAnything) {
  start({{"t", {0}}});
  std::vector<Client*> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(&connect());
    write_part(*clients.back(), large_frame(*clients.back(), 250 * KiB), 0, 100);
    run_for(10 * millisecond_ns);
  }
  ASSERT_EQ(metrics().reservations_waiting.get(), 2u);
  drop(*clients[2]);
  EXPECT_EQ(metrics().reservations_waiting.get(), 1u);
  drop(*clients[0]);
  EXPECT_EQ(metrics().reservations_waiting.get(), 0u);
  EXPECT_GT(allowed(*clients[3]), small_credit_bytes);
}

TEST_F(ReceiveTest, ResidentDataGivesWayToRequests) {
  setup.log.resident_bytes_max = 16 * MiB;
  setup.log.segment_bytes = 8 * MiB;
  setup.receive_bytes = 14 * MiB;
  setup.units.copybreak = 0;
  start({{"t", {0}}});
  Client& client = connect();
  for (int i = 0; i < 60; ++i) ASSERT_EQ(produced(client, {"t", 0, batch_of(1, 200 * KiB)}), i);
  EXPECT_GE(streams().receive_free() + 64 * KiB, setup.broker.receive_bytes / 8);
}

// ---- silence ----

TEST_F(ReceiveTest, AnIdleConnectionIsClosed) {
  setup.broker.idle_max_ns = 10 * second_ns;
  start({});
  Client &idle = connect(), &active = connect();
  for (int i = 0; i < 9; ++i) {
    run_for(second_ns);
    send(active, ApiVersionsRequest{}, 0);
    answer_of<ApiVersionsResponse>(active, 0);
    ASSERT_FALSE(idle.connection.ended(now()));
  }
  EXPECT_TRUE(closed(idle, 3 * second_ns));
  EXPECT_FALSE(active.connection.ended(now()));
  EXPECT_EQ(metrics().connections_closed_idle.get(), 1u);
}

TEST_F(ReceiveTest, WhoWaitsForUsIsNotIdle) {
  setup.broker.idle_max_ns = 5 * second_ns;
  start({{"t", {0}}});
  Client &fetching = connect(), &creating = connect();
  fetch(fetching, {{"t"}}, {.max_wait_ms = 20'000});
  ask_metadata(creating, {"new"});
  run_for(15 * second_ns);
  EXPECT_FALSE(fetching.connection.ended(now()));
  EXPECT_FALSE(creating.connection.ended(now()));
  EXPECT_EQ(answer_of<kafka::FetchResponse>(fetching, 12, 10 * second_ns)->topics[0].partitions[0].records.size(), 0u);
}

TEST_F(ReceiveTest, AHalfSentRequestIsProbedAndThenClosed) {
  setup.broker.stall_max_ns = 8 * second_ns;
  start({{"t", {0}}});
  Client& client = connect();
  write_part(client, large_frame(client), 0, 5000);
  run_for(3 * second_ns);
  EXPECT_EQ(streams().probes[client.peer], 0u);
  run_for(3 * second_ns);
  EXPECT_GE(streams().probes[client.peer], 1u) << "asked for progress after half the time";
  EXPECT_FALSE(client.connection.ended(now()));
  EXPECT_TRUE(closed(client, 5 * second_ns));
  EXPECT_EQ(metrics().connections_closed_stalled.get(), 1u);
}

TEST_F(ReceiveTest, ALongSleepOfTheLaneIsNotThePeersStall) {
  setup.broker.stall_max_ns = 8 * second_ns;
  start({{"t", {0}}});
  Client& client = connect();
  const Bytes frame = large_frame(client);
  write_part(client, frame, 0, 5000);
  run_for(millisecond_ns);
  // Nobody polls for a minute; the first look after it only asks.
  lane().poll(now() + 60 * second_ns, 0);
  EXPECT_EQ(streams().probes[client.peer], 1u);
  EXPECT_EQ(metrics().connections_closed_stalled.get(), 0u);
}

TEST_F(ReceiveTest, SlowProgressKeepsARequestAlive) {
  setup.broker.stall_max_ns = 8 * second_ns;
  start({{"t", {0}}});
  Client& client = connect();
  const Bytes frame = large_frame(client);
  write_part(client, frame, 0, 5000);
  for (size_t i = 0; i < 10; ++i) {
    run_for(6 * second_ns);
    ASSERT_FALSE(client.connection.ended(now()));
    write_part(client, frame, 5000 + i, 5001 + i);
  }
  write_part(client, frame, 5010, frame.size());
  answer_of<ProduceResponse>(client, 9);
}

// Two hold what there is and say nothing more; the third waits, which is not its stall, and gets its turn.
TEST_F(ReceiveTest, WaitingForMemoryIsNotAStall) {
  setup.broker.stall_max_ns = 8 * second_ns;
  start({{"t", {0}}});
  Client &first = connect(), &second = connect();
  for (Client* client : {&first, &second}) {
    write_part(*client, large_frame(*client, 250 * KiB), 0, 100);
    run_for(10 * millisecond_ns);
  }
  run_for(6 * second_ns);
  Client& third = connect();
  write(third, large_frame(third, 250 * KiB));
  EXPECT_TRUE(closed(first, 6 * second_ns));
  EXPECT_TRUE(closed(second, 6 * second_ns));
  answer_of<ProduceResponse>(third, 9);
  EXPECT_EQ(metrics().connections_closed_stalled.get(), 2u);
}

// ---- the end of a connection ----

TEST_F(ReceiveTest, APeerThatFinishesGetsItsAnswersAndIsClosed) {
  start({{"t", {0}}});
  Client& client = connect();
  produce(client, {{"t", 0, batch_of(1)}});
  send(client, ApiVersionsRequest{}, 0);
  write(client, prefix_of(100));  // and the beginning of another one
  finish(client);
  answer_of<ProduceResponse>(client, 9);
  answer_of<ApiVersionsResponse>(client, 0);
  EXPECT_TRUE(closed(client));
}

TEST_F(ReceiveTest, NobodyWaitsForTheFetchOfAPeerThatHasFinished) {
  start({{"t", {0}}});
  Client& client = connect();
  fetch(client, {{"t"}}, {.max_wait_ms = 20'000});
  run_for(10 * millisecond_ns);
  finish(client);
  EXPECT_TRUE(closed(client));
}

TEST_F(ReceiveTest, APeerThatFinishesWhileTheControlPlaneWorksGetsTheAnswer) {
  start({});
  Client& client = connect();
  ask_metadata(client, {"new"});
  finish(client);
  const ToControl ask = await(ToControlKind::ensure_topics);
  run_for(second_ns);
  EXPECT_FALSE(client.connection.ended(now()));
  apply({{"new", {0}}});
  tell({.kind = ToLaneKind::topics_ensured, .token = ask.token, .errors = {0}});
  EXPECT_EQ(answer_of<kafka::MetadataResponse>(client, 9)->topics[0].error_code, kafka::ErrorCode::NONE);
  EXPECT_TRUE(closed(client));
}

// More requests than one connection may have unanswered, without acknowledgement, and then FIN: Kafka handles what it
// has received of such a producer before it lets go of the connection.
TEST_F(ReceiveTest, WhatAPeerSentBeforeItFinishedIsHandled) {
  start({{"t", {0}}});
  drive().hold(true);
  Client& client = connect();
  constexpr int count = 80;
  for (int i = 0; i < count; ++i) produce(client, {{"t", 0, batch_of(1)}}, 9, 0);
  finish(client);
  run_for(10 * millisecond_ns);
  drive().hold(false);
  EXPECT_TRUE(closed(client));
  EXPECT_EQ(partition("t").durable.value, count);
}

TEST_F(ReceiveTest, AResetAtAnyMomentLeavesNothingBehind) {
  start({{"t", {0}}});
  Client &half = connect(), &producing = connect(), &fetching = connect(), &creating = connect(), &reading = connect();
  ASSERT_EQ(produced(reading, {"t", 0, batch_of(1, 100 * KiB)}), 0);
  log().shed_resident(UINT64_MAX);
  drive().hold(true);
  write_part(half, large_frame(half), 0, 50'000);
  for (int i = 0; i < 70; ++i) produce(producing, {{"t", 0, batch_of(1, 2000)}});
  fetch(fetching, {{"t", 0, 1}}, {.max_wait_ms = 20'000});
  fetch(reading, {{"t", 0, 0}});
  ask_metadata(creating, {"new"});
  run_for(10 * millisecond_ns);
  for (Client* client : {&half, &producing, &fetching, &creating, &reading}) reset(*client);
  run_for(10 * millisecond_ns);
  EXPECT_EQ(metrics().connections.get(), 0u);
  EXPECT_GT(responses_used(), 0u) << "what waits for its commit is remembered until then";
}

TEST_F(ReceiveTest, MoreConnectionsThanTheLaneHasRoomForAreRefused) {
  setup.broker.connections_max = 2;
  start({});
  Client &first = connect(), &second = connect(), &third = connect();
  EXPECT_TRUE(closed(third));
  EXPECT_EQ(metrics().connections_refused.get(), 1u);
  EXPECT_EQ(metrics().connections.get(), 2u);
  send(first, ApiVersionsRequest{}, 0);
  send(second, ApiVersionsRequest{}, 0);
  answer_of<ApiVersionsResponse>(first, 0);
  answer_of<ApiVersionsResponse>(second, 0);
}

TEST_F(ReceiveTest, OneNoticeASecondAndTheRestIsCounted) {
  start({});
  for (int i = 0; i < 5; ++i) {
    Client& client = connect();
    write(client, prefix_of(-1));
    EXPECT_TRUE(closed(client));
  }
  ASSERT_EQ(asked(ToControlKind::notice), 1u);
  EXPECT_EQ(take(ToControlKind::notice)->text, "connection from 10.0.0.1:40000 closed: impossible request length");
  run_for(second_ns);
  Client& client = connect();
  write(client, prefix_of(INT32_MAX));
  EXPECT_TRUE(closed(client));
  EXPECT_EQ(await(ToControlKind::notice).text,
            "connection from 10.0.0.1:40005 closed: request larger than request_bytes_max (4 lines left out)");
}

}  // namespace
}  // namespace penstock::session_test
