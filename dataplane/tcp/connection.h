// One connection from ESTABLISHED on. SYN-RECEIVED, FIN-WAIT-2 and TIME-WAIT have smaller entries in tables of their
// own.
//
// Receive:                                              credit
//                                   |<------------------------------->|
//     -----delivered----|undelivered|         rcv window              |
//                                rcv_nxt                           rcv_edge
//
//     undelivered: acknowledged, in order, waiting for credit; at most Core::overshoot_max() bytes.
//
// Send:
//     |<--- records: sent, not acknowledged --->|<-- not sent yet -->|
//  snd_una                                   snd_nxt             end of the queue (then FIN, when `fin_queued`)
#pragma once

#include <cstdint>

#include "dataplane/base/piece.h"
#include "dataplane/net/segment.h"
#include "dataplane/tcp/congestion.h"
#include "dataplane/tcp/flow_secret.h"
#include "dataplane/tcp/rack.h"
#include "dataplane/tcp/reassembly.h"
#include "dataplane/tcp/rtt.h"
#include "dataplane/tcp/scoreboard.h"
#include "dataplane/tcp/tcp_stack.h"
#include "dataplane/tcp/undo.h"

namespace penstock::tcp {

inline constexpr uint32_t edge_overshoot_max = 4096;    // bytes accepted beyond the credit: one small buffer
inline constexpr uint32_t initial_window_bytes = 4096;  // promised with SYN-ACK, before there is a reader

// What the one retransmission timer of a connection waits for.
enum class LossTimer : uint8_t { none, retransmit, probe, reorder, persist };

enum class Repair : uint8_t { none, recovery, after_timeout };

struct Connection {
  // ---- the first cache line: what every segment is compared with
  net::Flow flow;
  net::LinkPath link;
  SeqNumber rcv_nxt;
  SeqNumber rcv_edge;
  SeqNumber snd_una;
  uint32_t snd_wnd = 0;  // bytes
  // ---- the second: the rest of the fast path
  uint64_t credit = 0;  // bytes the reader may still be given
  SeqNumber rcv_acked;  // the last acknowledgment sent
  uint32_t ts_recent = 0;
  Nanoseconds ts_recent_at = 0;
  Nanoseconds last_received_at = 0;
  uint32_t generation = 0;
  uint32_t next = no_index;  // of the output list, or of the free ones
  uint32_t previous = no_index;
  TcpState state = TcpState::closed;
  uint8_t snd_scale = 0;
  uint8_t rcv_scale = 0;
  bool has_timestamps = false;
  bool has_sack = false;
  bool listed = false;         // in the output list
  bool reader_closed = false;  // close() was called
  bool ack_now = false;
  Reassembly reassembly;

  // ---- receive
  uint32_t undelivered = 0;
  uint32_t rcv_segment_bytes = 536;  // the largest seen: two of them are acknowledged at once (RFC 5681 4.2)
  uint32_t quick_acks = 0;           // to be sent without delay, so that the peer's slow start starts
  uint32_t single_acks = 0;          // segments still to be acknowledged one by one, after a hole
  net::SackBlock duplicate;          // to be reported (RFC 2883); first == end: none
  SeqNumber fin_at;                  // of the peer's FIN
  bool fin_seen = false;             // perhaps behind a hole
  bool fin_received = false;         // in order
  bool finish_told = false;
  bool tail_open = false;  // `tail` holds a buffer, as Holder::reassembly
  bool budget_listed = false;
  uint32_t budget_next = no_index;
  Piece tail;  // room for short payload behind other short payload

  // ---- send
  SeqNumber snd_nxt;
  SeqNumber snd_wl1;
  SeqNumber snd_wl2;
  uint32_t snd_wnd_max = 0;
  uint16_t mss = 536;       // payload bytes of a full segment
  uint16_t peer_mss = 536;  // as the peer's SYN says
  uint32_t path_mtu = 0;    // bytes of an IP packet
  uint32_t timestamp_offset = 0;
  PieceList queue;  // from snd_una on
  uint32_t queue_pieces = 0;
  uint64_t untold_sent = 0;  // acknowledged, and the lane not told yet
  bool fin_queued = false;
  bool fin_sent = false;
  bool window_limited = false;  // the congestion window kept us from sending
  bool retransmit_now = false;  // one retransmission may go out whatever the congestion window says
  bool probe_due = false;       // a loss probe (RFC 8985 7)
  bool probe_out = false;       // one is being waited for
  bool persist_due = false;     // send into a closed window
  bool keepalive_due = false;
  Repair repair = Repair::none;
  SeqNumber recover;    // repair ends when this is acknowledged
  SeqNumber probe_end;  // snd_nxt when the loss probe was sent
  uint32_t duplicate_acks = 0;
  uint32_t retries = 0;          // timeouts in a row
  uint32_t persist_probes = 0;   // unanswered in a row
  uint32_t persist_backoff = 0;  // probes since the window closed
  uint32_t keepalive_probes = 0;
  Scoreboard board;
  Congestion congestion;
  Undo undo;
  RoundTrip round_trip;
  Rack rack;
  Nanoseconds last_sent_at = 0;
  Nanoseconds progress_at = 0;       // snd_una moved, or the first data went out
  Nanoseconds window_closed_at = 0;  // 0: it is open
  uint32_t challenge_left = 0;
  Nanoseconds challenge_since = 0;

  // ---- deadlines
  LossTimer loss_timer = LossTimer::none;
  Nanoseconds loss_deadline = never_ns;
  Nanoseconds ack_deadline = never_ns;
  Nanoseconds keepalive_deadline = never_ns;
  Nanoseconds wheel_deadline = never_ns;  // as set in the wheel: no later than the earliest of the above

  uint64_t unsent() const { return queue.size() - sent_data(); }
  // Bytes of the queue that have been sent: the FIN is not of the queue.
  uint32_t sent_data() const { return (snd_nxt - snd_una) - (fin_sent ? 1 : 0); }
  // Where the reader is.
  SeqNumber delivered() const { return rcv_nxt - undelivered - (fin_received ? 1 : 0); }
};

}  // namespace penstock::tcp
