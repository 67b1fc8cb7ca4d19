// Ethernet II and 802.1Q. Layout: IEEE 802.3 clause 3, 802.1Q clause 9.
#pragma once

#include <cstdint>

#include "dataplane/base/byte_order.h"
#include "dataplane/frames.h"

namespace penstock::net {

enum EtherType : uint16_t { ether_ipv4 = 0x0800, ether_arp = 0x0806, ether_vlan = 0x8100, ether_ipv6 = 0x86dd };

struct EthernetHeader {
  LinkAddress destination;
  LinkAddress source;
  Big<uint16_t> type;
};
static_assert(sizeof(EthernetHeader) == 14);

// Follows the addresses when EthernetHeader::type is ether_vlan.
struct VlanTag {
  Big<uint16_t> control;  // priority 3 bits, drop eligible 1, VLAN 12
  Big<uint16_t> type;     // of what follows
};
static_assert(sizeof(VlanTag) == 4);

inline constexpr LinkAddress link_broadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

// Where a frame came from, and so where its answer goes: nobody has to be asked.
struct LinkPath {
  static constexpr uint16_t untagged = 0xffff;
  LinkAddress peer{};
  uint16_t vlan_control = untagged;  // echoed as it came
  bool operator==(const LinkPath&) const = default;
};
static_assert(sizeof(LinkPath) == 8);

}  // namespace penstock::net
