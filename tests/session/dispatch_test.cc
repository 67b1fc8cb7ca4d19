// From request header to handler: what closes the connection, what does not, and where a partition is found.
#include <gtest/gtest.h>

#include "dataplane/kafka/messages/api_versions.h"
#include "dataplane/kafka/messages/list_offsets.h"
#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::ApiKey;
using kafka::ApiVersionsRequest;
using kafka::ApiVersionsResponse;
using kafka::ErrorCode;

class DispatchTest : public LaneTest {
 protected:
  // A frame with a header of version 1 (null client id) and `body` behind it.
  static Bytes raw_frame(int16_t key, kafka::Version version, int32_t correlation_id, const Bytes& body = {}) {
    Bytes frame(14);
    store_big(frame.data(), static_cast<int32_t>(10 + body.size()));
    store_big(frame.data() + 4, key);
    store_big(frame.data() + 6, version);
    store_big(frame.data() + 8, correlation_id);
    store_big(frame.data() + 12, int16_t{-1});
    frame.insert(frame.end(), body.begin(), body.end());
    return frame;
  }
  void list_offsets(Client& client, const std::string& topic, int32_t partition) {
    std::array<kafka::ListOffsetsRequest::Partition, 1> partitions;
    std::array<kafka::ListOffsetsRequest::Topic, 1> topics;
    partitions[0] = {.index = partition, .timestamp = kafka::list_offsets_latest};
    topics[0].name = std::string_view(topic);
    topics[0].partitions = {partitions.data(), 1};
    kafka::ListOffsetsRequest request;
    request.topics = {topics.data(), 1};
    send(client, request, 7);
  }
};

struct KeyCase {
  const char* label;
  int16_t key;
  kafka::Version version;
};

TEST_F(DispatchTest, WhatIsNotServedClosesTheConnection) {
  const KeyCase cases[] = {
      {"no such API", 999, 0},
      {"negative API key", -1, 0},
      {"an API of Kafka's that is not served", 11, 0},
      {"Produce before 3, though 0 is advertised", 0, 2},
      {"Produce from the future", 0, 14},
      {"Produce of a negative version", 0, -1},
      {"Fetch before 4", 1, 3},
      {"Fetch from the future", 1, 18},
      {"ListOffsets 0", 2, 0},
      {"Metadata from the future", 3, 14},
      {"FindCoordinator from the future", 10, 7},
      {"CreateTopics before 2", 19, 1},
      {"DeleteTopics before 1", 20, 0},
      {"InitProducerId from the future", 22, 6},
      {"DescribeCluster from the future", 60, 3},
  };
  start({});
  Client& bystander = connect();
  for (const KeyCase& each : cases) {
    SCOPED_TRACE(each.label);
    Client& client = connect();
    write(client, raw_frame(each.key, each.version, 1, Bytes(32)));
    EXPECT_TRUE(closed(client));
    EXPECT_TRUE(client.frames.empty());
    drop(client);
  }
  EXPECT_EQ(metrics().connections_closed_malformed.get(), std::size(cases));
  send(bystander, ApiVersionsRequest{}, 3);
  answer_of<ApiVersionsResponse>(bystander, 3);
}

// KIP-511: the one request whose version a client cannot know beforehand.
TEST_F(DispatchTest, ApiVersionsOfAnUnknownVersionIsAnsweredInVersionZero) {
  start({});
  Client& client = connect();
  int32_t correlation_id = 70;
  for (const kafka::Version version : std::array<kafka::Version, 4>{5, 99, 32767, -1}) {
    SCOPED_TRACE(version);
    write(client, raw_frame(18, version, ++correlation_id, Bytes(100, std::byte{0xff})));
    const auto answer = answer_of<ApiVersionsResponse>(client, 0);
    EXPECT_EQ(answer.frame.correlation_id, correlation_id);
    EXPECT_EQ(answer->error_code, ErrorCode::UNSUPPORTED_VERSION);
    EXPECT_EQ(answer->api_keys.size(), kafka::served_apis.size());
  }
  send(client, ApiVersionsRequest{}, 3);
  EXPECT_EQ(answer_of<ApiVersionsResponse>(client, 3)->error_code, ErrorCode::NONE) << "the connection is kept";
  EXPECT_EQ(errors(ErrorCode::UNSUPPORTED_VERSION), 4u);
}

