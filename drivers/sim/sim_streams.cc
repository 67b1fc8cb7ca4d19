#include "drivers/sim/sim_streams.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace penstock {

SimStreams::SimStreams(const SimStreamsConfig& config, Arena arena, BufferTable& buffers, BufferAllocator& allocator)
    : config_(config),
      arena_(arena),
      buffers_(buffers),
      allocator_(allocator),
      random_(config.seed),
      streams_(config.streams_max) {}

SimStreams::~SimStreams() {
  for (Stream& stream : streams_) drop_all(stream);
}

void SimStreams::allow(StreamId id, uint64_t byte_count) {
  if (Stream* stream = find(id)) stream->credit += byte_count;
}

size_t SimStreams::send(StreamId id, std::span<const Piece> pieces) {
  Stream* stream = find(id);
  size_t taken = 0;
  for (const Piece& piece : pieces) {
    if (stream == nullptr || stream->node_gone || stream->peer_reset) {
      // As a kernel would: taken, and lost with the connection.
      buffers_.release(piece.buffer, Holder::send);
    } else {
      if (stream->unread >= config_.send_window_bytes) break;
      Chunk chunk;
      chunk.bytes.assign(piece.data, piece.data + piece.length);
      const Nanoseconds earliest = stream->to_peer.empty() ? now_ : stream->to_peer.back().arrives;
      chunk.arrives = std::max(earliest, now_ + delay());
      stream->unread += piece.length;
      // The bytes were copied above, but the buffer is let go only when the peer has taken them.
      stream->sending.push_back(piece);
      stream->to_peer.push_back(std::move(chunk));
    }
    ++taken;
  }
  return taken;
}

void SimStreams::close(StreamId id) {
  if (Stream* stream = find(id)) stream->node_closing = true;
}

void SimStreams::abort(StreamId id) {
  Stream* stream = find(id);
  if (stream == nullptr) return;
  stream->node_gone = true;
  stream->to_peer.clear();
}

uint64_t SimStreams::receive_cost(uint64_t byte_count) const {
  // The worst the network does here: see event_of. A buffer for every quarter of a segment, and one more.
  return (byte_count / (config_.segment_bytes / 4) + 2) * arena_unit_bytes;
}

void SimStreams::release(std::span<const BufferIndex> buffers) {
  for (const BufferIndex buffer : buffers) allocator_.free(buffer, buffers_.order(buffer));
}

Nanoseconds SimStreams::next_deadline() const {
  Nanoseconds next = never_ns;
  for (const Stream& stream : std::span(streams_).first(streams_end_)) {
    if (!stream.used) continue;
    if (stream.closed_told) continue;
    const bool over = stream.peer_reset || stream.node_gone || (stream.node_closing && stream.sending.empty());
    if (!stream.opened || over) next = std::min(next, now_);
    if (stream.credit > 0 && !stream.to_node.empty() && allocator_.free_bytes() > 0) {
      next = std::min(next, stream.to_node.front().arrives);
    }
    if (stream.peer_finished && !stream.peer_finished_told && stream.to_node.empty()) next = std::min(next, now_);
    if (stream.taken_by_peer > 0) next = std::min(next, now_);
  }
  return next;
}

bool SimStreams::next_event(StreamEvent& event) {
  for (uint32_t i = 0; i < streams_end_; ++i) {
    const uint32_t index = next_index_ + i < streams_end_ ? next_index_ + i : next_index_ + i - streams_end_;
    if (streams_[index].used && event_of(index, event)) {
      next_index_ = index + 1;
      return true;
    }
  }
  return false;
}

