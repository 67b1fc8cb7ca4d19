#include "dataplane/control/catalog.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <unordered_set>

#include "dataplane/base/mutation.h"

namespace penstock {
namespace {

using kafka::ErrorCode;

std::string collision_name(std::string_view name) {
  std::string folded(name);
  std::ranges::replace(folded, '.', '_');
  return folded;
}

std::unexpected<StoreError> damaged(const std::string& what) {
  return std::unexpected(StoreError{"the catalog contradicts itself: " + what});
}

// What a store must hold whatever wrote it; the rest of the node relies on it.
std::expected<void, StoreError> examine(const CatalogImage& image) {
  if (!image.node) {
    if (!image.topics.empty()) return damaged("it has topics but no node");
    return {};
  }
  std::unordered_set<uint64_t> numbers;
  std::unordered_set<std::string> names;
  std::unordered_set<kafka::Uuid> ids;
  if (image.node->lane_count == 0) return damaged("it has no lanes");
  if (image.node->next_producer_id < 0) return damaged("the next producer id is negative");
  for (const TopicRecord& topic : image.topics) {
    if (const auto complaint = topic_name_complaint(topic.name)) return damaged(*complaint);
    if (!names.insert(topic.name).second) return damaged("topic '" + topic.name + "' is there twice");
    if (topic.id.is_zero() || !ids.insert(topic.id).second)
      return damaged("the id of topic '" + topic.name + "' is zero or another's");
    if (topic.partitions.empty()) return damaged("topic '" + topic.name + "' has no partitions");
    for (const PartitionRecord& partition : topic.partitions) {
      const std::string where =
          "partition number " + std::to_string(partition.number.value) + " of '" + topic.name + "'";
      if (partition.lane >= image.node->lane_count) return damaged(where + " is on a lane that does not exist");
      if (partition.number.value >= image.node->next_partition_number) return damaged(where + " was never given out");
      if (!numbers.insert(partition.number.value).second) return damaged(where + " is given out twice");
    }
  }
  return {};
}

}  // namespace

std::optional<std::string> topic_name_complaint(std::string_view name) {
  constexpr size_t length_max = 249;  // Kafka's: leaves room for the partition in a directory name
  if (name.empty()) return "Topic name is invalid: the empty string is not allowed";
  if (name == "." || name == "..") return "Topic name is invalid: '.' or '..' is not allowed";
  if (name.size() > length_max)
    return "Topic name is invalid: the length of '" + std::string(name.substr(0, length_max)) +
           "...' is longer than the max allowed length " + std::to_string(length_max);
  const bool legal = std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
  if (!legal)
    return "Topic name is invalid: '" + std::string(name) +
           "' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
  return std::nullopt;
}

// ------------------------------------------------------------------------------------------------------------ draft

CatalogDraft::CatalogDraft(const Catalog& catalog) : catalog_(&catalog), partition_counts_(catalog.partition_counts_) {}

std::expected<const TopicRecord*, Refusal> CatalogDraft::create(const NewTopic& topic, const RandomSource& random) {
  if (std::optional<Refusal> no = refusal(topic)) return std::unexpected(std::move(*no));

  TopicRecord record{.name = std::string(topic.name), .configs = topic.configs};
  do record.id = random_uuid(random);
  while (catalog_->find(record.id) != nullptr);
  for (uint32_t index = 0; index < topic.partition_count; ++index)
    place(topic.lanes.empty() ? choose_lane() : topic.lanes[index], record);

  collision_names_.emplace(collision_name(record.name), record.name);
  return &change_.created.emplace_back(std::move(record));
}

std::optional<Refusal> CatalogDraft::refusal(const NewTopic& topic) const {
  if (auto complaint = topic_name_complaint(topic.name))
    return Refusal{ErrorCode::INVALID_TOPIC_EXCEPTION, std::move(*complaint)};
  if (catalog_->find(topic.name) != nullptr)
    return Refusal{ErrorCode::TOPIC_ALREADY_EXISTS, "Topic '" + std::string(topic.name) + "' already exists."};

  const std::string folded = collision_name(topic.name);
  for (const auto* taken : {&catalog_->collision_names_, &collision_names_}) {
    if (const auto found = taken->find(folded); found != taken->end())
      return Refusal{ErrorCode::INVALID_TOPIC_EXCEPTION,
                     "Topic '" + std::string(topic.name) + "' collides with existing topic: " + found->second};
  }

  for (const auto& [name, value] : topic.configs) {
    if (auto complaint = topic_config_complaint(name, value))
      return Refusal{ErrorCode::INVALID_CONFIG, std::move(*complaint)};
  }

  // Lanes are filled evenly, but those a client names may be full while others are not.
  std::vector<uint32_t> left;
  for (uint32_t lane = 0; lane < partition_counts_.size(); ++lane) left.push_back(slots_left(lane));
  bool fits = topic.partition_count <= std::accumulate(left.begin(), left.end(), uint64_t{0});
  for (const uint32_t lane : topic.lanes) fits = fits && left[lane]-- > 0;
  if (!fits)
    return Refusal{ErrorCode::INVALID_PARTITIONS, "Topic '" + std::string(topic.name) + "' asks for " +
                                                      std::to_string(topic.partition_count) +
                                                      " partitions; this node has no room for so many (at most " +
                                                      std::to_string(catalog_->settings_.slots_per_lane_max) +
                                                      " per lane)."};
  return std::nullopt;
}

uint32_t CatalogDraft::slots_left(uint32_t lane) const {
  return catalog_->settings_.slots_per_lane_max - partition_counts_[lane];
}

// The lane with the fewest partitions; among equals the turn goes round with the partition numbers.
uint32_t CatalogDraft::choose_lane() const {
  const auto lane_count = static_cast<uint32_t>(partition_counts_.size());
  const uint64_t next_number =
      change_.node ? change_.node->next_partition_number : catalog_->node_.next_partition_number;
  std::optional<uint32_t> chosen;
  for (uint32_t turn = 0; turn < lane_count; ++turn) {
    const auto lane = static_cast<uint32_t>((next_number - 1 + turn) % lane_count);
    if (slots_left(lane) == 0) continue;
    if (!chosen || partition_counts_[lane] < partition_counts_[*chosen]) chosen = lane;
  }
  check(chosen.has_value(), "catalog: no lane has a slot left, but the draft was accepted");
  return *chosen;
}

void CatalogDraft::place(uint32_t lane, TopicRecord& record) {
  record.partitions.push_back({PartitionNumber(node().next_partition_number++), lane, 0});
  ++partition_counts_[lane];
}

void CatalogDraft::remove(const TopicRecord& topic) {
  change_.deleted.push_back(topic.id);
  for (const PartitionRecord& partition : topic.partitions) --partition_counts_[partition.lane];
}

std::optional<int64_t> CatalogDraft::take_producer_ids(int32_t count) {
  const int64_t first = node().next_producer_id;
  if (first > INT64_MAX - count) return std::nullopt;
  node().next_producer_id = first + count;
  return first;
}

NodeRecord& CatalogDraft::node() {
  if (!change_.node) change_.node = catalog_->node_;
  return *change_.node;
}

// ---------------------------------------------------------------------------------------------------------- catalog

Catalog::Catalog(CatalogStore& store, const CatalogSettings& settings)
    : store_(&store), settings_(settings), partition_counts_(settings.lane_count), slots_(settings.lane_count) {}

std::expected<Catalog, StoreError> Catalog::open(CatalogStore& store, const CatalogSettings& settings,
                                                 const RandomSource& random) {
  check(settings.lane_count > 0, "catalog: no lanes");
  Catalog catalog(store, settings);
  if (auto read = catalog.read_store(); !read) return std::unexpected(read.error());
  if (auto identity = catalog.establish_identity(random); !identity) return std::unexpected(identity.error());
  return catalog;
}

std::expected<void, StoreError> Catalog::read_store() {
  std::expected<CatalogImage, StoreError> image = store_->load();
  if (!image) return std::unexpected(image.error());
  if (auto sound = examine(*image); !sound) return sound;
  if (image->node && image->node->lane_count != settings_.lane_count)
    return std::unexpected(StoreError{"the catalog was made for " + std::to_string(image->node->lane_count) +
                                      " lanes, not " + std::to_string(settings_.lane_count)});

  // A partition keeps its slot as long as it is there, for its lane knows it by that.
  std::unordered_set<kafka::Uuid> still_there;
  for (const TopicRecord& topic : image->topics) still_there.insert(topic.id);
  std::unordered_map<uint64_t, PartitionSlot> known_slots;
  for (const auto& [name, topic] : topics_) {
    if (!still_there.contains(topic.record.id)) {
      give_slots(*topic.view);
      continue;
    }
    for (const PartitionPlace& place : topic.view->partitions) known_slots.emplace(place.number.value, place.slot);
  }
  node_ = image->node.value_or(NodeRecord{});
  topics_.clear();
  names_by_id_.clear();
  collision_names_.clear();
  std::ranges::fill(partition_counts_, 0);
  // In order of age, so that slots do not depend on how a store sorts.
  std::ranges::sort(image->topics, {}, [](const TopicRecord& topic) { return topic.partitions.front().number; });
  for (TopicRecord& topic : image->topics) add(std::move(topic), known_slots);

  for (uint32_t lane = 0; lane < settings_.lane_count; ++lane) {
    if (partition_counts_[lane] > settings_.slots_per_lane_max)
      return std::unexpected(StoreError{"lane " + std::to_string(lane) + " has " +
                                        std::to_string(partition_counts_[lane]) +
                                        " partitions, more than the " + std::to_string(settings_.slots_per_lane_max) +
                                        " this node has room for"});
  }
  return {};
}

std::expected<void, StoreError> Catalog::establish_identity(const RandomSource& random) {
  NodeRecord node = node_;
  if (node.lane_count == 0) {
    node.lane_count = settings_.lane_count;
    node.cluster_id = settings_.cluster_id.empty() ? to_text(random_uuid(random)) : settings_.cluster_id;
  }
  if (!settings_.cluster_id.empty() && settings_.cluster_id != node.cluster_id)
    return std::unexpected(StoreError{"cluster_id is configured as '" + settings_.cluster_id +
                                      "', but this data directory belongs to cluster '" + node.cluster_id + "'"});
  node.node_id_base = settings_.node_id_base.value_or(node.node_id_base);
  if (node == node_) return {};

  CatalogChange change;
  change.node = node;
  if (auto stored = store_->commit(change); !stored) return stored;
  node_ = node;
  return {};
}

std::expected<void, StoreError> Catalog::commit(const CatalogDraft& draft) {
  check(!unsettled_, "catalog: a change after a failed one, without settle()");
  if (draft.empty()) return {};
  if (auto stored = store_->commit(draft.change_); !stored && !mutated(Mutation::catalog_unsaved)) {
    unsettled_ = true;
    return stored;
  }
  if (draft.change_.node) node_ = *draft.change_.node;
  for (const kafka::Uuid& id : draft.change_.deleted) erase(id);
  for (const TopicRecord& topic : draft.change_.created) add(topic, {});
  return {};
}

std::expected<bool, StoreError> Catalog::settle() {
  if (!unsettled_) return false;
  const std::unordered_map<kafka::Uuid, std::string> names_before = names_by_id_;
  if (auto read = read_store(); !read) return std::unexpected(read.error());
  unsettled_ = false;
  return names_by_id_ != names_before;
}

void Catalog::add(TopicRecord record, const std::unordered_map<uint64_t, PartitionSlot>& known_slots) {
  auto view = std::make_shared<TopicView>();
  view->name = record.name;
  view->id = record.id;
  view->settings = settings_of(record.configs, settings_.max_message_bytes);
  for (const PartitionRecord& partition : record.partitions) {
    ++partition_counts_[partition.lane];
    const auto known = known_slots.find(partition.number.value);
    const PartitionSlot slot = known != known_slots.end() ? known->second : slots_[partition.lane].take();
    view->partitions.push_back({partition.number, partition.lane, slot, partition.leader_epoch});
  }
  names_by_id_.emplace(record.id, record.name);
  collision_names_.emplace(collision_name(record.name), record.name);
  std::string name = record.name;
  topics_.emplace(std::move(name), Topic{std::move(record), std::move(view)});
}

void Catalog::erase(const kafka::Uuid& id) {
  const auto name = names_by_id_.find(id);
  check(name != names_by_id_.end(), "catalog: deleted a topic that is not there");
  const auto topic = topics_.find(name->second);
  const std::vector<PartitionRecord>& partitions = topic->second.record.partitions;
  for (const PartitionRecord& partition : partitions) --partition_counts_[partition.lane];
  if (mutated(Mutation::reuse_partition_number)) node_.next_partition_number -= partitions.size();
  give_slots(*topic->second.view);
  collision_names_.erase(collision_name(name->second));
  topics_.erase(topic);
  names_by_id_.erase(name);
}

void Catalog::give_slots(const TopicView& topic) {
  for (const PartitionPlace& place : topic.partitions) slots_[place.lane].give(place.slot);
}

PartitionSlot Catalog::Slots::take() {
  if (given_back_.empty()) return PartitionSlot(next_++);
  std::ranges::pop_heap(given_back_, std::greater{});
  const PartitionSlot slot(given_back_.back());
  given_back_.pop_back();
  return slot;
}

void Catalog::Slots::give(PartitionSlot slot) {
  given_back_.push_back(slot.value);
  std::ranges::push_heap(given_back_, std::greater{});
}

const TopicRecord* Catalog::find(std::string_view name) const {
  const auto found = topics_.find(name);
  return found == topics_.end() ? nullptr : &found->second.record;
}

const TopicRecord* Catalog::find(const kafka::Uuid& id) const {
  const auto found = names_by_id_.find(id);
  return found == names_by_id_.end() ? nullptr : find(found->second);
}

CatalogView Catalog::view() const {
  CatalogView view;
  view.cluster_id = node_.cluster_id;
  view.topics.reserve(topics_.size());
  view.by_name.reserve(topics_.size());
  view.by_id.reserve(topics_.size());
  for (const auto& [name, topic] : topics_) {
    view.topics.push_back(topic.view);
    view.by_name.emplace(name, topic.view.get());
    view.by_id.emplace(topic.view->id, topic.view.get());
  }
  return view;
}

}  // namespace penstock
