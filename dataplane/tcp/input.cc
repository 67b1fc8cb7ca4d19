// A frame: to whom it belongs. Its buffers are passed on by whoever keeps its payload; the rest is released here.
#include <algorithm>

#include "dataplane/net/frame_writer.h"
#include "dataplane/tcp/core.h"

namespace penstock::tcp {

void Core::on_frame(const ReceivedFrame& frame) {
  count(TcpCount::frames_received);
  frame_pieces_ = frame.pieces;
  frame_taken_ = 0;
  switch (frame_reader_.read(frame)) {
    case net::FrameKind::dropped:
      break;
    case net::FrameKind::arp:
      neighbour_.on_arp(frame_reader_.arp(), frame_reader_.link(), now_);
      break;
    case net::FrameKind::ip: {
      const net::IpPacket& packet = frame_reader_.ip();
      if (packet.protocol == net::protocol_tcp) [[likely]] {
        if (const Segment* segment = segment_reader_.read(packet, counters_)) on_segment(*segment);
      } else if (packet.protocol == net::protocol_icmp || packet.protocol == net::protocol_icmpv6) {
        if (const auto error = icmp_.read(packet, now_)) on_icmp_error(*error);
      } else {
        count(TcpCount::drop_ip_protocol);
      }
    }
  }
  for (size_t i = 0; i < frame.pieces.size(); ++i) {
    if (i >= 32 || (frame_taken_ >> i & 1) == 0) buffers_.release(frame.pieces[i].buffer, Holder::device);
  }
}

void Core::take_from_frame(BufferIndex buffer, Holder holder) {
  for (uint32_t i = 0; i < frame_pieces_.size(); ++i) {
    if (frame_pieces_[i].buffer != buffer) continue;
    if ((frame_taken_ >> i & 1) != 0) {
      buffers_.hold(buffer, holder);
    } else {
      buffers_.pass(buffer, Holder::device, holder);
      frame_taken_ |= 1u << i;
    }
    return;
  }
  check(false, "payload of another frame", buffer.value);
}

FlowPlace Core::find(const net::Flow& flow, uint32_t hash) const {
  return flows_.find(hash, [&](FlowPlace place) {
    switch (place.kind) {
      case FlowKind::connection:
        return connections_[place.index].flow == flow;
      case FlowKind::syn_received:
        return half_open_[place.index].flow == flow;
      case FlowKind::time_wait:
        return lingering_[place.index].flow == flow;
      case FlowKind::none:
        break;
    }
    return false;
  });
}

void Core::on_segment(const Segment& segment) {
  count(TcpCount::segments_received);
  // Mostly one of the same connection as the last.
  if (Connection& last = connections_[last_received_]; last.state != TcpState::closed && last.flow == segment.flow()) {
    return receive(last, segment);
  }
  const uint32_t hash = secret_.table_hash(segment.flow());
  const FlowPlace place = find(segment.flow(), hash);
  switch (place.kind) {
    case FlowKind::connection:
      last_received_ = place.index;
      return receive(connections_[place.index], segment);
    case FlowKind::syn_received:
      return on_half_open(place.index, segment, hash);
    case FlowKind::time_wait:
      return on_lingering(place.index, segment, hash);
    case FlowKind::none:
      return on_no_connection(segment, hash);
  }
}

// RFC 5927 4: an error counts only when it quotes a sequence number that is in flight. Unreachable is no reason to end
// a connection in any state (5.2, RFC 5461 4.1: departs from RFC 1122 4.2.3.9 on purpose); it is counted as ignored.
void Core::on_icmp_error(const net::IcmpError& error) {
  const FlowPlace place = find(error.flow, secret_.table_hash(error.flow));
  if (place.kind != FlowKind::connection) return count(TcpCount::drop_icmp_unmatched);
  Connection& connection = connections_[place.index];
  if (!within(error.seq, connection.snd_una, connection.snd_nxt)) return count(TcpCount::drop_icmp_unmatched);
  switch (error.kind) {
    case net::IcmpErrorKind::too_big:
      return path_mtu(connection, error.mtu_bytes);
    case net::IcmpErrorKind::unreachable:
      return count(TcpCount::drop_icmp_ignored);
  }
}

// RFC 1191, RFC 8201: the path takes less than we thought. What is larger and in flight is lost, but not to congestion,
// so the window stays as it is.
void Core::path_mtu(Connection& connection, uint32_t mtu_bytes) {
  const bool v4 = connection.flow.local.is_v4();
  // RFC 1191 5: a router that does not say: the next plateau is guessed as the smallest that everybody carries.
  // RFC 8201 4: below 1280 there is nothing in IPv6; below 552 IPv4 is not believed (as Linux; RFC 1191 3 has 68).
  const uint32_t floor = v4 ? 552 : 1280;
  const uint32_t mtu = std::max(mtu_bytes == 0 ? 576u : mtu_bytes, floor);
  if (mtu >= connection.path_mtu) return count(TcpCount::drop_icmp_ignored);
  connection.path_mtu = mtu;
  count(TcpCount::path_mtu_lowered);
  const uint32_t options = connection.has_timestamps ? OptionWriter::timestamps_bytes : 0;
  const uint32_t fits = mtu - net::network_header_bytes(v4) - uint32_t{sizeof(net::TcpHeader)} - options;
  if (fits >= connection.mss) return;
  connection.mss = static_cast<uint16_t>(fits);
  connection.congestion.set_mss(connection.mss);
  records_.for_each(connection.board, [&](SentRecord& record) {
    if (record.state == SentState::in_flight && record.length > fits) {
      records_.set_state(connection.board, record, SentState::lost);
    }
  });
  if (connection.board.lost_bytes > 0) {
    connection.retransmit_now = true;
    list(connection);
  }
}

}  // namespace penstock::tcp
