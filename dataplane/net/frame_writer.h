// Link and network headers of frames to be sent, into memory that was taken for them.
#pragma once

#include <cstdint>

#include "dataplane/net/ethernet.h"
#include "dataplane/net/ip.h"

namespace penstock::net {

// Bytes of the link and network headers for this path and family.
constexpr uint32_t link_header_bytes(const LinkPath& path) {
  return sizeof(EthernetHeader) + (path.vlan_control == LinkPath::untagged ? 0 : sizeof(VlanTag));
}
constexpr uint32_t network_header_bytes(bool v4) { return v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header); }

// Both return the byte behind what they wrote.
std::byte* write_link_header(std::byte* to, const LinkPath& path, const LinkAddress& source, uint16_t type);

struct NetworkHeader {
  IpAddress source;
  IpAddress destination;
  uint32_t payload_bytes = 0;
  uint8_t protocol = 0;
  uint8_t hops_left = 64;
  bool fill_checksum = true;  // IPv4's; false: the port does
};
std::byte* write_network_header(std::byte* to, const NetworkHeader& header);

}  // namespace penstock::net
