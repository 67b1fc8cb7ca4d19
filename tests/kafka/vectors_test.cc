// Bytes written by Apache Kafka's classes, decoded and encoded again to the same bytes.
#include "tests/kafka/vectors.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "dataplane/kafka/messages/all.h"
#include "dataplane/kafka/printer.h"
#include "dataplane/kafka/record_batch.h"
#include "storage/crc/crc32c.h"
#include "tests/kafka/message_bytes.h"

namespace penstock::kafka {
namespace {

class VectorsTest : public testing::Test {
 protected:
  std::vector<std::byte> memory_ = std::vector<std::byte>(1 << 20);
  Scratch scratch_{memory_};

  template <class Message>
  Message decode(PieceRange range, Version version) {
    Message message;
    EXPECT_EQ(decode_body(range, version, scratch_, message), DecodeStatus::ok);
    return message;
  }

  template <class Message>
  void expect_round_trip(const Vector& vector) {
    for (const size_t piece : {vector.bytes.size() + 1, size_t{1}, size_t{7}}) {
      scratch_.reset();
      const CutPieces pieces(vector.bytes, {piece});
      Message message;
      ASSERT_EQ(decode_body(pieces.range(), vector.version, scratch_, message), DecodeStatus::ok) << vector.label();
      const auto again = message_bytes(message, vector.version);
      ASSERT_TRUE(again.has_value()) << vector.label();
      EXPECT_EQ(*again, vector.bytes) << vector.label();
    }
  }
};

const Api* api_named(const std::string& name) {
  for (const Api& api : served_apis) {
    if (name == api.name) return &api;
  }
  return nullptr;
}

TEST_F(VectorsTest, EveryVectorComesBackUnchanged) {
  for (const Vector& vector : read_vectors()) {
    if (vector.name == "Batch") continue;
    if (vector.name == "RequestHeader") {
      expect_round_trip<RequestHeader>(vector);
    } else if (vector.name == "ResponseHeader") {
      expect_round_trip<ResponseHeader>(vector);
    } else {
      const Api* api = api_named(vector.name);
      ASSERT_NE(api, nullptr) << vector.name;
      with_exchange(api->key, [&](auto exchange) {
        using Exchange = decltype(exchange);
        if (vector.kind == "request")
          expect_round_trip<typename Exchange::Request>(vector);
        else
          expect_round_trip<typename Exchange::Response>(vector);
      });
    }
  }
}

TEST_F(VectorsTest, EveryServedVersionHasVectors) {
  std::map<std::string, std::set<Version>> seen;
  for (const Vector& vector : read_vectors()) {
    if (vector.variant == "full") seen[vector.name + vector.kind].insert(vector.version);
  }
  for (const Api& api : served_apis) {
    for (const char* kind : {"request", "response"}) {
      for (Version version = api.oldest_served; version <= api.newest; ++version)
        EXPECT_TRUE(seen[std::string(api.name) + kind].contains(version)) << api.name << kind << version;
    }
  }
}

TEST_F(VectorsTest, ProduceRequestFields) {
  const Vector vector = vector_of("Produce request 9 named");
  const ContiguousPieces pieces(vector.bytes);
  const auto produce = decode<ProduceRequest>(pieces.range(), 9);
  EXPECT_TRUE(produce.transactional_id.is_null());
  EXPECT_EQ(produce.acks, -1);
  EXPECT_EQ(produce.timeout_ms, 30'000);
  ASSERT_EQ(produce.topics.size(), 1u);
  EXPECT_EQ(produce.topics[0].name, "orders");
  EXPECT_TRUE(produce.topics[0].topic_id.is_zero());
  ASSERT_EQ(produce.topics[0].partitions.size(), 1u);
  const auto& partition = produce.topics[0].partitions[0];
  EXPECT_EQ(partition.index, 7);
  const auto batch = validate_batch(partition.records.range(), {}, crc32c);
  ASSERT_TRUE(batch.has_value()) << to_string(batch.error());
  EXPECT_EQ(batch->record_count, 1);
  EXPECT_EQ(batch->max_timestamp, 1'700'000'000'000);

  char line[200];
  EXPECT_EQ(print(produce, 9, line), "{null, -1, 30000, [{\"orders\", [{7, records 76}]}]}");
}

TEST_F(VectorsTest, FetchResponseFields) {
  const Vector vector = vector_of("Fetch response 16 named");
  const CutPieces pieces(vector.bytes, {3});
  const auto fetch = decode<FetchResponse>(pieces.range(), 16);
  EXPECT_EQ(fetch.throttle_time_ms, 5);
  EXPECT_EQ(fetch.session_id, 77);
  ASSERT_EQ(fetch.topics.size(), 1u);
  EXPECT_EQ(fetch.topics[0].topic_id.bytes[7], 1);
  EXPECT_EQ(fetch.topics[0].topic_id.bytes[15], 2);
  const auto& partition = fetch.topics[0].partitions[0];
  EXPECT_EQ(partition.index, 3);
  EXPECT_EQ(partition.high_watermark, 1000);
  EXPECT_EQ(partition.last_stable_offset, 999);
  EXPECT_EQ(partition.log_start_offset, 10);
  EXPECT_EQ(partition.aborted_transactions[0].producer_id, 42);
  EXPECT_EQ(partition.aborted_transactions[0].first_offset, 900);
  EXPECT_EQ(partition.current_leader, (FetchResponse::Leader{2, 6}));
  EXPECT_EQ(partition.diverging_epoch, FetchResponse::EpochEndOffset());
  EXPECT_EQ(partition.preferred_read_replica, -1);
  ASSERT_EQ(fetch.node_endpoints.size(), 1u);
  EXPECT_EQ(fetch.node_endpoints[0].host, "lane-2");
  EXPECT_EQ(fetch.node_endpoints[0].port, 9094);
}

TEST_F(VectorsTest, MetadataResponseFields) {
  const Vector vector = vector_of("Metadata response 12 named");
  const CutPieces pieces(vector.bytes, {2});
  const auto metadata = decode<MetadataResponse>(pieces.range(), 12);
  EXPECT_EQ(metadata.cluster_id, "cluster");
  EXPECT_EQ(metadata.controller_id, 1);
  EXPECT_EQ(metadata.brokers[0].host, "localhost");
  EXPECT_EQ(metadata.brokers[0].rack, "a");
  ASSERT_EQ(metadata.topics.size(), 2u);
  EXPECT_EQ(metadata.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
  EXPECT_TRUE(metadata.topics[0].name.is_null());
  EXPECT_EQ(metadata.topics[1].name, "orders");
  EXPECT_EQ(metadata.topics[1].authorized_operations, no_authorized_operations);
  EXPECT_EQ(metadata.topics[1].partitions[0].leader_epoch, 4);
  EXPECT_EQ(metadata.topics[1].partitions[0].isr_nodes[0], 1);
}

TEST_F(VectorsTest, CreateTopicsRequestFields) {
  const Vector vector = vector_of("CreateTopics request 7 named");
  const ContiguousPieces pieces(vector.bytes);
  const auto create = decode<CreateTopicsRequest>(pieces.range(), 7);
  EXPECT_EQ(create.timeout_ms, 1234);
  EXPECT_TRUE(create.validate_only);
  EXPECT_EQ(create.topics[0].partition_count, 12);
  EXPECT_EQ(create.topics[0].replication_factor, -1);
  EXPECT_EQ(create.topics[0].configs[0].value, "compact");
  EXPECT_TRUE(create.topics[0].configs[1].value.is_null());
}

TEST_F(VectorsTest, ApiVersionsResponseFields) {
  const Vector vector = vector_of("ApiVersions response 3 named");
  const ContiguousPieces pieces(vector.bytes);
  const auto versions = decode<ApiVersionsResponse>(pieces.range(), 3);
  EXPECT_EQ(versions.throttle_time_ms, 9);
  EXPECT_EQ(versions.finalized_features_epoch, 31);
  EXPECT_FALSE(versions.zk_migration_ready);
  EXPECT_EQ(versions.api_keys[0].max_version, 13);
}

TEST_F(VectorsTest, FieldsAbsentInAVersionKeepTheirDefaults) {
  const Vector fetch_vector = vector_of("Fetch request 4 full");
  const ContiguousPieces fetch_pieces(fetch_vector.bytes);
  const auto fetch = decode<FetchRequest>(fetch_pieces.range(), 4);
  EXPECT_EQ(fetch.session_epoch, -1);
  EXPECT_EQ(fetch.topics[0].partitions[0].current_leader_epoch, -1);
  EXPECT_EQ(fetch.topics[0].partitions[0].log_start_offset, -1);
  const Vector metadata_vector = vector_of("Metadata request 0 full");
  const ContiguousPieces metadata_pieces(metadata_vector.bytes);
  EXPECT_TRUE(decode<MetadataRequest>(metadata_pieces.range(), 0).allow_auto_topic_creation);
}

}  // namespace
}  // namespace penstock::kafka
