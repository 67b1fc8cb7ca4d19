// What our TCP is told at start: addresses, bounds and times. Every table is sized from here once.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/base/units.h"
#include "dataplane/net/ip.h"

namespace penstock {

enum class CongestionKind : uint8_t { cubic, new_reno };

// Departures from the RFCs' values are listed in docs/TCP.md.
struct TcpTimes {
  Nanoseconds rto_initial = 1 * second_ns;        // RFC 6298 2.1
  Nanoseconds rto_min = 200 * millisecond_ns;     // RFC 6298 2.4 says 1 s; as Linux
  Nanoseconds rto_max = 120 * second_ns;          // RFC 6298 2.5: at least 60 s
  Nanoseconds delayed_ack = 40 * millisecond_ns;  // RFC 1122 4.2.3.2: at most 500 ms; as Linux
  Nanoseconds syn_ack_initial = 1 * second_ns;    // doubled each time
  uint32_t syn_ack_retries = 5;
  uint32_t retries_max = 15;                      // of one segment, then the connection is gone (R2)
  Nanoseconds user_timeout = 120 * second_ns;     // data unacknowledged for so long (RFC 5482); 0: only retries_max
  Nanoseconds persist_max = 60 * second_ns;       // between two window probes
  uint32_t persist_probes_max = 12;               // unanswered in a row, or in sum without the window opening
  Nanoseconds persist_limit = 300 * second_ns;    // a window closed for so long ends the connection
  Nanoseconds keepalive_idle = 7200 * second_ns;  // RFC 1122 4.2.3.6; 0: none
  Nanoseconds keepalive_interval = 75 * second_ns;
  uint32_t keepalive_probes_max = 9;
  Nanoseconds time_wait = 60 * second_ns;          // RFC 9293 3.4.1: 2 MSL of 2 min; as Linux
  Nanoseconds fin_wait_2 = 60 * second_ns;         // we have closed, the peer has not
  Nanoseconds duplicate_address_wait = second_ns;  // RFC 4862 5.4, RFC 5227; 0: addresses are used at once
};

struct TcpConfig {
  std::vector<net::InterfaceAddress> addresses;  // IPv4 and IPv6; at most addresses_max
  std::vector<uint16_t> ports;                   // listening; at most ports_max
  static constexpr uint32_t addresses_max = 16, ports_max = 16;

  uint32_t connections_max = 4096;
  uint32_t syn_backlog = 1024;    // half-open; beyond it SYN cookies
  uint32_t time_wait_max = 4096;  // beyond it the oldest is forgotten

  uint64_t receive_budget_bytes = 64 * MiB;     // the sum of all right edges beyond what was received
  uint32_t receive_window_bytes_max = 1 * MiB;  // of one connection; decides the window scale we offer
  uint32_t receive_buffer_bytes = 4096;         // of the port's receive buffers
  uint32_t brief_bytes = 0;                     // shorter payload is copied together; 0: a quarter of a buffer
  uint32_t reassembly_pieces = 16'384;          // all connections together
  uint32_t reassembly_pieces_max = 1024;        // of one connection
  uint32_t reassembly_ranges_max = 32;          // of one connection: holes

  uint32_t send_pieces_max = 256;     // queued per connection
  uint64_t send_bytes_max = 1 * MiB;  // queued per connection; one piece more is taken when there is less
  uint32_t send_chunks = 8192;        // of 15 pieces each, all connections
  uint32_t send_records = 32'768;     // frames sent and not acknowledged, all connections
  uint32_t send_records_max = 2048;   // of one connection

  std::array<uint64_t, 2> secret{1, 2};  // new at every start: sequence numbers, cookies, hashes

  uint16_t mss_bytes = 0;      // advertised; 0: from the port's MTU and seam_bytes
  uint32_t seam_bytes = 4096;  // full segments end on a multiple of it, where the MTU holds one (with timestamps)
  CongestionKind congestion = CongestionKind::cubic;
  TcpTimes times;
};

}  // namespace penstock
