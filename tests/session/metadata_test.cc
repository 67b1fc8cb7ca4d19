// Metadata and DescribeCluster: every lane is a broker; topics that are missing are created first when they may be.
#include <gtest/gtest.h>

#include "dataplane/kafka/messages/api_versions.h"
#include "dataplane/kafka/messages/describe_cluster.h"
#include "tests/session/lane_fixture.h"

namespace penstock::session_test {
namespace {

using kafka::ErrorCode;
using kafka::MetadataRequest;
using kafka::MetadataResponse;

class MetadataTest : public LaneTest {
 protected:
  void ask_all(Client& client, kafka::Version version) {
    MetadataRequest request;
    if (version == 0)
      request.topics = kafka::NullableSlice<MetadataRequest::Topic>(kafka::Slice<MetadataRequest::Topic>());
    send(client, request, version);
  }
  void ask_by_id(Client& client, const std::vector<kafka::Uuid>& ids, kafka::Version version) {
    std::vector<MetadataRequest::Topic> topics(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) topics[i].topic_id = ids[i];
    MetadataRequest request;
    request.topics = kafka::NullableSlice<MetadataRequest::Topic>(std::span(topics));
    send(client, request, version);
  }
  void ensured(const ToControl& ask, std::vector<int16_t> errors) {
    tell({.kind = ToLaneKind::topics_ensured, .token = ask.token, .errors = std::move(errors)});
  }
  static std::vector<std::string> names_of(const MetadataResponse& answer) {
    std::vector<std::string> names;
    for (const auto& topic : answer.topics) names.emplace_back(topic.name.text());
    return names;
  }
};

constexpr kafka::Version newest = MetadataRequest::newest;

// ---- which topics ----

TEST_F(MetadataTest, AllTopicsInEveryVersion) {
  start({{"a", {0, 1}}, {"b", {1}}});
  Client& client = connect();
  for (kafka::Version version = 0; version <= newest; ++version) {
    SCOPED_TRACE(version);
    ask_all(client, version);  // an empty list in version 0, null later
    EXPECT_EQ(names_of(*answer_of<MetadataResponse>(client, version).operator->()),
              (std::vector<std::string>{"a", "b"}));
    ask_metadata(client, {}, version);
    const auto none = answer_of<MetadataResponse>(client, version);
    EXPECT_EQ(none->topics.size(), version == 0 ? 2u : 0u) << "an empty list asks for none since version 1";
    EXPECT_EQ(none->brokers.size(), 2u);
  }
  EXPECT_EQ(asked(ToControlKind::ensure_topics), 0u);
}

TEST_F(MetadataTest, WhatIsSaidOfATopicInEveryVersion) {
  start({{"a", {1, 0, 1}, {}, 4}});
  Client& client = connect();
  for (kafka::Version version = 0; version <= newest; ++version) {
    SCOPED_TRACE(version);
    ask_metadata(client, {"a"}, version);
    const auto answer = answer_of<MetadataResponse>(client, version);
    if (version >= 1) {
      EXPECT_EQ(answer->controller_id, 10);
    }
    if (version >= 2) {
      EXPECT_EQ(answer->cluster_id.text(), "test-cluster");
    }
    ASSERT_EQ(answer->topics.size(), 1u);
    const auto& topic = answer->topics[0];
    EXPECT_EQ(topic.error_code, ErrorCode::NONE);
    EXPECT_EQ(topic.name.text(), "a");
    EXPECT_FALSE(topic.is_internal);
    if (version >= 10) {
      EXPECT_EQ(topic.topic_id, id_of("a"));
    }
    ASSERT_EQ(topic.partitions.size(), 3u);
    const int32_t leaders[] = {11, 10, 11};
    for (uint32_t i = 0; i < 3; ++i) {
      const auto& partition = topic.partitions[i];
      EXPECT_EQ(partition.index, static_cast<int32_t>(i));
      EXPECT_EQ(partition.error_code, ErrorCode::NONE);
      EXPECT_EQ(partition.leader_id, leaders[i]);
      EXPECT_EQ(partition.leader_epoch, version >= 7 ? 4 : -1);
      ASSERT_EQ(partition.replica_nodes.size(), 1u);
      EXPECT_EQ(partition.replica_nodes[0], leaders[i]);
      ASSERT_EQ(partition.isr_nodes.size(), 1u);
      EXPECT_EQ(partition.isr_nodes[0], leaders[i]);
      EXPECT_EQ(partition.offline_replicas.size(), 0u);
    }
  }
}

TEST_F(MetadataTest, ById) {
  start({{"a", {0}}, {"b", {1}}});
  Client& client = connect();
  ask_by_id(client, {id_of("b"), id_of("gone"), kafka::Uuid{}, id_of("a")}, 12);
  const auto answer = answer_of<MetadataResponse>(client, 12);
  EXPECT_EQ(names_of(*answer.operator->()), (std::vector<std::string>{"b", "", "", "a"}));
  const ErrorCode expected[] = {ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_ID, ErrorCode::UNKNOWN_TOPIC_ID,
                                ErrorCode::NONE};
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(answer->topics[i].error_code, expected[i]);
  EXPECT_EQ(answer->topics[1].topic_id, id_of("gone"));
  EXPECT_EQ(asked(ToControlKind::ensure_topics), 0u) << "an id is never created";
}

TEST_F(MetadataTest, TopicsOfKafkasOwnAreInternal) {
  start({{"__consumer_offsets", {0}}, {"__transaction_state", {0}}, {"_mine", {0}}});
  Client& client = connect();
  ask_all(client, 9);
  const auto answer = answer_of<MetadataResponse>(client, 9);
  EXPECT_TRUE(answer->topics[0].is_internal);
  EXPECT_TRUE(answer->topics[1].is_internal);
  EXPECT_FALSE(answer->topics[2].is_internal);
}

// ---- where the brokers are ----

struct HostCase {
  const char* label;
  std::optional<std::array<uint8_t, 16>> local;  // the address the connection arrived on
  std::vector<std::string> advertised;           // by lane
  std::vector<std::string> hosts;                // as clients are told
};

TEST_F(MetadataTest, HostsAndPortsOfTwoLanes) {
  const HostCase cases[] = {
      {"the local address, IPv4", std::nullopt, {"", ""}, {"10.0.0.1", "10.0.0.1"}},
      {"the local address, IPv6",
       std::array<uint8_t, 16>{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7},
       {"", ""},
       {"2001:db8::7", "2001:db8::7"}},
      {"loopback",
       std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1},
       {"", ""},
       {"127.0.0.1", "127.0.0.1"}},
      {"advertised", std::nullopt, {"one.example", "two.example"}, {"one.example", "two.example"}},
      {"one advertised", std::nullopt, {"", "two.example"}, {"10.0.0.1", "two.example"}},
  };
  for (const HostCase& each : cases) {
    SCOPED_TRACE(each.label);
    setup.hosts = each.advertised;
    start({});
    streams().local_address = each.local;
    Client& client = connect();
    for (const kafka::Version version : std::array<kafka::Version, 4>{0, 1, 9, 13}) {
      ask_metadata(client, {}, version);
      const auto answer = answer_of<MetadataResponse>(client, version);
      ASSERT_EQ(answer->brokers.size(), 2u);
      for (uint32_t lane = 0; lane < 2; ++lane) {
        EXPECT_EQ(answer->brokers[lane].node_id, static_cast<int32_t>(10 + lane));
        EXPECT_EQ(answer->brokers[lane].host, each.hosts[lane]);
        EXPECT_EQ(answer->brokers[lane].port, static_cast<int32_t>(9092 + lane));
        EXPECT_TRUE(answer->brokers[lane].rack.is_null());
      }
    }
    send(client, kafka::DescribeClusterRequest{}, 1);
    const auto cluster = answer_of<kafka::DescribeClusterResponse>(client, 1);
    ASSERT_EQ(cluster->brokers.size(), 2u);
    for (uint32_t lane = 0; lane < 2; ++lane) EXPECT_EQ(cluster->brokers[lane].host, each.hosts[lane]);
    TearDown();
  }
}

TEST_F(MetadataTest, BeforeTheFirstViewThereIsNoBroker) {
  setup.lanes = 0;
  setup.hosts = {};
  start({});
  Client& client = connect();
  ask_metadata(client, {"a"}, 9, false);
  const auto answer = answer_of<MetadataResponse>(client, 9);
  EXPECT_EQ(answer->brokers.size(), 0u);
  EXPECT_EQ(answer->controller_id, -1);
}

// ---- creating what is missing ----

TEST_F(MetadataTest, AutoCreationWaitsForTheControlPlane) {
  start({{"a", {0}}});
  Client& client = connect();
  ask_metadata(client, {"new", "a", "other"});
  const ToControl ask = await(ToControlKind::ensure_topics);
  EXPECT_EQ(ask.topics, (std::vector<std::string>{"new", "other"}));
  EXPECT_EQ(ask.lane, 0u);
  EXPECT_FALSE(answered(client, 10 * second_ns));
  apply({{"a", {0}}, {"new", {1}}, {"other", {0}}});
  EXPECT_FALSE(answered(client, second_ns)) << "other lanes may not know them yet";
  ensured(ask, {0, 0});
  const auto answer = answer_of<MetadataResponse>(client, 9);
  EXPECT_EQ(names_of(*answer.operator->()), (std::vector<std::string>{"new", "a", "other"}));
  for (const auto& topic : answer->topics) {
    EXPECT_EQ(topic.error_code, ErrorCode::NONE);
    EXPECT_EQ(topic.partitions.size(), 1u);
  }
}

struct CreationCase {
  const char* label;
  kafka::Version version;
  bool by_client, by_node;  // allowed
  bool creates;
};

TEST_F(MetadataTest, WhoMayHaveTopicsCreated) {
  const CreationCase cases[] = {
      {"both", 9, true, true, true},
      {"the client does not want it", 9, false, true, false},
      {"the node does not allow it", 9, true, false, false},
      {"neither", 9, false, false, false},
      {"before version 4 the client cannot say", 3, false, true, true},
      {"oldest version", 0, false, true, true},
      {"newest version", newest, true, true, true},
  };
  for (const CreationCase& each : cases) {
    SCOPED_TRACE(each.label);
    setup.auto_create_topics = each.by_node;
    start({});
    Client& client = connect();
    ask_metadata(client, {"new"}, each.version, each.by_client);
    EXPECT_EQ(answered(client), !each.creates);
    EXPECT_EQ(asked(ToControlKind::ensure_topics), each.creates ? 1u : 0u);
    if (each.creates) {
      ensured(await(ToControlKind::ensure_topics), {0});  // and yet it is not there: deleted at once
    }
    EXPECT_EQ(answer_of<MetadataResponse>(client, each.version)->topics[0].error_code,
              ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    EXPECT_EQ(asked(ToControlKind::ensure_topics), 0u) << "asked once";
    TearDown();
  }
}

TEST_F(MetadataTest, ErrorsOfCreationLandAtTheRightTopic) {
  start({{"a", {0}}});
  Client& client = connect();
  ask_metadata(client, {"bad/name", "a", "fine", "refused", "also fine", "bad/name", "last"});
  const ToControl ask = await(ToControlKind::ensure_topics);
  EXPECT_EQ(ask.topics, (std::vector<std::string>{"bad/name", "fine", "refused", "also fine", "bad/name", "last"}));
  apply({{"a", {0}}, {"fine", {0}}, {"also fine", {0}}});
  ensured(ask, {17, 0, 44, 0, 17, 38});
  const auto answer = answer_of<MetadataResponse>(client, 9);
  const ErrorCode expected[] = {
      ErrorCode::INVALID_TOPIC_EXCEPTION,   ErrorCode::NONE, ErrorCode::NONE,
      ErrorCode::POLICY_VIOLATION,          ErrorCode::NONE, ErrorCode::INVALID_TOPIC_EXCEPTION,
      ErrorCode::INVALID_REPLICATION_FACTOR};
  for (uint32_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(answer->topics[i].error_code, expected[i]) << answer->topics[i].name.text();
  }
}

// A topic that was refused is there by now: somebody else created it. The next error is still the next topic's.
TEST_F(MetadataTest, ErrorsOfCreationLandAtTheRightTopicWhenOneExistsByNow) {
  start({});
  Client& client = connect();
  ask_metadata(client, {"one", "two"});
  const ToControl ask = await(ToControlKind::ensure_topics);
  apply({{"one", {0}}});
  ensured(ask, {44, 17});
  const auto answer = answer_of<MetadataResponse>(client, 9);
  EXPECT_EQ(answer->topics[0].error_code, ErrorCode::NONE);
  EXPECT_EQ(answer->topics[1].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
}

TEST_F(MetadataTest, ErrorsOfCreationAreNotThoseOfTheRequestBehind) {
  start({});
  Client& client = connect();
  ask_metadata(client, {"bad/name"});
  ask_metadata(client, {"unknown"}, 9, false);
  run_for(millisecond_ns);
  ensured(await(ToControlKind::ensure_topics), {17});
  EXPECT_EQ(answer_of<MetadataResponse>(client, 9)->topics[0].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
  EXPECT_EQ(answer_of<MetadataResponse>(client, 9)->topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

TEST_F(MetadataTest, EachOfTwoRequestsHasItsTopicsCreated) {
  start({});
  Client& client = connect();
  ask_metadata(client, {"one"});
  ask_metadata(client, {"two"});
  run_for(millisecond_ns);
  const ToControl first = await(ToControlKind::ensure_topics);
  EXPECT_EQ(asked(ToControlKind::ensure_topics), 0u) << "one request at a time";
  apply({{"one", {0}}});
  ensured(first, {0});
  EXPECT_EQ(answer_of<MetadataResponse>(client, 9)->topics[0].error_code, ErrorCode::NONE);
  const ToControl second = await(ToControlKind::ensure_topics);
  EXPECT_EQ(second.topics, std::vector<std::string>{"two"});
  EXPECT_NE(second.token, first.token);
  apply({{"one", {0}}, {"two", {0}}});
  ensured(second, {0});
  EXPECT_EQ(answer_of<MetadataResponse>(client, 9)->topics[0].error_code, ErrorCode::NONE);
}

TEST_F(MetadataTest, AnAnswerForAConnectionThatHasGoneIsNotGivenToTheNextOne) {
  start({});
  Client& gone = connect();
  ask_metadata(gone, {"one"});
  const ToControl first = await(ToControlKind::ensure_topics);
  drop(gone);
  Client& next = connect();
  ASSERT_EQ(next.peer, gone.peer);
  ask_metadata(next, {"two"});
  const ToControl second = await(ToControlKind::ensure_topics);
  ensured(first, {17});
  EXPECT_FALSE(answered(next));
  ensured(second, {44});
  EXPECT_EQ(answer_of<MetadataResponse>(next, 9)->topics[0].error_code, ErrorCode::POLICY_VIOLATION);
}

// ---- DescribeCluster ----

TEST_F(MetadataTest, DescribeClusterInEveryVersion) {
  start({});
  Client& client = connect();
  for (kafka::Version version = 0; version <= 2; ++version) {
    SCOPED_TRACE(version);
    send(client, kafka::DescribeClusterRequest{}, version);
    const auto answer = answer_of<kafka::DescribeClusterResponse>(client, version);
    EXPECT_EQ(answer->error_code, ErrorCode::NONE);
    EXPECT_EQ(answer->cluster_id, "test-cluster");
    EXPECT_EQ(answer->controller_id, 10);
    ASSERT_EQ(answer->brokers.size(), 2u);
    EXPECT_EQ(answer->brokers[1].broker_id, 11);
    EXPECT_EQ(answer->brokers[1].port, 9093);
  }
}

TEST_F(MetadataTest, DescribeClusterOfOtherEndpointsIsRefused) {
  start({});
  Client& client = connect();
  const std::pair<int8_t, ErrorCode> cases[] = {
      {kafka::endpoint_type_controllers, ErrorCode::MISMATCHED_ENDPOINT_TYPE},
      {int8_t{0}, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE},
      {int8_t{3}, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE},
  };
  for (const auto& [endpoint_type, error] : cases) {
    send(client, kafka::DescribeClusterRequest{.endpoint_type = endpoint_type}, 1);
    const auto answer = answer_of<kafka::DescribeClusterResponse>(client, 1);
    EXPECT_EQ(answer->error_code, error);
    EXPECT_FALSE(answer->error_message.is_null());
    EXPECT_EQ(answer->brokers.size(), 0u);
  }
}

}  // namespace
}  // namespace penstock::session_test
