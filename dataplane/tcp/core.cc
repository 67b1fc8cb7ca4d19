// Start and end: everything is allocated here.
#include "dataplane/tcp/core.h"

#include <algorithm>

namespace penstock::tcp {

namespace {

constexpr uint32_t tcp_bytes = sizeof(net::TcpHeader);

// What we advertise: as much as the MTU takes; where it holds a seam, so much that a full segment with timestamps ends
// on one (RFC 6691: the option does not count TCP options, so these are added).
uint16_t advertised(const TcpConfig& config, uint32_t mtu_bytes, uint32_t network_bytes) {
  const uint32_t whole = mtu_bytes - network_bytes - tcp_bytes;
  uint32_t mss = config.mss_bytes != 0 ? std::min<uint32_t>(config.mss_bytes, whole) : whole;
  const uint32_t data = whole - OptionWriter::timestamps_bytes;
  if (config.mss_bytes == 0 && config.seam_bytes != 0 && data >= config.seam_bytes) {
    mss = static_cast<uint32_t>(round_down(data, config.seam_bytes)) + OptionWriter::timestamps_bytes;
  }
  return static_cast<uint16_t>(std::min<uint32_t>(mss, UINT16_MAX));
}

// The smallest that shows a whole window: small steps keep the rounding small.
uint8_t scale_for(uint32_t window_bytes) {
  uint8_t scale = 0;
  while (scale < 14 && (uint64_t{UINT16_MAX} << scale) < window_bytes) ++scale;
  return scale;
}

}  // namespace

Core::Core(const TcpConfig& config, const PortFeatures& features, Arena arena, BufferTable& buffers,
           BufferAllocator& headers)
    : config_(config),
      times_(config_.times),
      features_(features),
      secret_(config.secret),
      arena_(arena),
      buffers_(buffers),
      brief_bytes_(config.brief_bytes != 0 ? config.brief_bytes : config.receive_buffer_bytes / 4),
      mss_v4_(advertised(config, std::max(features.mtu_bytes, features.receive_mtu_bytes), sizeof(net::Ipv4Header))),
      mss_v6_(advertised(config, std::max(features.mtu_bytes, features.receive_mtu_bytes), sizeof(net::Ipv6Header))),
      window_scale_(scale_for(config.receive_window_bytes_max)),
      addresses_(config.addresses),
      frame_reader_(features_.address, addresses_, counters_),
      header_memory_(arena, buffers, headers),
      replies_(header_memory_, buffers, counters_),
      neighbour_(features_.address, addresses_, replies_, counters_, config.times.duplicate_address_wait),
      icmp_(features_.address, addresses_, neighbour_, replies_, counters_),
      connections_(config.connections_max),
      timers_(config.connections_max),
      flows_(config.connections_max + config.syn_backlog + config.time_wait_max),
      half_open_(config.syn_backlog),
      half_open_timers_(config.syn_backlog),
      lingering_(config.time_wait_max),
      reassembly_({config.reassembly_pieces, config.reassembly_pieces_max, config.reassembly_ranges_max}, buffers),
      records_(config.send_records),
      send_pool_(config.send_chunks),
      events_(config.connections_max) {
  check(config.ports.size() <= TcpConfig::ports_max, "too many listening ports",
        static_cast<long long>(config.ports.size()), TcpConfig::ports_max);
  check(config.connections_max > 0 && config.connections_max < 1u << 24, "connections_max", config.connections_max);
  check(config.reassembly_pieces_max <= UINT16_MAX, "reassembly_pieces_max", config.reassembly_pieces_max);
  check(features.pieces_max >= 2, "a port that takes no payload behind headers", features.pieces_max);
  check(features.mtu_bytes >= 576 && features.mtu_bytes <= 65'535, "MTU", features.mtu_bytes);
}

Core::~Core() {
  if (staged_) {
    for (const Piece& piece : staged_frame_.pieces) buffers_.release(piece.buffer, Holder::send);
  }
  for (uint32_t index = 0; index < connections_.count(); ++index) {
    Connection& connection = connections_[index];
    if (connection.state != TcpState::closed) end_connection(connection);
  }
  for (; !events_.empty(); events_.pop()) {
    if (events_.front().kind == StreamEventKind::data) buffers_.release(events_.front().piece.buffer, Holder::request);
  }
}

uint64_t Core::memory_bytes() const {
  return connections_.memory_bytes() + flows_.memory_bytes() + half_open_.memory_bytes() + lingering_.memory_bytes() +
         reassembly_.memory_bytes() + records_.memory_bytes() + events_.memory_bytes() +
         send_pool_.chunk_count() * sizeof(PieceChunk) + sizeof(Core);
}

}  // namespace penstock::tcp
