// Which slots of the lane's directory are free, being prepared, or ready to become the next segment.
//
// A released segment's slot is ready again without preparation. So a log that releases as much as it takes prepares
// nothing; one that shrinks keeps its slots.
//
// Slots are prepared one at a time, ahead of need: up to the full number at start, and again whenever half or fewer are
// left, so that a lane with many of them has long stretches in which the drive writes nothing but commits. The last ready slot is kept back: a write error needs a fresh
// segment to rewrite what was not durable yet, and must not find the drive full. (With a single spare it is kept back
// only once the drive has refused to prepare another.) A refused preparation is tried again every
// limits::prepare_retry_ns.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/base/units.h"
#include "storage/recovered.h"

namespace penstock {

class SpareSlots {
 public:
  explicit SpareSlots(uint32_t spare_count);

  // At start: the slots that exist.
  void begin(const std::vector<SlotUse>& slots);

  // A slot to prepare now: the same answer until preparing() is called.
  std::optional<SegmentSlot> wanted(Nanoseconds now) const;
  void preparing(SegmentSlot slot);
  void prepared(int64_t result, Nanoseconds now);  // of the slot being prepared; 0 or -errno
  bool is_preparing() const { return preparing_; }
  SegmentSlot current() const { return current_; }  // the one that is being prepared
  Nanoseconds next_deadline() const;

  enum class Need : uint8_t { roll, rewrite };
  bool available(Need need) const;
  SegmentSlot take(Need need);  // available(need)
  // The drive refused the last preparation.
  bool drive_full() const { return drive_full_; }

  // The header of a released segment is zeroed: its slot is ready as it is.
  void recycled(SegmentSlot slot);

  // A slot whose segment is no longer part of the log; to be prepared anew.
  void give_back(SegmentSlot slot) { free_.push_back(slot); }
  // A free slot, for a while. False: it is not free.
  bool take_back(SegmentSlot slot) { return std::erase(free_, slot) > 0; }

 private:
  bool half_are_gone() const { return 2 * ready_.size() <= spare_count_ + 1; }  // of two or three: any

  uint32_t spare_count_;
  uint32_t slot_count_ = 0;  // slots ever named; the next new one
  std::vector<SegmentSlot> free_;
  std::vector<SegmentSlot> ready_;  // first in, first out
  SegmentSlot current_{};
  bool preparing_ = false;
  bool filling_ = true;  // until the full number is ready
  bool drive_full_ = false;
  Nanoseconds retry_at_ = 0;
};

}  // namespace penstock
