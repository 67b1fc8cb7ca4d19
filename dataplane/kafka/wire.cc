#include "dataplane/kafka/wire.h"

#include <algorithm>
#include <cstring>

namespace penstock::kafka {

const char* to_string(DecodeStatus status) {
  switch (status) {
    case DecodeStatus::ok:
      return "ok";
    case DecodeStatus::malformed:
      return "malformed";
    case DecodeStatus::scratch_full:
      return "scratch full";
    case DecodeStatus::trailing_bytes:
      return "trailing bytes";
  }
  return "unknown";
}

void Decoder::read_value(Records& value, When when) {
  const Length size = length<int32_t>(when, 1);
  if (!ok()) return;
  if (size.null) {
    value = Records();
    return;
  }
  value = Records::in(rest_.slice(static_cast<uint64_t>(at_ - run_), size.count));
  skip(size.count);
}

Text Decoder::text(uint32_t size) {
  const std::byte* start = contiguous(size);
  return start == nullptr ? Text() : Text(std::string_view(reinterpret_cast<const char*>(start), size));
}

Bytes Decoder::blob(uint32_t size) {
  const std::byte* start = contiguous(size);
  return start == nullptr ? Bytes() : Bytes(std::span<const std::byte>(start, size));
}

// The next `size` bytes side by side: in their piece if they lie in one, else in the scratch.
const std::byte* Decoder::contiguous(uint32_t size) {
  if (static_cast<uint64_t>(end_ - at_) >= size) {
    const std::byte* start = at_;
    at_ += size;
    return start;
  }
  if (size > remaining()) {
    fail(DecodeStatus::malformed);
    return nullptr;
  }
  std::byte* copy = scratch_.take(size, 1);
  if (copy == nullptr) {
    fail(DecodeStatus::scratch_full);
    return nullptr;
  }
  take(copy, size);
  return copy;
}

// At most 32 bits in at most 5 bytes. Padded forms of small numbers are accepted, as Kafka does.
uint32_t Decoder::long_varint(uint32_t first) {
  uint32_t value = first & 0x7f;
  for (int shift = 7; shift <= 28; shift += 7) {
    const uint32_t byte = number<uint8_t>();
    if (shift == 28 && byte > 0x0f) break;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  fail(DecodeStatus::malformed);
  return 0;
}

void Decoder::take(void* to, size_t size) {
  if (size > remaining()) {
    std::memset(to, 0, size);
    return fail(DecodeStatus::malformed);
  }
  auto* out = static_cast<std::byte*>(to);
  while (size > 0) {
    if (at_ == end_) {
      skip(0);
      continue;
    }
    const size_t count = std::min(size, static_cast<size_t>(end_ - at_));
    std::memcpy(out, at_, count);
    at_ += count;
    out += count;
    size -= count;
  }
}

// Moves on by `size` <= remaining() bytes and opens the piece that comes then.
void Decoder::skip(uint64_t size) {
  if (size > 0 && static_cast<uint64_t>(end_ - at_) >= size) {
    at_ += size;
    return;
  }
  rest_.drop_front(static_cast<uint64_t>(at_ - run_) + size);
  open_run();
}

void Decoder::open_run() {
  const Piece piece = rest_.front();
  run_ = at_ = piece.data;
  end_ = run_ + piece.length;
}

void Decoder::fail(DecodeStatus status) {
  if (!ok()) return;
  status_ = status;
  rest_ = PieceRange();
  run_ = at_ = end_ = nullptr;
}

}  // namespace penstock::kafka