TEST_F(DispatchTest, ABodyThatEndsEarlyClosesTheConnection) {
  start({});
  for (const kafka::Api& api : kafka::served_apis) {
    // Before version 3 ApiVersions has no body, and neither has any other thing after its end.
    const kafka::Version version = api.key == ApiKey::api_versions ? 3 : api.oldest_served;
    SCOPED_TRACE(std::string(api.name));
    Client& client = connect();
    write(client, raw_frame(static_cast<int16_t>(api.key), version, 1));
    if (api.key == ApiKey::create_topics || api.key == ApiKey::delete_topics) {
      const ToControl ask = await(ToControlKind::admin_request);  // the control plane judges these
      tell({.kind = ToLaneKind::admin_reply, .token = ask.token});
    }
    EXPECT_TRUE(closed(client));
    drop(client);
  }
}

TEST_F(DispatchTest, BytesBehindACompleteMessageAreIgnored) {
  start({});
  Client& client = connect();
  write(client, raw_frame(18, 0, 5, Bytes(20, std::byte{1})));
  EXPECT_EQ(answer_of<ApiVersionsResponse>(client, 0).frame.correlation_id, 5);
}

// What recovery found is not known to be durable yet: nobody is told of it, and nobody is refused.
TEST_F(DispatchTest, RequestsOfTheLogWaitUntilItHasStarted) {
  setup.wait_until_writable = false;
  start({{"t", {0}}});
  ASSERT_EQ(log().state(), LogState::starting);
  Client &producing = connect(), &fetching = connect(), &listing = connect(), &asking = connect();
  produce(producing, {{"t", 0, batch_of(1)}});
  fetch(fetching, {{"t"}});
  list_offsets(listing, "t", 0);
  ask_metadata(asking, {"t"});
  answer_of<kafka::MetadataResponse>(asking, 9);
  run_for(100 * millisecond_ns);
  EXPECT_TRUE(producing.frames.empty() && fetching.frames.empty() && listing.frames.empty());
  drive().hold(false);
  EXPECT_EQ(answer_of<kafka::ProduceResponse>(producing, 9)->topics[0].partitions[0].error_code, ErrorCode::NONE);
  EXPECT_EQ(answer_of<kafka::FetchResponse>(fetching, 12)->topics[0].partitions[0].error_code, ErrorCode::NONE);
  EXPECT_EQ(answer_of<kafka::ListOffsetsResponse>(listing, 7)->topics[0].partitions[0].error_code, ErrorCode::NONE);
}

struct PlaceCase {
  const char* label;
  const char* topic;
  int32_t partition;
  ErrorCode error;
};

TEST_F(DispatchTest, WhereAPartitionIs) {
  const PlaceCase cases[] = {
      {"here", "t", 0, ErrorCode::NONE},
      {"led by another lane", "t", 1, ErrorCode::NOT_LEADER_OR_FOLLOWER},
      {"here as well", "t", 2, ErrorCode::NONE},
      {"one too many", "t", 3, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"largest number", "t", INT32_MAX, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"negative", "t", -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"smallest number", "t", INT32_MIN, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"no such topic", "T", 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"no name", "", 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION},
      {"a topic without partitions here", "elsewhere", 0, ErrorCode::NOT_LEADER_OR_FOLLOWER},
  };
  start({{"t", {0, 1, 0}}, {"elsewhere", {1}}});
  Client& client = connect();
  for (const PlaceCase& each : cases) {
    SCOPED_TRACE(each.label);
    produce(client, {{each.topic, each.partition, batch_of(1)}});
    EXPECT_EQ(answer_of<kafka::ProduceResponse>(client, 9)->topics[0].partitions[0].error_code, each.error);
    fetch(client, {{each.topic, each.partition}});
    EXPECT_EQ(answer_of<kafka::FetchResponse>(client, 12)->topics[0].partitions[0].error_code, each.error);
    list_offsets(client, each.topic, each.partition);
    EXPECT_EQ(answer_of<kafka::ListOffsetsResponse>(client, 7)->topics[0].partitions[0].error_code, each.error);
  }
  EXPECT_EQ(errors(ErrorCode::NOT_LEADER_OR_FOLLOWER), 6u);
}

}  // namespace
}  // namespace penstock::session_test
