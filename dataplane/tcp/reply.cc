// Segments that belong to no connection: RST, SYN-ACK, acknowledgements of FIN-WAIT-2 and TIME-WAIT. And those of a
// connection that do not wait for the end of the burst.
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/frame_writer.h"
#include "dataplane/tcp/core.h"

namespace penstock::tcp {

// All headers; returns where the TCP header is. The TCP checksum is left to the caller.
std::byte* Core::write_tcp_headers(std::byte* to, const BareSegment& segment, std::span<const uint8_t> options,
                                   uint32_t payload_bytes, bool checksums_by_port) {
  const bool v4 = segment.flow.local.is_v4();
  const auto tcp_bytes = static_cast<uint32_t>(sizeof(net::TcpHeader) + options.size());
  to = net::write_link_header(to, segment.link, features_.address, v4 ? net::ether_ipv4 : net::ether_ipv6);
  to = net::write_network_header(to, {segment.flow.local, segment.flow.remote, tcp_bytes + payload_bytes,
                                      net::protocol_tcp, 64, !checksums_by_port});
  net::TcpHeader header;
  header.source_port = segment.flow.local_port;
  header.destination_port = segment.flow.remote_port;
  header.sequence = segment.seq.value;
  header.acknowledgment = segment.ack.value;
  header.words_and_reserved = static_cast<uint8_t>(tcp_bytes / 4 << 4);
  header.flags = segment.flags;
  header.window = segment.window;
  std::memcpy(to, static_cast<const void*>(&header), sizeof header);
  std::memcpy(to + sizeof header, options.data(), options.size());
  return to;
}

bool Core::reply(const BareSegment& segment, const OptionWriter& options) {
  const bool v4 = segment.flow.local.is_v4();
  const auto tcp_bytes = static_cast<uint32_t>(sizeof(net::TcpHeader) + options.bytes().size());
  std::byte* to = replies_.reserve(net::link_header_bytes(segment.link) + net::network_header_bytes(v4) + tcp_bytes);
  if (to == nullptr) return false;
  to = write_tcp_headers(to, segment, options.bytes(), 0, false);
  net::Checksum checksum;
  checksum.add_pseudo_header(segment.flow.local, segment.flow.remote, net::protocol_tcp, tcp_bytes);
  checksum.add(to, tcp_bytes);
  reinterpret_cast<net::TcpHeader*>(to)->checksum = checksum.finish();
  replies_.push();
  count(TcpCount::segments_sent);
  return true;
}

// RFC 9293 3.5.2 groups 1 and 2: to a segment nobody expects, in its own words.
void Core::reply_reset(const Segment& to) {
  if (to.has(net::flag_rst)) return;
  if (!resets_.take(now_)) return;
  const bool has_ack = to.has(net::flag_ack);
  const BareSegment segment{to.flow(), to.link(), has_ack ? to.ack() : SeqNumber(0),
                            has_ack ? SeqNumber(0) : to.seq_end(),
                            static_cast<uint8_t>(has_ack ? net::flag_rst : net::flag_rst | net::flag_ack)};
  if (reply(segment, {})) count(TcpCount::rst_sent);
}

// RFC 7323 3.2 lets RST carry timestamps: it SHOULD when they were negotiated.
void Core::send_reset(Connection& c) {
  OptionWriter options;
  if (c.has_timestamps) options.timestamps(timestamp_clock(c.timestamp_offset), c.ts_recent);
  const BareSegment segment{c.flow, c.link, c.snd_nxt, c.rcv_nxt, net::flag_rst | net::flag_ack};
  if (reply(segment, options)) count(TcpCount::rst_sent);
}

void Core::reply_ack(Connection& c) {
  OptionWriter options;
  const bool complete = write_options(c, options, 0);
  const BareSegment segment{c.flow, c.link, c.snd_nxt, c.rcv_nxt, net::flag_ack, advertise(c)};
  if (reply(segment, options)) {
    count(TcpCount::acks_sent);
    acknowledgement_left(c, complete);
  } else {
    c.ack_now = true;  // with the burst
  }
  list(c);
}

}  // namespace penstock::tcp
