#include "tools/penstock/log_topics.h"

#include <algorithm>

#include "drivers/sqlite/catalog_store.h"

namespace penstock {

std::expected<LogTopics, std::string> LogTopics::read(const std::string& data_path) {
  const auto image = SqliteCatalogStore::look(data_path + "/catalog.sqlite");
  if (!image) return std::unexpected(image.error().message);
  LogTopics topics;
  for (const TopicRecord& topic : image->topics) {
    for (uint32_t index = 0; index < topic.partitions.size(); ++index)
      topics.places_.emplace(topic.partitions[index].number,
                             TopicPlace{topic.name, index, topic.id, topic.partitions[index].lane});
  }
  return topics;
}

const TopicPlace* LogTopics::find(PartitionNumber partition) const {
  const auto found = places_.find(partition);
  return found == places_.end() ? nullptr : &found->second;
}

std::string LogTopics::name(PartitionNumber partition) const {
  const std::string number = "partition " + std::to_string(partition.value);
  const TopicPlace* place = find(partition);
  return place == nullptr ? number : place->topic + "-" + std::to_string(place->index) + " (" + number + ")";
}

bool LogTopics::has(const std::string& topic) const {
  return std::ranges::any_of(places_, [&](const auto& entry) { return entry.second.topic == topic; });
}

}  // namespace penstock
