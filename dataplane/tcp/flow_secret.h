// Numbers that only we can know, calculated from the flow and a secret of this start: initial sequence numbers
// (RFC 6528), timestamp offsets (RFC 7323 7.1), SYN cookies (RFC 4987 3.6) and the hash of the flow table.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/base/units.h"
#include "dataplane/net/segment.h"
#include "dataplane/tcp/siphash.h"

namespace penstock::tcp {

// What a SYN told us and a cookie has to remember.
struct SynOptions {
  uint16_t mss = 536;  // RFC 9293 3.7.1; IPv6: 1220
  uint8_t window_scale = net::Segment::no_window_scale;
  bool sack = false;
  bool timestamps = false;
  bool operator==(const SynOptions&) const = default;
};

class FlowSecret {
 public:
  explicit FlowSecret(const HashKey& key) : key_(key) {}

  // For tables only: fast rather than strong. An attacker who cannot see which bucket a flow falls into learns nothing.
  uint32_t table_hash(const net::Flow& flow) const {
    const auto mix = [](uint64_t a, uint64_t b) {
      const auto product = static_cast<unsigned __int128>(a) * b;
      return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    };
    const uint64_t ports = uint64_t{flow.local_port} << 16 | flow.remote_port;
    uint64_t hash = mix(flow.remote.low ^ key_[0], (flow.local.low + ports) ^ key_[1]);
    hash ^= mix(flow.remote.high ^ key_[1], (flow.local.high + ports) ^ key_[0]);
    hash = mix(hash ^ key_[0], ports ^ 0x9e3779b97f4a7c15);
    return static_cast<uint32_t>(hash ^ hash >> 32);
  }

  SeqNumber initial_sequence(const net::Flow& flow, Nanoseconds now) const;
  // In milliseconds. `offset` comes from timestamp_offset().
  static uint32_t timestamp_clock(Nanoseconds now, uint32_t offset) {
    return static_cast<uint32_t>(now / millisecond_ns) + offset;
  }
  uint32_t timestamp_offset(const net::Flow& flow) const;

  // A cookie lasts until the second change of its period: 64 to 128 s.
  static constexpr Nanoseconds cookie_period_ns = 64 * second_ns;
  SeqNumber cookie(const net::Flow& flow, SeqNumber peer_initial, uint16_t mss, Nanoseconds now) const;
  // The timestamp that carries what the cookie has no room for: never later than the clock, at most 63 ms earlier.
  uint32_t cookie_timestamp(const net::Flow& flow, const SynOptions& options, Nanoseconds now) const;
  // What the SYN said, if `cookie` is one of ours for this flow; `timestamp_echo` when the segment has timestamps.
  std::optional<SynOptions> check_cookie(const net::Flow& flow, SeqNumber cookie, SeqNumber peer_initial,
                                         std::optional<uint32_t> timestamp_echo, Nanoseconds now) const;

 private:
  uint64_t hash(const net::Flow& flow, uint64_t purpose) const;
  uint32_t cookie_proof(const net::Flow& flow, SeqNumber peer_initial, uint32_t period) const;
  HashKey key_;
};

}  // namespace penstock::tcp
