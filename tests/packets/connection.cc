#include "tests/packets/connection.h"

#include <algorithm>

#include "tests/packets/world.h"

namespace penstock::packets {

uint32_t option_number(const TcpOption& option, size_t at, size_t bytes) {
  if (at + bytes > option.body.size()) return 0;
  uint32_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value = value << 8 | option.body[at + i];
  return value;
}

uint8_t Connection::peer_content(int64_t seq) const { return content_at(2 * number, static_cast<uint64_t>(seq - 1)); }
uint8_t Connection::our_content(int64_t seq) const {
  return content_at(2 * number + 1, static_cast<uint64_t>(seq - 1));
}

void Connection::injected(const Tcp& tcp) {
  const int64_t seq = seq_of_peer(tcp.sequence);
  const bool syn = (tcp.flags & flag::syn) != 0;
  const int64_t end = seq + static_cast<int64_t>(tcp.payload.size()) + syn + ((tcp.flags & flag::fin) != 0);
  int64_t& to = beyond[seq];
  to = std::max(to, end);
  while (!beyond.empty() && beyond.begin()->first <= next) {
    next = std::max(next, beyond.begin()->second);
    beyond.erase(beyond.begin());
  }
  sent_end = std::max(sent_end, end);
  if (syn) {
    for (const TcpOption& option : tcp.options) {  // of two the larger
      if (option.kind != option_mss || option.body.size() != 2) continue;
      peer_mss = std::max(peer_mss.value_or(0), static_cast<uint16_t>(option_number(option, 0, 2)));
    }
    const TcpOption* scale = tcp.option(option_scale);
    if (scale != nullptr && !scale->body.empty()) peer_scale = std::min<uint8_t>(scale->body[0], 14);
    offers_scale = scale != nullptr;
    offers_ts = tcp.option(option_ts) != nullptr;
    offers_sack = tcp.option(option_sack_ok) != nullptr;
  }
  if ((tcp.flags & flag::ack) != 0 && (tcp.flags & flag::rst) == 0) {
    const int scale = !syn && scale_on ? peer_scale : 0;
    offered_edge = std::max(offered_edge, seq_of_ours(tcp.acknowledgement) + (int64_t{tcp.window} << scale));
  } else if (syn) {
    offered_edge = std::max<int64_t>(offered_edge, 1 + tcp.window);
  }
}

void Connection::learn_syn_ack(const Tcp& tcp) {
  const TcpOption* ts = tcp.option(option_ts);
  const TcpOption* scale = tcp.option(option_scale);
  const TcpOption* mss = tcp.option(option_mss);
  if (!our_isn) our_ts = ts != nullptr ? option_number(*ts, 0, 4) : 0;
  our_isn = tcp.sequence;
  ts_on = ts != nullptr;
  scale_on = scale != nullptr && offers_scale;
  sack_on = tcp.option(option_sack_ok) != nullptr;
  if (scale != nullptr && !scale->body.empty()) our_scale = scale->body[0];
  if (mss != nullptr) our_mss = static_cast<uint16_t>(option_number(*mss, 0, 2));
}

std::vector<std::string> Connection::captured(const Packet& packet, const Settings& settings) {
  std::vector<std::string> broken = packet.faults;
  const Tcp& tcp = packet.tcp;
  const bool syn = (tcp.flags & flag::syn) != 0, rst = (tcp.flags & flag::rst) != 0;
  if (tcp.reserved != 0 || (tcp.flags & (flag::urg | flag::ece | flag::cwr)) != 0) {
    broken.push_back("reserved, URG, ECE or CWR bits are set");
  }
  if (packet.ip->ttl == 0) broken.push_back("TTL 0");
  if (!rst && (tcp.flags & flag::ack) == 0) broken.push_back("no ACK");
  if (crowd()) return broken;
  if (syn) learn_syn_ack(tcp);
  if (const TcpOption* ts = tcp.option(option_ts); ts != nullptr) last_our_ts = option_number(*ts, 0, 4);
  check_options(tcp, broken);
  if (!rst) check_window(tcp, broken);
  if (!rst) check_payload(packet, settings, broken);
  return broken;
}

// Which options may stand where: RFC 9293 3.2, RFC 7323 2.2 and 3.2, RFC 2018 2.
void Connection::check_options(const Tcp& tcp, std::vector<std::string>& broken) const {
  const bool syn = (tcp.flags & flag::syn) != 0, rst = (tcp.flags & flag::rst) != 0;
  if (syn) {
    if (tcp.option(option_scale) != nullptr && !offers_scale) broken.push_back("window scale not offered by the peer");
    if (tcp.option(option_ts) != nullptr && !offers_ts) broken.push_back("timestamps not offered by the peer");
    if (tcp.option(option_sack_ok) != nullptr && !offers_sack) broken.push_back("SACK not offered by the peer");
    return;
  }
  for (const uint8_t kind : {option_mss, option_scale, option_sack_ok}) {
    if (tcp.option(kind) != nullptr) broken.push_back("option " + std::to_string(kind) + " outside a SYN");
  }
  const bool has_ts = tcp.option(option_ts) != nullptr;
  if (ts_on && !has_ts && !rst) broken.push_back("timestamps agreed on and missing");
  if (!ts_on && has_ts) broken.push_back("timestamps not agreed on");
  if (tcp.option(option_sack) != nullptr) check_sacks(tcp, seq_of_peer(tcp.acknowledgement), broken);
}

// RFC 2018 3 and 4: what is reported has been received, beyond the acknowledgement (the first may be below: RFC 2883),
// and no block touches another (but the first, which may lie within the second).
void Connection::check_sacks(const Tcp& tcp, int64_t ack, std::vector<std::string>& broken) const {
  if (!sack_on) broken.push_back("SACK not agreed on");
  const TcpOption& sack = *tcp.option(option_sack);
  struct Block {
    int64_t first, end;
  };
  std::vector<Block> blocks;
  for (size_t at = 0; at + 8 <= sack.body.size(); at += 8) {
    blocks.push_back({seq_of_peer(option_number(sack, at, 4)), seq_of_peer(option_number(sack, at + 4, 4))});
  }
  if (blocks.empty() || sack.body.size() % 8 != 0) broken.push_back("SACK option of odd length");
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].first >= blocks[i].end) broken.push_back("SACK block empty or backwards");
    if (blocks[i].end > sent_end) broken.push_back("SACK block of what was never sent");
    if (i > 0 && blocks[i].first <= ack) broken.push_back("SACK block at or below the acknowledgement");
    for (size_t j = 1; j < i; ++j) {
      if (blocks[i].first <= blocks[j].end && blocks[j].first <= blocks[i].end) broken.push_back("SACK blocks touch");
    }
  }
}

