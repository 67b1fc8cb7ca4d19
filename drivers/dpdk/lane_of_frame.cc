#include "drivers/dpdk/lane_of_frame.h"

#include "dataplane/base/byte_order.h"
#include "dataplane/net/ethernet.h"
#include "dataplane/net/icmp.h"
#include "dataplane/net/ip.h"
#include "dataplane/net/tcp_header.h"

namespace penstock {
namespace {

using net::Ipv4Header;
using net::Ipv6Header;

// Where something begins, and what it is; type 0: nothing that can be told.
struct Inner {
  size_t at = 0;
  uint16_t type = 0;
};

uint16_t word_at(std::span<const std::byte> frame, size_t at) { return load_big<uint16_t>(frame.data() + at); }
uint8_t byte_at(std::span<const std::byte> frame, size_t at) { return static_cast<uint8_t>(frame[at]); }

Inner network_of(std::span<const std::byte> frame) {
  size_t at = sizeof(net::EthernetHeader);
  if (frame.size() < at + sizeof(net::VlanTag)) return {};
  uint16_t type = word_at(frame, at - 2);
  if (type == net::ether_vlan) {
    at += sizeof(net::VlanTag);
    type = word_at(frame, at - 2);
  }
  return {at, type};
}

// Of the packet at `at`: its transport header and protocol.
Inner transport_of(std::span<const std::byte> frame, size_t at, bool v4) {
  if (v4) {
    if (frame.size() < at + sizeof(Ipv4Header)) return {};
    const size_t header_bytes = (byte_at(frame, at) & 0xfu) * 4u;
    const bool later_fragment = (word_at(frame, at + 6) & 0x1fffu) != 0;
    if (header_bytes < sizeof(Ipv4Header) || later_fragment) return {};
    return {at + header_bytes, byte_at(frame, at + offsetof(Ipv4Header, protocol))};
  }
  if (frame.size() < at + sizeof(Ipv6Header)) return {};
  return {at + sizeof(Ipv6Header), byte_at(frame, at + offsetof(Ipv6Header, next_header))};
}

uint32_t lane_of_port(uint16_t port, const LanePorts& ports) {
  const uint32_t lane = static_cast<uint32_t>(port - ports.first);
  return port >= ports.first && lane < ports.lane_count ? lane : 0;
}

bool is_icmp_error(uint8_t type, bool v4) {
  return v4 ? type == 3 || type == 11 || type == 12 : type >= 1 && type <= 4;  // RFC 792, RFC 4443
}

constexpr size_t icmp_bytes = 8;
constexpr uint8_t solicitation_first = 133, redirect_last = 137;  // RFC 4861 4

bool is_neighbour_discovery(std::span<const std::byte> frame, const Inner& transport) {
  if (transport.type != net::protocol_icmpv6 || frame.size() <= transport.at) return false;
  const uint8_t type = byte_at(frame, transport.at);
  return type >= solicitation_first && type <= redirect_last;
}

}  // namespace

Destination lane_of_frame(std::span<const std::byte> frame, const LanePorts& ports) {
  const Inner network = network_of(frame);
  if (network.type == net::ether_arp) return {FrameFor::every_lane, 0};
  const bool v4 = network.type == net::ether_ipv4;
  if (!v4 && network.type != net::ether_ipv6) return {};
  const Inner transport = transport_of(frame, network.at, v4);
  if (transport.type == net::protocol_tcp) [[likely]] {
    if (frame.size() < transport.at + 4) return {};
    return {FrameFor::one_lane, lane_of_port(word_at(frame, transport.at + 2), ports)};
  }
  if (!v4 && is_neighbour_discovery(frame, transport)) return {FrameFor::every_lane, 0};
  if (transport.type != (v4 ? net::protocol_icmp : net::protocol_icmpv6)) return {};
  if (frame.size() < transport.at + icmp_bytes || !is_icmp_error(byte_at(frame, transport.at), v4)) return {};
  const Inner quoted = transport_of(frame, transport.at + icmp_bytes, v4);
  if (quoted.type != net::protocol_tcp || frame.size() < quoted.at + 2) return {};
  return {FrameFor::one_lane,
          lane_of_port(word_at(frame, quoted.at), ports)};  // the quoted segment was ours: its source
}

bool about_addresses(std::span<const std::byte> frame) {
  const Inner network = network_of(frame);
  if (network.type == net::ether_arp) return true;
  if (network.type != net::ether_ipv6) return false;
  return is_neighbour_discovery(frame, transport_of(frame, network.at, false));
}

}  // namespace penstock
