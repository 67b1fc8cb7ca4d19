#include "dataplane/kafka/record_walk.h"

namespace penstock::kafka {

RecordWalk::RecordWalk(PieceRange records)
    : rest_(records), left_behind_run_(records.size()), scout_(records), large_(records.size() > 256 * KiB) {
  next_run();
}

bool RecordWalk::next(Record& record) {
  const int32_t length = number();
  if (failed_ || length < 0 || static_cast<uint64_t>(length) > remaining()) {
    fail();
    return false;
  }
  const uint64_t remaining_after = remaining() - static_cast<uint64_t>(length);
  prefetch_ahead(static_cast<uint64_t>(length));
  skip(1);  // attributes: no bit of them is used
  record.timestamp_delta = long_number();
  record.offset_delta = number();
  record.has_key = skip_field(true);
  skip_field(true);
  const int32_t header_count = number();
  if (header_count < 0) fail();
  for (int32_t i = 0; i < header_count && !failed_; ++i) {
    skip_field(false);
    skip_field(true);
  }
  if (remaining() != remaining_after) fail();
  return !failed_;
}

// Records of a batch are mostly alike in size: the scout stays a few records in front, about at the head of one. Short
// records lie so near each other that the processor finds them by itself, and of a batch that is not large the checksum
// has left everything near.
void RecordWalk::prefetch_ahead(uint64_t length) {
  constexpr uint64_t records_ahead = 4, length_bytes = 2, long_bytes = 256;
  if (!large_ || length < long_bytes) return;
  const uint64_t step = (length + length_bytes) * (scouting_ ? 1 : records_ahead);
  scouting_ = true;
  if (step >= scout_.size()) return;
  scout_.drop_front(step);
  __builtin_prefetch(scout_.front().data);
}

void RecordWalk::skip_runs(int64_t count) {
  if (count < 0 || static_cast<uint64_t>(count) > remaining()) return fail();
  while (count > end_ - at_) {
    count -= end_ - at_;
    at_ = end_;
    next_run();
  }
  at_ += count;
}

uint8_t RecordWalk::byte() {
  if (at_ == end_ && !next_run()) [[unlikely]] {
    fail();
    return 0;
  }
  return static_cast<uint8_t>(*at_++);
}

// An unsigned varint of at most `bits` bits, or 0 and failed.
uint64_t RecordWalk::varint(int bits) {
  uint64_t value = 0;
  for (int shift = 0; shift < bits; shift += 7) {
    const uint64_t next = byte();
    const uint64_t group = next & 0x7f;
    if (shift + 7 > bits && group >> (bits - shift) != 0) break;
    value |= group << shift;
    if (next < 0x80) return value;
  }
  fail();
  return 0;
}

bool RecordWalk::next_run() {
  if (left_behind_run_ == 0) return false;
  rest_.drop_front(run_length_);
  const Piece piece = rest_.front();
  at_ = piece.data;
  end_ = at_ + piece.length;
  run_length_ = piece.length;
  left_behind_run_ -= piece.length;
  return true;
}

void RecordWalk::fail() {
  failed_ = true;
  left_behind_run_ = 0;
  at_ = end_;
}

}  // namespace penstock::kafka
