// One prepared SQLite statement: bind left to right, then step. Errors stick and are read once from the connection.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

class SqliteStatement {
 public:
  SqliteStatement(sqlite3* database, const char* sql) {
    status_ = sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr);
  }
  ~SqliteStatement() { sqlite3_finalize(statement_); }
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  SqliteStatement& bind(int64_t value) { return noted(sqlite3_bind_int64(statement_, ++bound_, value)); }
  SqliteStatement& bind(std::string_view text) {
    // An empty view may have no address, which SQLite would take for NULL. The text outlives the step.
    return noted(sqlite3_bind_text64(statement_, ++bound_, text.empty() ? "" : text.data(), text.size(), SQLITE_STATIC,
                                     SQLITE_UTF8));
  }
  SqliteStatement& bind(std::span<const uint8_t> bytes) {
    return noted(sqlite3_bind_blob64(statement_, ++bound_, bytes.data(), bytes.size(), SQLITE_STATIC));
  }

  // True while there are rows. The statement can be bound again after it has run to its end.
  bool row() {
    if (status_ != SQLITE_OK && status_ != SQLITE_ROW) return false;
    status_ = sqlite3_step(statement_);
    return status_ == SQLITE_ROW;
  }
  // Runs a statement without rows; it can then be bound again.
  [[nodiscard]] bool run() {
    row();
    const bool good = done();
    if (good) {
      status_ = sqlite3_reset(statement_);
      bound_ = 0;
    }
    return good;
  }
  // All rows were read and nothing failed.
  bool done() const { return status_ == SQLITE_DONE; }

  int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string text(int column) const {
    const unsigned char* text = sqlite3_column_text(statement_, column);
    return text == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(text), size(column));
  }
  std::span<const uint8_t> blob(int column) const {
    const void* blob = sqlite3_column_blob(statement_, column);  // before its size: SQLite's rule
    return {static_cast<const uint8_t*>(blob), size(column)};
  }

 private:
  SqliteStatement& noted(int status) {
    if (status_ == SQLITE_OK) status_ = status;
    return *this;
  }
  size_t size(int column) const { return static_cast<size_t>(sqlite3_column_bytes(statement_, column)); }

  sqlite3_stmt* statement_ = nullptr;
  int status_ = SQLITE_OK;
  int bound_ = 0;
};

}  // namespace penstock
