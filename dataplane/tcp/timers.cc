// Deadlines. Each connection has a few and one place in the wheel, which is set no later than the earliest of them;
// when it fires too early it is set again. So the delayed acknowledgement, set and cleared all the time, costs nothing.
#include <algorithm>

#include "dataplane/tcp/core.h"

namespace penstock::tcp {

void Core::begin_poll(Nanoseconds now) {
  now_ = std::max(now_, now);
  blocked_ = false;
  neighbour_.on_timer(now_);
  timers_.expire(now_, [&](uint32_t index) {
    Connection& c = connections_[index];
    c.wheel_deadline = never_ns;
    on_timer(c);
  });
  half_open_timers_.expire(now_, [&](uint32_t index) { on_half_open_timer(index); });
  expire_lingering();
}

void Core::end_poll() { serve_budget(); }

Nanoseconds Core::next_deadline() const {
  if (blocked_) return now_ + millisecond_ns;
  if (!events_.empty() || output_.count() > 0 || !replies_.empty()) return now_;
  if (budget_first_ != no_index && edges_bytes_ + budget_step_bytes <= config_.receive_budget_bytes) return now_;
  Nanoseconds next = std::min({timers_.next_deadline(), half_open_timers_.next_deadline(), neighbour_.next_deadline()});
  for (const IndexList<Lingering>* list : {&fin_wait_2_, &time_wait_}) {
    if (list->first() != no_index) next = std::min(next, lingering_[list->first()].deadline);
  }
  return next;
}

void Core::arm(Connection& c) {
  const Nanoseconds earliest = std::min({c.loss_deadline, c.ack_deadline, c.keepalive_deadline});
  if (earliest >= c.wheel_deadline) return;
  c.wheel_deadline = earliest;
  timers_.set(index_of(c), earliest);
}

void Core::on_timer(Connection& c) {
  if (c.state == TcpState::closed) return;
  if (c.ack_deadline <= now_) {
    c.ack_deadline = never_ns;
    c.ack_now = true;
    list(c);
  }
  if (c.keepalive_deadline <= now_) {
    c.keepalive_deadline = never_ns;
    on_keepalive(c);
    if (c.state == TcpState::closed) return;
  }
  if (c.loss_deadline <= now_) {
    const LossTimer what = c.loss_timer;
    c.loss_timer = LossTimer::none;
    c.loss_deadline = never_ns;
    switch (what) {
      case LossTimer::none:
        break;
      case LossTimer::retransmit:
        on_retransmit_timeout(c);
        break;
      case LossTimer::reorder:
        find_losses(c);
        break;
      case LossTimer::persist:
        on_persist(c);
        break;
      case LossTimer::probe:
        c.probe_due = true;
        list(c);
        break;
    }
    if (c.state == TcpState::closed) return;
    if (!c.board.empty() && what != LossTimer::probe) arm_loss_timer(c);
  }
  arm(c);
}

void Core::on_persist(Connection& c) {
  if (!c.board.empty() || c.unsent() == 0) return;
  const bool unanswered = c.persist_probes >= times_.persist_probes_max;
  const bool too_long = c.window_closed_at != 0 && now_ - c.window_closed_at >= times_.persist_limit;
  if (unanswered || too_long) return time_out(c);
  ++c.persist_probes;
  ++c.persist_backoff;
  c.persist_due = true;
  list(c);
}

// RFC 1122 4.2.3.6.
void Core::on_keepalive(Connection& c) {
  if (times_.keepalive_idle == 0) return;
  const Nanoseconds idle = now_ - c.last_received_at;
  if (idle < times_.keepalive_idle) {
    c.keepalive_probes = 0;
    c.keepalive_deadline = c.last_received_at + times_.keepalive_idle;
    return arm(c);
  }
  if (c.board.empty() && c.loss_timer != LossTimer::persist) {  // otherwise those timers find out
    if (c.keepalive_probes >= times_.keepalive_probes_max) return time_out(c);
    ++c.keepalive_probes;
    c.keepalive_due = true;
    list(c);
  }
  c.keepalive_deadline = now_ + times_.keepalive_interval;
  arm(c);
}

}  // namespace penstock::tcp
