#include "tests/netsim/peer_tcp.h"

#include <algorithm>

namespace penstock::netsim {
namespace {
constexpr Nanoseconds timeout_max_ns = 4 * second_ns;
constexpr uint32_t timestamp_origin = 0xfffff000;  // wraps soon, on purpose
}  // namespace

PeerTcp::PeerTcp(const PeerConfig& config, Nanoseconds now)
    : config_(config), mss_(config.mss), timeout_ns_(config.retransmit_ns), probe_ns_(config.retransmit_ns) {
  in_flight_[0] = Sent{.end = 1, .at = now, .lost = true, .times = 0};
  next_ = 1;
  congestion_window_ = uint64_t{10} * mss_;
}

void PeerTcp::reset() {
  if (state_ != State::open && state_ != State::opening) return;
  reset_due_ = state_ == State::open;
  state_ = State::reset;
}

size_t PeerTcp::read(Bytes& to, size_t limit) {
  const size_t count = std::min(limit, received_.size());
  to.insert(to.end(), received_.begin(), received_.begin() + static_cast<ptrdiff_t>(count));
  received_.erase(received_.begin(), received_.begin() + static_cast<ptrdiff_t>(count));
  const At before = my_edge_;
  const bool was_small = before - expected_ < mss_;
  move_edge();
  if (state_ == State::open && my_edge_ > before && was_small) ack_now_ = true;
  return count;
}

// ---- what arrives ----

void PeerTcp::on_segment(const Segment& segment, Nanoseconds now) {
  if (vanished_ || state_ == State::reset || state_ == State::refused) return;
  if (state_ == State::opening) return on_opening(segment, now);
  heard(now);
  const At at = unwrap(segment.sequence, stack_initial_, expected_);
  if (segment.rst) {
    // RFC 5961 section 3.2: exactly the next one, or it is not believed.
    // And in TIME-WAIT none is (RFC 1337).
    const bool time_wait = fin_received_ && all_acknowledged();
    if (at == expected_ && !time_wait) state_ = State::reset;
    return;
  }
  if (segment.syn) {
    ack_now_ = true;
    return;
  }
  if (!segment.ack) return complain("a segment without ACK: " + to_string(segment));
  if (!timestamps_acceptable(segment, at)) {
    ack_now_ = true;
    return;
  }
  take_acknowledgement(segment, now);
  take_payload(segment, at);
  if (unacknowledged_segments_ > 0 && ack_at_ == never_ns) ack_at_ = now + config_.delayed_ack_ns;
}

void PeerTcp::on_opening(const Segment& segment, Nanoseconds now) {
  if (!segment.ack || segment.acknowledgement != config_.initial_sequence + 1) return;
  if (segment.rst) {
    state_ = State::refused;
    return;
  }
  if (!segment.syn) return;
  if (segment.window_scale && !config_.window_scale) return complain("window scale that nobody offered");
  if (segment.sack_permitted && !config_.sack) return complain("SACK that nobody offered");
  if (segment.timestamps && !config_.timestamps) return complain("timestamps that nobody offered");
  if (segment.window_scale.value_or(0) > 14) return complain("window scale above 14");
  state_ = State::open;
  stack_initial_ = segment.sequence;
  expected_ = last_ack_sent_ = 1;
  scale_in_ = segment.window_scale.value_or(0);
  scale_out_ = segment.window_scale ? *config_.window_scale : uint8_t{0};
  sack_ = segment.sack_permitted;
  timestamps_ = segment.timestamps.has_value();
  if (timestamps_) recent_timestamp_ = segment.timestamps->first;
  mss_ = std::min(mss_, segment.mss.value_or(config_.local.address.v6 ? uint16_t{1220} : uint16_t{536}));
  first_ = 1;
  in_flight_.clear();
  edge_ = 1 + segment.window;  // never scaled in a SYN
  my_edge_ = 1 + static_cast<At>(std::min<uint64_t>(config_.receive_buffer_bytes, 65535));
  timeout_at_ = never_ns;
  timeout_ns_ = config_.retransmit_ns;
  ack_now_ = true;
  heard(now);
}

// RFC 7323 section 5.3.
bool PeerTcp::timestamps_acceptable(const Segment& segment, At at) {
  if (!timestamps_) {
    if (segment.timestamps) complain("timestamps that were not agreed on");
    return true;
  }
  if (!segment.timestamps) {
    complain("a segment without the timestamps agreed on: " + to_string(segment));
    return true;
  }
  if (static_cast<int32_t>(segment.timestamps->first - recent_timestamp_) < 0) return false;
  if (at <= last_ack_sent_) recent_timestamp_ = segment.timestamps->first;
  return true;
}

void PeerTcp::take_acknowledgement(const Segment& segment, Nanoseconds now) {
  const At ack = unwrap(segment.acknowledgement, config_.initial_sequence, first_);
  if (ack > next_) return complain("acknowledges what was never sent: " + to_string(segment));
  const At edge = ack + (At{segment.window} << scale_in_);
  const bool duplicate =
      ack == first_ && edge <= edge_ && segment.payload.empty() && !segment.fin && !in_flight_.empty();
  if (edge > edge_) {
    edge_ = edge;
    probe_at_ = never_ns;
    probe_ns_ = config_.retransmit_ns;
  }
  if (ack > first_) {
    congestion_window_ = std::min(congestion_window_ + static_cast<uint64_t>(ack - first_), config_.flight_bytes_max);
    first_ = ack;
    while (!in_flight_.empty() && in_flight_.begin()->first < ack) {
      const auto [begin, sent] = *in_flight_.begin();
      in_flight_.erase(in_flight_.begin());
      if (sent.end > ack) in_flight_[ack] = sent;
    }
    // The stream's part of what is acknowledged is not needed any more.
    const At drop = std::min(ack, end_to_send()) - stream_begin_;
    if (drop > 0) {
      to_send_.erase(to_send_.begin(), to_send_.begin() + drop);
      stream_begin_ += drop;
    }
    timeout_ns_ = config_.retransmit_ns;
    timeout_at_ = in_flight_.empty() ? never_ns : now + timeout_ns_;
    duplicate_acks_ = 0;
    // RFC 6582: a partial acknowledgement shows the next hole.
    if (!sack_ && ack < recover_ && !in_flight_.empty()) in_flight_.begin()->second.lost = true;
  } else if (duplicate) {
    ++duplicate_acks_;
  }
  if (!segment.sack.empty() && !sack_) complain("SACK blocks that were not agreed on");
  for (const auto& [wire_begin, wire_end] : segment.sack) {
    const At begin = unwrap(wire_begin, config_.initial_sequence, first_);
    const At end = unwrap(wire_end, config_.initial_sequence, first_);
    if (begin >= end || end > next_) complain("a SACK block of what was never sent: " + to_string(segment));
    for (auto& [sent_begin, sent] : in_flight_) {
      if (sent_begin >= begin && sent.end <= end) sent.sacked = true, sent.lost = false;
    }
  }
  find_losses(now);
}

// Lost is what has three segments' worth of selectively acknowledged bytes beyond it, or, without SACK, the first after
// three duplicates. What was sent again gets half a timeout before it counts as lost once more.
void PeerTcp::find_losses(Nanoseconds now) {
  At highest = 0;
  for (const auto& [begin, sent] : in_flight_) {
    if (sent.sacked) highest = sent.end;
  }
  bool found = false;
  for (auto& [begin, sent] : in_flight_) {
    const bool patience = sent.times > 1 && now - sent.at < config_.retransmit_ns / 2;
    if (sent.sacked || sent.lost || patience || sent.end + 3 * mss_ > highest) continue;
    sent.lost = found = true;
  }
  if (!sack_ && duplicate_acks_ == 3 && !in_flight_.empty()) in_flight_.begin()->second.lost = found = true;
  if (found && first_ >= recover_) {
    recover_ = next_;
    congestion_window_ = std::max(congestion_window_ / 2, uint64_t{2} * mss_);
  }
}

void PeerTcp::take_payload(const Segment& segment, At at) {
  const At end = at + static_cast<At>(segment.payload.size());
  if (end > my_edge_ + 1) {
    complain("sends beyond the window: " + to_string(segment) + ", edge at " +
             std::to_string(stack_initial_ + static_cast<uint32_t>(my_edge_)));
  }
  if (segment.fin) {
    if (fin_at_ && *fin_at_ != end) complain("the FIN moves: " + to_string(segment));
    fin_at_ = end;
  }
  if (fin_at_ && !segment.payload.empty() && end > *fin_at_) complain("data behind the FIN: " + to_string(segment));
  const bool takes_space = !segment.payload.empty() || segment.fin;
  // RFC 9293 section 3.10.7.4, first: what is not acceptable is answered with an ACK.
  if (at < expected_ && (!takes_space || end + (segment.fin ? 1 : 0) <= expected_)) {
    if (takes_space) note_duplicate(at, end);
    ack_now_ = true;
    return;
  }
  if (!takes_space) return;
  ++unacknowledged_segments_;
  if (end > expected_ && !segment.payload.empty()) {
    const At from = std::max(at, expected_);
    if (at < expected_) note_duplicate(at, expected_);
    if (const auto same = early_.find(from); same != early_.end())
      note_duplicate(from, std::min(end, from + static_cast<At>(same->second.size())));
    Bytes& kept = early_[from];
    if (kept.size() < static_cast<size_t>(end - from))
      kept.assign(segment.payload.begin() + (from - at), segment.payload.end());
    latest_early_ = from;
  }
  // Whatever has become contiguous moves over.
  const At before = expected_;
  while (!early_.empty() && early_.begin()->first <= expected_) {
    const auto [begin, bytes] = *early_.begin();
    early_.erase(early_.begin());
    const At skip = expected_ - begin;
    if (skip >= static_cast<At>(bytes.size())) continue;
    received_.insert(received_.end(), bytes.begin() + skip, bytes.end());
    expected_ += static_cast<At>(bytes.size()) - skip;
  }
  if (fin_at_ && expected_ == *fin_at_) {
    fin_received_ = true;
    expected_ = *fin_at_ + 1;
  }
  if (expected_ == before || !early_.empty() || fin_received_) ack_now_ = true;
  if (config_.delayed_ack_ns == 0 || unacknowledged_segments_ >= config_.ack_every) ack_now_ = true;
  move_edge();
}

void PeerTcp::note_duplicate(At begin, At end) {
  if (sack_ && config_.duplicate_sack && begin < end) duplicate_ = {begin, end};
}

// RFC 9293 section 3.8.6.2.2: in steps worth announcing, never back.
void PeerTcp::move_edge() {
  const At space = static_cast<At>(config_.receive_buffer_bytes) - static_cast<At>(received_.size());
  const At edge = expected_ + std::max<At>(space, 0);
  const At step = std::min<At>(mss_, static_cast<At>(config_.receive_buffer_bytes / 2));
  if (edge >= my_edge_ + step) my_edge_ = edge;
}

// ---- what leaves ----

void PeerTcp::step(Nanoseconds now, std::vector<Segment>& out) {
  if (vanished_) return;
  if (reset_due_) {
    reset_due_ = false;
    Segment segment = bare(std::min(next_, std::max(edge_, first_)), now);
    segment.rst = true;
    out.push_back(std::move(segment));
    return;
  }
  if (state_ == State::reset || state_ == State::refused) return;
  const size_t before = out.size();
  if (now >= timeout_at_) retransmit_after_timeout(now);
  send_lost(now, out);
  if (state_ != State::open) return;
  send_new(now, out);
  probe(now, out);
  if (out.size() == before && (ack_now_ || now >= ack_at_)) {
    out.push_back(bare(std::min(next_, std::max(edge_, first_)), now));
  }
  if (now >= keepalive_at_) {  // RFC 1122 section 4.2.3.6
    out.push_back(bare(next_ - 1, now));
    heard(now);
  }
}

Nanoseconds PeerTcp::next_deadline() const {
  if (vanished_) return never_ns;
  if (reset_due_) return 0;
  if (state_ == State::reset || state_ == State::refused) return never_ns;
  if (ack_now_) return 0;
  const bool room = outstanding() < congestion_window_;
  for (const auto& [begin, sent] : in_flight_) {
    if (sent.lost && (room || begin == first_)) return 0;
  }
  return std::min({timeout_at_, ack_at_, probe_at_, keepalive_at_});
}

// RFC 2018 section 8: a timeout also forgets what was selectively acknowledged.
void PeerTcp::retransmit_after_timeout(Nanoseconds now) {
  timeout_ns_ = std::min(2 * timeout_ns_, timeout_max_ns);
  timeout_at_ = now + timeout_ns_;
  for (auto& [begin, sent] : in_flight_) sent.lost = true, sent.sacked = false;
  congestion_window_ = uint64_t{2} * mss_;
  recover_ = next_;
}

uint64_t PeerTcp::outstanding() const {
  uint64_t bytes = 0;
  for (const auto& [begin, sent] : in_flight_) {
    if (!sent.lost && !sent.sacked) bytes += static_cast<uint64_t>(sent.end - begin);
  }
  return bytes;
}

void PeerTcp::send_lost(Nanoseconds now, std::vector<Segment>& out) {
  for (auto it = in_flight_.begin(); it != in_flight_.end(); ++it) {
    auto& [begin, sent] = *it;
    if (!sent.lost) continue;
    if (begin != first_ && outstanding() >= congestion_window_) return;
    if (sent.end - begin > payload_max()) {  // the path has become narrower
      in_flight_[begin + payload_max()] = sent;
      sent.end = begin + payload_max();
    }
    sent.lost = false;
    sent.at = now;
    ++sent.times;
    out.push_back(segment_of(begin, sent.end, now));
    if (timeout_at_ == never_ns) timeout_at_ = now + timeout_ns_;
  }
}

void PeerTcp::send_new(Nanoseconds now, std::vector<Segment>& out) {
  while (next_ < end_to_send() || fin_waits()) {
    const At allowed = edge_ - next_;
    const At waiting = end_to_send() - next_;
    if (allowed <= 0 || outstanding() >= congestion_window_) return;
    const At length = std::min({payload_max(), allowed, waiting});
    // RFC 9293 section 3.8.6.2.1: a part of a segment waits while anything is on its way.
    if (length < payload_max() && length < waiting && !in_flight_.empty()) return;
    const bool with_fin = finishing_ && length == waiting && length < allowed;
    if (length == 0 && !with_fin) return;
    const At end = next_ + length + (with_fin ? 1 : 0);
    in_flight_[next_] = Sent{.end = end, .at = now};
    fin_sent_ |= with_fin;
    const At begin = next_;
    next_ = end;
    out.push_back(segment_of(begin, end, now));
    if (timeout_at_ == never_ns) timeout_at_ = now + timeout_ns_;
  }
}

// RFC 9293 section 3.8.6.1. A byte that is probed with is in flight from then on, and its timer probes again.
void PeerTcp::probe(Nanoseconds now, std::vector<Segment>& out) {
  const bool stuck = in_flight_.empty() && edge_ <= next_ && (next_ < end_to_send() || fin_waits());
  if (!stuck) {
    probe_at_ = never_ns;
    return;
  }
  if (probe_at_ == never_ns) probe_at_ = now + probe_ns_;
  if (now < probe_at_) return;
  probe_ns_ = std::min(2 * probe_ns_, timeout_max_ns);
  probe_at_ = now + probe_ns_;
  if (config_.probe_with_data) {
    fin_sent_ |= next_ == end_to_send();
    in_flight_[next_] = Sent{.end = next_ + 1, .at = now};
    ++next_;
    out.push_back(segment_of(next_ - 1, next_, now));
    timeout_at_ = now + probe_ns_;
  } else {
    out.push_back(bare(first_ - 1, now));
  }
}

Segment PeerTcp::segment_of(At begin, At end, Nanoseconds now) {
  Segment segment = bare(begin, now);
  if (begin == 0) {
    segment.syn = true;
    segment.ack = false;
    segment.acknowledgement = 0;
    segment.window = static_cast<uint16_t>(std::min<uint64_t>(config_.receive_buffer_bytes, 65535));
    if (config_.announce_mss) segment.mss = config_.mss;
    segment.window_scale = config_.window_scale;
    segment.sack_permitted = config_.sack;
    if (config_.timestamps) {
      segment.timestamps = {timestamp_origin + static_cast<uint32_t>(now / millisecond_ns), 0};
    }
    return segment;
  }
  const At data_end = std::min(end, end_to_send());
  segment.fin = fin_sent_ && end > end_to_send();
  if (begin < data_end) {
    segment.payload.assign(to_send_.begin() + (begin - stream_begin_), to_send_.begin() + (data_end - stream_begin_));
    segment.psh = data_end == end_to_send();
  }
  while (!segment.sack.empty() && segment.payload.size() + option_bytes(segment) > mss_) segment.sack.pop_back();
  return segment;
}

// An acknowledgement; also the beginning of everything else.
Segment PeerTcp::bare(At sequence, Nanoseconds now) {
  Segment segment;
  segment.link_from = config_.link_local;
  segment.link_to = config_.link_remote;
  segment.from = config_.local;
  segment.to = config_.remote;
  segment.sequence = config_.initial_sequence + static_cast<uint32_t>(sequence);
  if (state_ == State::opening) return segment;
  segment.ack = true;
  segment.acknowledgement = stack_initial_ + static_cast<uint32_t>(expected_);
  const At unit = At{1} << scale_out_;
  const At field = std::min<At>((std::max<At>(my_edge_ - expected_, 0) + unit - 1) / unit, 65535);
  // Rounding up announces a little more than was meant; from now on it is meant.
  my_edge_ = std::max(my_edge_, expected_ + field * unit);
  segment.window = static_cast<uint16_t>(field);
  if (timestamps_) {
    segment.timestamps = {timestamp_origin + static_cast<uint32_t>(now / millisecond_ns), recent_timestamp_};
  }
  if (sack_) {
    const auto wire = [&](At at) { return stack_initial_ + static_cast<uint32_t>(at); };
    if (duplicate_) segment.sack.emplace_back(wire(duplicate_->first), wire(duplicate_->second));
    duplicate_.reset();
    // Blocks of contiguous early bytes; the one that changed last stands first.
    std::vector<std::pair<At, At>> blocks;
    for (const auto& [begin, bytes] : early_) {
      const At end = begin + static_cast<At>(bytes.size());
      if (!blocks.empty() && begin <= blocks.back().second) {
        blocks.back().second = std::max(blocks.back().second, end);
      } else {
        blocks.emplace_back(begin, end);
      }
    }
    const auto latest = std::ranges::find_if(
        blocks, [&](const auto& block) { return block.first <= latest_early_ && latest_early_ < block.second; });
    if (latest != blocks.end()) std::rotate(blocks.begin(), latest, latest + 1);
    const size_t room = timestamps_ ? 3 : 4;
    for (const auto& [begin, end] : blocks) {
      if (segment.sack.size() < room) segment.sack.emplace_back(wire(begin), wire(end));
    }
  }
  last_ack_sent_ = expected_;
  unacknowledged_segments_ = 0;
  ack_now_ = false;
  ack_at_ = never_ns;
  return segment;
}

}  // namespace penstock::netsim
