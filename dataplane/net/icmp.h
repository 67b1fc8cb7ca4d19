// ICMP (RFC 792, RFC 1191) and ICMPv6 (RFC 4443) with neighbour discovery (RFC 4861): layouts.
#pragma once

#include "dataplane/net/ethernet.h"

namespace penstock::net {

enum IcmpType : uint8_t { icmp_echo_reply = 0, icmp_unreachable = 3, icmp_echo_request = 8 };
inline constexpr uint8_t icmp_code_fragmentation_needed = 4;
enum Icmpv6Type : uint8_t {
  icmpv6_unreachable = 1,
  icmpv6_packet_too_big = 2,
  icmpv6_echo_request = 128,
  icmpv6_echo_reply = 129,
  icmpv6_neighbour_solicitation = 135,
  icmpv6_neighbour_advertisement = 136,
};

struct IcmpHeader {
  uint8_t type = 0;
  uint8_t code = 0;
  Big<uint16_t> checksum;
  Big<uint32_t> rest;  // echo: identifier, sequence; fragmentation needed: 0, MTU; packet too big: MTU
};
static_assert(sizeof(IcmpHeader) == 8);

// Solicitation and advertisement, without options. For an advertisement `header.rest` holds the flags.
struct NeighbourMessage {
  IcmpHeader header;
  uint8_t target[16];
};
static_assert(sizeof(NeighbourMessage) == 24);
inline constexpr uint32_t neighbour_solicited = 0x40000000, neighbour_override = 0x20000000;

struct LinkAddressOption {
  uint8_t type = 0;   // 1: source, 2: target
  uint8_t words = 1;  // of 8 bytes
  LinkAddress address;
};
static_assert(sizeof(LinkAddressOption) == 8);

}  // namespace penstock::net
