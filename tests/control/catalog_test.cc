#include "dataplane/control/catalog.h"

#include <gtest/gtest.h>

#include <set>

#include "dataplane/control/memory_store.h"
#include "tests/control/test_support.h"

namespace penstock {
namespace {

using kafka::ErrorCode;

struct CatalogTest : testing::Test {
  MemoryStore store;
  RandomSource random = seeded(1);

  Catalog open(uint32_t lane_count = 2, CatalogSettings settings = {}) {
    settings.lane_count = lane_count;
    auto catalog = Catalog::open(store, settings, random);
    EXPECT_TRUE(catalog.has_value()) << catalog.error().message;
    return std::move(*catalog);
  }
  std::string open_error(CatalogSettings settings) {
    const auto catalog = Catalog::open(store, settings, random);
    return catalog ? "" : catalog.error().message;
  }
  // Creates and commits one topic; the error or NONE.
  ErrorCode create(Catalog& catalog, std::string_view name, uint32_t partition_count = 1, TopicConfigs configs = {}) {
    CatalogDraft draft = catalog.draft();
    const auto record =
        draft.create({.name = name, .partition_count = partition_count, .configs = std::move(configs)}, random);
    if (!record) return record.error().error;
    return catalog.commit(draft) ? ErrorCode::NONE : ErrorCode::KAFKA_STORAGE_ERROR;
  }
  static void remove(Catalog& catalog, std::string_view name) {
    CatalogDraft draft = catalog.draft();
    draft.remove(*catalog.find(name));
    ASSERT_TRUE(catalog.commit(draft));
  }
};

TEST(TopicName, FollowsKafkasRules) {
  for (const char* good : {"a", "A-b_c.9", "__consumer_offsets", "...", "-"})
    EXPECT_FALSE(topic_name_complaint(good)) << good;
  EXPECT_FALSE(topic_name_complaint(std::string(249, 'x')));
  for (const char* bad : {"", ".", "..", "a b", "a/b", "a\xc3\xa4", "a\n", "a:b"})
    EXPECT_TRUE(topic_name_complaint(bad)) << bad;
  EXPECT_TRUE(topic_name_complaint(std::string(250, 'x')));
  EXPECT_LT(topic_name_complaint(std::string(30'000, 'x'))->size(), 400u);
}

TEST(Identity, UuidsAreVersion4AndPrintLikeKafkas) {
  const RandomSource random = seeded(3);
  std::set<kafka::Uuid> seen;
  for (int i = 0; i < 10'000; ++i) {
    const kafka::Uuid id = random_uuid(random);
    EXPECT_EQ(id.bytes[6] >> 4, 4);
    EXPECT_EQ(id.bytes[8] >> 6, 2);
    EXPECT_NE(to_text(id)[0], '-');
    EXPECT_EQ(to_text(id).size(), 22u);
    EXPECT_TRUE(seen.insert(id).second);
  }
  EXPECT_EQ(to_text(kafka::Uuid{}), "AAAAAAAAAAAAAAAAAAAAAA");
  kafka::Uuid ones;
  ones.bytes.fill(0xff);
  EXPECT_EQ(to_text(ones), "_____________________w");
}

TEST_F(CatalogTest, AFreshStoreGetsAnIdentityAndKeepsIt) {
  const std::string cluster_id = open().node().cluster_id;
  EXPECT_EQ(cluster_id.size(), 22u);
  random = seeded(99);
  EXPECT_EQ(open().node().cluster_id, cluster_id);
}

TEST_F(CatalogTest, ConfiguredIdentityIsTakenOnceAndThenCompared) {
  CatalogSettings settings{.cluster_id = "river", .node_id_base = 100};
  const Catalog catalog = open(2, settings);
  EXPECT_EQ(catalog.node().cluster_id, "river");
  EXPECT_EQ(catalog.node().node_id_base, 100);
  EXPECT_EQ(open().node().node_id_base, 100);  // kept
  EXPECT_EQ(open(2, {.node_id_base = 7}).node().node_id_base, 7);
  settings.cluster_id = "lake";
  settings.lane_count = 2;
  EXPECT_NE(open_error(settings).find("belongs to cluster 'river'"), std::string::npos);
}

TEST_F(CatalogTest, TheLaneCountIsFixed) {
  open(4);
  EXPECT_EQ(open_error({.lane_count = 2}), "the catalog was made for 4 lanes, not 2");
}

TEST_F(CatalogTest, PartitionsGoRoundTheLanesAndNumbersAreNeverReused) {
  Catalog catalog = open(3);
  ASSERT_EQ(create(catalog, "a", 4), ErrorCode::NONE);
  std::vector<uint32_t> lanes;
  for (const PartitionRecord& partition : catalog.find("a")->partitions) lanes.push_back(partition.lane);
  EXPECT_EQ(lanes, (std::vector<uint32_t>{0, 1, 2, 0}));
  ASSERT_EQ(create(catalog, "b", 2), ErrorCode::NONE);  // the least loaded
  EXPECT_EQ(catalog.partition_count(0), 2u);
  EXPECT_EQ(catalog.partition_count(1), 2u);
  EXPECT_EQ(catalog.partition_count(2), 2u);

  const PartitionNumber before = catalog.find("b")->partitions.back().number;
  const kafka::Uuid id_before = catalog.find("b")->id;
  remove(catalog, "b");
  ASSERT_EQ(create(catalog, "b", 2), ErrorCode::NONE);
  EXPECT_GT(catalog.find("b")->partitions.front().number, before);
  EXPECT_NE(catalog.find("b")->id, id_before);
}

uint32_t slot(const Catalog& of, const char* name, size_t partition = 0) {
  return of.view().find(name)->partitions[partition].slot.value;
}

TEST_F(CatalogTest, SlotsAreDenseAndOfADeletedTopicAnothersTheLowestFirst) {
  Catalog catalog = open(1);
  ASSERT_EQ(create(catalog, "a", 2), ErrorCode::NONE);
  ASSERT_EQ(create(catalog, "b", 1), ErrorCode::NONE);
  remove(catalog, "a");
  ASSERT_EQ(create(catalog, "c", 3), ErrorCode::NONE);
  EXPECT_EQ(slot(catalog, "b"), 2u);
  EXPECT_EQ(slot(catalog, "c", 0), 0u);
  EXPECT_EQ(slot(catalog, "c", 1), 1u);
  EXPECT_EQ(slot(catalog, "c", 2), 3u);
  // The next start gives them out anew, the oldest partition first.
  const Catalog again = open(1);
  EXPECT_EQ(slot(again, "b"), 0u);
  EXPECT_EQ(slot(again, "c"), 1u);
  EXPECT_EQ(again.find("b")->partitions, catalog.find("b")->partitions);
}

TEST_F(CatalogTest, SlotsAreGivenBackWithTheTopicThatADraftDeletes) {
  Catalog catalog = open(2, {.slots_per_lane_max = 3});
  for (int life = 0; life < 20; ++life) {
    ASSERT_EQ(create(catalog, "a", 6), ErrorCode::NONE);
    ASSERT_EQ(create(catalog, "b", 1), ErrorCode::INVALID_PARTITIONS);
    remove(catalog, "a");
  }
}

TEST_F(CatalogTest, SlotsOfADeletionThatSeemedToFailAreThereWhenTheStoreIsReadAgain) {
  Catalog catalog = open(1, {.slots_per_lane_max = 3});
  ASSERT_EQ(create(catalog, "a", 1), ErrorCode::NONE);
  ASSERT_EQ(create(catalog, "b", 1), ErrorCode::NONE);
  ASSERT_EQ(create(catalog, "c", 1), ErrorCode::NONE);
  for (const MemoryStore::Failure failure : {MemoryStore::Failure::change_lost, MemoryStore::Failure::answer_lost}) {
    store.fail_commits(failure, 1);
    CatalogDraft draft = catalog.draft();
    draft.remove(*catalog.find("b"));
    ASSERT_FALSE(catalog.commit(draft));
    ASSERT_EQ(catalog.settle().value(), failure == MemoryStore::Failure::answer_lost);
    EXPECT_EQ(slot(catalog, "a"), 0u);
    EXPECT_EQ(slot(catalog, "c"), 2u);
    const bool gone = catalog.find("b") == nullptr;
    EXPECT_EQ(gone, failure == MemoryStore::Failure::answer_lost);
    EXPECT_EQ(create(catalog, "d", 1), gone ? ErrorCode::NONE : ErrorCode::INVALID_PARTITIONS);
  }
  EXPECT_EQ(slot(catalog, "d"), 1u);
}

TEST_F(CatalogTest, RefusesWhatDoesNotFit) {
  Catalog catalog = open(2, {.slots_per_lane_max = 3});
  EXPECT_EQ(create(catalog, "a", 7), ErrorCode::INVALID_PARTITIONS);
  EXPECT_EQ(create(catalog, "a", 2'000'000'000), ErrorCode::INVALID_PARTITIONS);
  EXPECT_EQ(create(catalog, "a", 6), ErrorCode::NONE);
  EXPECT_EQ(create(catalog, "b", 1), ErrorCode::INVALID_PARTITIONS);
}

TEST_F(CatalogTest, AFullLaneIsPassedOver) {
  Catalog catalog = open(2, {.slots_per_lane_max = 3});
  CatalogDraft draft = catalog.draft();
  ASSERT_TRUE(draft.create({.name = "a", .partition_count = 3, .lanes = {0, 0, 0}}, random));
  EXPECT_EQ(draft.create({.name = "b", .partition_count = 1, .lanes = {0}}, random).error().error,
            ErrorCode::INVALID_PARTITIONS);
  ASSERT_TRUE(draft.create({.name = "b", .partition_count = 3}, random));
  ASSERT_TRUE(catalog.commit(draft));
  EXPECT_EQ(catalog.partition_count(1), 3u);
}

TEST_F(CatalogTest, NamesThatDifferInDotsAndUnderscoresCollide) {
  Catalog catalog = open();
  ASSERT_EQ(create(catalog, "a.b"), ErrorCode::NONE);
  EXPECT_EQ(create(catalog, "a_b"), ErrorCode::INVALID_TOPIC_EXCEPTION);
  EXPECT_EQ(create(catalog, "a.b"), ErrorCode::TOPIC_ALREADY_EXISTS);
  CatalogDraft draft = catalog.draft();
  ASSERT_TRUE(draft.create({.name = "c_d"}, random));
  EXPECT_FALSE(draft.create({.name = "c.d"}, random));
  remove(catalog, "a.b");
  EXPECT_EQ(create(catalog, "a_b"), ErrorCode::NONE);
}

TEST_F(CatalogTest, ConfigurationsAreCheckedStoredAndObeyed) {
  Catalog catalog = open(1, {.max_message_bytes = 5000});
  ASSERT_EQ(create(catalog, "plain"), ErrorCode::NONE);
  ASSERT_EQ(create(catalog, "set", 1,
                   {{"cleanup.policy", "compact, delete"},
                    {"max.message.bytes", "77"},
                    {"message.timestamp.type", "LogAppendTime"},
                    {"retention.ms", "-1"},
                    {"retention.bytes", "4096"}}),
            ErrorCode::NONE);
  EXPECT_EQ(create(catalog, "bad", 1, {{"retention.hours", "1"}}), ErrorCode::INVALID_CONFIG);
  EXPECT_EQ(create(catalog, "bad", 1, {{"retention.ms", "soon"}}), ErrorCode::INVALID_CONFIG);

  const Catalog again = open(1, {.max_message_bytes = 5000});
  EXPECT_EQ(again.find("set")->configs.at("cleanup.policy"), "compact, delete");
  const CatalogView view = again.view();
  EXPECT_EQ(view.find("plain")->settings.max_message_bytes, 5000);
  EXPECT_FALSE(view.find("plain")->settings.compacted);
  EXPECT_EQ(view.find("set")->settings.max_message_bytes, 77);
  EXPECT_TRUE(view.find("set")->settings.compacted);
  EXPECT_TRUE(view.find("set")->settings.log_append_time);
  EXPECT_EQ(view.find("set")->settings.retention_ms, -1);
  EXPECT_EQ(view.find("set")->settings.retention_bytes, 4096);
}

TEST_F(CatalogTest, ProducerIdBlocksSurviveARestart) {
  Catalog catalog = open();
  CatalogDraft draft = catalog.draft();
  EXPECT_EQ(draft.take_producer_ids(1000), 0);
  ASSERT_TRUE(catalog.commit(draft));
  Catalog again = open();
  EXPECT_EQ(again.draft().take_producer_ids(1000), 1000);
  EXPECT_FALSE(again.draft().take_producer_ids(1000) == 0);
}

// What was committed is what a restart finds, for a few hundred random changes.
TEST_F(CatalogTest, ARestartFindsWhatWasCommitted) {
  std::mt19937_64 generator(5);
  Catalog catalog = open(3);
  for (int step = 0; step < 300; ++step) {
    const std::string name = "t" + std::to_string(generator() % 20);
    if (catalog.find(name) != nullptr)
      remove(catalog, name);
    else
      ASSERT_EQ(create(catalog, name, static_cast<uint32_t>(1 + generator() % 5)), ErrorCode::NONE);
    if (step % 50 == 0) catalog = open(3);
  }
  const Catalog again = open(3);
  EXPECT_EQ(again.node(), catalog.node());
  ASSERT_EQ(again.topic_count(), catalog.topic_count());
  for (const auto& topic : catalog.view().topics) EXPECT_EQ(*again.find(topic->name), *catalog.find(topic->name));
  for (uint32_t lane = 0; lane < 3; ++lane) EXPECT_EQ(again.partition_count(lane), catalog.partition_count(lane));
}

TEST_F(CatalogTest, AFailedCommitChangesNothing) {
  Catalog catalog = open();
  store.fail_commits(MemoryStore::Failure::change_lost, 1);
  EXPECT_EQ(create(catalog, "a"), ErrorCode::KAFKA_STORAGE_ERROR);
  EXPECT_EQ(catalog.find("a"), nullptr);
  ASSERT_EQ(catalog.settle().value(), false);
  EXPECT_EQ(create(catalog, "a"), ErrorCode::NONE);
}

TEST_F(CatalogTest, AChangeWhoseAnswerWasLostAppearsWhenTheStoreIsReadAgain) {
  Catalog catalog = open(1);
  ASSERT_EQ(create(catalog, "first"), ErrorCode::NONE);
  store.fail_commits(MemoryStore::Failure::answer_lost, 1);
  EXPECT_EQ(create(catalog, "a", 2), ErrorCode::KAFKA_STORAGE_ERROR);
  EXPECT_EQ(catalog.find("a"), nullptr);
  store.fail_loads(true);
  EXPECT_FALSE(catalog.settle().has_value());
  store.fail_loads(false);
  ASSERT_EQ(catalog.settle().value(), true);
  ASSERT_NE(catalog.find("a"), nullptr);
  ASSERT_EQ(create(catalog, "b"), ErrorCode::NONE);
  // No number and no slot is there twice, and the first topic has kept its slot.
  std::set<uint64_t> numbers;
  std::set<uint32_t> slots;
  const CatalogView view = catalog.view();
  EXPECT_EQ(view.find("first")->partitions[0].slot.value, 0u);
  for (const auto& topic : view.topics) {
    for (const PartitionPlace& place : topic->partitions) {
      EXPECT_TRUE(numbers.insert(place.number.value).second);
      EXPECT_TRUE(slots.insert(place.slot.value).second);
    }
  }
  EXPECT_EQ(slots.size(), 4u);
}

struct Damage {
  const char* what;
  void (*inflict)(CatalogImage&);
  const char* expected;
};

class DamagedStore final : public CatalogStore {
 public:
  CatalogImage image;
  std::expected<CatalogImage, StoreError> load() override { return image; }
  std::expected<void, StoreError> commit(const CatalogChange&) override { return {}; }
};

TEST_F(CatalogTest, ACatalogThatContradictsItselfIsRefused) {
  Catalog catalog = open();
  ASSERT_EQ(create(catalog, "a", 2), ErrorCode::NONE);
  ASSERT_EQ(create(catalog, "b", 2), ErrorCode::NONE);
  const Damage damages[] = {
      {"no node", [](CatalogImage& image) { image.node.reset(); }, "topics but no node"},
      {"no lanes", [](CatalogImage& image) { image.node->lane_count = 0; }, "no lanes"},
      {"bad name", [](CatalogImage& image) { image.topics[0].name = "a/b"; }, "invalid"},
      {"name twice", [](CatalogImage& image) { image.topics[0].name = "b"; }, "there twice"},
      {"id twice", [](CatalogImage& image) { image.topics[0].id = image.topics[1].id; }, "zero or another's"},
      {"empty", [](CatalogImage& image) { image.topics[0].partitions.clear(); }, "no partitions"},
      {"lane", [](CatalogImage& image) { image.topics[0].partitions[0].lane = 2; }, "lane that does not exist"},
      {"number", [](CatalogImage& image) { image.node->next_partition_number = 4; }, "never given out"},
      {"number twice", [](CatalogImage& image) { image.topics[0].partitions[0].number = PartitionNumber(3); },
       "given out twice"},
  };
  for (const Damage& damage : damages) {
    DamagedStore damaged;
    damaged.image = store.image();
    damage.inflict(damaged.image);
    const auto opened = Catalog::open(damaged, {.lane_count = 2}, random);
    ASSERT_FALSE(opened.has_value()) << damage.what;
    EXPECT_NE(opened.error().message.find(damage.expected), std::string::npos) << opened.error().message;
  }
}

struct ConfigCase {
  const char* name;
  const char* value;
  const char* complaint;  // a part of it; nullptr: none
};

TEST(TopicConfig, ValuesAreJudgedAsKafkaDoes) {
  const ConfigCase cases[] = {
      {"retention.ms", "604800000", nullptr},
      {"retention.ms", " -1 ", nullptr},
      {"retention.ms", "-2", "at least -1"},
      {"retention.ms", "1.5", "Not a number of type LONG"},
      {"retention.ms", "", "Not a number"},
      {"retention.ms", "9223372036854775808", "Not a number"},
      {"max.message.bytes", "2147483648", "Not a number of type INT"},
      {"max.message.bytes", "0", nullptr},
      {"min.insync.replicas", "0", "at least 1"},
      {"cleanup.policy", "delete", nullptr},
      {"cleanup.policy", "compact,delete", nullptr},
      {"cleanup.policy", "", nullptr},
      {"cleanup.policy", "shred", "must be one of"},
      {"compression.type", "zstd", nullptr},
      {"compression.type", "ZSTD", "must be one of"},
      {"message.timestamp.type", "LogAppendTime", nullptr},
      {"min.cleanable.dirty.ratio", "0.25", nullptr},
      {"min.cleanable.dirty.ratio", "1.01", "between 0 and 1"},
      {"min.cleanable.dirty.ratio", "nan", "between 0 and 1"},
      {"preallocate", "TRUE", nullptr},
      {"preallocate", "yes", "true or false"},
      {"remote.storage.enable", "true", "no tiered storage"},
      {"remote.storage.enable", "false", nullptr},
      {"retention.msec", "1", "Unknown topic config name: retention.msec"},
  };
  for (const ConfigCase& each : cases) {
    const auto complaint = topic_config_complaint(each.name, each.value);
    EXPECT_EQ(complaint.has_value(), each.complaint != nullptr) << each.name << '=' << each.value;
    if (complaint && each.complaint) {
      EXPECT_NE(complaint->find(each.complaint), std::string::npos) << *complaint;
    }
  }
  for (const TopicConfigKey& key : topic_config_keys())
    EXPECT_FALSE(topic_config_complaint(key.name, key.default_value)) << key.name;
  EXPECT_TRUE(topic_config_complaint("leader.replication.throttled.replicas", std::string(5000, '1')));
}

}  // namespace
}  // namespace penstock
