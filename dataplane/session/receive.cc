// Connections and the cutting of requests.
//
//   received:  | length | header | body ......... | length | hea
//              |<------ request at the front ---->|<- partial ->|<- credit ->|
//
// A connection may always send one small buffer. Once the length prefix of a larger request is known the request
// reserves its memory; when that is granted the rest is allowed in one credit, so that a kernel socket receives it in
// one call and our TCP opens its window exactly so far.
#include <algorithm>
#include <string>
#include <utility>

#include "dataplane/session/broker.h"
#include "storage/limits.h"

namespace penstock {

namespace {

constexpr Nanoseconds sweep_interval_max_ns = 1 * second_ns;
constexpr uint32_t request_bytes_min = 8;  // api key, version, correlation id

std::string address_text(const Endpoint& endpoint) {
  const auto* at = endpoint.address;
  static constexpr uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::string text;
  if (std::equal(mapped, mapped + sizeof mapped, at)) {
    for (int i = 12; i < 16; ++i) text += (i > 12 ? "." : "") + std::to_string(at[i]);
  } else {
    static constexpr char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i += 2) {
      if (i > 0) text += ':';
      for (const int nibble : {at[i] >> 4, at[i] & 15, at[i + 1] >> 4, at[i + 1] & 15}) text += digits[nibble];
    }
    text = "[" + text + "]";
  }
  return text + ":" + std::to_string(endpoint.port);
}

}  // namespace

Broker::Broker(const BrokerConfig& config, Log& log, Arena arena, BufferTable& buffers, BufferAllocator& send_buffers,
               PiecePool& pieces, StreamPort& port, Mailbox<ToControl>& control, LaneMetrics& metrics)
    : config_(config),
      log_(log),
      arena_(arena),
      buffers_(buffers),
      send_buffers_(send_buffers),
      pieces_(pieces),
      port_(port),
      control_(control),
      metrics_(metrics),
      view_(std::make_shared<CatalogView>()),
      connections_(std::make_unique<Connection[]>(config.connections_max)),
      responses_(config.connections_max + config.extra_responses),
      parts_(config.fetch_parts_max),
      waiters_(config.connections_max + config.fetch_waiters_max),
      reservations_(config.receive_bytes, port.receive_cost(config.request_bytes_max + 4), config.connections_max),
      fetch_timers_(config.connections_max),
      scratch_memory_(std::make_unique_for_overwrite<std::byte[]>(scratch_bytes)),
      scratch_({scratch_memory_.get(), scratch_bytes}),
      encode_memory_(std::make_unique_for_overwrite<std::byte[]>(encode_bytes)) {
  // A stall is judged by two looks with a probe in between, so they are at most a quarter of it apart.
  sweep_interval_ns_ = std::clamp(config.stall_max_ns / 4, millisecond_ns, sweep_interval_max_ns);
  receive_bytes_all_ = port.receive_free();
  reads_done_.reserve(limits::read_wants_max);
  wake_list_.reserve(config.connections_max);
  pump_list_.reserve(config.connections_max);
  pump_next_.reserve(config.connections_max);
  producer_id_waiters_.reserve(config.connections_max);
}

Broker::~Broker() { release_all(); }

void Broker::on_stream(const StreamEvent& event, Nanoseconds now, Milliseconds wall_ms) {
  now_ = now;
  wall_ms_ = wall_ms;
  if (event.kind == StreamEventKind::opened) return open(event);
  const uint32_t index = event.stream.index;
  if (index >= config_.connections_max) {  // refused when it opened
    if (event.kind == StreamEventKind::data) release(event.piece.buffer, Holder::request);
    return;
  }
  Connection& connection = connections_[index];
  const bool known = connection.state != ConnectionState::free && connection.stream == event.stream;
  switch (event.kind) {
    case StreamEventKind::opened:
      break;
    case StreamEventKind::data:
      if (!known || !live(connection)) return release(event.piece.buffer, Holder::request);
      return receive(index, event.piece);
    case StreamEventKind::sent:
      if (!known) return;
      connection.unsent -= std::min(connection.unsent, event.bytes);
      unsent_bytes_ -= std::min(unsent_bytes_, event.bytes);
      connection.last_active_at = connection.last_sent_at = now;
      list_pump(index);
      return;
    case StreamEventKind::peer_finished:
      if (known && live(connection)) peer_finished(index);
      return;
    case StreamEventKind::closed:
      if (known) forget(index);
      return;
  }
}

