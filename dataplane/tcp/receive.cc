// A segment of a connection that is ESTABLISHED or later: RFC 9293 3.10.7.4, its checks in its order.
#include <algorithm>

#include "dataplane/base/mutation.h"
#include "dataplane/tcp/core.h"

namespace penstock::tcp {

void Core::receive(Connection& c, const Segment& segment) {
  const uint32_t bytes = segment.payload_bytes();
  const uint32_t room = c.rcv_edge - c.rcv_nxt;
  // Each reason to leave the fast path on a line of its own; together one branch.
  unsigned slow = c.state != TcpState::established;
  slow |= (segment.flags() & ~net::flag_psh) != net::flag_ack;       // SYN, FIN, RST, URG; no ACK
  slow |= segment.seq() != c.rcv_nxt;                                // out of order, or seen before
  slow |= segment.ack() != c.snd_una;                                // acknowledges something
  slow |= (uint32_t{segment.window()} << c.snd_scale) != c.snd_wnd;  // changes our window
  slow |= bytes < brief_bytes_;                                      // short, or nothing at all
  slow |= bytes > room;                                              // beyond the right edge
  slow |= bytes > c.credit;                                          // more than the reader wants now
  slow |= !c.reassembly.empty();                                     // something waits
  slow |= c.single_acks > 0;                                         // not with its burst
  slow |= segment.has_timestamps() != c.has_timestamps;              // negotiated and missing, or the other way round
  slow |= c.has_timestamps && static_cast<int32_t>(segment.timestamp() - c.ts_recent) < 0;  // old (PAWS)
  slow |= !segment.sacks().empty();                                                         // reports on what we sent
  slow |= c.reader_closed;                                                                  // nobody reads
  slow |= !events_.has_room();  // the lane has to be told first
  if (!slow) [[likely]]
    return receive_in_order(c, segment);

  if (!timestamp_acceptable(c, segment)) return;                     // RFC 7323 5.3 R1
  if (!sequence_acceptable(c, segment)) return;                      // first: the sequence number
  if (segment.has(net::flag_rst)) return receive_reset(c, segment);  // second
  // Third, security: not used.
  if (segment.has(net::flag_syn)) {  // fourth: challenged (RFC 5961 4.2)
    count(TcpCount::drop_syn_in_window);
    return challenge(c);
  }
  if (!segment.has(net::flag_ack)) return count(TcpCount::drop_no_ack);  // fifth
  if (!receive_ack(c, segment)) return;
  // All of it is acceptable: only now does it say where the peer is, and when.
  c.link = segment.link();
  c.last_received_at = now_;
  c.keepalive_probes = 0;
  remember_timestamp(c, segment);
  const bool alone = acknowledged_alone(c, segment);
  // Sixth, urgent data: delivered as any other (RFC 6093 4 discourages more).
  receive_data(c, segment);  // seventh
  if (c.state == TcpState::closed) return;
  receive_fin(c, segment);  // eighth
  if (alone) reply_ack(c);
}

// RFC 5681 4.2, RFC 2018 4: what is out of order or comes while there is a hole is answered by itself, not with its
// burst. For each such answer says what one segment changed (three blocks are all that fit), and counts for a sender
// without SACK (5681 3.2); and where data is lost acknowledgements are too: one for a small window's whole flight is the
// only thing between its sender and a timeout. So also for a while after the hole.
bool Core::acknowledged_alone(Connection& c, const Segment& segment) {
  constexpr uint32_t after_hole = 16;
  if (segment.payload_bytes() == 0) return false;
  if (segment.seq() != c.rcv_nxt || !c.reassembly.empty()) {
    c.single_acks = after_hole;
    return true;
  }
  if (c.single_acks == 0) return false;
  --c.single_acks;
  return true;
}

// The next bytes, and nothing else to do: they go to the reader. Acknowledged at the end of the burst.
void Core::receive_in_order(Connection& c, const Segment& segment) {
  const uint32_t bytes = segment.payload_bytes();
  if (segment.seq() <= c.rcv_acked) {
    c.ts_recent = segment.timestamp();
    c.ts_recent_at = now_;
  }
  c.link = segment.link();
  c.last_received_at = now_;
  c.rcv_nxt += bytes;
  c.credit -= bytes;
  edges_bytes_ -= bytes;
  if (bytes > c.rcv_segment_bytes) c.rcv_segment_bytes = std::min<uint32_t>(bytes, mss_v4_);
  count(TcpCount::segments_fast_path);
  count(TcpCount::bytes_received, bytes);
  for (const Piece& piece : segment.payload().span()) {
    take_from_frame(piece.buffer, Holder::request);
    deliver(c, piece);
  }
  list(c);
}

bool Core::timestamp_acceptable(Connection& c, const Segment& segment) {
  if (mutated(Mutation::skip_paws)) return true;
  if (!c.has_timestamps || segment.has(net::flag_rst)) return true;  // RFC 7323 5.2: not for RST
  // 3.2: once negotiated, a segment without them SHOULD be dropped; Linux and we take it, or a middlebox that strips
  // options could stall a connection.
  if (!segment.has_timestamps() || static_cast<int32_t>(segment.timestamp() - c.ts_recent) >= 0) return true;
  // 5.5: after 24 days of silence the clock may have wrapped.
  constexpr Nanoseconds outdated_ns = 24 * 24 * 3600 * second_ns;
  if (now_ - c.ts_recent_at > outdated_ns) return true;
  count(TcpCount::drop_paws);
  if (segment.payload_bytes() > 0 || segment.has(net::flag_fin)) {
    c.ack_now = true;
    list(c);
    return false;
  }
  // 5.3 R1 wants an answer. A pure ACK that a later one has overtaken gets none (as Linux, tcp_disordered_ack): it says
  // nothing new, and on a path that reorders there are many.
  const auto milliseconds_late = static_cast<uint32_t>(c.ts_recent - segment.timestamp());
  const bool slightly = milliseconds_late <= c.round_trip.timeout(times_) / millisecond_ns;
  const bool overtaken = segment.sequence_length() == 0 && segment.has(net::flag_ack) && segment.ack() <= c.snd_una &&
                         segment.seq() <= c.rcv_nxt && slightly;
  if (!overtaken) challenge(c);
  return false;
}

// RFC 9293 table 6, with two allowances. A segment without data may lie right at the right edge: that is where a peer
// that has used all of its window stands (as Linux). A segment that begins at rcv_nxt passes whatever the window, its
// data is cut off later: 3.10.7.4 wants ACK and RST of it processed when the window is zero.
bool Core::sequence_acceptable(Connection& c, const Segment& segment) {
  const uint32_t length = segment.sequence_length();
  const SeqNumber seq = segment.seq();
  const bool acceptable = length == 0 ? seq >= c.rcv_nxt && seq <= c.rcv_edge
                                      : seq <= c.rcv_edge && segment.seq_end() > c.rcv_nxt &&
                                            (seq < c.rcv_edge || seq == c.rcv_nxt || segment.has(net::flag_fin));
  if (acceptable) return true;
  count(TcpCount::drop_unacceptable);
  if (segment.has(net::flag_rst)) {
    count(TcpCount::drop_rst_unacceptable);
    return false;
  }
  if (segment.payload_bytes() == 0 && !segment.has(net::flag_fin)) {
    // Also a keepalive or window probe; limited, or two ends could answer each other for ever.
    challenge(c);
    return false;
  }
  if (segment.seq_end() <= c.rcv_nxt && segment.payload_bytes() > 0) {
    count(TcpCount::drop_duplicate_data);
    if (c.has_sack) c.duplicate = {seq, seq + segment.payload_bytes()};
  }
  reply_ack(c);
  return false;
}

// RFC 5961 3.2: only the very next sequence number resets.
void Core::receive_reset(Connection& c, const Segment& segment) {
  if (segment.seq() != c.rcv_nxt) {
    count(TcpCount::drop_rst_unacceptable);
    return challenge(c);
  }
  count(TcpCount::connections_reset_by_peer);
  end_connection(c);
}

// RFC 7323 4.3 (2): the timestamp of the segment that the last acknowledgement waits for.
void Core::remember_timestamp(Connection& c, const Segment& segment) {
  if (!c.has_timestamps || !segment.has_timestamps() || segment.seq() > c.rcv_acked) return;
  if (static_cast<int32_t>(segment.timestamp() - c.ts_recent) < 0) return;
  c.ts_recent = segment.timestamp();
  c.ts_recent_at = now_;
}

void Core::receive_fin(Connection& c, const Segment& segment) {
  if (c.fin_received) {
    if (segment.has(net::flag_fin)) {
      c.ack_now = true;
      list(c);
    }
    return;
  }
  if (segment.has(net::flag_fin) && !c.fin_seen) {
    c.fin_seen = true;
    c.fin_at = segment.seq() + segment.payload_bytes();
  }
  if (c.fin_seen && (c.rcv_nxt >= c.fin_at || mutated(Mutation::finish_before_data))) finish_received(c);
}

// All the peer had to say has arrived.
void Core::finish_received(Connection& c) {
  close_edge(c);
  c.fin_received = true;
  c.rcv_nxt += 1;
  if (c.rcv_edge < c.rcv_nxt) c.rcv_edge = c.rcv_nxt;
  c.ack_now = true;
  list(c);
  switch (c.state) {
    case TcpState::established:
      set_state(c, TcpState::close_wait);
      break;
    case TcpState::fin_wait_1:
      set_state(c, TcpState::closing);
      break;
    default:
      break;
  }
  deliver_waiting(c);
}

// RFC 5961 7: an acknowledgement of where we are, at most ten a second for a connection (a limit shared by connections
// would tell an attacker about them, CVE-2016-5696).
void Core::challenge(Connection& c) {
  constexpr uint32_t per_second = 10;
  if (now_ - c.challenge_since >= second_ns) {
    c.challenge_since = now_;
    c.challenge_left = per_second;
  }
  if (c.challenge_left == 0) return count(TcpCount::challenge_acks_limited);
  --c.challenge_left;
  count(TcpCount::challenge_acks_sent);
  c.ack_now = true;
  list(c);
}

}  // namespace penstock::tcp
