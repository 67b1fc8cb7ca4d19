#include "dataplane/net/icmp_reader.h"

#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/frame_writer.h"
#include "dataplane/net/icmp.h"

namespace penstock::net {

namespace {

constexpr uint32_t quoted_tcp_bytes = 8;  // ports and sequence number: what every router quotes (RFC 792)

void read_quoted_tcp(const std::byte* at, const IpAddress& source, const IpAddress& destination, IcmpError& error) {
  error.flow.local = source;
  error.flow.remote = destination;
  error.flow.local_port = load_big<uint16_t>(at);
  error.flow.remote_port = load_big<uint16_t>(at + 2);
  error.seq = SeqNumber(load_big<uint32_t>(at + 4));
}

bool read_quoted_v4(const std::byte* at, uint32_t bytes, IcmpError& error) {
  if (bytes < sizeof(Ipv4Header)) return false;
  Ipv4Header quoted;
  std::memcpy(static_cast<void*>(&quoted), at, sizeof quoted);
  const uint32_t header_bytes = (quoted.version_and_words & 15u) * 4;
  if (quoted.version_and_words >> 4 != 4 || header_bytes < sizeof quoted || bytes < header_bytes + quoted_tcp_bytes ||
      quoted.protocol != protocol_tcp || (quoted.fragment & 0x1fff) != 0) {
    return false;
  }
  read_quoted_tcp(at + header_bytes, IpAddress::from_v4(quoted.source), IpAddress::from_v4(quoted.destination), error);
  return true;
}

bool read_quoted_v6(const std::byte* at, uint32_t bytes, IcmpError& error) {
  if (bytes < sizeof(Ipv6Header) + quoted_tcp_bytes) return false;
  Ipv6Header quoted;
  std::memcpy(static_cast<void*>(&quoted), at, sizeof quoted);
  // We send no extension headers, so none can be quoted.
  if (quoted.version_and_flow >> 28 != 6 || quoted.next_header != protocol_tcp) return false;
  read_quoted_tcp(at + sizeof quoted, IpAddress::from_v6(quoted.source), IpAddress::from_v6(quoted.destination), error);
  return true;
}

}  // namespace

std::optional<IcmpError> IcmpReader::drop(TcpCount why) {
  counters_.add(why);
  return std::nullopt;
}

std::optional<IcmpError> IcmpReader::read(const IpPacket& packet, Nanoseconds now) {
  if (packet.transport_bytes < sizeof(IcmpHeader)) return drop(TcpCount::drop_icmp_malformed);
  FramePayload message;
  slice_frame(packet.frame, packet.transport_at, packet.transport_bytes, message);
  if (message.pieces[0].length < sizeof(IcmpHeader)) return drop(TcpCount::drop_frame_pieces);
  const bool v4 = packet.source.is_v4();
  if ((packet.protocol == protocol_icmp) != v4) return drop(TcpCount::drop_ip_protocol);
  // No port verifies these; they are few.
  Checksum checksum;
  if (!v4) checksum.add_pseudo_header(packet.source, packet.destination, protocol_icmpv6, packet.transport_bytes);
  for (const Piece& piece : message.span()) checksum.add(piece);
  if (!checksum.valid()) return drop(TcpCount::drop_icmp_checksum);
  return v4 ? read_v4(packet, message, now) : read_v6(packet, message, now);
}

std::optional<IcmpError> IcmpReader::read_v4(const IpPacket& packet, const FramePayload& message, Nanoseconds now) {
  const Piece& first = message.pieces[0];
  IcmpHeader header;
  std::memcpy(static_cast<void*>(&header), first.data, sizeof header);
  switch (header.type) {
    case icmp_echo_request:
      answer_echo(packet, message, icmp_echo_reply, now);
      return std::nullopt;
    case icmp_unreachable: {
      IcmpError error;
      if (!read_quoted_v4(first.data + sizeof header, first.length - uint32_t{sizeof header}, error)) {
        return drop(TcpCount::drop_icmp_malformed);
      }
      const bool too_big = header.code == icmp_code_fragmentation_needed;
      error.kind = too_big ? IcmpErrorKind::too_big : IcmpErrorKind::unreachable;
      error.mtu_bytes = too_big ? header.rest & 0xffff : 0;
      return error;
    }
    default:
      return drop(TcpCount::drop_icmp_ignored);
  }
}

std::optional<IcmpError> IcmpReader::read_v6(const IpPacket& packet, const FramePayload& message, Nanoseconds now) {
  const Piece& first = message.pieces[0];
  IcmpHeader header;
  std::memcpy(static_cast<void*>(&header), first.data, sizeof header);
  switch (header.type) {
    case icmpv6_neighbour_solicitation:
    case icmpv6_neighbour_advertisement:
      neighbour_.on_message(packet, first.data, first.length, now);
      return std::nullopt;
    default:
      break;
  }
  // The rest is for one of our own addresses only.
  if (packet.multicast_link || !addresses_.owns(packet.destination)) return drop(TcpCount::drop_not_for_us);
  switch (header.type) {
    case icmpv6_echo_request:
      answer_echo(packet, message, icmpv6_echo_reply, now);
      return std::nullopt;
    case icmpv6_unreachable:
    case icmpv6_packet_too_big: {
      IcmpError error;
      if (!read_quoted_v6(first.data + sizeof header, first.length - uint32_t{sizeof header}, error)) {
        return drop(TcpCount::drop_icmp_malformed);
      }
      const bool too_big = header.type == icmpv6_packet_too_big;
      error.kind = too_big ? IcmpErrorKind::too_big : IcmpErrorKind::unreachable;
      error.mtu_bytes = too_big ? header.rest.get() : 0;
      return error;
    }
    default:
      return drop(TcpCount::drop_icmp_ignored);
  }
}

void IcmpReader::answer_echo(const IpPacket& packet, const FramePayload& message, uint8_t reply_type, Nanoseconds now) {
  const bool v4 = packet.source.is_v4();
  const uint32_t bytes = link_header_bytes(packet.link) + network_header_bytes(v4) + message.bytes;
  const bool answerable = !packet.source.is_unspecified() && bytes <= HeaderMemory::bytes_max;
  std::byte* to = answerable && echoes_.take(now) ? replies_.reserve(bytes) : nullptr;
  if (to == nullptr) return counters_.add(TcpCount::drop_icmp_ignored);
  to = write_link_header(to, packet.link, link_address_, v4 ? ether_ipv4 : ether_ipv6);
  to = write_network_header(to, {packet.destination, packet.source, message.bytes, packet.protocol, 64, true});
  std::byte* at = to;
  for (const Piece& piece : message.span()) {
    std::memcpy(at, piece.data, piece.length);
    at += piece.length;
  }
  auto& header = *reinterpret_cast<IcmpHeader*>(to);
  header.type = reply_type;
  header.checksum = 0;
  Checksum checksum;
  if (!v4) checksum.add_pseudo_header(packet.destination, packet.source, protocol_icmpv6, message.bytes);
  checksum.add(to, message.bytes);
  header.checksum = checksum.finish();
  replies_.push();
  counters_.add(TcpCount::echo_requests_answered);
}

}  // namespace penstock::net
