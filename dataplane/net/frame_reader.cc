// The checks in the order of the layers. All headers have to lie in the frame's first piece, which they do in any
// frame that lies in one buffer and with any header split.
#include "dataplane/net/frame_reader.h"

#include <cstring>

#include "dataplane/net/checksum.h"

namespace penstock::net {

namespace {

enum class Ipv4Options : uint8_t { harmless, source_route, malformed };

// RFC 791 3.1: source routes are refused (RFC 7126 4.3, 4.4), everything else is skipped.
Ipv4Options judge_options(const uint8_t* at, uint32_t bytes) {
  constexpr uint8_t end = 0, none = 1, loose_route = 131, strict_route = 137;
  while (bytes > 0 && *at != end) {
    if (*at == none) {
      ++at;
      --bytes;
      continue;
    }
    if (bytes < 2 || at[1] < 2 || at[1] > bytes) return Ipv4Options::malformed;
    if (*at == loose_route || *at == strict_route) return Ipv4Options::source_route;
    bytes -= at[1];
    at += at[1];
  }
  return Ipv4Options::harmless;
}

bool is_source(const IpAddress& address, const LocalAddresses& ours) {
  return !address.is_multicast() && !address.is_loopback() && !ours.owns(address) && !ours.is_subnet_broadcast(address);
}

}  // namespace

FrameKind FrameReader::drop(TcpCount why) {
  counters_.add(why);
  return FrameKind::dropped;
}

FrameKind FrameReader::read(const ReceivedFrame& frame) {
  if (frame.pieces.empty() || frame.pieces.size() > frame_pieces_max) return drop(TcpCount::drop_frame_pieces);
  const Piece& first = frame.pieces.front();
  uint32_t frame_bytes = 0;
  for (const Piece& piece : frame.pieces) frame_bytes += piece.length;
  if (first.length < sizeof(EthernetHeader)) return drop(TcpCount::drop_frame_too_short);

  const auto& ethernet = *reinterpret_cast<const EthernetHeader*>(first.data);
  ip_.multicast_link = (ethernet.destination[0] & 1) != 0;
  if (!ip_.multicast_link && ethernet.destination != link_address_) return drop(TcpCount::drop_not_for_us);
  if ((ethernet.source[0] & 1) != 0) return drop(TcpCount::drop_ip_source);  // nobody to answer
  ip_.link.peer = ethernet.source;
  ip_.link.vlan_control = LinkPath::untagged;
  uint16_t type = ethernet.type;
  uint32_t at = sizeof(EthernetHeader);
  if (type == ether_vlan) {
    if (first.length < at + sizeof(VlanTag)) return drop(TcpCount::drop_frame_too_short);
    const auto& tag = *reinterpret_cast<const VlanTag*>(first.data + at);
    // 0xffff would read as "untagged"; VLAN 0xfff is reserved (802.1Q table 9-2).
    if ((tag.control & 0xfff) == 0xfff) return drop(TcpCount::drop_ether_type);
    ip_.link.vlan_control = tag.control;
    type = tag.type;
    at += sizeof(VlanTag);
  }
  switch (type) {
    case ether_ipv4:
      return read_ipv4(frame, at, frame_bytes);
    case ether_ipv6:
      return read_ipv6(frame, at, frame_bytes);
    case ether_arp:
      if (first.length < at + sizeof(ArpPacket)) return drop(TcpCount::drop_arp_malformed);
      std::memcpy(static_cast<void*>(&arp_), first.data + at, sizeof arp_);
      if (arp_.hardware != 1 || arp_.protocol != ether_ipv4 || arp_.hardware_bytes != 6 || arp_.protocol_bytes != 4) {
        return drop(TcpCount::drop_arp_malformed);
      }
      return FrameKind::arp;
    default:
      return drop(TcpCount::drop_ether_type);
  }
}

FrameKind FrameReader::read_ipv4(const ReceivedFrame& frame, uint32_t at, uint32_t frame_bytes) {
  const Piece& first = frame.pieces.front();
  if (first.length < at + sizeof(Ipv4Header)) {
    return drop(frame_bytes < at + sizeof(Ipv4Header) ? TcpCount::drop_frame_too_short : TcpCount::drop_frame_pieces);
  }
  const auto& header = *reinterpret_cast<const Ipv4Header*>(first.data + at);
  const uint32_t header_bytes = (header.version_and_words & 15u) * 4;
  const uint32_t total_bytes = header.total_bytes;
  if (header.version_and_words >> 4 != 4 || header_bytes < sizeof header || total_bytes < header_bytes ||
      at + total_bytes > frame_bytes) {
    return drop(TcpCount::drop_ip_header);
  }
  if (first.length < at + header_bytes) return drop(TcpCount::drop_frame_pieces);
  if (!frame.checksums_verified && checksum_of(&header, header_bytes) != 0) return drop(TcpCount::drop_ip_checksum);
  if (header_bytes > sizeof header) [[unlikely]] {
    switch (judge_options(reinterpret_cast<const uint8_t*>(&header + 1), header_bytes - uint32_t{sizeof header})) {
      case Ipv4Options::harmless:
        break;
      case Ipv4Options::source_route:
        return drop(TcpCount::drop_ip_options);
      case Ipv4Options::malformed:
        return drop(TcpCount::drop_ip_header);
    }
  }
  ip_.source = IpAddress::from_v4(header.source);
  ip_.destination = IpAddress::from_v4(header.destination);
  if (!addresses_.owns(ip_.destination) || ip_.multicast_link) return drop(TcpCount::drop_not_for_us);
  if ((header.fragment & ipv4_fragment_mask) != 0) return drop(TcpCount::drop_ip_fragment);
  if (!is_source(ip_.source, addresses_) || ip_.source.is_unspecified()) return drop(TcpCount::drop_ip_source);
  ip_.header = first.data + at;
  ip_.protocol = header.protocol;
  ip_.hops_left = header.hops_left;
  ip_.checksum_verified = frame.checksums_verified;
  ip_.frame = frame.pieces;
  ip_.transport_at = at + header_bytes;
  ip_.transport_bytes = total_bytes - header_bytes;
  return FrameKind::ip;
}

FrameKind FrameReader::read_ipv6(const ReceivedFrame& frame, uint32_t at, uint32_t frame_bytes) {
  const Piece& first = frame.pieces.front();
  if (first.length < at + sizeof(Ipv6Header)) {
    return drop(frame_bytes < at + sizeof(Ipv6Header) ? TcpCount::drop_frame_too_short : TcpCount::drop_frame_pieces);
  }
  const auto& header = *reinterpret_cast<const Ipv6Header*>(first.data + at);
  const uint32_t payload_bytes = header.payload_bytes;
  if (header.version_and_flow >> 28 != 6 || at + sizeof header + payload_bytes > frame_bytes) {
    return drop(TcpCount::drop_ip_header);
  }
  ip_.source = IpAddress::from_v6(header.source);
  ip_.destination = IpAddress::from_v6(header.destination);
  // A mapped address has no business on the wire (RFC 4291 2.5.5.2) and would be taken for IPv4 here.
  if (ip_.source.is_v4() || ip_.destination.is_v4()) return drop(TcpCount::drop_ip_source);
  const bool for_us = addresses_.owns(ip_.destination) && !ip_.multicast_link;
  if (!for_us && (header.next_header != protocol_icmpv6 ||
                  !(ip_.destination.is_multicast() || addresses_.find(ip_.destination) != nullptr))) {
    // Extension headers that matter only to others are not looked into either.
    return drop(TcpCount::drop_not_for_us);
  }
  const bool nobody = ip_.source.is_unspecified() && header.next_header != protocol_icmpv6;
  if (nobody || !is_source(ip_.source, addresses_)) return drop(TcpCount::drop_ip_source);
  switch (header.next_header) {
    case 0:    // hop-by-hop
    case 43:   // routing
    case 44:   // fragment
    case 50:   // encapsulating security
    case 51:   // authentication
    case 60:   // destination options
    case 135:  // mobility
      return drop(header.next_header == 44 ? TcpCount::drop_ip_fragment : TcpCount::drop_ipv6_extension);
    default:
      break;
  }
  ip_.header = first.data + at;
  ip_.protocol = header.next_header;
  ip_.hops_left = header.hops_left;
  ip_.checksum_verified = frame.checksums_verified;
  ip_.frame = frame.pieces;
  ip_.transport_at = at + sizeof header;
  ip_.transport_bytes = payload_bytes;
  return FrameKind::ip;
}

}  // namespace penstock::net
