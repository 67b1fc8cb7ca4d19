// Frames as a client's card would put them on the wire: Ethernet, IPv4, TCP with timestamps.
#pragma once

#include <cstdint>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/frame_writer.h"
#include "dataplane/net/tcp_header.h"

namespace penstock::bench {

inline constexpr uint32_t frame_header_bytes = 14 + 20 + 32;
inline constexpr uint32_t frame_payload_bytes = 1500 - 20 - 32;
inline constexpr LinkAddress our_link{2, 0, 0, 0, 0, 1}, peer_link{2, 0, 0, 0, 0, 2};

struct TcpFrame {
  net::IpAddress remote, local;
  uint16_t remote_port = 0, local_port = 0;
  uint32_t sequence = 0, acknowledgment = 0;
  uint8_t flags = net::flag_ack;
  uint32_t timestamp = 0, timestamp_echo = 0;
  uint32_t payload_bytes = 0;  // which lie behind the headers already
  bool fill_checksum = false;  // TCP's; false: the port has verified it
};

// Headers at `to`; returns their length: frame_header_bytes, and 4 more in a SYN, for a window scale of 7.
inline uint32_t write_tcp_frame(std::byte* to, const TcpFrame& frame) {
  net::LinkPath link;
  link.peer = our_link;
  const bool syn = (frame.flags & net::flag_syn) != 0;
  const uint32_t tcp_bytes = 20 + (syn ? 16 : 12);
  std::byte* at = net::write_link_header(to, link, peer_link, net::ether_ipv4);
  at = net::write_network_header(
      at, {frame.remote, frame.local, tcp_bytes + frame.payload_bytes, net::protocol_tcp, 64, true});
  net::TcpHeader header;
  header.source_port = frame.remote_port;
  header.destination_port = frame.local_port;
  header.sequence = frame.sequence;
  header.acknowledgment = frame.acknowledgment;
  header.words_and_reserved = static_cast<uint8_t>(tcp_bytes / 4 << 4);
  header.flags = frame.flags;
  header.window = 60000;
  std::memcpy(at, static_cast<const void*>(&header), 20);
  store_big<uint32_t>(at + 20, 0x0101080a);
  store_big<uint32_t>(at + 24, frame.timestamp);
  store_big<uint32_t>(at + 28, frame.timestamp_echo);
  if (syn) store_big<uint32_t>(at + 32, 0x01030307);
  if (frame.fill_checksum) {
    net::Checksum checksum;
    checksum.add_pseudo_header(frame.remote, frame.local, net::protocol_tcp, tcp_bytes + frame.payload_bytes);
    checksum.add(at, tcp_bytes + frame.payload_bytes);
    reinterpret_cast<net::TcpHeader*>(at)->checksum = checksum.finish();
  }
  return static_cast<uint32_t>(at - to) + tcp_bytes;
}

}  // namespace penstock::bench
