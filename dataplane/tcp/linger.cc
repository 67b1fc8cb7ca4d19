// FIN-WAIT-2 and TIME-WAIT. The lane has been told that the stream is closed; what is left to do needs little memory
// and is bounded: when the table is full the oldest entry goes.
#include <algorithm>

#include "dataplane/tcp/core.h"

namespace penstock::tcp {

void Core::linger(Connection& c, LingerState state) {
  uint32_t index = lingering_.take();
  if (index == no_index) {
    const uint32_t oldest = time_wait_.first() != no_index ? time_wait_.first() : fin_wait_2_.first();
    if (oldest != no_index) {
      count(TcpCount::time_wait_evicted);
      drop_lingering(oldest);
      index = lingering_.take();
    }
  }
  const net::Flow flow = c.flow;
  Lingering entry;
  entry.flow = flow;
  entry.link = c.link;
  entry.snd_nxt = c.snd_nxt;
  entry.rcv_nxt = c.rcv_nxt;
  entry.rcv_edge = c.rcv_edge;
  entry.ts_recent = c.ts_recent;
  entry.timestamp_offset = c.timestamp_offset;
  entry.has_timestamps = c.has_timestamps;
  entry.rcv_scale = c.rcv_scale;
  const bool acknowledge = c.rcv_acked != c.rcv_nxt || c.ack_now;
  end_connection(c);
  if (index == no_index) return;  // time_wait_max is 0
  lingering_[index] = entry;
  lingering_[index].state = state;
  flows_.insert(secret_.table_hash(flow), {FlowKind::time_wait, index});
  lingering_[index].deadline = now_ + (state == LingerState::time_wait ? times_.time_wait : times_.fin_wait_2);
  (state == LingerState::time_wait ? time_wait_ : fin_wait_2_).push_back(lingering_, index);
  if (state == LingerState::time_wait) count(TcpCount::time_wait_entered);
  if (acknowledge) answer_lingering(lingering_[index]);
}

// Each list is in order of its deadlines, because all its entries wait equally long.
void Core::set_lingering(uint32_t index, LingerState state) {
  Lingering& entry = lingering_[index];
  (entry.state == LingerState::time_wait ? time_wait_ : fin_wait_2_).remove(lingering_, index);
  if (entry.state != LingerState::time_wait && state == LingerState::time_wait) count(TcpCount::time_wait_entered);
  entry.state = state;
  entry.deadline = now_ + (state == LingerState::time_wait ? times_.time_wait : times_.fin_wait_2);
  (state == LingerState::time_wait ? time_wait_ : fin_wait_2_).push_back(lingering_, index);
}

void Core::drop_lingering(uint32_t index) {
  Lingering& entry = lingering_[index];
  (entry.state == LingerState::time_wait ? time_wait_ : fin_wait_2_).remove(lingering_, index);
  flows_.erase(secret_.table_hash(entry.flow), {FlowKind::time_wait, index});
  lingering_.give(index);
}

void Core::expire_lingering() {
  for (IndexList<Lingering>* list : {&fin_wait_2_, &time_wait_}) {
    while (list->first() != no_index && lingering_[list->first()].deadline <= now_) drop_lingering(list->first());
  }
}

void Core::answer_lingering(Lingering& entry) {
  OptionWriter options;
  if (entry.has_timestamps) options.timestamps(timestamp_clock(entry.timestamp_offset), entry.ts_recent);
  const uint32_t window = (entry.rcv_edge - entry.rcv_nxt) >> entry.rcv_scale;
  const BareSegment segment{entry.flow,    entry.link,    entry.snd_nxt,
                            entry.rcv_nxt, net::flag_ack, static_cast<uint16_t>(std::min(window, 65'535u))};
  if (reply(segment, options)) count(TcpCount::acks_sent);
}

// RFC 9293 3.10.7.4 for FIN-WAIT-2 and TIME-WAIT.
void Core::on_lingering(uint32_t index, const Segment& segment, uint32_t hash) {
  Lingering& entry = lingering_[index];
  const bool waiting = entry.state == LingerState::time_wait;
  const bool old_timestamp = entry.has_timestamps && segment.has_timestamps() &&
                             static_cast<int32_t>(segment.timestamp() - entry.ts_recent) < 0;
  // A new connection of the same flow, if it cannot be an old duplicate (RFC 6191 2, RFC 1122 4.2.2.13).
  const bool newer = entry.has_timestamps && segment.has_timestamps()
                         ? static_cast<int32_t>(segment.timestamp() - entry.ts_recent) > 0
                         : segment.seq() > entry.rcv_nxt;
  if (waiting && (segment.flags() & (net::flag_syn | net::flag_ack | net::flag_rst)) == net::flag_syn && newer) {
    drop_lingering(index);
    return on_no_connection(segment, hash);
  }
  const bool in_window = segment.seq() <= entry.rcv_edge && segment.seq_end() >= entry.rcv_nxt;
  if (segment.has(net::flag_rst)) {
    // RFC 1337 3 (F1): ignored in TIME-WAIT.
    if (waiting || segment.seq() != entry.rcv_nxt) return count(TcpCount::drop_rst_unacceptable);
    count(TcpCount::connections_reset_by_peer);
    return drop_lingering(index);
  }
  if (old_timestamp || !in_window || segment.has(net::flag_syn)) {
    count(old_timestamp ? TcpCount::drop_paws : TcpCount::drop_unacceptable);
    if ((segment.has(net::flag_fin) && !old_timestamp) || entry.answers.take(now_)) answer_lingering(entry);
    // The FIN came again: our acknowledgement was lost (RFC 9293 3.10.7.4 "eighth").
    if (waiting && segment.has(net::flag_fin)) set_lingering(index, LingerState::time_wait);
    return;
  }
  if (!segment.has(net::flag_ack)) return count(TcpCount::drop_no_ack);
  if (segment.ack() > entry.snd_nxt) {
    count(TcpCount::drop_ack_unacceptable);
    if (entry.answers.take(now_)) answer_lingering(entry);
    return;
  }
  entry.link = segment.link();
  if (segment.has_timestamps() && segment.seq() <= entry.rcv_nxt) entry.ts_recent = segment.timestamp();
  const SeqNumber data_end = segment.seq() + segment.payload_bytes();
  if (segment.payload_bytes() > 0 && data_end > entry.rcv_nxt) {
    // RFC 1122 4.2.2.13: nobody reads it.
    count(TcpCount::drop_data_after_close);
    OptionWriter options;
    if (entry.has_timestamps) options.timestamps(timestamp_clock(entry.timestamp_offset), entry.ts_recent);
    if (reply({entry.flow, entry.link, entry.snd_nxt, entry.rcv_nxt, net::flag_rst | net::flag_ack}, options)) {
      count(TcpCount::rst_sent);
    }
    return drop_lingering(index);
  }
  if (!segment.has(net::flag_fin)) {
    if (segment.payload_bytes() > 0) answer_lingering(entry);
    return;
  }
  if (!waiting && data_end == entry.rcv_nxt) {
    entry.rcv_nxt += 1;
    if (entry.rcv_edge < entry.rcv_nxt) entry.rcv_edge = entry.rcv_nxt;
    set_lingering(index, LingerState::time_wait);
  } else if (waiting) {
    set_lingering(index, LingerState::time_wait);
  }
  answer_lingering(entry);
}

}  // namespace penstock::tcp