void Broker::open(const StreamEvent& event) {
  const uint32_t index = event.stream.index;
  if (index >= config_.connections_max || stopping_) {
    metrics_.connections_refused.add(1);
    return port_.abort(event.stream);
  }
  Connection& connection = connections_[index];
  check(connection.state == ConnectionState::free, "stream opened in a slot in use", index);
  connection.state = ConnectionState::open;
  connection.stream = event.stream;
  connection.local = event.local;
  connection.peer = event.peer;
  connection.last_received_at = connection.last_active_at = connection.last_sent_at = now_;
  index_end_ = std::max(index_end_, index + 1);
  if (open_count_++ == 0) next_sweep_ = now_ + sweep_interval_ns_;
  metrics_.connections_accepted.add(1);
  metrics_.connections.set(open_count_);
  allow(index, small_credit_bytes);
}

void Broker::receive(uint32_t index, const Piece& piece) {
  Connection& connection = connections_[index];
  connection.credit -= std::min<uint64_t>(connection.credit, piece.length);
  connection.last_received_at = connection.last_active_at = now_;
  if (!connection.received.push_back(pieces_, piece)) {
    // Pieces are sized for the arena's buffers; a peer that cuts its bytes finer than that pays with its connection.
    release(piece.buffer, Holder::request);
    return close_malformed(index, "bytes in too many small pieces");
  }
  if (connection.received.size() < connection.awaited_bytes) return;
  advance(index);
}

// Answers or passes on every whole request at the front, then asks for what the next one needs.
void Broker::advance(uint32_t index) {
  Connection& connection = connections_[index];
  while (live(connection) && connection.blocked == Blocked::no) {
    if (connection.response_count >= responses_per_connection_max) return;  // goes on when a response has left
    const uint64_t size = connection.received.size();
    if (size < kafka::frame_length_bytes) return want(index, kafka::frame_length_bytes);
    Big<int32_t> length;
    connection.received.range().copy_out(0, &length, sizeof length);
    if (length < static_cast<int32_t>(request_bytes_min)) return close_malformed(index, "impossible request length");
    if (static_cast<uint64_t>(length.get()) > config_.request_bytes_max) {
      return close_malformed(index, "request larger than request_bytes_max");
    }
    const uint64_t frame_bytes = kafka::frame_length_bytes + static_cast<uint64_t>(length.get());
    if (size < frame_bytes) return want(index, frame_bytes);

    if (connection.request_started_at == 0) {
      connection.request_started_at = now_;
      metrics_.requests.add(1);
    }
    RequestContext context;
    context.connection_index = index;
    context.connection = &connection;
    context.whole = connection.received.slice(kafka::frame_length_bytes, frame_bytes - kafka::frame_length_bytes);
    context.now = now_;
    context.wall_ms = wall_ms_;
    switch (dispatch(context)) {
      case Outcome::responded:
        finish_request(index, frame_bytes);
        break;
      case Outcome::blocked:
        return;
      case Outcome::malformed:
        return close_malformed(index, "malformed request");
      case Outcome::too_large:
        return close_malformed(index, "the answer is larger than half of memory.send_bytes");
    }
  }
  // Not open any more, or blocked: nothing further is asked for.
}

