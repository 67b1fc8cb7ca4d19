// IPv4 (RFC 791) and IPv6 (RFC 8200) headers and addresses.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "dataplane/base/byte_order.h"

namespace penstock::net {

// 16 bytes; IPv4 as ::ffff:a.b.c.d. Two words so that comparing is two instructions.
struct IpAddress {
  uint64_t high = 0;  // as they lie in memory, not as numbers
  uint64_t low = 0;

  static IpAddress v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    const std::array<uint8_t, 4> bytes{a, b, c, d};
    return from_v4(bytes.data());
  }
  static IpAddress from_v4(const void* four_bytes) {
    // Put together in a register: two halves stored could not be loaded as the whole that is compared.
    uint32_t four;
    std::memcpy(&four, four_bytes, sizeof four);
    return {0, uint64_t{four} << 32 | mapped};
  }
  static IpAddress from_v6(const void* sixteen_bytes) {
    IpAddress address;
    std::memcpy(&address, sixteen_bytes, 16);
    return address;
  }
  const uint8_t* bytes() const { return reinterpret_cast<const uint8_t*>(this); }
  const uint8_t* v4_bytes() const { return bytes() + 12; }
  bool is_v4() const { return high == 0 && static_cast<uint32_t>(low) == mapped; }
  bool is_unspecified() const { return is_v4() ? load_big<uint32_t>(v4_bytes()) == 0 : high == 0 && low == 0; }
  // Multicast, and for IPv4 the limited broadcast: nobody who could have sent a segment.
  bool is_multicast() const { return is_v4() ? v4_bytes()[0] >= 224 : bytes()[0] == 0xff; }
  bool is_loopback() const {
    return is_v4() ? v4_bytes()[0] == 127 : high == 0 && load_big<uint64_t>(bytes() + 8) == 1;
  }
  bool operator==(const IpAddress&) const = default;

  static constexpr uint32_t mapped = 0xffff0000;  // the bytes 0, 0, 0xff, 0xff in front of the four
};
static_assert(sizeof(IpAddress) == 16 && std::endian::native == std::endian::little);

// One of the node's own addresses.
struct InterfaceAddress {
  IpAddress address;
  uint8_t prefix_bits = 24;  // of the 32 or 128; decides the IPv4 subnet broadcast address that is never answered
};

enum IpProtocol : uint8_t { protocol_icmp = 1, protocol_tcp = 6, protocol_icmpv6 = 58 };

struct Ipv4Header {
  uint8_t version_and_words = 0x45;  // version 4 bits, header length in 32-bit words 4 bits
  uint8_t traffic_class = 0;
  Big<uint16_t> total_bytes;
  Big<uint16_t> identification;
  Big<uint16_t> fragment;  // reserved, don't fragment, more fragments; offset 13 bits
  uint8_t hops_left = 64;
  uint8_t protocol = 0;
  Big<uint16_t> checksum;
  uint8_t source[4];
  uint8_t destination[4];
};
static_assert(sizeof(Ipv4Header) == 20);
inline constexpr uint16_t ipv4_dont_fragment = 0x4000;
inline constexpr uint16_t ipv4_fragment_mask = 0x3fff;  // more fragments, or an offset

struct Ipv6Header {
  Big<uint32_t> version_and_flow;  // version 4 bits, traffic class 8, flow label 20
  Big<uint16_t> payload_bytes;
  uint8_t next_header = 0;
  uint8_t hops_left = 64;
  uint8_t source[16];
  uint8_t destination[16];
};
static_assert(sizeof(Ipv6Header) == 40);

// What the TCP, ICMPv6 checksums cover besides the message: RFC 9293 3.1, RFC 8200 8.1.
struct Ipv4PseudoHeader {
  uint8_t source[4];
  uint8_t destination[4];
  uint8_t zero = 0;
  uint8_t protocol = 0;
  Big<uint16_t> message_bytes;
};
static_assert(sizeof(Ipv4PseudoHeader) == 12);
struct Ipv6PseudoHeader {
  uint8_t source[16];
  uint8_t destination[16];
  Big<uint32_t> message_bytes;
  uint8_t zero[3] = {};
  uint8_t next_header = 0;
};
static_assert(sizeof(Ipv6PseudoHeader) == 40);

}  // namespace penstock::net
