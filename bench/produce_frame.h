// What an in-process sender sends over and over, and the catalog of one topic that it needs.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/control/catalog_view.h"
#include "dataplane/kafka/frame.h"
#include "dataplane/kafka/messages/produce.h"
#include "storage/crc/crc32c.h"
#include "tests/kafka/batch_builder.h"

namespace penstock::bench {

struct Frame {
  std::vector<std::byte> bytes;
  uint32_t partition_position = 0;  // of the partition's number, a big-endian int32
  uint32_t batch_position = 0;
  uint32_t batch_bytes = 0;
};

// A Produce request, version 9, for partition 0 of topic "bench", with one batch of 1 KiB records.
inline Frame make_frame(uint32_t batch_bytes) {
  kafka::BatchBuilder builder;
  const std::string value(std::min<uint32_t>(batch_bytes - 80, 1000), 'x');
  for (uint32_t bytes = 0; bytes + value.size() < batch_bytes; bytes += static_cast<uint32_t>(value.size()) + 8) {
    builder.add(1'700'000'000'000, std::nullopt, value);
  }
  const std::vector<std::byte> batch = builder.build(crc32c);
  kafka::ProduceRequest request;
  std::array<kafka::ProduceRequest::Topic, 1> topics;
  std::array<kafka::ProduceRequest::Partition, 1> partitions;
  topics[0].name = "bench";
  partitions[0].records = kafka::Records::external(batch.size());
  topics[0].partitions = kafka::Slice<kafka::ProduceRequest::Partition>(std::span(partitions));
  request.topics = kafka::Slice<kafka::ProduceRequest::Topic>(std::span(topics));
  request.acks = -1;
  std::array<std::byte, 512> out;
  std::array<kafka::Splice, 1> splices;
  const auto encoded = kafka::encode_request({kafka::ApiKey::produce, 9, 1, "bench"}, request, out, splices);
  check(encoded.has_value() && encoded->splices.size() == 1, "bench: request");
  Frame frame;
  frame.batch_position = encoded->splices[0].position;
  frame.batch_bytes = static_cast<uint32_t>(batch.size());
  uint32_t length_bytes = 1;  // KIP-482: the length of the records, plus one, as an unsigned varint
  for (uint64_t length = batch.size() + 1; length > 0x7f; length >>= 7) ++length_bytes;
  frame.partition_position = frame.batch_position - length_bytes - uint32_t{sizeof(int32_t)};
  frame.bytes.assign(encoded->bytes.begin(), encoded->bytes.begin() + frame.batch_position);
  frame.bytes.insert(frame.bytes.end(), batch.begin(), batch.end());
  frame.bytes.insert(frame.bytes.end(), encoded->bytes.begin() + frame.batch_position, encoded->bytes.end());
  return frame;
}

inline std::shared_ptr<const CatalogView> make_view(uint32_t partition_count = 1) {
  auto topic = std::make_shared<TopicView>();
  topic->name = "bench";
  topic->id.bytes[0] = 1;
  topic->settings.max_message_bytes = 16 << 20;
  for (uint32_t i = 0; i < partition_count; ++i) {
    topic->partitions.push_back({PartitionNumber(1 + i), 0, PartitionSlot(i), 0});
  }
  auto view = std::make_shared<CatalogView>();
  view->version = 1;
  view->brokers.push_back({0, "localhost", 9092});
  view->topics.push_back(topic);
  view->by_name.emplace("bench", topic.get());
  view->by_id.emplace(topic->id, topic.get());
  return view;
}

}  // namespace penstock::bench
