// Loss: found by RACK (RFC 8985), by three duplicate acknowledgements when the peer has no SACK (RFC 6582), or by the
// timers; then one recovery, in which what is lost is sent again before anything new (RFC 6675).
#include <algorithm>

#include "dataplane/base/mutation.h"
#include "dataplane/tcp/core.h"

namespace penstock::tcp {

void Core::find_losses(Connection& c) {
  if (!c.has_sack || c.board.empty()) return;
  const Rack::Judgement judgement =
      c.rack.judge(records_, c.board, c.round_trip, c.mss, c.repair != Repair::none, now_);
  if (judgement.lost_any) {
    if (c.repair == Repair::none) enter_recovery(c);
    list(c);
  }
  if (judgement.judge_again_in > 0) {
    set_loss_timer(c, LossTimer::reorder, now_ + judgement.judge_again_in);
  } else if (c.loss_timer == LossTimer::reorder) {
    set_loss_timer(c, LossTimer::none, never_ns);
  }
}

// RFC 6675 5 step 4, RFC 6582 3.2 step 2. The window falls once for each round trip that lost something.
void Core::enter_recovery(Connection& c) {
  count(TcpCount::fast_recoveries);
  c.repair = Repair::recovery;
  c.recover = c.snd_nxt;
  note_cut(c);
  c.congestion.lost(std::min<uint64_t>(c.snd_nxt - c.snd_una, c.congestion.window()));
  c.retransmit_now = true;
  c.probe_out = false;
  list(c);
}

void Core::note_cut(Connection& c) {
  const Nanoseconds sent_at = records_[c.board.first].sent_at;
  c.undo.cut(c.congestion, c.snd_una, c.snd_nxt, FlowSecret::timestamp_clock(sent_at, c.timestamp_offset));
}

// RFC 4015 3.2, RFC 9438 4.9.2: what was thought lost was late. Nothing counts as lost any more; what still is will be
// found again, with a longer patience. The window is as it was (as Linux; RFC 4015 would open it more slowly after a
// timeout).
void Core::undo_cut(Connection& c) {
  count(TcpCount::cuts_undone);
  c.congestion.restore(c.undo.before());
  c.undo.forget();
  if (c.repair == Repair::recovery) c.rack.reordered();
  c.repair = Repair::none;
  c.retransmit_now = false;
  records_.for_each(c.board, [&](SentRecord& record) {
    if (record.state == SentState::lost) records_.set_state(c.board, record, SentState::in_flight);
  });
  list(c);
}

// RFC 6298 5.4 to 5.6, RFC 5681 3.1.
void Core::on_retransmit_timeout(Connection& c) {
  if (c.board.empty()) return;
  count(TcpCount::retransmission_timeouts);
  const bool silent = times_.user_timeout > 0 && now_ - c.progress_at >= times_.user_timeout;
  if (++c.retries > times_.retries_max || silent) return time_out(c);
  if (c.retries == 1 && c.repair == Repair::none) {
    note_cut(c);
  } else {
    c.undo.forget();
  }
  c.congestion.timed_out(std::min<uint64_t>(c.snd_nxt - c.snd_una, c.congestion.window()), c.retries == 1);
  if (!mutated(Mutation::no_backoff)) c.round_trip.back_off();
  // What was acknowledged out of order need not be sent again, unless the peer has thrown it away: then it has also
  // thrown away what is next. RFC 2018 8 forgets all of it at every timeout.
  const bool reneged = records_[c.board.first].state == SentState::sacked;
  records_.for_each(c.board, [&](SentRecord& record) {
    if (record.state == SentState::in_flight || reneged) records_.set_state(c.board, record, SentState::lost);
  });
  c.repair = Repair::after_timeout;
  c.recover = c.snd_nxt;
  c.retransmit_now = true;
  c.probe_due = c.probe_out = false;
  c.duplicate_acks = 0;
  list(c);
}

void Core::set_loss_timer(Connection& c, LossTimer what, Nanoseconds deadline) {
  c.loss_timer = what;
  c.loss_deadline = what == LossTimer::none ? never_ns : deadline;
  arm(c);
}

// After an acknowledgement, and after something was sent: what the one timer waits for.
void Core::arm_loss_timer(Connection& c) {
  if (c.loss_timer == LossTimer::reorder) return;
  if (c.board.empty()) {
    const bool stuck = c.unsent() > 0 && !c.fin_sent;
    if (!stuck) {
      if (c.loss_timer != LossTimer::none) set_loss_timer(c, LossTimer::none, never_ns);
      return;
    }
    if (c.loss_timer == LossTimer::persist) return;
    // RFC 9293 3.8.6.1: the window is closed, or too small to be worth a segment; doubled each time.
    if (c.window_closed_at == 0) c.window_closed_at = now_;
    Nanoseconds wait = c.round_trip.timeout(times_);
    for (uint32_t i = 0; i < c.persist_backoff && wait < times_.persist_max; ++i) wait *= 2;
    const Nanoseconds next = now_ + std::min(wait, times_.persist_max);
    const Nanoseconds limit = c.window_closed_at + times_.persist_limit;
    return set_loss_timer(c, LossTimer::persist, std::max(now_, std::min(next, limit)));
  }
  const Nanoseconds timeout = c.round_trip.timeout(times_);
  // RFC 8985 7.2: a probe sooner than the timeout, when nothing is being repaired.
  const bool probes = c.has_sack && c.repair == Repair::none && !c.probe_out && c.board.sacked_bytes == 0 &&
                      c.retries == 0 && c.round_trip.smoothed() > 0;
  if (probes) {
    Nanoseconds wait = 2 * c.round_trip.smoothed() + 2 * millisecond_ns;
    if (c.board.count == 1) wait += times_.rto_min;  // the peer may delay its acknowledgement (7.2, as Linux)
    // New data puts the probe off, but not beyond the timeout that runs since something was acknowledged.
    if (now_ + wait < c.progress_at + timeout) return set_loss_timer(c, LossTimer::probe, now_ + wait);
    if (c.loss_timer != LossTimer::retransmit) {
      return set_loss_timer(c, LossTimer::retransmit, std::max(now_, c.progress_at + timeout));
    }
  }
  if (c.loss_timer == LossTimer::retransmit) return;  // runs already (RFC 6298 5.1)
  set_loss_timer(c, LossTimer::retransmit, now_ + timeout);
}

}  // namespace penstock::tcp