// The request at the front is not whole: allows what is missing of it, if its memory is granted.
void Broker::want(uint32_t index, uint64_t frame_bytes) {
  Connection& connection = connections_[index];
  const uint64_t size = connection.received.size();
  if (connection.peer_finished) return begin_close(index);
  if (size + connection.credit >= frame_bytes) connection.awaited_bytes = frame_bytes;
  if (frame_bytes <= small_credit_bytes) {
    if (size == 0 && connection.credit == 0) port_.request_done(connection.stream);
    if (size + connection.credit < frame_bytes || connection.credit == 0) {
      const uint64_t small = std::max<uint64_t>(small_credit_bytes, size) - size;
      if (small > connection.credit) allow(index, small - connection.credit);
    }
    return;
  }
  if (connection.grant.cost == 0) {
    if (reservations_.waits(index)) return;
    connection.grant =
        reservations_.request(index, port_.receive_cost(frame_bytes),
                              connection.proven ? Reservations::Class::proven : Reservations::Class::newcomer);
    if (connection.grant.cost == 0) return grant_waiting();  // the part kept for the oldest waiter may be free
  }
  const uint64_t expected = size + connection.credit;
  if (expected < frame_bytes) {
    const uint64_t free = port_.receive_free();
    if (free < connection.grant.cost) log_.shed_resident(connection.grant.cost - free);
    allow(index, frame_bytes - expected);
    connection.awaited_bytes = frame_bytes;
  }
}

void Broker::allow(uint32_t index, uint64_t byte_count) {
  Connection& connection = connections_[index];
  connection.credit += byte_count;
  port_.allow(connection.stream, byte_count);
}

void Broker::finish_request(uint32_t index, uint64_t frame_bytes) {
  Connection& connection = connections_[index];
  if (connection.state == ConnectionState::free) return;
  connection.received.drop_front(pieces_, frame_bytes, [&](BufferIndex buffer) { release(buffer, Holder::request); });
  connection.awaited_bytes = 0;
  drop_progress(connection);
  connection.topics_ensured = false;
  connection.asked_topics.clear();
  ensured_errors_ = {};  // an answer of the control plane is for this request, not for the one behind it
  control_answer_ = {};
  connection.request_started_at = 0;
  if (connection.grant.cost > 0) {
    reservations_.release(std::exchange(connection.grant, {}));
    connection.proven = true;
  }
}

void Broker::grant_waiting() {
  Reservations::Grant grant;
  for (uint32_t index; (index = reservations_.grant_next(grant)) != no_index;) {
    Connection& connection = connections_[index];
    connection.grant = grant;
    connection.last_received_at = now_;  // waiting for memory was not the peer's stall
    advance(index);
  }
}

void Broker::close_malformed(uint32_t index, const char* why) {
  metrics_.connections_closed_malformed.add(1);
  notice("connection from " + address_text(connections_[index].peer) + " closed: " + why);
  abort(index);
}

void Broker::peer_finished(uint32_t index) {
  Connection& connection = connections_[index];
  connection.peer_finished = true;
  // Nobody waits for a fetch that may take long; whatever else is blocked is finished first.
  if (held_back(connection)) return;
  if (connection.blocked == Blocked::no || connection.blocked == Blocked::fetch) begin_close(index);
}

// Reads nothing more, lets the responses leave, closes.
void Broker::begin_close(uint32_t index) {
  Connection& connection = connections_[index];
  if (!live(connection)) return;
  connection.state = ConnectionState::closing;
  drop_waiters(index);
  if (connection.blocked == Blocked::room) leave_room_list(index);
  if (connection.blocked == Blocked::control) std::erase(producer_id_waiters_, index);
  connection.blocked = Blocked::no;
  reservations_.stop_waiting(index);
  reservations_.release(std::exchange(connection.grant, {}));
  drop_progress(connection);
  connection.received.clear(pieces_, [&](BufferIndex buffer) { release(buffer, Holder::request); });
  list_pump(index);
}

void Broker::abort(uint32_t index) {
  Connection& connection = connections_[index];
  if (connection.state == ConnectionState::gone) return;
  begin_close(index);
  connection.state = ConnectionState::gone;
  port_.abort(connection.stream);
}

