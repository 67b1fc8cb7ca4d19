// The node's data directory: who may use it, and what it was made for.
//
//   penstock.lock    held with flock while a node runs; its text is the holder's process id, for the message
//   format           text: format version, lanes, segment bytes, a random number; written once, when it is created
//   catalog.sqlite   topics and identity (drivers/sqlite)
//   drive-units      what the drive trial found (drivers/uring)
//   lane-000/ ...    each lane's log, or a link to it (lane_homes.h)
//
// A directory with other files in it and without `format` is not taken over.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

namespace penstock {

struct DirectoryFormat {
  static constexpr uint32_t newest_version = 1;
  uint32_t version = newest_version;
  uint32_t lane_count = 0;
  uint64_t segment_bytes = 0;
  uint64_t id = 0;  // 0: created before there were any
  bool operator==(const DirectoryFormat&) const = default;
};

std::string to_text(const DirectoryFormat& format);
std::expected<DirectoryFormat, std::string> parse_format(const std::string& text);

class DataDirectory {
 public:
  struct Wish {
    uint32_t lane_count = 0;     // 0: as the directory has, else `lane_count_at_creation`
    uint64_t segment_bytes = 0;  // 0: likewise
    uint32_t lane_count_at_creation = 1;
    uint64_t segment_bytes_at_creation = uint64_t{256} << 20;
    uint64_t id_at_creation = 0;  // random
  };

  // Creates what is missing, takes the lock, reads or writes `format`. The error is a sentence for the operator.
  static std::expected<DataDirectory, std::string> open(const std::string& path, const Wish& wish);
  // Format of a directory that a tool looks at: no lock, nothing is written.
  static std::expected<DirectoryFormat, std::string> look(const std::string& path);

  DataDirectory(DataDirectory&& other) noexcept;
  DataDirectory& operator=(DataDirectory&&) = delete;
  ~DataDirectory();

  const std::string& path() const { return path_; }
  const DirectoryFormat& format() const { return format_; }
  bool created() const { return created_; }
  std::string lane_path(uint32_t lane) const { return lane_path(path_, lane); }
  std::string catalog_path() const { return path_ + "/catalog.sqlite"; }
  std::string drive_units_path() const { return path_ + "/drive-units"; }

  static std::string lane_path(const std::string& path, uint32_t lane);

 private:
  explicit DataDirectory(const std::string& path) : path_(path) {}
  std::expected<void, std::string> create_directory() const;
  std::expected<void, std::string> take_lock();
  std::expected<void, std::string> establish_format(const Wish& wish);
  std::expected<void, std::string> write_format() const;

  std::string path_;
  DirectoryFormat format_;
  bool created_ = false;
  int lock_ = -1;
};

}  // namespace penstock
