// Blocking reads of segment files, for recovery and tools.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "drivers/uring/lane_directory.h"
#include "storage/drive.h"

namespace penstock {

// Any position and size, also of files opened with O_DIRECT. Short only at the end of the file; the error is an errno.
std::expected<size_t, int> read_segment(int descriptor, FilePosition position, std::span<std::byte> to);

// The segments of a directory that a tool looks at, without a drive.
class DirectoryFiles final : public SegmentFiles {
 public:
  static std::expected<std::unique_ptr<DirectoryFiles>, std::string> open(const LaneDirectory& directory);
  ~DirectoryFiles() override;

  uint32_t slot_count() const override { return static_cast<uint32_t>(descriptors_.size()); }
  uint64_t slot_bytes(SegmentSlot slot) const override;
  std::expected<size_t, int> read(SegmentSlot slot, FilePosition position, std::span<std::byte> to) override;

 private:
  DirectoryFiles() = default;
  std::vector<int> descriptors_;  // by slot; -1: no file
};

}  // namespace penstock
