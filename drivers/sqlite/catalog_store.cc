#include "drivers/sqlite/catalog_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include "drivers/sqlite/statement.h"

namespace penstock {
namespace {

constexpr int64_t application_id = 0x50656e73;  // "Pens": what `file` and the check below see
constexpr int64_t schema_version = 1;
constexpr size_t sql_shown_max = 40;
constexpr int busy_timeout_ms = 1000;  // an operator's sqlite3 shell may hold the file for a moment

// All integers are what the names say; ids are 16 bytes. A topic's rows go with it.
constexpr const char* schema_sql = R"sql(
  CREATE TABLE node(
    only INTEGER PRIMARY KEY CHECK (only = 1),
    cluster_id TEXT NOT NULL,
    lane_count INTEGER NOT NULL CHECK (lane_count > 0),
    node_id_base INTEGER NOT NULL,
    next_partition_number INTEGER NOT NULL,
    next_producer_id INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE topics(
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    name TEXT NOT NULL UNIQUE
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE partitions(
    number INTEGER PRIMARY KEY,
    topic_id BLOB NOT NULL REFERENCES topics(id) ON DELETE CASCADE,
    partition_index INTEGER NOT NULL CHECK (partition_index >= 0),
    lane INTEGER NOT NULL CHECK (lane >= 0),
    leader_epoch INTEGER NOT NULL,
    UNIQUE (topic_id, partition_index)
  ) STRICT;
  CREATE TABLE topic_configs(
    topic_id BLOB NOT NULL REFERENCES topics(id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (topic_id, name)
  ) STRICT, WITHOUT ROWID;
  PRAGMA application_id = 1348824691;
  PRAGMA user_version = 1;
)sql";
static_assert(application_id == 1348824691 && schema_version == 1, "the schema names both");

std::string sentence_for(int code, const std::string& text) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "another program holds the file (" + text + ")";
    case SQLITE_CORRUPT:
      return "the file is damaged (" + text + "); restore it from a copy";
    case SQLITE_NOTADB:
      return "the file is not a catalog (" + text + ")";
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return "the file or its directory cannot be written or opened (" + text + ")";
    case SQLITE_FULL:
      return "the drive is full (" + text + ")";
    default:
      return text;
  }
}

bool copy_id(std::span<const uint8_t> from, kafka::Uuid& to) {
  if (from.size() != to.bytes.size()) return false;
  std::ranges::copy(from, to.bytes.begin());
  return true;
}

}  // namespace

std::expected<std::unique_ptr<SqliteCatalogStore>, StoreError> SqliteCatalogStore::open(const std::string& path) {
  sqlite3* database = nullptr;
  const int status = sqlite3_open_v2(path.c_str(), &database,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<SqliteCatalogStore> store(new SqliteCatalogStore(path, database));
  if (status != SQLITE_OK) return store->failure("opening it");
  sqlite3_extended_result_codes(database, 1);
  sqlite3_busy_timeout(database, busy_timeout_ms);
  if (auto ready = store->prepare_schema(); !ready) return std::unexpected(ready.error());
  return store;
}

SqliteCatalogStore::~SqliteCatalogStore() { sqlite3_close(database_); }

std::expected<CatalogImage, StoreError> SqliteCatalogStore::look(const std::string& path) {
  std::string uri = "file:";
  for (const char c : path) {
    const bool special = c == '?' || c == '#' || c == '%';
    uri += special ? "%" + std::string(c == '?' ? "3f" : c == '#' ? "23" : "25") : std::string(1, c);
  }
  // Without a write-ahead log beside it nobody is writing, and SQLite need not make one to read.
  uri += std::filesystem::exists(path + "-wal") ? "?mode=ro" : "?mode=ro&immutable=1";
  sqlite3* database = nullptr;
  const int status = sqlite3_open_v2(uri.c_str(), &database, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, nullptr);
  SqliteCatalogStore store(path, database);
  if (status != SQLITE_OK) return store.failure("opening it");
  sqlite3_extended_result_codes(database, 1);
  sqlite3_busy_timeout(database, busy_timeout_ms);
  const auto fresh = store.is_fresh();
  if (!fresh) return std::unexpected(fresh.error());
  if (*fresh) return CatalogImage{};
  return store.load();
}

std::expected<bool, StoreError> SqliteCatalogStore::is_fresh() {
  int64_t found_application = 0, found_version = 0, table_count = 0;
  {
    SqliteStatement statement(database_,
                              "SELECT a.application_id, v.user_version, (SELECT count(*) FROM sqlite_schema) "
                              "FROM pragma_application_id AS a, pragma_user_version AS v");
    if (!statement.row()) return failure("reading its version");
    found_application = statement.integer(0);
    found_version = statement.integer(1);
    table_count = statement.integer(2);
  }
  const bool fresh = table_count == 0 && found_application == 0 && found_version == 0;
  if (!fresh && found_application != application_id)
    return std::unexpected(StoreError{"catalog " + path_ + ": this is another program's SQLite file"});
  if (!fresh && found_version != schema_version)
    return std::unexpected(StoreError{"catalog " + path_ + ": its schema has version " + std::to_string(found_version) +
                                      ", this program knows version " + std::to_string(schema_version) +
                                      (found_version > schema_version ? "; a newer Penstock wrote it" : "")});
  return fresh;
}

std::expected<void, StoreError> SqliteCatalogStore::prepare_schema() {
  const auto fresh = is_fresh();
  if (!fresh) return std::unexpected(fresh.error());

  // Foreign keys carry the deletion of a topic's rows. PRAGMA statements answer with rows; exec drops them.
  for (const char* sql : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON"}) {
    if (auto done = run(sql); !done) return done;
  }
  if (!*fresh) return check_integrity();
  if (auto begun = run("BEGIN IMMEDIATE"); !begun) return begun;
  if (auto created = run(schema_sql); !created) {
    (void)run("ROLLBACK");
    return created;
  }
  return run("COMMIT");
}

std::expected<void, StoreError> SqliteCatalogStore::check_integrity() {
  SqliteStatement statement(database_, "PRAGMA quick_check(1)");
  if (!statement.row()) return failure("checking it");
  if (const std::string verdict = statement.text(0); verdict != "ok")
    return std::unexpected(
        StoreError{"catalog " + path_ + ": the file is damaged (" + verdict + "); restore it from a copy"});
  return {};
}

std::expected<CatalogImage, StoreError> SqliteCatalogStore::load() {
  CatalogImage image;
  {
    SqliteStatement node(
        database_, "SELECT cluster_id, lane_count, node_id_base, next_partition_number, next_producer_id FROM node");
    while (node.row()) {
      image.node = NodeRecord{.cluster_id = node.text(0),
                              .lane_count = static_cast<uint32_t>(node.integer(1)),
                              .node_id_base = static_cast<int32_t>(node.integer(2)),
                              .next_partition_number = static_cast<uint64_t>(node.integer(3)),
                              .next_producer_id = node.integer(4)};
    }
    if (!node.done()) return failure("reading the node");
  }

  std::map<kafka::Uuid, size_t> places;  // in image.topics
  SqliteStatement topics(database_, "SELECT id, name FROM topics");
  while (topics.row()) {
    TopicRecord topic{.name = topics.text(1)};
    if (!copy_id(topics.blob(0), topic.id))
      return std::unexpected(StoreError{"catalog " + path_ + ": the id of topic '" + topic.name + "' is malformed"});
    places.emplace(topic.id, image.topics.size());
    image.topics.push_back(std::move(topic));
  }
  if (!topics.done()) return failure("reading topics");

  const auto topic_of = [&](std::span<const uint8_t> bytes) -> TopicRecord* {
    kafka::Uuid id;
    if (!copy_id(bytes, id)) return nullptr;
    const auto place = places.find(id);
    return place == places.end() ? nullptr : &image.topics[place->second];
  };
  const auto contradiction = [&](const char* what) {
    return std::unexpected(StoreError{"catalog " + path_ + ": " + what});
  };

  SqliteStatement partitions(database_,
                             "SELECT topic_id, partition_index, number, lane, leader_epoch FROM partitions "
                             "ORDER BY topic_id, partition_index");
  while (partitions.row()) {
    TopicRecord* topic = topic_of(partitions.blob(0));
    if (topic == nullptr) return contradiction("a partition belongs to no topic");
    if (partitions.integer(1) != static_cast<int64_t>(topic->partitions.size()))
      return contradiction("a topic's partitions have a gap");
    topic->partitions.push_back({PartitionNumber(static_cast<uint64_t>(partitions.integer(2))),
                                 static_cast<uint32_t>(partitions.integer(3)),
                                 static_cast<int32_t>(partitions.integer(4))});
  }
  if (!partitions.done()) return failure("reading partitions");

  SqliteStatement configs(database_, "SELECT topic_id, name, value FROM topic_configs");
  while (configs.row()) {
    TopicRecord* topic = topic_of(configs.blob(0));
    if (topic == nullptr) return contradiction("a configuration belongs to no topic");
    topic->configs.emplace(configs.text(1), configs.text(2));
  }
  if (!configs.done()) return failure("reading configurations");
  return image;
}

std::expected<void, StoreError> SqliteCatalogStore::commit(const CatalogChange& change) {
  if (auto begun = run("BEGIN IMMEDIATE"); !begun) return begun;
  std::expected<void, StoreError> done = write(change);
  if (done) done = run("COMMIT");
  // After some errors SQLite has rolled back by itself; then there is nothing left to do.
  if (!done && sqlite3_get_autocommit(database_) == 0) (void)run("ROLLBACK");
  return done;
}

std::expected<void, StoreError> SqliteCatalogStore::write(const CatalogChange& change) {
  if (change.node) {
    const NodeRecord& node = *change.node;
    SqliteStatement statement(database_, "INSERT OR REPLACE INTO node VALUES (1, ?, ?, ?, ?, ?)");
    statement.bind(std::string_view(node.cluster_id)).bind(int64_t{node.lane_count}).bind(int64_t{node.node_id_base});
    statement.bind(static_cast<int64_t>(node.next_partition_number)).bind(node.next_producer_id);
    if (!statement.run()) return failure("writing the node");
  }

  SqliteStatement remove(database_, "DELETE FROM topics WHERE id = ?");
  for (const kafka::Uuid& id : change.deleted) {
    if (!remove.bind(std::span(id.bytes)).run()) return failure("deleting a topic");
  }

  SqliteStatement topic(database_, "INSERT INTO topics (id, name) VALUES (?, ?)");
  SqliteStatement partition(database_,
                            "INSERT INTO partitions (number, topic_id, partition_index, lane, leader_epoch) "
                            "VALUES (?, ?, ?, ?, ?)");
  SqliteStatement config(database_, "INSERT INTO topic_configs (topic_id, name, value) VALUES (?, ?, ?)");
  for (const TopicRecord& record : change.created) {
    const std::span<const uint8_t> id(record.id.bytes);
    if (!topic.bind(id).bind(std::string_view(record.name)).run()) return failure("creating topic " + record.name);
    for (size_t index = 0; index < record.partitions.size(); ++index) {
      const PartitionRecord& place = record.partitions[index];
      partition.bind(static_cast<int64_t>(place.number.value)).bind(id).bind(static_cast<int64_t>(index));
      partition.bind(int64_t{place.lane}).bind(int64_t{place.leader_epoch});
      if (!partition.run()) return failure("creating a partition of " + record.name);
    }
    for (const auto& [name, value] : record.configs) {
      if (!config.bind(id).bind(std::string_view(name)).bind(std::string_view(value)).run())
        return failure("configuring topic " + record.name);
    }
  }
  return {};
}

std::expected<void, StoreError> SqliteCatalogStore::run(const char* sql) {
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    return failure(std::string(sql).substr(0, sql_shown_max));
  return {};
}

std::unexpected<StoreError> SqliteCatalogStore::failure(const std::string& doing) const {
  const int code = sqlite3_extended_errcode(database_);
  return std::unexpected(
      StoreError{"catalog " + path_ + ": " + doing + ": " + sentence_for(code, sqlite3_errmsg(database_))});
}

}  // namespace penstock
