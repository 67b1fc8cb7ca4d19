#include "tests/netsim/node_app.h"

#include <algorithm>
#include <cstring>

#include "tests/netsim/content.h"

namespace penstock::netsim {
namespace {

Place place_of(const Endpoint& endpoint) {
  Place place{.port = endpoint.port};
  const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  place.address.v6 = std::memcmp(endpoint.address, mapped, sizeof mapped) != 0;
  std::copy(endpoint.address + (place.address.v6 ? 0 : 12), endpoint.address + 16, place.address.bytes.begin());
  return place;
}

// Kept free for frames that no reservation covers: acknowledgements, handshakes, duplicates.
constexpr uint64_t reserve_bytes = 160 * arena_unit_bytes;
constexpr size_t to_send_max = 8;
constexpr uint64_t last_credit_bytes = 16;  // beyond the stream, as a session waits for a next request

}  // namespace

void NodeApp::complain(const Stream& stream, const char* what, uint64_t a, uint64_t b) {
  if (!fault_.empty()) return;
  fault_ = std::string(what) + " (" + std::to_string(a) + ", " + std::to_string(b) + "), peer port " +
           std::to_string(stream.peer.port);
}

void NodeApp::on_event(const StreamEvent& event, Nanoseconds now) {
  if (event.kind == StreamEventKind::opened) {
    const Place peer = place_of(event.peer);
    Stream stream{.id = event.stream, .peer = peer};
    if (!plans_.contains(peer)) return complain(stream, "a stream from nobody we know");
    if (streams_of_.contains(event.stream.index)) return complain(stream, "opened while open", event.stream.index);
    stream.plan = plans_[peer];
    // Nothing remembers a connection after an abort or after LAST-ACK, and a segment that was late opens it again if
    // its cookie is still good (RFC 4987 section 3.6).
    if (outcomes_[peer].opened) {
      if (!outcomes_[peer].closed) complain(stream, "opened twice");
      ghosts_.insert(event.stream.index);
      return streams_.abort(event.stream);
    }
    outcomes_[peer].opened = true;
    streams_of_[event.stream.index] = std::move(stream);
    return;
  }
  if (ghosts_.contains(event.stream.index)) {
    if (event.kind == StreamEventKind::data) buffers_.release(event.piece.buffer, Holder::request);
    if (event.kind == StreamEventKind::closed) ghosts_.erase(event.stream.index);
    return;
  }
  const auto found = streams_of_.find(event.stream.index);
  if (found == streams_of_.end() || !(found->second.id == event.stream)) {
    return complain({}, "an event of a stream that is over", static_cast<uint64_t>(event.kind), event.stream.index);
  }
  Stream& stream = found->second;
  Outcome& outcome = outcomes_[stream.peer];
  switch (event.kind) {
    case StreamEventKind::opened:
      break;
    case StreamEventKind::data:
      take_data(stream, event, now);
      break;
    case StreamEventKind::sent:
      outcome.sent += event.bytes;
      if (outcome.sent > outcome.given) complain(stream, "more was sent than given", outcome.sent, outcome.given);
      break;
    case StreamEventKind::peer_finished:
      if (outcome.peer_finished) complain(stream, "finished twice");
      if (outcome.received != stream.plan.to_node_bytes) {
        complain(stream, "finished early", outcome.received, stream.plan.to_node_bytes);
      }
      outcome.peer_finished = true;
      break;
    case StreamEventKind::closed:
      outcome.closed = true;
      for (const Piece& piece : stream.to_send) buffers_.release(piece.buffer, Holder::send);
      reserved_ -= stream.reserved;
      closed_.push_back(stream.peer);
      streams_of_.erase(found);
      break;
  }
}

void NodeApp::take_data(Stream& stream, const StreamEvent& event, Nanoseconds now) {
  Outcome& outcome = outcomes_[stream.peer];
  const Piece& piece = event.piece;
  if (piece.length == 0) complain(stream, "an empty piece");
  if (outcome.peer_finished) complain(stream, "data behind the FIN");
  if (!is_content(stream.plan.seed, outcome.received, {piece.data, piece.length})) {
    complain(stream, "wrong bytes received", outcome.received, piece.length);
  }
  outcome.received += piece.length;
  if (outcome.received > stream.allowed) complain(stream, "more than was allowed", outcome.received, stream.allowed);
  stream.request_left -= std::min<uint64_t>(stream.request_left, piece.length);
  const auto hold = static_cast<Nanoseconds>(random_.below(static_cast<uint64_t>(stream.plan.hold_max_ns) + 1));
  held_.push_back({now + hold, piece.buffer});
}

bool NodeApp::work(Nanoseconds now) {
  bool busy = false;
  std::erase_if(held_, [&](const Held& held) {
    if (held.until > now) return false;
    buffers_.release(held.buffer, Holder::request);
    return busy = true;
  });
  for (auto& [index, stream] : streams_of_) {
    if (outcomes_[stream.peer].node_closed) continue;
    busy |= allow_more(stream);
    busy |= send_more(stream, now);
    busy |= end(stream);
  }
  return busy;
}

Nanoseconds NodeApp::next_deadline() const {
  Nanoseconds next = never_ns;
  for (const Held& held : held_) next = std::min(next, held.until);
  for (const auto& [index, stream] : streams_of_) {
    const bool may_send = outcomes_.at(stream.peer).received >= stream.plan.send_after_bytes;
    if (may_send && stream.to_send.size() < to_send_max && stream.made < stream.plan.from_node_bytes) {
      next = std::min(next, stream.next_send);
    }
  }
  return next;
}

std::string NodeApp::describe(const Place& peer) const {
  for (const auto& [index, stream] : streams_of_) {
    if (stream.peer != peer) continue;
    const TcpConnectionView view = streams_.stack().view(stream.id);
    return std::string(to_string(view.state)) + ", allowed " + std::to_string(stream.allowed) + ", reserved " +
           std::to_string(stream.reserved) + " of " + std::to_string(reserved_) + ", held " +
           std::to_string(held_.size()) + ", window " + std::to_string(view.window_bytes) + ", credit " +
           std::to_string(view.credit_bytes) + ", out of order " + std::to_string(view.out_of_order_bytes) +
           ", queued " + std::to_string(view.queued_bytes);
  }
  return "no stream";
}

// The next request is allowed when the one before is complete and memory for all of it is free.
bool NodeApp::allow_more(Stream& stream) {
  const Outcome& outcome = outcomes_[stream.peer];
  if (stream.request_left > 0 || stream.last_allowed) return false;
  const uint64_t left = stream.plan.to_node_bytes - stream.allowed;
  const uint64_t wanted =
      random_.one_in(3) ? random_.between(1, 4096) : random_.between(1, stream.plan.request_bytes_max);
  const uint64_t count = left == 0 ? last_credit_bytes : std::min(left, wanted);
  reserved_ -= stream.reserved;
  stream.reserved = 0;
  const uint64_t cost = streams_.receive_cost(count);
  const uint64_t held = held_.size() * arena_unit_bytes;
  if (reserved_ + cost + held + reserve_bytes > receive_bytes_) return false;
  if (outcome.received > 0) streams_.request_done(stream.id);
  stream.reserved = cost;
  reserved_ += cost;
  stream.allowed += count;
  stream.request_left = left == 0 ? 0 : count;
  stream.last_allowed = left == 0;
  stream.may_close = stream.last_allowed && stream.plan.close_at_once;
  streams_.allow(stream.id, count);
  return true;
}

bool NodeApp::send_more(Stream& stream, Nanoseconds now) {
  Outcome& outcome = outcomes_[stream.peer];
  if (outcome.received < stream.plan.send_after_bytes) return false;
  bool busy = false;
  while (stream.to_send.size() < to_send_max && stream.made < stream.plan.from_node_bytes && now >= stream.next_send) {
    if (!make_pieces(stream)) {
      stream.next_send = now + millisecond_ns;
      break;
    }
    busy = true;
    if (random_.one_in(6)) stream.next_send = now + static_cast<Nanoseconds>(random_.below(3 * millisecond_ns));
  }
  if (stream.to_send.empty()) return busy;
  const std::vector<Piece> pieces(stream.to_send.begin(), stream.to_send.end());
  const size_t taken = streams_.send(stream.id, pieces);
  for (size_t i = 0; i < taken; ++i) outcome.given += pieces[i].length;
  stream.to_send.erase(stream.to_send.begin(), stream.to_send.begin() + static_cast<ptrdiff_t>(taken));
  return busy || taken > 0;
}

// One buffer's worth, as one piece or as several that lie apart in it.
bool NodeApp::make_pieces(Stream& stream) {
  const auto order = static_cast<uint8_t>(random_.below(3));
  const BufferIndex buffer = send_buffers_.allocate(order);
  if (buffer == no_buffer) return false;
  buffers_.open(buffer, order, Holder::send);
  const uint64_t pieces = random_.one_in(3) ? random_.between(2, 5) : 1;
  const uint64_t room = (uint64_t{arena_unit_bytes} << order) / pieces;
  for (uint64_t i = 0; i < pieces; ++i) {
    const uint64_t left = stream.plan.from_node_bytes - stream.made;
    const uint64_t wanted = std::min(room, random_.one_in(2) ? room : stream.plan.write_bytes_max);
    const uint64_t length = std::min(left, random_.between(1, wanted));
    if (length == 0) break;
    std::byte* to = arena_.at(buffer) + i * room + random_.below(room - length + 1);
    fill_content(~stream.plan.seed, stream.made, {to, length});
    stream.made += length;
    if (i > 0) buffers_.hold(buffer, Holder::send);
    stream.to_send.push_back({to, static_cast<uint32_t>(length), buffer});
  }
  return true;
}

bool NodeApp::end(Stream& stream) {
  Outcome& outcome = outcomes_[stream.peer];
  const Plan& plan = stream.plan;
  if (plan.ending == Ending::node_aborts && outcome.received >= plan.abort_after_bytes) {
    outcome.node_closed = true;
    streams_.abort(stream.id);
    return true;
  }
  const bool all_given = outcome.given == plan.from_node_bytes;
  // With room left for the peer's FIN, which takes a place in the window.
  const bool all_received = outcome.received == plan.to_node_bytes && stream.may_close;
  stream.may_close = stream.last_allowed;
  if (!all_given || !(plan.ending == Ending::by_node ? all_received : outcome.peer_finished)) return false;
  outcome.node_closed = true;
  closed_.push_back(stream.peer);  // what still comes is thrown away
  streams_.close(stream.id);
  return true;
}

}  // namespace penstock::netsim
