// Beginnings and ends of what the lane sees of a connection.
#include <cstring>

#include "dataplane/tcp/core.h"

namespace penstock::tcp {

namespace {

// From left to right in RFC 9293 figure 5; FIN-WAIT-2 and TIME-WAIT are entries of another table.
constexpr bool may_follow(TcpState from, TcpState to) {
  switch (from) {
    case TcpState::closed:
      return to == TcpState::established;
    case TcpState::established:
      return to == TcpState::fin_wait_1 || to == TcpState::close_wait || to == TcpState::closed;
    case TcpState::fin_wait_1:
      return to == TcpState::closing || to == TcpState::closed;
    case TcpState::close_wait:
      return to == TcpState::last_ack || to == TcpState::closed;
    case TcpState::closing:
    case TcpState::last_ack:
      return to == TcpState::closed;
  }
  return false;
}

}  // namespace

void Core::set_state(Connection& c, TcpState state) {
  check(may_follow(c.state, state), "TCP state", static_cast<long long>(c.state), static_cast<long long>(state));
  c.state = state;
}

Connection* Core::find(StreamId id) {
  if (id.index >= connections_.count()) return nullptr;
  Connection& c = connections_[id.index];
  return c.state != TcpState::closed && c.generation == id.generation ? &c : nullptr;
}

bool Core::next_event(StreamEvent& event) {
  if (events_.empty()) return false;
  const Event& next = events_.front();
  event.kind = next.kind;
  event.stream = next.stream;
  event.piece = next.piece;
  event.bytes = next.bytes;
  if (next.kind == StreamEventKind::opened) {
    // The slot is kept until `closed` has been told, so this is still the flow.
    const net::Flow& flow = connections_[next.stream.index].flow;
    std::memcpy(event.local.address, flow.local.bytes(), 16);
    std::memcpy(event.peer.address, flow.remote.bytes(), 16);
    event.local.port = flow.local_port;
    event.peer.port = flow.remote_port;
  } else if (next.kind == StreamEventKind::closed) {
    connections_.give(next.stream.index);
  }
  events_.pop();
  return true;
}

// RFC 9293 3.10.4: FIN follows what was sent.
void Core::close(StreamId id) {
  Connection* c = find(id);
  if (c == nullptr || c->reader_closed) return;
  if (c->undelivered > 0) {  // RFC 9293 3.6.1 (SHLD-3): what was acknowledged is lost, and the peer is told
    send_reset(*c);
    return end_connection(*c);
  }
  close_edge(*c);
  c->reader_closed = true;
  c->credit = 0;
  reassembly_.clear(c->reassembly);
  c->undelivered = 0;
  drop_tail(*c);
  c->fin_queued = true;
  set_state(*c, c->state == TcpState::close_wait ? TcpState::last_ack : TcpState::fin_wait_1);
  list(*c);
}

void Core::abort(StreamId id) {
  Connection* c = find(id);
  if (c == nullptr) return;
  send_reset(*c);
  end_connection(*c);
}

// R2 of RFC 9293 3.8.3, keepalive, persist: told to the peer too, in case it is there after all.
void Core::time_out(Connection& c) {
  count(TcpCount::connections_timed_out);
  send_reset(c);
  end_connection(c);
}

void Core::end_connection(Connection& c) {
  const uint32_t index = index_of(c);
  close_edge(c);
  c.credit = 0;
  reassembly_.clear(c.reassembly);
  c.undelivered = 0;
  drop_tail(c);
  records_.clear(c.board);
  c.queue.clear(send_pool_, [&](BufferIndex buffer) { buffers_.release(buffer, Holder::send); });
  c.queue_pieces = 0;
  timers_.clear(index);
  if (c.listed) output_.remove(connections_, index);
  c.listed = false;
  flows_.erase(secret_.table_hash(c.flow), {FlowKind::connection, index});
  set_state(c, TcpState::closed);
  count(TcpCount::connections_closed);
  Event& event = events_.push();
  event.kind = StreamEventKind::closed;
  event.stream = id_of(c);
}

TcpConnectionView Core::view(StreamId id) const {
  TcpConnectionView view;
  if (id.index >= connections_.count()) return view;
  const Connection& c = connections_[id.index];
  if (c.generation != id.generation || c.state == TcpState::closed) return view;
  view.state = c.state;
  view.window_bytes = c.rcv_edge - c.rcv_nxt;
  view.credit_bytes = c.credit;
  view.out_of_order_bytes = c.reassembly.bytes;
  view.queued_bytes = c.queue.size();
  view.in_flight_bytes = c.board.in_flight_bytes;
  view.congestion_window_bytes = c.congestion.window();
  view.mss_bytes = c.mss;
  view.rto = c.round_trip.timeout(times_);
  view.smoothed_rtt = c.round_trip.smoothed();
  return view;
}

}  // namespace penstock::tcp
