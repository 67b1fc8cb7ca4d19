// Tables of flows that are not connections yet, or not any more. Both are bounded and sized at start.
#pragma once

#include <cstdint>

#include "dataplane/base/timer_wheel.h"
#include "dataplane/net/rate_limit.h"
#include "dataplane/net/segment.h"
#include "dataplane/tcp/flow_secret.h"
#include "dataplane/tcp/index_pool.h"

namespace penstock::tcp {

// SYN-RECEIVED: SYN-ACK sent, not acknowledged.
struct HalfOpen {
  net::Flow flow;
  net::LinkPath link;
  SeqNumber iss;
  SeqNumber irs;
  SynOptions options;
  uint32_t ts_recent = 0;
  uint32_t peer_window = 0;
  uint32_t window_bytes = 0;  // promised, and part of the sum of edges
  uint32_t sent_count = 0;    // of SYN-ACKs
  Nanoseconds sent_at = 0;
  uint32_t next = no_index;
};

// FIN-WAIT-2 and TIME-WAIT: we have closed, and the peer has acknowledged that.
enum class LingerState : uint8_t { fin_wait_2, time_wait };
struct Lingering {
  net::Flow flow;
  net::LinkPath link;
  SeqNumber snd_nxt;
  SeqNumber rcv_nxt;
  SeqNumber rcv_edge;
  uint32_t ts_recent = 0;
  uint32_t timestamp_offset = 0;
  bool has_timestamps = false;
  uint8_t rcv_scale = 0;
  LingerState state = LingerState::time_wait;
  Nanoseconds deadline = 0;
  net::RateLimit answers{10};  // to segments that are not acceptable, a second (RFC 5961 7)
  uint32_t next = no_index;
  uint32_t previous = no_index;
};

}  // namespace penstock::tcp