bool SimStreams::event_of(uint32_t index, StreamEvent& event) {
  Stream& stream = streams_[index];
  if (stream.closed_told) return false;
  event = {};
  event.stream = {index, stream.generation};
  if (!stream.opened) {
    stream.opened = true;
    event.kind = StreamEventKind::opened;
    const uint8_t loopback[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1};
    std::memcpy(event.local.address, loopback, sizeof loopback);
    event.local.port = stream.local_port;
    event.peer = event.local;
    event.peer.port = static_cast<uint16_t>(40000 + index);
    return true;
  }
  uint64_t sent = 0;
  while (!stream.sending.empty() && (stream.taken_by_peer > 0 || stream.peer_reset || stream.node_gone)) {
    if (stream.taken_by_peer > 0) --stream.taken_by_peer;
    sent += stream.sending.front().length;
    buffers_.release(stream.sending.front().buffer, Holder::send);
    stream.sending.pop_front();
  }
  if (stream.peer_reset || stream.node_gone || (stream.node_closing && stream.sending.empty())) {
    stream.closed_told = true;
    stream.node_gone = true;
    stream.to_node.clear();
    if (stream.peer_forgotten) stream.used = false;
    event.kind = StreamEventKind::closed;
    return true;
  }
  if (sent > 0) {
    event.kind = StreamEventKind::sent;
    event.bytes = sent;
    return true;
  }
  if (!stream.to_node.empty() && stream.to_node.front().arrives <= now_ && stream.credit > 0) {
    const BufferIndex buffer = allocator_.allocate(0);
    if (buffer == no_buffer) return false;
    buffers_.open(buffer, 0, Holder::request);
    // A segment fills up from what has arrived; now and then it is cut short, but never below a quarter of a
    // segment unless the stream or the credit ends there, so that a reservation covers the buffers it may take.
    const uint64_t smallest = config_.segment_bytes / 4;
    const uint64_t wanted =
        random_.one_in(4) ? random_.between(smallest, config_.segment_bytes) : config_.segment_bytes;
    const uint64_t limit = std::min(stream.credit, wanted);
    // The payload does not begin where the buffer does: a card leaves the headers in front of it.
    const uint32_t shift = random_.one_in(3) ? 0 : static_cast<uint32_t>(random_.below(128));
    std::byte* to = arena_.at(buffer) + shift;
    uint32_t length = 0;
    while (length < limit && !stream.to_node.empty() && stream.to_node.front().arrives <= now_) {
      Chunk& chunk = stream.to_node.front();
      const size_t count = std::min<size_t>(limit - length, chunk.bytes.size() - chunk.taken);
      std::memcpy(to + length, chunk.bytes.data() + chunk.taken, count);
      length += static_cast<uint32_t>(count);
      chunk.taken += count;
      if (chunk.taken == chunk.bytes.size()) stream.to_node.pop_front();
    }
    stream.credit -= length;
    event.kind = StreamEventKind::data;
    event.piece = {to, length, buffer};
    return true;
  }
  if (stream.peer_finished && !stream.peer_finished_told && stream.to_node.empty()) {
    stream.peer_finished_told = true;
    event.kind = StreamEventKind::peer_finished;
    return true;
  }
  return false;
}

void SimStreams::drop_all(Stream& stream) {
  for (const Piece& piece : stream.sending) buffers_.release(piece.buffer, Holder::send);
  stream.sending.clear();
}

SimStreams::Stream* SimStreams::find(StreamId id) {
  Stream& stream = streams_[id.index];
  return stream.used && !stream.closed_told && stream.generation == id.generation ? &stream : nullptr;
}

uint32_t SimStreams::connect(Nanoseconds now, uint16_t local_port) {
  now_ = std::max(now_, now);
  if (!accepting_) return UINT32_MAX;
  for (uint32_t index = 0; index < streams_.size(); ++index) {
    if (streams_[index].used) continue;
    streams_end_ = std::max(streams_end_, index + 1);
    const uint32_t generation = streams_[index].generation + 1;
    streams_[index] = Stream{};
    streams_[index].used = true;
    streams_[index].generation = generation;
    streams_[index].local_port = local_port;
    return index;
  }
  return UINT32_MAX;
}

void SimStreams::write(uint32_t peer, std::span<const std::byte> bytes, Nanoseconds now) {
  Stream& stream = streams_[peer];
  if (stream.node_gone || stream.peer_reset || stream.peer_finished || bytes.empty()) return;
  Chunk chunk;
  chunk.bytes.assign(bytes.begin(), bytes.end());
  const Nanoseconds earliest = stream.to_node.empty() ? now : stream.to_node.back().arrives;
  chunk.arrives = std::max(earliest, now + delay());
  stream.to_node.push_back(std::move(chunk));
}

void SimStreams::read(uint32_t peer, std::vector<std::byte>& to, Nanoseconds now) {
  Stream& stream = streams_[peer];
  while (!stream.reader_stopped && !stream.to_peer.empty() && stream.to_peer.front().arrives <= now) {
    const std::vector<std::byte>& bytes = stream.to_peer.front().bytes;
    to.insert(to.end(), bytes.begin(), bytes.end());
    stream.unread -= bytes.size();
    stream.to_peer.pop_front();
    ++stream.taken_by_peer;
  }
}

void SimStreams::finish(uint32_t peer) { streams_[peer].peer_finished = true; }

void SimStreams::reset(uint32_t peer) {
  Stream& stream = streams_[peer];
  stream.peer_reset = true;
  stream.to_node.clear();
  stream.to_peer.clear();
}

bool SimStreams::ended(uint32_t peer, Nanoseconds now) const {
  const Stream& stream = streams_[peer];
  const bool more = !stream.to_peer.empty() && stream.to_peer.front().arrives <= now;
  return stream.closed_told && !more && (stream.to_peer.empty() || stream.peer_reset);
}

Nanoseconds SimStreams::next_arrival() const {
  Nanoseconds next = never_ns;
  for (const Stream& stream : std::span(streams_).first(streams_end_)) {
    if (!stream.used || stream.peer_forgotten) continue;
    if (!stream.to_peer.empty() && !stream.reader_stopped) next = std::min(next, stream.to_peer.front().arrives);
  }
  return next;
}

void SimStreams::forget(uint32_t peer) {
  Stream& stream = streams_[peer];
  if (!stream.closed_told) {
    reset(peer);
    stream.peer_forgotten = true;
    return;
  }
  stream.used = false;
}

}  // namespace penstock
