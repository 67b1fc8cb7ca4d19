#include "dataplane/tcp/flow_secret.h"

#include <algorithm>

namespace penstock::tcp {

namespace {

enum Purpose : uint64_t { purpose_sequence = 1, purpose_timestamp, purpose_cookie, purpose_cookie_period };

// The cookie: 24 bits of hash and MSS index, upper 8 bits the period (as Bernstein, and Linux).
constexpr uint32_t cookie_low_mask = 0xffffff;
// The first is the smallest MSS we believe (mss_min in listen.cc): none is larger than what the peer takes.
constexpr uint16_t cookie_mss[] = {88, 536, 1220, 1440, 1460, 4312, 8204, 8960};
constexpr uint32_t cookie_mss_count = std::size(cookie_mss);

// In the low bits of the timestamp: window scale 4 bits (15: none), SACK 1 bit.
constexpr uint32_t timestamp_option_bits = 6;
constexpr uint32_t timestamp_option_mask = (1u << timestamp_option_bits) - 1;

// The largest that is not larger than what the peer takes.
uint32_t mss_index(uint16_t mss) {
  uint32_t best = 0;
  for (uint32_t i = 0; i < cookie_mss_count; ++i) {
    if (cookie_mss[i] <= mss && cookie_mss[i] >= cookie_mss[best]) best = i;
  }
  return best;
}

}  // namespace

uint64_t FlowSecret::hash(const net::Flow& flow, uint64_t purpose) const {
  const std::array<uint64_t, 6> words{flow.local.high,
                                      flow.local.low,
                                      flow.remote.high,
                                      flow.remote.low,
                                      uint64_t{flow.local_port} << 16 | flow.remote_port,
                                      purpose};
  return siphash(key_, words);
}

// RFC 6528 3: ISN = M + F(...), M advancing every 4 microseconds.
SeqNumber FlowSecret::initial_sequence(const net::Flow& flow, Nanoseconds now) const {
  return SeqNumber(static_cast<uint32_t>(now / 4000) + static_cast<uint32_t>(hash(flow, purpose_sequence)));
}

uint32_t FlowSecret::timestamp_offset(const net::Flow& flow) const {
  return static_cast<uint32_t>(hash(flow, purpose_timestamp));
}

// The peer's initial sequence number is part of what is hashed: were it only added, one too low with the next MSS index
// would be a cookie too.
uint32_t FlowSecret::cookie_proof(const net::Flow& flow, SeqNumber peer_initial, uint32_t period) const {
  const uint64_t said = uint64_t{peer_initial.value} << 32 | uint64_t{period & 0xffffff} << 8;
  return static_cast<uint32_t>(hash(flow, purpose_cookie_period + said));
}

SeqNumber FlowSecret::cookie(const net::Flow& flow, SeqNumber peer_initial, uint16_t mss, Nanoseconds now) const {
  const auto period = static_cast<uint32_t>(now / cookie_period_ns);
  const auto blind = static_cast<uint32_t>(hash(flow, purpose_cookie)) + peer_initial.value;
  const uint32_t proof = cookie_proof(flow, peer_initial, period);
  return SeqNumber(blind + (period << 24) + ((proof + mss_index(mss)) & cookie_low_mask));
}

uint32_t FlowSecret::cookie_timestamp(const net::Flow& flow, const SynOptions& options, Nanoseconds now) const {
  const uint32_t clock = timestamp_clock(now, timestamp_offset(flow));
  const uint32_t scale = options.window_scale == net::Segment::no_window_scale ? 15u : options.window_scale;
  const uint32_t bits = scale | (options.sack ? 16u : 0u);
  uint32_t value = (clock & ~timestamp_option_mask) | bits;
  if (static_cast<int32_t>(clock - value) < 0) value -= timestamp_option_mask + 1;
  return value;
}

std::optional<SynOptions> FlowSecret::check_cookie(const net::Flow& flow, SeqNumber cookie, SeqNumber peer_initial,
                                                   std::optional<uint32_t> timestamp_echo, Nanoseconds now) const {
  const auto current = static_cast<uint32_t>(now / cookie_period_ns);
  const auto blind = static_cast<uint32_t>(hash(flow, purpose_cookie)) + peer_initial.value;
  const uint32_t rest = cookie.value - blind;
  const uint32_t age = (current - (rest >> 24)) & 0xff;
  if (age > 1) return std::nullopt;
  const uint32_t period = current - age;
  const uint32_t proof = cookie_proof(flow, peer_initial, period);
  const uint32_t index = (rest - proof) & cookie_low_mask;
  if (index >= cookie_mss_count) return std::nullopt;
  SynOptions options;
  options.mss = cookie_mss[index];
  if (timestamp_echo.has_value()) {
    options.timestamps = true;
    const uint32_t scale = *timestamp_echo & 15;
    options.window_scale = scale == 15 ? net::Segment::no_window_scale : static_cast<uint8_t>(scale);
    options.sack = (*timestamp_echo & 16) != 0;
  }
  return options;
}

}  // namespace penstock::tcp
