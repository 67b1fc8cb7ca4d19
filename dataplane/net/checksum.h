// The Internet checksum: RFC 1071.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/base/piece.h"
#include "dataplane/net/ip.h"

namespace penstock::net {

// A running one's complement sum over byte strings, each of any length; the first byte of the next string is paired
// correctly whatever came before.
class Checksum {
 public:
  void add(const void* bytes, size_t count);
  void add(const Piece& piece) { add(piece.data, piece.length); }
  // Of the pseudo-header; both addresses of one family.
  void add_pseudo_header(const IpAddress& source, const IpAddress& destination, uint8_t protocol, uint32_t bytes);

  uint16_t sum() const;                                              // not complemented
  uint16_t finish() const { return static_cast<uint16_t>(~sum()); }  // for the header
  bool valid() const { return sum() == 0xffff; }                     // over a message with its checksum

 private:
  uint64_t sum_ = 0;
  bool odd_ = false;
};

// In network byte order as it lies in memory, host order as a value: header.checksum.set(checksum_of(...)).
uint16_t checksum_of(const void* bytes, size_t count);

}  // namespace penstock::net
