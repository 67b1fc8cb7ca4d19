// ApiVersions, InitProducerId, FindCoordinator, and what the control plane answers.
#include <gtest/gtest.h>

#include <set>

#include "dataplane/kafka/messages/api_versions.h"
#include "dataplane/kafka/messages/create_topics.h"
#include "dataplane/kafka/messages/delete_topics.h"
#include "dataplane/kafka/messages/find_coordinator.h"
#include "dataplane/kafka/messages/init_producer_id.h"
#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::ErrorCode;
using kafka::InitProducerIdRequest;
using kafka::InitProducerIdResponse;

class SmallRequestsTest : public LaneTest {
 protected:
  void give_block(int64_t first, int32_t count) {
    tell({.kind = ToLaneKind::producer_id_block, .first_producer_id = first, .producer_id_count = count});
  }
  int64_t producer_id(Client& client, kafka::Version version = 4) {
    send(client, InitProducerIdRequest{}, version);
    const auto answer = answer_of<InitProducerIdResponse>(client, version);
    EXPECT_EQ(answer->error_code, ErrorCode::NONE);
    EXPECT_EQ(answer->producer_epoch, 0);
    return answer->producer_id;
  }
  // A request of the control plane; the node does not look into it.
  Bytes admin_frame(int32_t correlation_id, size_t bytes = 200) {
    Bytes frame(bytes, std::byte{'x'});
    store_big(frame.data(), static_cast<int32_t>(bytes - 4));
    store_big(frame.data() + 4, static_cast<int16_t>(kafka::ApiKey::create_topics));
    store_big(frame.data() + 6, int16_t{3});
    store_big(frame.data() + 8, correlation_id);
    store_big(frame.data() + 12, int16_t{-1});
    return frame;
  }
  static Bytes reply_of(int32_t correlation_id, size_t bytes = 50) {
    Bytes reply(bytes, std::byte{'y'});
    store_big(reply.data(), correlation_id);
    return reply;
  }
  void reply(const ToControl& ask, Bytes bytes) {
    tell({.kind = ToLaneKind::admin_reply, .token = ask.token, .bytes = std::move(bytes)});
  }
};

TEST_F(SmallRequestsTest, ApiVersionsListsWhatIsServed) {
  start({});
  Client& client = connect();
  for (kafka::Version version = 0; version <= 4; ++version) {
    SCOPED_TRACE(version);
    send(client, kafka::ApiVersionsRequest{}, version);
    const auto answer = answer_of<kafka::ApiVersionsResponse>(client, version);
    EXPECT_EQ(answer->error_code, ErrorCode::NONE);
    ASSERT_EQ(answer->api_keys.size(), kafka::served_apis.size());
    for (uint32_t i = 0; i < answer->api_keys.size(); ++i) {
      EXPECT_EQ(answer->api_keys[i].api_key, kafka::served_apis[i].key);
      EXPECT_EQ(answer->api_keys[i].min_version, kafka::served_apis[i].oldest);
      EXPECT_EQ(answer->api_keys[i].max_version, kafka::served_apis[i].newest);
    }
  }
}

// ---- producer ids ----

TEST_F(SmallRequestsTest, AProducerIdWaitsForTheFirstBlock) {
  start({});
  Client &first = connect(), &second = connect();
  send(first, InitProducerIdRequest{}, 0);
  run_for(millisecond_ns);
  send(second, InitProducerIdRequest{}, 5);
  await(ToControlKind::producer_id_block);
  EXPECT_FALSE(answered(first, second_ns));
  EXPECT_EQ(asked(ToControlKind::producer_id_block), 0u) << "one block is asked for, however many wait";
  give_block(1000, 500);
  EXPECT_EQ(answer_of<InitProducerIdResponse>(first, 0)->producer_id, 1000);
  EXPECT_EQ(answer_of<InitProducerIdResponse>(second, 5)->producer_id, 1001);
}

