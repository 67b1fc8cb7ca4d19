// What every lane knows of topics: an immutable picture, replaced whole when the catalog changes. Lanes get the new
// picture by mailbox and confirm its version; the control plane answers CreateTopics after all lanes have.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/kafka/types.h"
#include "storage/log.h"

namespace penstock {

struct PartitionPlace {
  PartitionNumber number{};
  uint32_t lane = 0;
  PartitionSlot slot{};  // dense within the lane
  int32_t leader_epoch = 0;
};

// Per-topic settings that lanes obey; all of Kafka's others are stored and returned as text.
struct TopicSettings {
  int32_t max_message_bytes = 1'048'588;    // Kafka's default
  Milliseconds retention_ms = 604'800'000;  // -1: for ever
  int64_t retention_bytes = -1;             // per partition; -1: any
  bool compacted = false;                   // cleanup.policy contains compact
  bool deletes = true;                      // cleanup.policy contains delete
  bool log_append_time = false;             // message.timestamp.type=LogAppendTime
};

struct TopicView {
  std::string name;
  kafka::Uuid id{};
  TopicSettings settings;
  std::vector<PartitionPlace> partitions;  // by partition index
};

// A lane as clients see it.
struct BrokerView {
  int32_t node_id = 0;
  std::string host;  // empty: the local address the connection arrived on
  uint16_t port = 0;
};

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

struct CatalogView {
  uint64_t version = 0;
  std::string cluster_id;
  std::string rack;
  std::vector<BrokerView> brokers;                       // by lane; the controller is lane 0
  std::vector<std::shared_ptr<const TopicView>> topics;  // by name
  std::unordered_map<std::string, const TopicView*, StringHash, std::equal_to<>> by_name;
  std::unordered_map<kafka::Uuid, const TopicView*> by_id;
  bool auto_create_topics = true;

  const TopicView* find(std::string_view name) const {
    const auto found = by_name.find(name);
    return found == by_name.end() ? nullptr : found->second;
  }
  const TopicView* find(const kafka::Uuid& id) const {
    const auto found = by_id.find(id);
    return found == by_id.end() ? nullptr : found->second;
  }
};

}  // namespace penstock
