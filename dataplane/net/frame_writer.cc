#include "dataplane/net/frame_writer.h"

#include <cstring>
#include <new>

#include "dataplane/net/checksum.h"

namespace penstock::net {

std::byte* write_link_header(std::byte* to, const LinkPath& path, const LinkAddress& source, uint16_t type) {
  const bool tagged = path.vlan_control != LinkPath::untagged;
  EthernetHeader header;
  header.destination = path.peer;
  header.source = source;
  header.type = tagged ? uint16_t{ether_vlan} : type;
  std::memcpy(to, static_cast<const void*>(&header), sizeof header);
  to += sizeof header;
  if (!tagged) return to;
  VlanTag tag;
  tag.control = path.vlan_control;
  tag.type = type;
  std::memcpy(to, static_cast<const void*>(&tag), sizeof tag);
  return to + sizeof tag;
}

std::byte* write_network_header(std::byte* to, const NetworkHeader& from) {
  if (from.source.is_v4()) {
    Ipv4Header header;
    header.total_bytes = static_cast<uint16_t>(sizeof header + from.payload_bytes);
    header.fragment = ipv4_dont_fragment;  // so the identification may be 0 (RFC 6864 4.1)
    header.hops_left = from.hops_left;
    header.protocol = from.protocol;
    std::memcpy(header.source, from.source.v4_bytes(), 4);
    std::memcpy(header.destination, from.destination.v4_bytes(), 4);
    if (from.fill_checksum) header.checksum = checksum_of(&header, sizeof header);
    std::memcpy(to, static_cast<const void*>(&header), sizeof header);
    return to + sizeof header;
  }
  Ipv6Header header;
  header.version_and_flow = 6u << 28;
  header.payload_bytes = static_cast<uint16_t>(from.payload_bytes);
  header.next_header = from.protocol;
  header.hops_left = from.hops_left;
  std::memcpy(header.source, from.source.bytes(), 16);
  std::memcpy(header.destination, from.destination.bytes(), 16);
  std::memcpy(to, static_cast<const void*>(&header), sizeof header);
  return to + sizeof header;
}

}  // namespace penstock::net
