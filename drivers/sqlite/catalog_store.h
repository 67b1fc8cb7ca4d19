// The catalog in one SQLite file, readable with any SQLite tool.
//
// Journal: WAL with synchronous=FULL. A commit is one append and one fsync of the log, where a rollback journal needs
// three or four, and CreateTopics and auto-creation wait for it. Closing writes the log back, so a stopped node leaves
// one file.
//
// An error is a sentence for the operator and names the file. A newer or foreign schema is refused, never migrated
// silently; a damaged file is refused whole.
#pragma once

#include <memory>
#include <string>

#include "dataplane/control/catalog_store.h"

struct sqlite3;

namespace penstock {

class SqliteCatalogStore final : public CatalogStore {
 public:
  // Opens or creates `path`; its directory exists.
  static std::expected<std::unique_ptr<SqliteCatalogStore>, StoreError> open(const std::string& path);
  // What a catalog holds, for a tool: nothing is created or written, and a node may be using it.
  static std::expected<CatalogImage, StoreError> look(const std::string& path);
  ~SqliteCatalogStore() override;

  std::expected<CatalogImage, StoreError> load() override;
  std::expected<void, StoreError> commit(const CatalogChange& change) override;

 private:
  SqliteCatalogStore(std::string path, sqlite3* database) : path_(std::move(path)), database_(database) {}
  std::expected<void, StoreError> prepare_schema();
  std::expected<bool, StoreError> is_fresh();  // the error: another program's, or of another version
  std::expected<void, StoreError> check_integrity();
  std::expected<void, StoreError> write(const CatalogChange& change);  // within a transaction
  std::expected<void, StoreError> run(const char* sql);
  std::unexpected<StoreError> failure(const std::string& doing) const;

  std::string path_;
  sqlite3* database_;
};

}  // namespace penstock