// The acknowledgement never goes back nor beyond what was sent, and the right edge never moves left (RFC
// 9293 3.8.6.2.2; by less than the granularity of the scale it may: RFC 7323 2.4).
void Connection::check_window(const Tcp& tcp, std::vector<std::string>& broken) {
  const bool syn = (tcp.flags & flag::syn) != 0;
  const int64_t ack = seq_of_peer(tcp.acknowledgement);
  const int scale = !syn && scale_on ? our_scale : 0;
  const int64_t new_edge = ack + (int64_t{tcp.window} << scale);
  if (ack < last_ack) broken.push_back("acknowledges " + std::to_string(ack) + " after " + std::to_string(last_ack));
  if (ack > sent_end) broken.push_back("acknowledges " + std::to_string(ack) + ", which was never sent");
  if (new_edge <= edge - (int64_t{1} << scale)) {
    broken.push_back("right edge moves left, from " + std::to_string(edge) + " to " + std::to_string(new_edge));
  }
  last_ack = std::max(last_ack, ack);
  edge = std::max(edge, new_edge);
}

// Within the peer's MSS (RFC 9293 3.7.1), our MTU and the peer's window but for a probe, and of the application's
// bytes.
void Connection::check_payload(const Packet& packet, const Settings& settings, std::vector<std::string>& broken) {
  const Tcp& tcp = packet.tcp;
  const int64_t seq = seq_of_ours(tcp.sequence);
  const auto bytes = static_cast<int64_t>(tcp.payload.size());
  const bool fin = (tcp.flags & flag::fin) != 0, syn = (tcp.flags & flag::syn) != 0;
  Tcp bare = tcp;
  bare.payload.clear();
  const size_t header_bytes = encode_tcp(bare).size();
  const size_t ip_bytes = packet.ip->source.v6 ? 40 : 20;
  if (ip_bytes + header_bytes + tcp.payload.size() > settings.features.mtu_bytes)
    broken.push_back("larger than the MTU");
  constexpr size_t mss_floor = 88;  // smaller ones may be taken as this
  const size_t mss_default = packet.ip->source.v6 ? 1220 : 536;
  const size_t mss = std::max<size_t>(peer_mss.value_or(static_cast<uint16_t>(mss_default)), mss_floor);
  if (bytes > 1 && tcp.payload.size() + header_bytes - 20 > mss) broken.push_back("larger than the peer's MSS");
  if (bytes > 0 && syn) broken.push_back("data on a SYN");
  const int64_t probe = std::max(offered_edge, highest) + 1;
  if (bytes > 0 && seq + bytes > std::max(offered_edge, bytes == 1 ? probe : 0)) {
    broken.push_back("data up to " + std::to_string(seq + bytes) + ", the peer's window ends at " +
                     std::to_string(offered_edge));
  }
  if (bytes > 0 && seq - 1 + bytes > static_cast<int64_t>(handed_over)) {
    // One byte of garbage below the acknowledged is a keepalive (RFC 9293 3.8.4).
    if (!(bytes == 1 && seq < highest)) broken.push_back("data the application never sent");
  }
  for (int64_t i = 0; i < bytes && seq + i >= 1; ++i) {
    if (tcp.payload[static_cast<size_t>(i)] == our_content(seq + i)) continue;
    if (bytes > 1 || seq >= highest) broken.push_back("wrong content at " + std::to_string(seq + i));
    break;
  }
  if (finished && seq + bytes > highest) broken.push_back("sends beyond its FIN");
  finished = finished || fin;
  highest = std::max(highest, seq + bytes + fin + syn);
}

}  // namespace penstock::packets
