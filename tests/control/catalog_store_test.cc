#include "drivers/sqlite/catalog_store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "dataplane/control/catalog.h"
#include "tests/control/test_support.h"

namespace penstock {
namespace {

struct CatalogStoreTest : testing::Test {
  std::filesystem::path directory;
  std::string path;

  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "penstock-catalog-XXXXXX").string();
    directory = mkdtemp(pattern.data());
    path = directory / "catalog.sqlite";
  }
  void TearDown() override {
    chmod(directory.c_str(), 0700);
    std::filesystem::remove_all(directory);
  }
  std::unique_ptr<SqliteCatalogStore> open() {
    auto store = SqliteCatalogStore::open(path);
    EXPECT_TRUE(store.has_value()) << store.error().message;
    return std::move(*store);
  }
  std::string open_error() {
    const auto store = SqliteCatalogStore::open(path);
    return store ? "" : store.error().message;
  }
  void shell(const char* sql) {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
    sqlite3_close(database);
  }
};

TopicRecord topic(const char* name, uint8_t id_byte, uint64_t first_number) {
  TopicRecord record{.name = name};
  record.id.bytes.fill(id_byte);
  record.partitions = {{PartitionNumber(first_number), 0, 0}, {PartitionNumber(first_number + 1), 1, 3}};
  record.configs = {{"cleanup.policy", ""}, {"retention.ms", "1000"}};
  return record;
}
const NodeRecord node{
    .cluster_id = "c", .lane_count = 2, .node_id_base = 7, .next_partition_number = 9, .next_producer_id = 3000};

TEST_F(CatalogStoreTest, LookReadsAndLeavesNothingBehind) {
  EXPECT_FALSE(SqliteCatalogStore::look(path).has_value()) << "nothing is created";
  EXPECT_TRUE(std::filesystem::is_empty(directory));
  {
    auto store = open();
    ASSERT_TRUE(store->commit({.node = node, .created = {topic("a", 1, 1)}}).has_value());
    const auto beside_a_node = SqliteCatalogStore::look(path);
    ASSERT_TRUE(beside_a_node.has_value()) << beside_a_node.error().message;
    EXPECT_EQ(beside_a_node->topics, std::vector{topic("a", 1, 1)});
  }
  const auto stopped = SqliteCatalogStore::look(path);
  ASSERT_TRUE(stopped.has_value()) << stopped.error().message;
  EXPECT_EQ(stopped->topics, std::vector{topic("a", 1, 1)});
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 1) << "the catalog alone";

  shell("PRAGMA user_version = 99");
  EXPECT_NE(SqliteCatalogStore::look(path).error().message.find("a newer Penstock wrote it"), std::string::npos);
}

TEST_F(CatalogStoreTest, WhatWasCommittedIsThereAfterReopening) {
  {
    auto store = open();
    const auto fresh = store->load();
    ASSERT_TRUE(fresh.has_value());
    EXPECT_FALSE(fresh->node.has_value());
    CatalogChange change;
    change.node = node;
    change.created = {topic("a", 1, 1), topic("b", 2, 3)};
    ASSERT_TRUE(store->commit(change));
    change = {};
    change.deleted = {topic("a", 1, 1).id};
    change.created = {topic("a", 3, 5)};
    ASSERT_TRUE(store->commit(change));
  }
  EXPECT_FALSE(std::filesystem::exists(path + "-wal"));  // a stopped node leaves one file
  const auto image = open()->load();
  ASSERT_TRUE(image.has_value()) << image.error().message;
  EXPECT_EQ(image->node, node);
  ASSERT_EQ(image->topics.size(), 2u);
  for (const TopicRecord& record : image->topics)
    EXPECT_EQ(record, record.name == "a" ? topic("a", 3, 5) : topic("b", 2, 3));
}

TEST_F(CatalogStoreTest, AChangeHappensWholeOrNotAtAll) {
  auto store = open();
  CatalogChange change;
  change.node = node;
  change.created = {topic("a", 1, 1)};
  ASSERT_TRUE(store->commit(change));
  change = {};
  change.node = node;
  change.node->next_producer_id = 4000;
  change.created = {topic("b", 2, 3), topic("c", 3, 1)};  // number 1 is taken
  const auto refused = store->commit(change);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("creating a partition of c"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find(path), std::string::npos);
  const auto image = store->load();
  ASSERT_TRUE(image.has_value());
  EXPECT_EQ(image->topics.size(), 1u);
  EXPECT_EQ(image->node->next_producer_id, 3000);
  change.created.pop_back();
  EXPECT_TRUE(store->commit(change));  // and the store goes on
}

TEST_F(CatalogStoreTest, CarriesACatalog) {
  const RandomSource random = seeded(1);
  kafka::Uuid id;
  {
    auto store = open();
    auto catalog = Catalog::open(*store, {.lane_count = 4}, random);
    ASSERT_TRUE(catalog.has_value()) << catalog.error().message;
    CatalogDraft draft = catalog->draft();
    ASSERT_TRUE(draft.create({.name = "orders", .partition_count = 100}, random));
    ASSERT_TRUE(catalog->commit(draft));
    id = catalog->find("orders")->id;
  }
  auto store = open();
  const auto catalog = Catalog::open(*store, {.lane_count = 4}, random);
  ASSERT_TRUE(catalog.has_value()) << catalog.error().message;
  EXPECT_EQ(catalog->find("orders")->id, id);
  EXPECT_EQ(catalog->partition_count(3), 25u);
}

TEST_F(CatalogStoreTest, ANewerSchemaIsRefused) {
  open();
  shell("PRAGMA user_version = 2");
  const std::string error = open_error();
  EXPECT_NE(error.find("its schema has version 2, this program knows version 1; a newer Penstock wrote it"),
            std::string::npos)
      << error;
}

TEST_F(CatalogStoreTest, AnotherProgramsFileIsRefused) {
  shell("CREATE TABLE films(name TEXT)");
  EXPECT_NE(open_error().find("another program's SQLite file"), std::string::npos) << open_error();
}

TEST_F(CatalogStoreTest, GarbageIsRefused) {
  std::ofstream(path) << std::string(8192, 'x');
  EXPECT_NE(open_error().find("not a catalog"), std::string::npos) << open_error();
}

TEST_F(CatalogStoreTest, DamageIsRefused) {
  {
    auto store = open();
    CatalogChange change;
    change.node = node;
    for (uint8_t i = 1; i < 100; ++i)
      change.created.push_back(topic(("t" + std::to_string(i)).c_str(), i, uint64_t{i} * 2));
    ASSERT_TRUE(store->commit(change));
  }
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(std::filesystem::file_size(path) - 4096, '\x5a');
  file.close();
  const std::string error = open_error();
  EXPECT_NE(error.find("damaged"), std::string::npos) << error;
}

TEST_F(CatalogStoreTest, AFileThatAnotherHoldsIsASentence) {
  auto store = open();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  CatalogChange change;
  change.node = node;
  const auto refused = store->commit(change);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("another program holds the file"), std::string::npos);
  sqlite3_close(other);
  EXPECT_TRUE(store->commit(change));
}

TEST_F(CatalogStoreTest, ADirectoryThatIsNotThereIsASentence) {
  path = directory / "missing" / "catalog.sqlite";
  EXPECT_NE(open_error().find("cannot be written or opened"), std::string::npos) << open_error();
}

TEST_F(CatalogStoreTest, AFileThatCannotBeWrittenIsASentence) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anything";
  open();
  chmod(path.c_str(), 0400);
  EXPECT_NE(open_error().find("cannot be written"), std::string::npos) << open_error();
}

}  // namespace
}  // namespace penstock
