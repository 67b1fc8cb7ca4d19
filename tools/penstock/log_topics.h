// Which topic a partition number of the log belongs to, as the catalog says.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <string>

#include "dataplane/base/units.h"
#include "dataplane/control/catalog_store.h"

namespace penstock {

struct TopicPlace {
  std::string topic;
  uint32_t index = 0;  // the partition's, within the topic
  kafka::Uuid topic_id{};
  uint32_t lane = 0;
};

class LogTopics {
 public:
  LogTopics() = default;  // without a catalog: numbers only
  static std::expected<LogTopics, std::string> read(const std::string& data_path);

  const std::map<PartitionNumber, TopicPlace>& places() const { return places_; }
  const TopicPlace* find(PartitionNumber partition) const;
  std::string name(PartitionNumber partition) const;  // "orders-3 (partition 17)", or "partition 17"
  bool has(const std::string& topic) const;

 private:
  std::map<PartitionNumber, TopicPlace> places_;
};

}  // namespace penstock
