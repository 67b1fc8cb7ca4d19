#include "dataplane/net/segment.h"

#include "dataplane/base/mutation.h"
#include "dataplane/net/checksum.h"

namespace penstock::net {

void slice_frame(std::span<const Piece> frame, uint32_t skip, uint32_t bytes, FramePayload& to) {
  to.piece_count = 0;
  to.bytes = bytes;
  for (Piece piece : frame) {
    if (bytes == 0) return;
    if (skip >= piece.length) {
      skip -= piece.length;
      continue;
    }
    piece.data += skip;
    piece.length -= skip;
    skip = 0;
    if (piece.length > bytes) piece.length = bytes;
    bytes -= piece.length;
    to.pieces[to.piece_count++] = piece;
  }
}

const Segment* SegmentReader::read(const IpPacket& packet, TcpCounters& counters) {
  const auto drop = [&](TcpCount why) -> const Segment* {
    counters.add(why);
    return nullptr;
  };
  if (packet.transport_bytes < sizeof(TcpHeader)) return drop(TcpCount::drop_tcp_header);
  const Piece& first = packet.frame.front();
  const uint32_t in_first = first.length - packet.transport_at;
  if (in_first < sizeof(TcpHeader)) return drop(TcpCount::drop_frame_pieces);
  const auto& header = *reinterpret_cast<const TcpHeader*>(first.data + packet.transport_at);
  const uint32_t header_bytes = (header.words_and_reserved >> 4) * 4u;
  if (header_bytes < sizeof header || header_bytes > packet.transport_bytes) return drop(TcpCount::drop_tcp_header);
  if (header_bytes > in_first) return drop(TcpCount::drop_frame_pieces);
  if (!packet.checksum_verified) {
    FramePayload whole;
    slice_frame(packet.frame, packet.transport_at, packet.transport_bytes, whole);
    Checksum checksum;
    checksum.add_pseudo_header(packet.source, packet.destination, protocol_tcp, packet.transport_bytes);
    for (const Piece& piece : whole.span()) checksum.add(piece);
    if (!checksum.valid() && !mutated(Mutation::ignore_checksum)) return drop(TcpCount::drop_tcp_checksum);
  }
  // Reserved bits, ECE and CWR are ignored: no ECN (RFC 3168 6.1.1 lets a host not take part).
  const uint8_t flags = header.flags & (flag_fin | flag_syn | flag_rst | flag_psh | flag_ack | flag_urg);
  const bool excluded = (flags & flag_syn) != 0 && (flags & (flag_fin | flag_rst)) != 0;
  if (excluded || (flags & (flag_syn | flag_rst | flag_ack)) == 0) return drop(TcpCount::drop_tcp_flags);

  Segment& segment = segment_;
  segment.flow_.local = packet.destination;
  segment.flow_.remote = packet.source;
  segment.flow_.local_port = header.destination_port;
  segment.flow_.remote_port = header.source_port;
  segment.link_ = packet.link;
  segment.seq_ = SeqNumber(header.sequence);
  segment.ack_ = SeqNumber(header.acknowledgment);
  segment.flags_ = flags;
  segment.window_ = header.window;
  segment.sack_count_ = 0;
  segment.has_timestamps_ = false;
  if (segment.flow_.remote_port == 0) return drop(TcpCount::drop_tcp_header);

  const auto* options = reinterpret_cast<const uint8_t*>(&header + 1);
  const uint32_t options_bytes = header_bytes - uint32_t{sizeof header};
  // Nearly every segment: two NOPs and the timestamps (RFC 7323 appendix A).
  constexpr uint32_t padded_timestamps = 0x0101080a;
  if (options_bytes == 12 && load_big<uint32_t>(options) == padded_timestamps && (flags & flag_syn) == 0) {
    segment.has_timestamps_ = true;
    segment.timestamp_ = load_big<uint32_t>(options + 4);
    segment.timestamp_echo_ = load_big<uint32_t>(options + 8);
  } else if (!read_options(options, options_bytes)) {
    return drop(TcpCount::drop_tcp_options);
  }
  slice_frame(packet.frame, packet.transport_at + header_bytes, packet.transport_bytes - header_bytes,
              segment.payload_);
  return &segment;
}

bool SegmentReader::read_options(const uint8_t* at, uint32_t bytes) {
  Segment& segment = segment_;
  const bool syn = segment.has(flag_syn);
  segment.mss_ = 0;
  segment.window_scale_ = Segment::no_window_scale;
  segment.sack_permitted_ = false;
  while (bytes > 0) {
    const uint8_t kind = at[0];
    if (kind == option_end) return true;
    if (kind == option_none) {
      ++at;
      --bytes;
      continue;
    }
    if (bytes < 2 || at[1] < 2 || at[1] > bytes) return false;
    const uint32_t length = at[1];
    // An option of a known kind with another length, or out of place, is skipped like an unknown one.
    switch (kind) {
      case option_mss:
        if (length == 4 && syn) segment.mss_ = load_big<uint16_t>(at + 2);
        break;
      case option_window_scale:
        if (length == 3 && syn) segment.window_scale_ = at[2] > 14 ? uint8_t{14} : at[2];
        break;
      case option_sack_permitted:
        if (length == 2 && syn) segment.sack_permitted_ = true;
        break;
      case option_timestamps:
        if (length != 10) break;
        segment.has_timestamps_ = true;
        segment.timestamp_ = load_big<uint32_t>(at + 2);
        segment.timestamp_echo_ = load_big<uint32_t>(at + 6);
        break;
      case option_sack:
        if (syn || length < 10 || (length - 2) % 8 != 0) break;
        for (uint32_t block = 2; block < length && segment.sack_count_ < sack_blocks_max; block += 8) {
          segment.sacks_[segment.sack_count_++] = {SeqNumber(load_big<uint32_t>(at + block)),
                                                   SeqNumber(load_big<uint32_t>(at + block + 4))};
        }
        break;
      default:
        break;
    }
    at += length;
    bytes -= length;
  }
  return true;
}

}  // namespace penstock::net
