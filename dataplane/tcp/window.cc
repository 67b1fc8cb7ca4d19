// The right edge. What the reader allowed is `credit`; what the peer is told is `rcv_edge`, which only moves right:
//
//   wanted: rcv_nxt + credit, but not beyond the largest window, nor the budget of all connections
//   advertised when the gain is worth a segment (silly window avoidance, RFC 9293 3.8.6.2.2)
//   rounded up to the window scale, because a request ends where the credit ends, and its last bytes must fit
#include <algorithm>

#include "dataplane/base/mutation.h"
#include "dataplane/tcp/core.h"

namespace penstock::tcp {

void Core::allow(StreamId id, uint64_t byte_count) {
  Connection* c = find(id);
  if (c == nullptr || c->reader_closed) return;
  c->credit += byte_count;
  if (c->undelivered > 0) deliver_waiting(*c);
  if (window_update_due(*c)) list(*c);
  wait_for_budget(*c);
}

void Core::request_done(StreamId id) {
  if (Connection* c = find(id)) drop_tail(*c);
}

// A buffer for every piece that is just not brief (shorter payload is copied together), one that short payload is
// collected in, one for the beginning and one for the end.
uint64_t Core::receive_cost(uint64_t byte_count) const {
  return (byte_count / brief_bytes_ + 3) * config_.receive_buffer_bytes;
}

// Bytes beyond rcv_nxt that are promised to be taken, as far as they count in the budget.
uint32_t Core::promised(const Connection& c) const {
  return c.reader_closed || c.fin_received ? 0 : c.rcv_edge - c.rcv_nxt;
}

// A peer with more to send waits for a window that takes a full segment (RFC 1122 4.2.3.4), for 200 ms and more: at the
// end of each request that it has the next one behind. So the window is one segment as long as there is credit at all;
// what is beyond the credit waits here.
uint32_t Core::least_window(const Connection& c) const { return advertised_mss(c.flow.local.is_v4()); }

uint32_t Core::overshoot_max(const Connection& c) const {
  return std::max(edge_overshoot_max, least_window(c) + (1u << c.rcv_scale));
}

// Bytes beyond rcv_nxt that the reader would have, whatever the budget.
uint32_t Core::asked_window(const Connection& c) const {
  const uint32_t have = c.rcv_edge - c.rcv_nxt;
  if (c.reader_closed || c.fin_received || c.credit <= c.undelivered) return have;
  const uint64_t largest = std::min<uint64_t>(config_.receive_window_bytes_max, uint64_t{UINT16_MAX} << c.rcv_scale);
  const uint64_t wanted = std::max<uint64_t>(c.credit - c.undelivered, least_window(c));
  return std::max(have, static_cast<uint32_t>(std::min(wanted, largest)));
}

// The same, within the budget.
uint32_t Core::wanted_window(const Connection& c) const {
  const uint32_t have = c.rcv_edge - c.rcv_nxt;
  const uint64_t left = config_.receive_budget_bytes - std::min(config_.receive_budget_bytes, edges_bytes_);
  return have + static_cast<uint32_t>(std::min<uint64_t>(asked_window(c) - have, left));
}

// RFC 9293 3.8.6.2.2: a segment more, or half of all there is. "All" is the credit: a reader that wants the last 30
// bytes of a request gives no more.
bool Core::worth_advertising(const Connection& c, uint32_t wanted) const {
  const uint32_t have = c.rcv_edge - c.rcv_nxt;
  if (wanted <= have) return false;
  if (have < least_window(c) && wanted >= least_window(c)) return true;  // it stands still
  return wanted - have >= std::min<uint32_t>(c.rcv_segment_bytes, (wanted + 1) / 2);
}

// A segment only to say so: when the peer may be standing still, or the window has doubled. Otherwise the next
// acknowledgement says it.
bool Core::window_update_due(const Connection& c) const {
  const uint32_t have = c.rcv_edge - c.rcv_nxt, wanted = wanted_window(c);
  if (!worth_advertising(c, wanted)) return false;
  return wanted - have >= (wanted + 1) / 2 || have < 4 * c.rcv_segment_bytes;
}

uint16_t Core::advertise(Connection& c) {
  const uint32_t have = c.rcv_edge - c.rcv_nxt;
  const uint32_t wanted = wanted_window(c);
  // The peer's FIN takes a place in the window: without one a peer may keep it for ever (as Linux does).
  const bool for_fin = c.reader_closed && !c.fin_received;
  const uint32_t kept = mutated(Mutation::move_edge_left) ? std::min(have, static_cast<uint32_t>(c.credit)) : have;
  const uint32_t target = worth_advertising(c, wanted) ? wanted : for_fin ? std::max(have, 1u) : kept;
  const uint32_t rounding = (1u << c.rcv_scale) - 1;
  uint32_t shown = (target + rounding) >> c.rcv_scale;
  const uint64_t credit = c.credit > c.undelivered ? c.credit - c.undelivered : 0;
  const uint32_t rounded = shown << c.rcv_scale;
  const bool creeps = rounded > target && rounded > credit + overshoot_max(c);
  const bool over_budget = rounded > have && edges_bytes_ + (rounded - have) > config_.receive_budget_bytes;
  if ((creeps || over_budget) && !for_fin) shown = target >> c.rcv_scale;  // may look like moving left: RFC 7323 2.4
  shown = std::min<uint32_t>(shown, UINT16_MAX);
  const uint32_t moved_to = shown << c.rcv_scale;
  if (moved_to > have) {
    if (!c.reader_closed && !c.fin_received) edges_bytes_ += moved_to - have;
    c.rcv_edge = c.rcv_nxt + moved_to;
  }
  wait_for_budget(c);
  return static_cast<uint16_t>(shown);
}

// More was allowed than the budget has now: when others have received, it is this connection's turn.
void Core::wait_for_budget(Connection& c) {
  if (c.budget_listed || asked_window(c) == wanted_window(c)) return;
  c.budget_listed = true;
  c.budget_next = no_index;
  (budget_last_ == no_index ? budget_first_ : connections_[budget_last_].budget_next) = index_of(c);
  budget_last_ = index_of(c);
}

// The edge no longer counts: nothing more is taken from this peer.
void Core::close_edge(Connection& c) { edges_bytes_ -= promised(c); }

void Core::serve_budget() {
  while (budget_first_ != no_index && edges_bytes_ + budget_step_bytes <= config_.receive_budget_bytes) {
    Connection& c = connections_[budget_first_];
    budget_first_ = c.budget_next;
    if (budget_first_ == no_index) budget_last_ = no_index;
    c.budget_listed = false;
    if (c.state == TcpState::closed || !window_update_due(c)) continue;
    c.ack_now = true;
    list(c);
    return;  // the next one when this one's edge has moved
  }
}

}  // namespace penstock::tcp
