// The directory of one lane's log: slot files named segment-000017.log. Opening it is where a file system that cannot
// keep our promises is refused, with a line that says why and what to do.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "dataplane/base/units.h"

namespace penstock {

enum class DirectoryAccess : uint8_t {
  own,   // create if missing, lock against a second process, must be writable and able of direct I/O
  look,  // read only, no lock: tools
};

class LaneDirectory {
 public:
  static std::expected<LaneDirectory, std::string> open(const std::string& path, DirectoryAccess access);
  LaneDirectory(LaneDirectory&& other) noexcept;
  LaneDirectory& operator=(LaneDirectory&&) = delete;
  ~LaneDirectory();

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  DirectoryAccess access() const { return access_; }

  // Slots whose file exists, ascending.
  std::expected<std::vector<SegmentSlot>, std::string> slots() const;
  static std::string file_name(SegmentSlot slot);

  // Descriptors of slot files; -errno on failure. O_DIRECT, read and write when owned.
  int open_slot(SegmentSlot slot) const;
  int create_slot(SegmentSlot slot) const;
  void remove_slot(SegmentSlot slot) const;
  int sync() const;  // the directory itself; 0 or -errno

 private:
  LaneDirectory() = default;

  std::string path_;
  int descriptor_ = -1;
  DirectoryAccess access_ = DirectoryAccess::own;
};

}  // namespace penstock
