// A checked TCP segment. Only SegmentReader makes one, so code that takes a Segment cannot meet a header that lies
// about its length, an option that runs over, a wrong checksum, or flags that exclude each other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/base/piece.h"
#include "dataplane/net/counters.h"
#include "dataplane/net/ethernet.h"
#include "dataplane/net/ip.h"
#include "dataplane/net/seq_number.h"
#include "dataplane/net/tcp_header.h"

namespace penstock::net {

// 64 KiB in buffers of 4 KiB, and one more for headers that were split off.
inline constexpr uint32_t frame_pieces_max = 17;

// Who talks to whom. Ports in host order.
struct Flow {
  IpAddress local;
  IpAddress remote;
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  bool operator==(const Flow&) const = default;
};

// A run of frame pieces: what is left of a frame after headers were taken off the front and padding off the end.
struct FramePayload {
  std::array<Piece, frame_pieces_max> pieces;
  uint32_t piece_count = 0;
  uint32_t bytes = 0;
  std::span<const Piece> span() const { return {pieces.data(), piece_count}; }
};

// A checked IP packet; the payload begins behind the IP header.
struct IpPacket {
  LinkPath link;
  IpAddress source;
  IpAddress destination;
  const std::byte* header = nullptr;  // in the first piece; the transport header follows in the same piece
  uint8_t protocol = 0;
  uint8_t hops_left = 0;
  bool multicast_link = false;  // came to a broadcast or multicast link address
  bool checksum_verified = false;
  std::span<const Piece> frame;
  uint32_t transport_at = 0;     // of the transport header, in the first piece
  uint32_t transport_bytes = 0;  // header and data, without padding
};

struct SackBlock {
  SeqNumber first;
  SeqNumber end;
};

class Segment {
 public:
  const Flow& flow() const { return flow_; }
  const LinkPath& link() const { return link_; }
  SeqNumber seq() const { return seq_; }
  SeqNumber ack() const { return ack_; }
  uint8_t flags() const { return flags_; }
  bool has(uint8_t any_of) const { return (flags_ & any_of) != 0; }
  uint16_t window() const { return window_; }  // not scaled
  uint32_t payload_bytes() const { return payload_.bytes; }
  // Data, SYN and FIN: what it takes of the sequence space.
  uint32_t sequence_length() const { return payload_.bytes + has(flag_syn) + has(flag_fin); }
  SeqNumber seq_end() const { return seq_ + sequence_length(); }
  const FramePayload& payload() const { return payload_; }

  bool has_timestamps() const { return has_timestamps_; }
  uint32_t timestamp() const { return timestamp_; }
  uint32_t timestamp_echo() const { return timestamp_echo_; }
  std::span<const SackBlock> sacks() const { return {sacks_.data(), sack_count_}; }
  // Of a SYN; 0 and none when the option is missing.
  static constexpr uint8_t no_window_scale = 0xff;
  uint16_t mss() const { return mss_; }
  uint8_t window_scale() const { return window_scale_; }  // at most 14 (RFC 7323 2.3)
  bool sack_permitted() const { return sack_permitted_; }

 private:
  friend class SegmentReader;
  Segment() = default;

  Flow flow_;
  LinkPath link_;
  SeqNumber seq_;
  SeqNumber ack_;
  uint32_t timestamp_ = 0;
  uint32_t timestamp_echo_ = 0;
  uint16_t window_ = 0;
  uint16_t mss_ = 0;
  uint8_t flags_ = 0;
  uint8_t window_scale_ = no_window_scale;
  uint8_t sack_count_ = 0;
  bool has_timestamps_ = false;
  bool sack_permitted_ = false;
  std::array<SackBlock, sack_blocks_max> sacks_;
  FramePayload payload_;
};

// Checks a packet and holds the segment it makes of it until the next.
class SegmentReader {
 public:
  // nullptr: dropped; `why` says so, and `counters` has been told.
  const Segment* read(const IpPacket& packet, TcpCounters& counters);

 private:
  // False when an option's length is impossible.
  bool read_options(const uint8_t* at, uint32_t bytes);

  Segment segment_;
};

// Payload as pieces: the transport's data, `skip` bytes behind its beginning.
void slice_frame(std::span<const Piece> frame, uint32_t skip, uint32_t bytes, FramePayload& to);

}  // namespace penstock::net
