// The catalog: topics, their partitions and lanes, their configurations, the cluster's identity and the two counters
// that never go back. Held in memory, kept in a CatalogStore; every change is durable before it is seen.
//
//   CatalogDraft draft = catalog.draft();
//   draft.create(...), draft.remove(...)     each judged on its own, against the catalog and what is drafted before it
//   catalog.commit(draft)                    all of the draft, or an error and nothing
//
// When a commit fails nobody knows whether it happened (the disk may have it, the answer was lost). The catalog keeps
// what it had and reads the store again before the next change: settle().
//
// A partition's number is for ever and names its data on the drive. Its slot only names a place in its lane's tables, and
// is another partition's as soon as it is deleted: the view that opens one there tells lanes of the deletion too, and they
// go through deletions first. So whoever keeps a slot for later, a commit in flight or an answer that is being sent, keeps
// the number with it and compares.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dataplane/control/catalog_store.h"
#include "dataplane/control/catalog_view.h"
#include "dataplane/control/identity.h"
#include "dataplane/kafka/api.h"

namespace penstock {

struct CatalogSettings {
  uint32_t lane_count = 1;
  std::string cluster_id;               // empty: the store's, or a new one
  std::optional<int32_t> node_id_base;  // none: the store's, or 0
  int32_t max_message_bytes = 1'048'588;
  uint32_t slots_per_lane_max = 100'000;  // LogConfig::partitions_max
};

// Why something is not done, as a client is told.
struct Refusal {
  kafka::ErrorCode error = kafka::ErrorCode::NONE;
  std::string message;
};

struct NewTopic {
  std::string_view name;
  uint32_t partition_count = 1;
  std::vector<uint32_t> lanes;  // by partition index; empty: the catalog chooses
  TopicConfigs configs;
};

// Kafka's rules (Topic.validate); nothing when the name is good.
std::optional<std::string> topic_name_complaint(std::string_view name);

class Catalog;

class CatalogDraft {
 public:
  // The pointer stays valid until the next call.
  std::expected<const TopicRecord*, Refusal> create(const NewTopic& topic, const RandomSource& random);
  // `topic` must be of this draft's catalog and not be removed twice.
  void remove(const TopicRecord& topic);
  // The first of `count` producer ids; nothing when they are used up.
  std::optional<int64_t> take_producer_ids(int32_t count);

  bool empty() const { return change_.empty(); }
  bool changes_topics() const { return !change_.created.empty() || !change_.deleted.empty(); }

 private:
  friend class Catalog;
  explicit CatalogDraft(const Catalog& catalog);
  std::optional<Refusal> refusal(const NewTopic& topic) const;
  uint32_t slots_left(uint32_t lane) const;
  uint32_t choose_lane() const;
  void place(uint32_t lane, TopicRecord& record);
  NodeRecord& node();

  const Catalog* catalog_;
  CatalogChange change_;
  std::vector<uint32_t> partition_counts_;                           // by lane, with what is drafted
  std::map<std::string, std::string, std::less<>> collision_names_;  // of drafted topics; see Catalog
};

class Catalog {
 public:
  // Reads the store; makes the identity of a fresh one. The error is for the operator.
  static std::expected<Catalog, StoreError> open(CatalogStore& store, const CatalogSettings& settings,
                                                 const RandomSource& random);

  CatalogDraft draft() const { return CatalogDraft(*this); }
  std::expected<void, StoreError> commit(const CatalogDraft& draft);
  // Required before draft() when a commit has failed; true when the topics turned out to be others than were held.
  std::expected<bool, StoreError> settle();

  const NodeRecord& node() const { return node_; }
  size_t topic_count() const { return topics_.size(); }
  const TopicRecord* find(std::string_view name) const;
  const TopicRecord* find(const kafka::Uuid& id) const;
  uint32_t partition_count(uint32_t lane) const { return partition_counts_[lane]; }

  // The topics and their indexes; the caller adds version, brokers and the rest.
  CatalogView view() const;

 private:
  friend class CatalogDraft;
  struct Topic {
    TopicRecord record;
    std::shared_ptr<const TopicView> view;
  };
  // Of a lane. The lowest goes first, so that its tables stay dense.
  class Slots {
   public:
    PartitionSlot take();
    void give(PartitionSlot slot);

   private:
    std::vector<uint32_t> given_back_;  // a heap, the lowest first
    uint32_t next_ = 0;                 // never taken from here on
  };
  Catalog(CatalogStore& store, const CatalogSettings& settings);
  std::expected<void, StoreError> read_store();
  std::expected<void, StoreError> establish_identity(const RandomSource& random);
  void add(TopicRecord record, const std::unordered_map<uint64_t, PartitionSlot>& known_slots);
  void erase(const kafka::Uuid& id);
  void give_slots(const TopicView& topic);

  CatalogStore* store_;
  CatalogSettings settings_;
  bool unsettled_ = false;
  NodeRecord node_;
  std::map<std::string, Topic, std::less<>> topics_;
  std::unordered_map<kafka::Uuid, std::string> names_by_id_;
  // Kafka refuses names that differ only in '.' and '_', for its metrics' sake: by name with every '.' as '_'.
  std::map<std::string, std::string, std::less<>> collision_names_;
  std::vector<uint32_t> partition_counts_;  // by lane
  std::vector<Slots> slots_;                // by lane
};

}  // namespace penstock
