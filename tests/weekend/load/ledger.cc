#include "tests/weekend/load/ledger.h"

#include <algorithm>

namespace penstock::weekend {

void Ledger::sending(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  open_bytes_ += bytes;
}

void Ledger::acknowledged(int64_t base_offset, const BatchShape& shape, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const std::string batch = "batch " + std::to_string(shape.number);
  if (base_offset < acknowledged_end_ || (idempotent_ && base_offset != acknowledged_end_)) {
    complain(batch + " is acknowledged at offset " + std::to_string(base_offset) + ", the one before ended at " +
             std::to_string(acknowledged_end_));
  }
  acknowledged_end_ = base_offset + shape.count;
  open_bytes_ -= std::min(open_bytes_, bytes);
  note(base_offset, shape, bytes, true);
}

void Ledger::shown(const FoundBatch& found) {
  const std::lock_guard lock(mutex_);
  if (found.base_offset + found.shape.count <= log_start_) return;  // expired meanwhile
  // What lies where this batch lies must be this batch.
  const int64_t end = found.base_offset + found.shape.count;
  for (auto at = known_.lower_bound(found.base_offset); at != known_.end() && at->first < end; ++at) {
    if (at->first == found.base_offset && at->second.number == found.shape.number) continue;
    complain("batch " + std::to_string(at->second.number) +
             (at->second.acknowledged ? " was acknowledged" : " was read") + " at offset " + std::to_string(at->first) +
             ", where batch " + std::to_string(found.shape.number) + " from offset " +
             std::to_string(found.base_offset) + " is now");
  }
  note(found.base_offset, found.shape, found.bytes, false);
}

void Ledger::note(int64_t base_offset, const BatchShape& shape, uint64_t bytes, bool acknowledged) {
  const auto [at, fresh] = known_.emplace(
      base_offset,
      Known{.number = shape.number, .count = shape.count, .bytes = bytes, .timestamp_ms = shape.timestamp_ms});
  Known& known = at->second;
  if (known.number != shape.number) {
    complain("batch " + std::to_string(shape.number) + " is acknowledged at offset " + std::to_string(base_offset) +
             ", where batch " + std::to_string(known.number) + " is");
  }
  if (fresh) known_bytes_ += bytes;
  if (acknowledged && !known.acknowledged) {
    known.acknowledged = true;
    known.open_bytes_before = open_before_;
    known_bytes_ += open_before_;
    open_before_ = 0;
  }
  end_ = std::max(end_, base_offset + shape.count);
}

void Ledger::left_open(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  open_bytes_ -= std::min(open_bytes_, bytes);
  open_before_ += bytes;
}

void Ledger::stands(int64_t log_start, int64_t high_watermark, int64_t end_before, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  if (high_watermark < end_before) {
    complain("ends at offset " + std::to_string(high_watermark) + ", what is known of it ends at " +
             std::to_string(end_before));
  }
  move_start(log_start, now_ms);
}

void Ledger::starts(int64_t log_start, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  move_start(log_start, now_ms);
}

void Ledger::move_start(int64_t log_start, int64_t now_ms) {
  if (log_start <= log_start_) return;  // an older answer; that it never goes back is for the reader to see
  log_start_ = log_start;
  while (!known_.empty() && known_.begin()->first < log_start) {
    const Known& gone = known_.begin()->second;
    if (retention_.age_max_ms >= 0 && now_ms - gone.timestamp_ms <= retention_.age_max_ms) {
      complain("batch " + std::to_string(gone.number) + " is gone after " + std::to_string(now_ms - gone.timestamp_ms) +
               " ms");
    }
    known_bytes_ -= gone.bytes + gone.open_bytes_before;
    known_.erase(known_.begin());
  }
  if (retention_.bytes_max >= 0 &&
      known_bytes_ + open_before_ + open_bytes_ < static_cast<uint64_t>(retention_.bytes_max)) {
    complain("only " + std::to_string(known_bytes_ + open_before_ + open_bytes_) +
             " bytes are left from the log start " + std::to_string(log_start));
  }
}

int64_t Ledger::end() const {
  const std::lock_guard lock(mutex_);
  return end_;
}

int64_t Ledger::log_start() const {
  const std::lock_guard lock(mutex_);
  return log_start_;
}

}  // namespace penstock::weekend
