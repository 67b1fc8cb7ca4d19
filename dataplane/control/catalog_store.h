// Where the catalog lives: what is stored, and the two things a store does. SQLite in a node (drivers/sqlite), memory
// that survives a simulated crash in the simulator (memory_store.h).
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/control/topic_config.h"
#include "dataplane/kafka/types.h"

namespace penstock {

struct PartitionRecord {
  PartitionNumber number{};
  uint32_t lane = 0;
  int32_t leader_epoch = 0;
  bool operator==(const PartitionRecord&) const = default;
};

struct TopicRecord {
  std::string name;
  kafka::Uuid id{};
  std::vector<PartitionRecord> partitions;  // by partition index
  TopicConfigs configs;
  bool operator==(const TopicRecord&) const = default;
};

// What there is one of in a data directory. The two counters only ever grow.
struct NodeRecord {
  std::string cluster_id;
  uint32_t lane_count = 0;
  int32_t node_id_base = 0;
  uint64_t next_partition_number = 1;
  int64_t next_producer_id = 0;
  bool operator==(const NodeRecord&) const = default;
};

struct CatalogImage {
  std::optional<NodeRecord> node;  // none: a fresh store
  std::vector<TopicRecord> topics;
};

// Happens whole or not at all.
struct CatalogChange {
  std::optional<NodeRecord> node;
  std::vector<TopicRecord> created;
  std::vector<kafka::Uuid> deleted;
  bool empty() const { return !node && created.empty() && deleted.empty(); }
};

struct StoreError {
  std::string message;  // for the operator: what failed, where
};

class CatalogStore {
 public:
  virtual ~CatalogStore() = default;
  virtual std::expected<CatalogImage, StoreError> load() = 0;
  // On return the change is durable. After an error it may have happened or not: only load() tells.
  virtual std::expected<void, StoreError> commit(const CatalogChange& change) = 0;
};

}  // namespace penstock
