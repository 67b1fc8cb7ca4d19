// What must be true between any two calls. For tests: it looks at everything.
#include "dataplane/tcp/core.h"

namespace penstock::tcp {

void Core::check_invariants() const {
  uint64_t edges = 0;
  uint32_t listed = 0;
  for (uint32_t index = 0; index < connections_.count(); ++index) {
    const Connection& c = connections_[index];
    if (c.state == TcpState::closed) continue;
    check(find(c.flow, secret_.table_hash(c.flow)) == FlowPlace{FlowKind::connection, index}, "connection not found",
          index);
    check(c.rcv_nxt <= c.rcv_edge, "received beyond the right edge", c.rcv_nxt.value, c.rcv_edge.value);
    check(c.snd_una <= c.snd_nxt, "acknowledged beyond what was sent", c.snd_una.value, c.snd_nxt.value);
    check(c.sent_data() <= c.queue.size(), "sent more than the queue holds", c.sent_data(),
          static_cast<long long>(c.queue.size()));
    check(c.undelivered <= overshoot_max(c) + initial_window_bytes || c.credit > 0, "too much undelivered",
          c.undelivered);
    check(c.reassembly.bytes >= c.undelivered, "undelivered bytes are not there", c.undelivered, c.reassembly.bytes);
    check(c.fin_queued ==
              (c.state == TcpState::fin_wait_1 || c.state == TcpState::closing || c.state == TcpState::last_ack),
          "FIN and state", static_cast<long long>(c.state));
    check(c.board.empty() || c.loss_timer != LossTimer::none || c.listed, "sent, and no timer runs", index);
    check(c.loss_deadline >= c.wheel_deadline || c.loss_timer == LossTimer::none, "timer not in the wheel", index);
    reassembly_.check_invariants(c.reassembly);
    records_.check_invariants(c.board, c.snd_una, c.snd_nxt);
    edges += promised(c);
    listed += c.listed;
  }
  for (uint32_t index = 0; index < half_open_.count(); ++index) {
    if (half_open_timers_.is_set(index)) edges += half_open_[index].window_bytes;
  }
  check(edges == edges_bytes_, "sum of edges", static_cast<long long>(edges), static_cast<long long>(edges_bytes_));
  check(edges_bytes_ <= config_.receive_budget_bytes, "edges beyond the budget", static_cast<long long>(edges_bytes_));
  check(listed == output_.count(), "output list", listed, output_.count());
  check(lingering_.taken_count() == fin_wait_2_.count() + time_wait_.count(), "lingering lists");
}

}  // namespace penstock::tcp