TEST_F(SmallRequestsTest, NoProducerIdIsGivenTwice) {
  start({});
  Client& client = connect();
  std::set<int64_t> given;
  int64_t next_block = 0;
  for (int i = 0; i < 1000; ++i) {
    send(client, InitProducerIdRequest{}, static_cast<kafka::Version>(i % 6));
    while (!answered(client, millisecond_ns * 5)) {
      await(ToControlKind::producer_id_block);
      give_block(next_block, 150);
      next_block += 10'000;
    }
    const auto answer = answer_of<InitProducerIdResponse>(client, static_cast<kafka::Version>(i % 6));
    ASSERT_EQ(answer->error_code, ErrorCode::NONE);
    ASSERT_TRUE(given.insert(answer->producer_id).second);
    ASSERT_LT(answer->producer_id % 10'000, 150);
  }
}

TEST_F(SmallRequestsTest, TheNextBlockIsAskedForBeforeTheFirstEnds) {
  start({});
  Client& client = connect();
  send(client, InitProducerIdRequest{}, 4);
  await(ToControlKind::producer_id_block);
  give_block(0, 300);
  answer_of<InitProducerIdResponse>(client, 4);
  for (int64_t i = 1; i <= 200; ++i) ASSERT_EQ(producer_id(client), i);
  EXPECT_EQ(asked(ToControlKind::producer_id_block), 0u);
  ASSERT_EQ(producer_id(client), 201);
  EXPECT_EQ(asked(ToControlKind::producer_id_block), 1u);
  for (int64_t i = 202; i < 250; ++i) ASSERT_EQ(producer_id(client), i);
  give_block(5000, 300);
  for (int64_t i = 250; i < 300; ++i) ASSERT_EQ(producer_id(client), i) << "the old block is used up";
  EXPECT_EQ(producer_id(client), 5000);
}

TEST_F(SmallRequestsTest, AFailingCatalogIsAnsweredAndAskedAgain) {
  start({});
  Client &first = connect(), &second = connect();
  send(first, InitProducerIdRequest{}, 4);
  send(second, InitProducerIdRequest{}, 4);
  send(second, InitProducerIdRequest{}, 4);
  await(ToControlKind::producer_id_block);
  run_for(millisecond_ns);
  give_block(0, 0);
  EXPECT_EQ(answer_of<InitProducerIdResponse>(first, 4)->error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
  EXPECT_EQ(answer_of<InitProducerIdResponse>(second, 4)->error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
  EXPECT_EQ(answer_of<InitProducerIdResponse>(second, 4)->error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
  send(first, InitProducerIdRequest{}, 4);
  await(ToControlKind::producer_id_block);
  give_block(70, 10);
  EXPECT_EQ(answer_of<InitProducerIdResponse>(first, 4)->producer_id, 70);
}

TEST_F(SmallRequestsTest, AFailingCatalogDoesNotTakeTheRestOfABlock) {
  start({});
  Client& client = connect();
  send(client, InitProducerIdRequest{}, 4);
  await(ToControlKind::producer_id_block);
  give_block(0, 50);  // so few that the next block is asked for at once
  ASSERT_EQ(answer_of<InitProducerIdResponse>(client, 4)->producer_id, 0);
  ASSERT_EQ(producer_id(client), 1);
  await(ToControlKind::producer_id_block);
  give_block(0, 0);
  EXPECT_EQ(producer_id(client), 2);
}

TEST_F(SmallRequestsTest, AClientThatWantsTransactionsIsTurnedAway) {
  start({});
  Client& client = connect();
  send(client, InitProducerIdRequest{.transactional_id = "tx", .transaction_timeout_ms = 60'000}, 4);
  const auto answer = answer_of<InitProducerIdResponse>(client, 4);
  EXPECT_EQ(answer->error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
  EXPECT_EQ(answer->producer_id, -1);
  EXPECT_EQ(asked(ToControlKind::producer_id_block), 0u);
  EXPECT_EQ(await(ToControlKind::notice).text,
            "a client asked for a transactional id: transactions are not served yet");
}

// Whoever waited for a block and left must not wake the connection that came after it: its request would be passed to
// the control plane a second time, and the second answer says that the topic exists.
TEST_F(SmallRequestsTest, ABlockWakesOnlyThoseWhoWaitForIt) {
  start({});
  Client& gone = connect();
  send(gone, InitProducerIdRequest{}, 4);
  await(ToControlKind::producer_id_block);
  drop(gone);
  Client& next = connect();
  ASSERT_EQ(next.peer, gone.peer);
  write(next, admin_frame(5));
  const ToControl ask = await(ToControlKind::admin_request);
  give_block(1000, 500);
  run_for(10 * millisecond_ns);
  EXPECT_EQ(asked(ToControlKind::admin_request), 0u) << "passed on twice";
  reply(ask, reply_of(5));
  EXPECT_TRUE(answered(next));
}

// ---- coordinators ----

TEST_F(SmallRequestsTest, ThereIsNoCoordinator) {
  start({});
  Client& client = connect();
  for (kafka::Version version = 0; version <= 6; ++version) {
    SCOPED_TRACE(version);
    std::array<kafka::Text, 2> keys = {"one", "two"};
    kafka::FindCoordinatorRequest request;
    request.coordinator_key = "one";
    request.coordinator_keys = kafka::Slice<kafka::Text>(keys.data(), 2);
    send(client, request, version);
    const auto answer = answer_of<kafka::FindCoordinatorResponse>(client, version);
    if (version < 4) {
      EXPECT_EQ(answer->error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
      EXPECT_EQ(answer->node_id, -1);
      EXPECT_EQ(answer->port, -1);
      continue;
    }
    ASSERT_EQ(answer->coordinators.size(), 2u);
    for (uint32_t i = 0; i < 2; ++i) {
      EXPECT_EQ(answer->coordinators[i].key, keys[i]);
      EXPECT_EQ(answer->coordinators[i].error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
      EXPECT_EQ(answer->coordinators[i].node_id, -1);
    }
  }
  EXPECT_EQ(errors(ErrorCode::COORDINATOR_NOT_AVAILABLE), 7u);
}

// ---- the control plane's requests ----

TEST_F(SmallRequestsTest, AnAdminRequestIsPassedOnWholeAndItsAnswerBack) {
  start({});
  Client& client = connect();
  const Bytes frame = admin_frame(7, 10'000);  // in several pieces
  write(client, frame);
  const ToControl ask = await(ToControlKind::admin_request);
  EXPECT_TRUE(std::equal(ask.bytes.begin(), ask.bytes.end(), frame.begin() + 4, frame.end()));
  EXPECT_FALSE(answered(client, 20 * second_ns));
  const Bytes answer = reply_of(7, 100'000);
  reply(ask, answer);
  ASSERT_TRUE(answered(client));
  EXPECT_EQ(client.frames.front().bytes, answer);
}

TEST_F(SmallRequestsTest, DeleteTopicsGoesTheSameWay) {
  start({});
  Client& client = connect();
  Bytes frame = admin_frame(8);
  store_big(frame.data() + 4, static_cast<int16_t>(kafka::ApiKey::delete_topics));
  write(client, frame);
  reply(await(ToControlKind::admin_request), reply_of(8));
  ASSERT_TRUE(answered(client));
  EXPECT_EQ(client.frames.front().correlation_id, 8);
}

TEST_F(SmallRequestsTest, WhatTheControlPlaneCallsMalformedClosesTheConnection) {
  start({});
  Client& client = connect();
  write(client, admin_frame(7));
  reply(await(ToControlKind::admin_request), {});
  EXPECT_TRUE(closed(client));
  EXPECT_EQ(metrics().connections_closed_malformed.get(), 1u);
}

TEST_F(SmallRequestsTest, AnAnswerThatComesTwiceIsGivenOnce) {
  start({});
  Client& client = connect();
  write(client, admin_frame(7));
  const ToControl ask = await(ToControlKind::admin_request);
  reply(ask, reply_of(7));
  reply(ask, reply_of(7));
  tell({.kind = ToLaneKind::admin_reply, .token = UINT64_MAX, .bytes = reply_of(9)});
  ASSERT_TRUE(answered(client));
  run_for(10 * millisecond_ns);
  EXPECT_EQ(client.frames.size(), 1u);
}

TEST_F(SmallRequestsTest, TooLargeAnAdminRequestClosesTheConnection) {
  setup.broker.request_bytes_max = 5 * MiB;
  setup.broker.receive_bytes = 160 * MiB;
  setup.receive_bytes = 180 * MiB;
  start({});
  Client &largest = connect(), &larger = connect();
  write(largest, admin_frame(1, 4 + admin_request_bytes_max));
  reply(await(ToControlKind::admin_request), reply_of(1));
  EXPECT_TRUE(answered(largest));
  write(larger, admin_frame(2, 5 + admin_request_bytes_max));
  EXPECT_TRUE(closed(larger));
  EXPECT_EQ(asked(ToControlKind::admin_request), 0u);
}

// An admin client sends its next request before the answer to the one before is there.
TEST_F(SmallRequestsTest, PipelinedAdminRequestsEachHaveTheirOwnAnswer) {
  start({});
  Client& client = connect();
  write(client, admin_frame(1));
  write(client, admin_frame(2));
  run_for(millisecond_ns);
  reply(await(ToControlKind::admin_request), reply_of(1));
  ASSERT_TRUE(answered(client));
  EXPECT_EQ(client.frames.front().correlation_id, 1);
  client.frames.pop_front();
  EXPECT_FALSE(answered(client)) << "answered with correlation id " << client.frames.front().correlation_id;
  reply(await(ToControlKind::admin_request), reply_of(2));
  ASSERT_TRUE(answered(client));
  EXPECT_EQ(client.frames.front().correlation_id, 2);
}

}  // namespace
}  // namespace penstock::session_test
