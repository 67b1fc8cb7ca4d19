// ARP for IPv4 over Ethernet: RFC 826.
#pragma once

#include "dataplane/net/ethernet.h"

namespace penstock::net {

enum ArpOperation : uint16_t { arp_request = 1, arp_reply = 2 };

struct ArpPacket {
  Big<uint16_t> hardware{1};
  Big<uint16_t> protocol{ether_ipv4};
  uint8_t hardware_bytes = 6;
  uint8_t protocol_bytes = 4;
  Big<uint16_t> operation;
  LinkAddress sender_link;
  uint8_t sender[4];
  LinkAddress target_link;
  uint8_t target[4];
};
static_assert(sizeof(ArpPacket) == 28);

}  // namespace penstock::net
