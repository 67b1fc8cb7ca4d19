#include "storage/spare_slots.h"

#include "dataplane/base/check.h"
#include "storage/limits.h"

namespace penstock {

SpareSlots::SpareSlots(uint32_t spare_count) : spare_count_(spare_count) {
  check(spare_count > 0, "at least one spare segment is needed to go on after this one");
  ready_.reserve(spare_count + 1);
}

void SpareSlots::begin(const std::vector<SlotUse>& slots) {
  slot_count_ = static_cast<uint32_t>(slots.size());
  free_.reserve(slots.size() + 64);
  for (uint32_t slot = slot_count_; slot-- > 0;) {
    if (slots[slot] == SlotUse::unused) free_.push_back(SegmentSlot(slot));
  }
}

std::optional<SegmentSlot> SpareSlots::wanted(Nanoseconds now) const {
  if (preparing_ || !filling_ || now < retry_at_) return std::nullopt;
  return free_.empty() ? SegmentSlot(slot_count_) : free_.back();
}

void SpareSlots::preparing(SegmentSlot slot) {
  if (free_.empty()) {
    ++slot_count_;
  } else {
    free_.pop_back();
  }
  current_ = slot;
  preparing_ = true;
}

void SpareSlots::prepared(int64_t result, Nanoseconds now) {
  check(preparing_, "a slot was prepared that nobody asked for");
  preparing_ = false;
  drive_full_ = result < 0 && filling_;
  if (result < 0) {
    retry_at_ = now + limits::prepare_retry_ns;
    free_.push_back(current_);
  } else {
    retry_at_ = 0;
    ready_.push_back(current_);
    if (ready_.size() >= spare_count_) filling_ = false;
  }
}

void SpareSlots::recycled(SegmentSlot slot) {
  ready_.push_back(slot);
  // On a full drive one more: a single spare is kept back for as long as no other can be had.
  if (ready_.size() >= spare_count_ + (drive_full_ ? 1 : 0)) filling_ = drive_full_ = false;
}

Nanoseconds SpareSlots::next_deadline() const {
  return !preparing_ && filling_ && retry_at_ > 0 ? retry_at_ : never_ns;
}

bool SpareSlots::available(Need need) const {
  const bool keep_one = need == Need::roll && (spare_count_ > 1 || drive_full_);
  const size_t kept_back = keep_one ? 1 : 0;
  return ready_.size() > kept_back;
}

SegmentSlot SpareSlots::take(Need need) {
  check(available(need), "no slot is ready");
  const SegmentSlot slot = ready_.front();
  ready_.erase(ready_.begin());
  if (half_are_gone()) filling_ = true;
  return slot;
}

}  // namespace penstock
