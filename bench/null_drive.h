// A drive that has finished everything by the next poll and keeps nothing: what remains is the cost of the lane.
#pragma once

#include <vector>

#include "storage/drive.h"

namespace penstock {

class NullDrive final : public SegmentFiles {
 public:
  explicit NullDrive(const DriveUnits& units) : units_(units) { completions_.reserve(256); }

  const DriveUnits& units() const { return units_; }
  bool submit(const DriveRequest& request) {
    uint64_t bytes = 0;
    for (const iovec& vector : request.vectors) bytes += vector.iov_len;
    completions_.push_back({request.tag, static_cast<int64_t>(bytes)});
    return true;
  }
  template <class Done>
  uint32_t poll(Nanoseconds, Done&& done) {
    finished_.swap(completions_);
    for (const DriveCompletion& completion : finished_) done(completion);
    const auto count = static_cast<uint32_t>(finished_.size());
    finished_.clear();
    return count;
  }
  Nanoseconds next_deadline() const { return never_ns; }

  uint32_t slot_count() const override { return 0; }
  uint64_t slot_bytes(SegmentSlot) const override { return 0; }
  std::expected<size_t, int> read(SegmentSlot, FilePosition, std::span<std::byte>) override { return size_t{0}; }

 private:
  DriveUnits units_;
  std::vector<DriveCompletion> completions_, finished_;
};

}  // namespace penstock
