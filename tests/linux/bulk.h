// What the programs under tests/linux say to each other. A client opens a connection and sends a BulkHeader.
//
//   send     content follows until the client finishes; the server answers with a BulkReport and closes
//   receive  the server sends content until `bytes` or `duration_ns` is reached, then closes
//   echo     what follows comes back; the server closes when the client has finished
#pragma once

#include <cstdint>

#include "dataplane/base/byte_order.h"

namespace penstock::bulk {

enum class Kind : uint64_t { send = 1, receive = 2, echo = 3 };

struct BulkHeader {
  Big<uint64_t> kind;
  Big<uint64_t> seed;  // of the content, see tests/netsim/content.h
  Big<uint64_t> bytes;
  Big<uint64_t> duration_ns;
};
static_assert(sizeof(BulkHeader) == 32);

struct BulkReport {
  Big<uint64_t> bytes;     // received
  Big<uint64_t> hash;      // of all content received
  Big<uint64_t> wrong_at;  // position of the first wrong run of bytes; UINT64_MAX: none
};
static_assert(sizeof(BulkReport) == 24);

inline constexpr uint64_t nowhere = UINT64_MAX;

// What a sender has ready beyond what its TCP may send: all of it has to leave after the transfer's time is up.
inline constexpr uint32_t unsent_bytes_max = 256 * 1024;

// FNV-1a over bytes, eight at a time where a run begins on a multiple of eight of the stream.
class ContentHash {
 public:
  void add(const std::byte* bytes, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      word_ |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * (length_ % 8));
      if (++length_ % 8 == 0) mix();
      while (length_ % 8 == 0 && count - i > 8) {
        std::memcpy(&word_, bytes + i + 1, 8);
        length_ += 8;
        i += 8;
        mix();
      }
    }
  }
  uint64_t value() const { return (hash_ ^ word_ ^ length_) * 0x100000001b3ull; }

 private:
  void mix() {
    hash_ = (hash_ ^ word_) * 0x100000001b3ull;
    hash_ ^= hash_ >> 29;
    word_ = 0;
  }
  uint64_t hash_ = 0xcbf29ce484222325ull, word_ = 0, length_ = 0;
};

}  // namespace penstock::bulk