// The stream is closed: everything the connection held goes back.
void Broker::forget(uint32_t index) {
  Connection& connection = connections_[index];
  if (live(connection)) begin_close(index);
  for (const ReadFor what : {ReadFor::response, ReadFor::request}) log_.cancel_read(token_of(index, what));
  while (connection.first_response != no_index) {
    Response& response = responses_[connection.first_response];
    const uint32_t response_index = connection.first_response;
    connection.first_response = response.next;
    if (response.ready) {
      free_response(response_index);
    } else {
      response.connection = no_index;  // acknowledge() frees it when its commit is durable
      response.bytes.clear(pieces_, [&](BufferIndex buffer) { release(buffer, Holder::send); });
    }
  }
  connection.staged.clear(pieces_, [&](BufferIndex buffer) { release(buffer, Holder::send); });
  unsent_bytes_ -= std::min(unsent_bytes_, connection.unsent);
  const bool wake_listed = connection.wake_listed, pump_listed = connection.pump_listed;
  connection = Connection{};
  connection.wake_listed = wake_listed;
  connection.pump_listed = pump_listed;
  --open_count_;
  metrics_.connections.set(open_count_);
}

// Once a second, or more often: connections that have been idle, or half-way through a request, for too long.
void Broker::sweep() {
  if (open_count_ == 0 || now_ < next_sweep_) return;
  next_sweep_ = now_ + sweep_interval_ns_;
  for (uint32_t index = 0; index < index_end_; ++index) {
    if (connections_[index].state != ConnectionState::free) check_idle(index);
  }
}

void Broker::check_idle(uint32_t index) {
  Connection& connection = connections_[index];
  const bool half_way = !connection.received.empty() && connection.blocked == Blocked::no &&
                        connection.response_count < responses_per_connection_max && !reservations_.waits(index);
  if (half_way && live(connection)) {
    const Nanoseconds quiet = now_ - connection.last_received_at;
    // A long receive shows its progress only when it is asked for it: nobody is closed without having been asked.
    const bool asked = connection.probed_at > connection.last_received_at && connection.probed_at < now_;
    if (quiet > config_.stall_max_ns && asked) {
      metrics_.connections_closed_stalled.add(1);
      notice("connection from " + address_text(connection.peer) + " closed: a request made no progress");
      return abort(index);
    }
    if (quiet > config_.stall_max_ns / 2) {
      connection.probed_at = now_;
      port_.probe(connection.stream);
    }
    return;
  }
  if (connection.blocked == Blocked::no && !reservations_.waits(index) &&
      now_ - connection.last_active_at > config_.idle_max_ns) {
    metrics_.connections_closed_idle.add(1);
    abort(index);
  }
}

// Somebody waits for memory that responses hold. What has been given to a stream cannot be taken back, so of those who
// have taken nothing for a while the one that has for longest loses its connection; it may come back and ask again.
void Broker::relieve() {
  if (!std::exchange(send_pressure_, false) || now_ < next_relief_) return;
  next_relief_ = now_ + 10 * millisecond_ns;
  uint32_t slowest = no_index;
  for (uint32_t index = 0; index < index_end_; ++index) {
    const Connection& connection = connections_[index];
    const bool holds = connection.unsent > 0 || !connection.staged.empty();
    if (!holds || (connection.state != ConnectionState::open && connection.state != ConnectionState::closing)) continue;
    if (now_ - connection.last_sent_at < config_.slow_reader_ns) continue;
    if (slowest == no_index || connection.last_sent_at < connections_[slowest].last_sent_at) slowest = index;
  }
  if (slowest == no_index) return;
  metrics_.connections_closed_slow.add(1);
  notice("connection from " + address_text(connections_[slowest].peer) +
         " closed: it takes no responses, and others wait for their memory");
  abort(slowest);
}

void Broker::notice(std::string text) {
  if (now_ < next_notice_) {
    ++notices_left_out_;
    return;
  }
  next_notice_ = now_ + second_ns;
  if (notices_left_out_ > 0) text += " (" + std::to_string(std::exchange(notices_left_out_, 0)) + " lines left out)";
  ToControl message;
  message.kind = ToControlKind::notice;
  message.lane = config_.lane;
  message.text = std::move(text);
  if (!control_.push(std::move(message))) ++notices_left_out_;
}

}  // namespace penstock
