// What the peer acknowledges: RFC 9293 3.10.7.4 "fifth", RFC 5961 5, RFC 2018 and RFC 2883.
#include <algorithm>
#include <optional>
#include <utility>

#include "dataplane/base/mutation.h"
#include "dataplane/tcp/core.h"

namespace penstock::tcp {

// False: the segment is done with, and so may be the connection.
bool Core::receive_ack(Connection& c, const Segment& segment) {
  const SeqNumber ack = segment.ack();
  if (ack > c.snd_nxt || ack < c.snd_una - c.snd_wnd_max) {
    count(TcpCount::drop_ack_unacceptable);
    challenge(c);
    return false;
  }
  const bool outstanding = !c.board.empty();
  const bool in_doubt = c.loss_timer == LossTimer::reorder;
  const bool repairing = c.repair != Repair::none;
  const bool advances = ack > c.snd_una;
  if (advances) {
    acknowledged(c, segment);
  } else if (ack == c.snd_una && outstanding && !c.has_sack && segment.sequence_length() == 0 &&
             (uint32_t{segment.window()} << c.snd_scale) == c.snd_wnd) {
    count_duplicate_ack(c);  // RFC 5681 2
  }
  // After the cumulative acknowledgement: in the order of sequence, or RACK would see reordering that was none.
  const bool sacked = c.has_sack && !segment.sacks().empty() && read_sacks(c, segment);
  update_window(c, segment, advances);
  if (outstanding) {
    if (sacked || in_doubt || repairing) find_losses(c);
    arm_loss_timer(c);
    list(c);
  }

  const bool fin_acknowledged = c.fin_sent && c.snd_una == c.snd_nxt;
  if (!fin_acknowledged) return true;
  const uint32_t hash = secret_.table_hash(c.flow);
  switch (c.state) {
    case TcpState::fin_wait_1:
      linger(c, LingerState::fin_wait_2);
      // The rest of the segment meets FIN-WAIT-2.
      if (const FlowPlace place = find(segment.flow(), hash); place.kind == FlowKind::time_wait) {
        on_lingering(place.index, segment, hash);
      }
      return false;
    case TcpState::closing:
      linger(c, LingerState::time_wait);
      return false;
    case TcpState::last_ack:
      end_connection(c);
      return false;
    default:
      return true;
  }
}

void Core::acknowledged(Connection& c, const Segment& segment) {
  const SeqNumber ack = segment.ack();
  const uint32_t bytes = ack - c.snd_una;
  const bool fin_acknowledged = c.fin_sent && ack == c.snd_nxt;
  const auto echo =
      c.has_timestamps && segment.has_timestamps() ? std::optional(segment.timestamp_echo()) : std::nullopt;
  bool only_late = false;
  Nanoseconds newest_sent_at = 0;
  records_.acknowledge(c.board, ack, [&](const SentRecord& record, uint32_t, bool whole) {
    if (record.state == SentState::sacked) return;
    if (c.repair != Repair::none && (record.retransmitted || record.state == SentState::lost)) {
      only_late |= c.undo.arrived(record, echo);
    }
    if (whole) c.rack.delivered(record, now_, c.round_trip);
    if (!record.retransmitted) newest_sent_at = std::max(newest_sent_at, record.sent_at);
  });
  if (newest_sent_at > 0) c.round_trip.sample(now_ - newest_sent_at, times_);
  c.snd_una = ack;
  c.retries = 0;
  c.round_trip.forget_backoff();
  c.progress_at = now_;
  c.duplicate_acks = 0;
  if (c.probe_out && ack >= c.probe_end) c.probe_out = false;

  if (only_late) undo_cut(c);
  if (c.repair != Repair::none && ack >= c.recover) {
    c.repair = Repair::none;
    c.rack.recovery_ended();
  }
  if (c.repair != Repair::recovery) c.congestion.acknowledged(bytes, c.round_trip.smoothed(), c.window_limited, now_);
  // RFC 6582 3.2 step 3: a partial acknowledgement says that the next segment is lost too.
  if (c.repair == Repair::recovery && !c.has_sack && !c.board.empty()) {
    SentRecord& record = records_[c.board.first];
    if (record.state == SentState::in_flight) records_.set_state(c.board, record, SentState::lost);
    c.retransmit_now = true;
  }
  release_queue(c, bytes - (fin_acknowledged ? 1 : 0));
  // The retransmission timer starts again (RFC 6298 5.3).
  c.loss_timer = LossTimer::none;
}

void Core::release_queue(Connection& c, uint32_t bytes) {
  if (bytes == 0) return;
  c.queue.drop_front(send_pool_, bytes, [&](BufferIndex buffer) {
    buffers_.release(buffer, Holder::send);
    --c.queue_pieces;
  });
  if (c.reader_closed) return;
  // Never lost: without room the bytes are told with the next ones.
  c.untold_sent += bytes;
  if (!events_.has_room()) return;
  Event& event = events_.push();
  event.kind = StreamEventKind::sent;
  event.stream = id_of(c);
  event.bytes = std::exchange(c.untold_sent, 0);
}

// RFC 2018 5, RFC 2883 5, RFC 8985 6.2. Whether anything changed.
bool Core::read_sacks(Connection& c, const Segment& segment) {
  bool changed = false;
  const auto blocks = segment.sacks();
  const SeqNumber una = later(c.snd_una, segment.ack());
  for (size_t i = 0; i < blocks.size(); ++i) {
    const net::SackBlock& block = blocks[i];
    if (!(block.first < block.end)) continue;
    if (mutated(Mutation::drop_sack_block) && i + 1 == blocks.size()) continue;
    const bool below = block.end <= segment.ack();
    const bool inside_next =
        i == 0 && blocks.size() > 1 && block.first >= blocks[1].first && block.end <= blocks[1].end;
    if (i == 0 && (below || inside_next)) {
      if (below && c.snd_una - block.first > c.snd_wnd_max) continue;  // older than anything that could be meant
      count(TcpCount::duplicate_sacks_received);
      c.rack.duplicate_reported(c.snd_una, c.snd_nxt);
      if (c.undo.arrived_twice(block)) undo_cut(c);
      continue;
    }
    if (block.first < una || block.end > c.snd_nxt) continue;
    records_.sack(c.board, block, [&](const SentRecord& record) {
      changed = true;
      c.rack.delivered(record, now_, c.round_trip);
      if (!record.retransmitted && record.state == SentState::in_flight) {
        c.round_trip.sample(now_ - record.sent_at, times_);
      }
    });
  }
  return changed;
}

// RFC 9293 3.10.7.4: SND.WL1, SND.WL2 keep an old segment from changing the window. As Linux (tcp_ack,
// tcp_may_update_window), also what lies left of SND.WL1 says where the window is when it acknowledges something new
// (`advances`): the right edge is counted from there. And nothing does that acknowledges less than SND.UNA.
void Core::update_window(Connection& c, const Segment& segment, bool advances) {
  if (segment.ack() < c.snd_una) return;
  const bool newer =
      advances || c.snd_wl1 < segment.seq() || (c.snd_wl1 == segment.seq() && c.snd_wl2 <= segment.ack());
  if (!newer) return;
  const uint32_t window = uint32_t{segment.window()} << c.snd_scale;
  const bool grown = window > c.snd_wnd;
  c.snd_wnd = window;
  c.snd_wl1 = later(c.snd_wl1, segment.seq());
  c.snd_wl2 = segment.ack();
  c.snd_wnd_max = std::max(c.snd_wnd_max, window);
  c.persist_probes = 0;  // the peer is there
  if (window > 0) {
    c.window_closed_at = 0;
    c.persist_backoff = 0;
  }
  if (grown || c.loss_timer == LossTimer::persist) list(c);
}

void Core::count_duplicate_ack(Connection& c) {
  constexpr uint32_t threshold = 3;  // RFC 5681 3.2
  if (++c.duplicate_acks == threshold && c.repair == Repair::none) {
    records_.set_state(c.board, records_[c.board.first], SentState::lost);
    enter_recovery(c);
  } else {
    list(c);  // RFC 3042: something has left the network; `sendable` counts it
  }
}

}  // namespace penstock::tcp
