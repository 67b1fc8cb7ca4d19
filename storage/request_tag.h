// The tag of a drive request: whose it is, and which.
#pragma once

#include <cstdint>

namespace penstock {

enum class RequestKind : uint8_t { write = 1, segment_header, flush, prepare, recycle, read, footer, footer_read };

struct RequestTag {
  RequestKind kind{};
  uint32_t index = 0;  // of the write or read slot
  uint64_t pack() const { return (uint64_t{static_cast<uint8_t>(kind)} << 56) | index; }
  static RequestTag unpack(uint64_t tag) { return {static_cast<RequestKind>(tag >> 56), static_cast<uint32_t>(tag)}; }
};

}  // namespace penstock
