// LISTEN and SYN-RECEIVED: RFC 9293 3.10.7.2, 3.10.7.4; SYN cookies when the table of half-open connections is full
// (RFC 4987 3.6).
#include <algorithm>
#include <optional>

#include "dataplane/net/frame_writer.h"

#include "dataplane/tcp/core.h"

namespace penstock::tcp {

namespace {

constexpr uint16_t mss_min = 88;  // as Linux: smaller ones only serve to make us send much header for little data

}  // namespace

bool Core::listens(const net::Flow& flow) const {
  return std::find(config_.ports.begin(), config_.ports.end(), flow.local_port) != config_.ports.end();
}

// What belongs to no connection.
void Core::on_no_connection(const Segment& segment, uint32_t hash) {
  // First RST, second ACK, third SYN.
  if (segment.has(net::flag_rst)) return count(TcpCount::drop_no_connection);
  if (!listens(segment.flow())) {
    count(TcpCount::drop_no_listener);
    return reply_reset(segment);
  }
  if (segment.has(net::flag_ack)) {
    const bool may_be_cookie = cookies_sent_ && now_ - cookie_sent_at_ < 2 * FlowSecret::cookie_period_ns;
    if (may_be_cookie && !segment.has(net::flag_syn)) return on_cookie(segment, hash);
    count(TcpCount::drop_no_connection);
    return reply_reset(segment);
  }
  if (segment.has(net::flag_syn)) return on_syn(segment, hash);
  count(TcpCount::drop_no_connection);
}

SynOptions Core::options_of(const Segment& syn) const {
  SynOptions options;
  const uint16_t missing = syn.flow().local.is_v4() ? 536 : 1220;  // RFC 9293 3.7.1
  options.mss = syn.mss() == 0 ? missing : std::max(syn.mss(), mss_min);
  options.window_scale = syn.window_scale();
  options.sack = syn.sack_permitted();
  options.timestamps = syn.has_timestamps();
  return options;
}

void Core::on_syn(const Segment& segment, uint32_t hash) {
  count(TcpCount::syn_received);
  if (!accepting_) {
    count(TcpCount::drop_syn_stopped);
    return reply_reset(segment);
  }
  if (connections_.free_count() == 0) return count(TcpCount::drop_syn_connections_full);
  const uint32_t index = half_open_.take();
  if (index == no_index) return send_cookie(segment);
  HalfOpen& entry = half_open_[index];
  entry = {};
  entry.flow = segment.flow();
  entry.link = segment.link();
  entry.irs = segment.seq();
  entry.iss = secret_.initial_sequence(segment.flow(), now_);
  entry.options = options_of(segment);
  entry.ts_recent = segment.timestamp();
  entry.peer_window = segment.window();
  // Half-open connections may promise half of the budget; beyond that the window opens when there is a reader.
  const bool room = edges_bytes_ + initial_window_bytes <= config_.receive_budget_bytes / 2;
  entry.window_bytes = room ? initial_window_bytes : 0;
  edges_bytes_ += entry.window_bytes;
  flows_.insert(hash, {FlowKind::syn_received, index});
  send_syn_ack(entry);
  half_open_timers_.set(index, now_ + times_.syn_ack_initial);
}

void Core::send_syn_ack(HalfOpen& entry) {
  OptionWriter options;
  options.mss(advertised_mss(entry.flow.local.is_v4()));
  if (entry.options.sack) options.sack_permitted();
  if (entry.options.timestamps) {
    options.timestamps(timestamp_clock(secret_.timestamp_offset(entry.flow)), entry.ts_recent);
  }
  if (entry.options.window_scale != Segment::no_window_scale) options.window_scale(window_scale_);
  reply({entry.flow, entry.link, entry.iss, entry.irs + 1, net::flag_syn | net::flag_ack,
         static_cast<uint16_t>(entry.window_bytes)},
        options);
  entry.sent_at = now_;
  ++entry.sent_count;
}

void Core::on_half_open_timer(uint32_t index) {
  HalfOpen& entry = half_open_[index];
  if (entry.sent_count > times_.syn_ack_retries) {
    count(TcpCount::syn_timeouts);
    return drop_half_open(index);
  }
  count(TcpCount::segments_retransmitted);
  half_open_timers_.set(index, now_ + (times_.syn_ack_initial << std::min(entry.sent_count, 16u)));
  send_syn_ack(entry);
}

void Core::drop_half_open(uint32_t index) {
  HalfOpen& entry = half_open_[index];
  edges_bytes_ -= entry.window_bytes;
  flows_.erase(secret_.table_hash(entry.flow), {FlowKind::syn_received, index});
  half_open_timers_.clear(index);
  half_open_.give(index);
}

// RFC 9293 3.10.7.4 for SYN-RECEIVED.
void Core::on_half_open(uint32_t index, const Segment& segment, uint32_t hash) {
  HalfOpen& entry = half_open_[index];
  const SeqNumber next = entry.irs + 1;
  const auto acknowledge = [&] {
    OptionWriter options;
    if (entry.options.timestamps) {
      options.timestamps(timestamp_clock(secret_.timestamp_offset(entry.flow)), entry.ts_recent);
    }
    reply({entry.flow, entry.link, entry.iss + 1, next, net::flag_ack, static_cast<uint16_t>(entry.window_bytes)},
          options);
  };
  const bool again =
      segment.has(net::flag_syn) && !segment.has(net::flag_ack | net::flag_rst) && segment.seq() == entry.irs;
  if (again) {
    // The SYN came again: our answer was lost, or is slow. One more, but the timer keeps its pace.
    if (now_ - entry.sent_at >= times_.syn_ack_initial / 2) {
      send_syn_ack(entry);
    }
    return;
  }
  if (entry.options.timestamps && segment.has_timestamps() && !segment.has(net::flag_rst) &&
      static_cast<int32_t>(segment.timestamp() - entry.ts_recent) < 0) {
    count(TcpCount::drop_paws);
    return acknowledge();
  }
  const uint32_t length = segment.sequence_length();
  const SeqNumber edge = next + entry.window_bytes;
  const bool acceptable =
      length == 0 ? segment.seq() >= next && segment.seq() <= edge : segment.seq() <= edge && segment.seq_end() > next;
  if (!acceptable) {
    count(TcpCount::drop_unacceptable);
    if (!segment.has(net::flag_rst)) acknowledge();
    return;
  }
  if (segment.has(net::flag_rst)) {
    if (segment.seq() != next) {
      count(TcpCount::drop_rst_unacceptable);
      return acknowledge();  // RFC 5961 3.2
    }
    count(TcpCount::connections_reset_by_peer);
    return drop_half_open(index);
  }
  if (segment.has(net::flag_syn)) {
    count(TcpCount::drop_syn_in_window);
    return acknowledge();
  }
  if (!segment.has(net::flag_ack)) return count(TcpCount::drop_no_ack);
  if (segment.ack() != entry.iss + 1) {
    count(TcpCount::drop_ack_unacceptable);
    return reply_reset(segment);
  }
  if (connections_.free_count() == 0) return count(TcpCount::drop_ack_connections_full);

  const HalfOpen opened = entry;
  // The promise moves to the connection.
  half_open_[index].window_bytes = 0;
  drop_half_open(index);
  const uint32_t connection_index =
      open_connection(segment, opened.options, opened.iss, opened.irs, opened.window_bytes, hash);
  Connection& connection = connections_[connection_index];
  connection.ts_recent = opened.ts_recent;
  if (opened.sent_count == 1) {
    connection.round_trip.sample(now_ - opened.sent_at, times_);  // Karn
  } else {
    connection.congestion.start_after_loss();
  }
  receive(connection, segment);
}

// Nothing is kept: what the SYN said is in the sequence number and the timestamp. No window is promised, since nobody
// counts how often.
void Core::send_cookie(const Segment& segment) {
  const SynOptions said = options_of(segment);
  const SeqNumber cookie = secret_.cookie(segment.flow(), segment.seq(), said.mss, now_);
  OptionWriter options;
  options.mss(advertised_mss(segment.flow().local.is_v4()));
  if (said.timestamps) {
    if (said.sack) options.sack_permitted();
    options.timestamps(secret_.cookie_timestamp(segment.flow(), said, now_), segment.timestamp());
    if (said.window_scale != Segment::no_window_scale) options.window_scale(window_scale_);
  }
  if (!reply({segment.flow(), segment.link(), cookie, segment.seq() + 1, net::flag_syn | net::flag_ack, 0}, options)) {
    return;
  }
  count(TcpCount::syn_cookies_sent);
  cookies_sent_ = true;
  cookie_sent_at_ = now_;
}

void Core::on_cookie(const Segment& segment, uint32_t hash) {
  const std::optional<uint32_t> echo =
      segment.has_timestamps() ? std::optional(segment.timestamp_echo()) : std::nullopt;
  SeqNumber irs = segment.seq() - 1;
  auto options = secret_.check_cookie(segment.flow(), segment.ack() - 1, irs, echo, now_);
  // The first ACK may have been lost. The window being shut, a probe of it follows, and that may stand at the ISN
  // itself: without payload (as Linux), or with one byte (RFC 1122 4.2.3.6).
  const bool may_probe = segment.payload_bytes() <= 1 && !segment.has(net::flag_fin);
  if (!options.has_value() && may_probe) {
    irs = segment.seq();
    options = secret_.check_cookie(segment.flow(), segment.ack() - 1, irs, echo, now_);
  }
  if (!options.has_value()) {
    count(TcpCount::drop_cookie_invalid);
    return reply_reset(segment);
  }
  if (!accepting_ || connections_.free_count() == 0) return count(TcpCount::drop_ack_connections_full);
  count(TcpCount::syn_cookies_accepted);
  const uint32_t index = open_connection(segment, *options, segment.ack() - 1, irs, 0, hash);
  receive(connections_[index], segment);
}

uint32_t Core::open_connection(const Segment& segment, const SynOptions& options, SeqNumber iss, SeqNumber irs,
                               uint32_t window_bytes, uint32_t hash) {
  const uint32_t index = connections_.take();
  Connection& c = connections_[index];
  // What outlives one connection: the generation, and the place in the list of those that wait for the budget.
  const uint32_t generation = c.generation + 1, budget_next = c.budget_next;
  const bool budget_listed = c.budget_listed;
  c = Connection{};
  c.generation = generation;
  c.budget_next = budget_next;
  c.budget_listed = budget_listed;

  c.flow = segment.flow();
  c.link = segment.link();
  c.rcv_nxt = c.rcv_acked = irs + 1;
  c.rcv_edge = c.rcv_nxt + window_bytes;
  c.snd_una = c.snd_nxt = iss + 1;
  c.snd_wl1 = irs + 1;
  c.snd_wl2 = iss + 1;
  const bool scaled = options.window_scale != Segment::no_window_scale;
  c.snd_scale = scaled ? options.window_scale : uint8_t{0};
  c.rcv_scale = scaled ? window_scale_ : uint8_t{0};
  c.snd_wnd = uint32_t{segment.window()} << c.snd_scale;
  c.snd_wnd_max = c.snd_wnd;
  c.has_timestamps = options.timestamps;
  c.has_sack = options.sack;
  c.timestamp_offset = secret_.timestamp_offset(c.flow);
  c.ts_recent = segment.timestamp();
  c.ts_recent_at = now_;
  c.last_received_at = c.last_sent_at = c.progress_at = now_;
  const bool v4 = c.flow.local.is_v4();
  c.peer_mss = options.mss;
  c.path_mtu = features_.mtu_bytes;
  const uint32_t whole = c.path_mtu - net::network_header_bytes(v4) - uint32_t{sizeof(net::TcpHeader)};
  c.mss = static_cast<uint16_t>(std::min<uint32_t>(options.mss, whole) -
                                (c.has_timestamps ? OptionWriter::timestamps_bytes : 0));
  c.quick_acks = 16;
  c.congestion.start(config_.congestion, c.mss);
  c.round_trip.start(times_);
  set_state(c, TcpState::established);
  flows_.insert(hash, {FlowKind::connection, index});
  if (times_.keepalive_idle > 0) {
    c.keepalive_deadline = now_ + times_.keepalive_idle;
    arm(c);
  }
  count(TcpCount::connections_opened);
  Event& event = events_.push();
  event.kind = StreamEventKind::opened;
  event.stream = id_of(c);
  return index;
}

}  // namespace penstock::tcp
