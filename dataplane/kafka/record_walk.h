// Walks the records of a plain batch over pieces.
//
//   record: length, attributes, timestamp delta, offset delta, key, value, headers; numbers are zigzag varints,
//   a key or value is a length (-1: null) and bytes, a header is a key (never null) and a value.
//
// Source of the layout: Apache Kafka documentation, "Record".
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/base/piece.h"

namespace penstock::kafka {

struct Record {
  int64_t timestamp_delta = 0;
  int32_t offset_delta = 0;
  bool has_key = false;
};

class RecordWalk {
 public:
  // `records` is what follows the batch header.
  explicit RecordWalk(PieceRange records);

  // The next record; false when it is malformed or its parts do not add up to its length, and from then on.
  bool next(Record& record);
  // Bytes not yet walked; 0 after the last record of a sound batch.
  uint64_t remaining() const { return left_behind_run_ + static_cast<uint64_t>(end_ - at_); }

 private:
  uint8_t byte();
  uint64_t varint(int bits);
  int32_t number() { return static_cast<int32_t>(zigzag(brief_varint(32))); }
  int64_t long_number() { return zigzag(brief_varint(64)); }
  // Most numbers of a record take one byte or two.
  uint64_t brief_varint(int bits) {
    if (end_ - at_ < 2) [[unlikely]] return varint(bits);
    const auto first = static_cast<uint8_t>(at_[0]), second = static_cast<uint8_t>(at_[1]);
    if (first < 0x80) {
      ++at_;
      return first;
    }
    if (second >= 0x80) [[unlikely]] return varint(bits);
    at_ += 2;
    return (first & 0x7fu) | uint32_t{second} << 7;
  }
  static int64_t zigzag(uint64_t value) { return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1)); }
  void prefetch_ahead(uint64_t length);
  void skip(int64_t count) {
    // A negative one is too large.
    if (static_cast<uint64_t>(count) > static_cast<uint64_t>(end_ - at_)) [[unlikely]] return skip_runs(count);
    at_ += count;
  }
  void skip_runs(int64_t count);
  // Skips a length and its bytes; false when the length is -1.
  bool skip_field(bool nullable) {
    const int32_t length = number();
    if (length == -1 && nullable) return false;
    skip(length);
    return true;
  }
  bool next_run();
  void fail();

  PieceRange rest_;               // begins at the piece being walked
  uint64_t run_length_ = 0;       // of that piece
  uint64_t left_behind_run_ = 0;  // bytes in later pieces
  const std::byte* at_ = nullptr;
  const std::byte* end_ = nullptr;
  PieceRange scout_;  // what lies some records in front
  bool large_;
  bool scouting_ = false;
  bool failed_ = false;
};

}  // namespace penstock::kafka
