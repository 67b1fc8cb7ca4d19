// What happened, and above all what was dropped and why. One lane's; written by that lane only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace penstock {

enum class TcpCount : uint8_t {
  // Frames
  frames_received,
  frames_sent,
  // Dropped on the way up, in the order of the checks
  drop_frame_too_short,
  drop_frame_pieces,  // more pieces than a frame of 64 KiB needs, or headers not together in the first
  drop_not_for_us,    // link address or IP address of somebody else
  drop_ether_type,
  drop_ip_header,  // version, lengths
  drop_ip_checksum,
  drop_ip_options,  // source routes; other options are skipped
  drop_ip_fragment,
  drop_ipv6_extension,
  drop_ip_source,  // multicast, loopback, our own address
  drop_ip_protocol,
  drop_arp_malformed,
  drop_icmp_malformed,
  drop_icmp_checksum,
  drop_icmp_ignored,    // a kind we do not act on, or over the rate limit
  drop_icmp_unmatched,  // quotes no connection, or a sequence number not in flight
  drop_tcp_header,
  drop_tcp_checksum,
  drop_tcp_options,  // an option whose length is impossible
  drop_tcp_flags,    // SYN with FIN or RST, none at all
  // Dropped by TCP
  drop_no_connection,  // nobody there: answered with RST, over the rate limit not
  drop_no_listener,
  drop_syn_connections_full,
  drop_syn_stopped,  // stop_accepting()
  drop_ack_connections_full,
  drop_cookie_invalid,
  drop_paws,
  drop_unacceptable,      // outside the window
  drop_no_ack,            // in a state where every segment has ACK
  drop_ack_unacceptable,  // acknowledges what was never sent, or too old (RFC 5961 5)
  drop_rst_unacceptable,
  drop_syn_in_window,  // challenged (RFC 5961 4)
  drop_data_after_close,
  drop_reassembly_full,  // pieces, ranges or bytes
  drop_duplicate_data,
  drop_beyond_window,  // bytes beyond the right edge, cut off
  // TCP
  connections_opened,
  connections_closed,
  connections_reset_by_peer,
  connections_timed_out,  // retransmission, keepalive, persist or user timeout
  syn_received,
  syn_cookies_sent,
  syn_cookies_accepted,
  syn_timeouts,
  segments_received,
  segments_fast_path,
  segments_out_of_order,
  segments_sent,
  segments_retransmitted,
  retransmission_timeouts,
  fast_recoveries,
  cuts_undone,
  loss_probes,
  rst_sent,
  challenge_acks_sent,
  challenge_acks_limited,
  acks_sent,
  window_probes_sent,
  keepalives_sent,
  bytes_received,  // in order
  bytes_copied,    // of them or of those waiting, copied together
  bytes_sent,      // first time
  bytes_retransmitted,
  sack_blocks_sent,
  duplicate_sacks_sent,
  duplicate_sacks_received,
  time_wait_entered,
  time_wait_evicted,  // bound reached: the oldest goes
  path_mtu_lowered,
  transmit_memory_waits,  // no buffer for headers, no record, or no room at the port
  // Neighbours
  arp_requests_answered,
  neighbour_solicitations_answered,
  echo_requests_answered,
  address_conflicts,
  count
};

const char* to_string(TcpCount count);  // the name above

class TcpCounters {
 public:
  void add(TcpCount which, uint64_t amount = 1) { values_[static_cast<size_t>(which)] += amount; }
  uint64_t operator[](TcpCount which) const { return values_[static_cast<size_t>(which)]; }

 private:
  std::array<uint64_t, static_cast<size_t>(TcpCount::count)> values_{};
};

}  // namespace penstock
