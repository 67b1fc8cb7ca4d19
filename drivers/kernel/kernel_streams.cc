#include "drivers/kernel/kernel_streams.h"

#include <linux/tcp.h>  // tcp_info whole; the C library's lacks the byte counters
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

namespace penstock {

namespace {

constexpr uint32_t vectors_per_set = ReceivePlan::buffers_max;
constexpr uint64_t send_bytes_max = MiB;
constexpr Nanoseconds sweep_interval_ns = second_ns;
constexpr uint8_t tcp_state_closed = 7;  // TCP_CLOSE of the kernel's include/net/tcp_states.h
// One completion brings at most one piece per buffer of a plan, and one event of another kind.
constexpr uint32_t events_per_burst_max = ReceivePlan::buffers_max + 2;

// Closing a socket with unread bytes sends a reset, which could overtake our last response.
void discard_unread(int descriptor) {
  constexpr int attempts_max = 16;
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    if (::recv(descriptor, nullptr, MiB, MSG_TRUNC | MSG_DONTWAIT) <= 0) return;
  }
}

// A receive that had bytes before a reset reports the bytes and swallows the error; the next one says "end of stream".
bool is_dead(int descriptor) {
  tcp_info info{};
  socklen_t length = sizeof info;
  return ::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == tcp_state_closed;
}

bool try_again(int result) { return result == -EAGAIN || result == -EINTR || result == -ECANCELED; }

}  // namespace

std::expected<std::unique_ptr<KernelStreams>, std::string> KernelStreams::create(Ring& ring, const Arena& arena,
                                                                                 BufferTable& buffers,
                                                                                 BufferAllocator& allocator,
                                                                                 const KernelStreamsConfig& config) {
  auto listener = Listener::open({.address = config.listen,
                                  .backlog = config.backlog,
                                  .socket_send_bytes = config.socket_send_bytes,
                                  .socket_receive_bytes = config.socket_receive_bytes,
                                  .warn = config.warn});
  if (!listener) return std::unexpected(listener.error());
  auto small = SmallBuffers::create(ring, arena, allocator, config.small_buffers);
  if (!small) return std::unexpected(small.error());
  return std::unique_ptr<KernelStreams>(
      new KernelStreams(ring, arena, buffers, allocator, config, std::move(*listener), std::move(*small)));
}

KernelStreams::KernelStreams(Ring& ring, const Arena& arena, BufferTable& buffers, BufferAllocator& allocator,
                             const KernelStreamsConfig& config, Listener listener, SmallBuffers small)
    : ring_(ring),
      arena_(arena),
      buffers_(buffers),
      allocator_(allocator),
      config_(config),
      listener_(std::move(listener)),
      small_(std::move(small)),
      table_(config.streams_max),
      send_pool_(config.send_chunks),
      vector_sets_(ring.entries() + 1),
      vectors_(std::make_unique<iovec[]>(uint64_t{vector_sets_} * vectors_per_set)),
      send_headers_(std::make_unique<msghdr[]>(vector_sets_)),
      events_(std::make_unique<StreamEvent[]>(events_per_burst_max)) {}

KernelStreams::~KernelStreams() {
  using Clock = std::chrono::steady_clock;
  constexpr auto patience = std::chrono::seconds(5);  // cancelling takes microseconds
  constexpr Nanoseconds round_ns = 5 * millisecond_ns;
  abort_all();
  if (ring_.bound_to_this_thread()) {
    const auto until = Clock::now() + patience;
    while ((open_streams() > 0 || listener_.armed()) && Clock::now() < until) {
      poll(now_, [](const StreamEvent&) {});
      ring_.wait(0, next_deadline() == 0 ? 0 : round_ns);
    }
  }
  // Else the ring's thread has ended, and with it what it had in flight.
  for (uint32_t index = 0; index < table_.capacity(); ++index) {
    event_count_ = 0;
    if (table_.at(index).descriptor >= 0) finish(table_.at(index));
  }
}

// ---- a poll ----

void KernelStreams::begin_poll(Nanoseconds now) {
  now_ = now;
  in_poll_ = true;
  if (now >= sweep_at_) sweep_tails();
  listener_.arm(ring_, tag(Operation::accept, 0), now);
}

bool KernelStreams::next_burst() {
  event_count_ = 0;
  RingCompletion done;
  while (ring_.next_completion(RingOwner::streams, done)) {
    on_completion(done);
    if (event_count_ > 0) return true;
  }
  Stream* ended = table_.ended.take_front(table_);
  if (ended == nullptr) return false;
  finish(*ended);
  return true;
}

void KernelStreams::end_poll() {
  in_poll_ = false;
  serve_waiting();
  while (Stream* stream = table_.touched.take_front(table_)) arm(*stream);
  listener_.arm(ring_, tag(Operation::accept, 0), now_);
}

void KernelStreams::on_completion(const RingCompletion& done) {
  const auto operation = static_cast<Operation>(done.tag >> operation_shift);
  if (operation == Operation::accept) return on_accept(done);
  Stream& stream = table_.at(static_cast<uint32_t>(done.tag));
  check(stream.descriptor >= 0, "completion for a stream that is gone", static_cast<long long>(done.tag), done.result);
  if (operation == Operation::send) return on_sent(stream, done.result);
  stream.receiving = Receiving::nothing;
  stream.cancelling = false;
  if (operation == Operation::wait_readable) return on_readable(stream, done.result);
  on_receive(stream, operation, done);
}

void KernelStreams::on_accept(const RingCompletion& done) {
  const int descriptor = listener_.accepted(done, now_);
  statistics_.accept_errors = listener_.errors();
  if (descriptor < 0) return;
  Endpoint local, peer;
  if (listener_.stopped() || !endpoints_of(descriptor, local, peer)) {
    ::close(descriptor);
    return;
  }
  ++statistics_.accepted;
  Stream* stream = table_.open(descriptor);
  if (stream == nullptr) {
    ++statistics_.refused;
    ::close(descriptor);
    return;
  }
  StreamEvent& event = add_event(StreamEventKind::opened, *stream);
  event.local = local;
  event.peer = peer;
}

// ---- receiving ----

void KernelStreams::on_receive(Stream& stream, Operation operation, const RingCompletion& done) {
  const int result = done.result;
  BufferIndex picked = no_buffer;
  if ((done.flags & IORING_CQE_F_BUFFER) != 0) {
    const uint32_t number = done.flags >> IORING_CQE_BUFFER_SHIFT;
    if (result > 0 && stream.ending == Ending::no) {
      picked = small_.picked(number);
      small_.refill();
    } else {
      small_.put_back(number);
    }
  }

  if (stream.ending != Ending::no) return touch(stream);  // nobody wants the bytes any more
  stream.likely_readable = (done.flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
  if (result > 0) {
    if (operation == Operation::small_receive) start_tail(stream, picked);
    deliver(stream, static_cast<uint64_t>(result));
    return touch(stream);
  }
  stream.plan.drop_untouched(buffers_);  // while nothing comes, nothing but the tail is kept
  if (result == 0) {
    if (is_dead(stream.descriptor)) return fail(stream);
    stream.peer_finished = true;
    add_event(StreamEventKind::peer_finished, stream);
    return touch(stream);
  }
  if (result == -ENOBUFS && operation == Operation::small_receive)
    return wait_for_memory(stream, WaitsFor::small_buffer);
  if (try_again(result)) return touch(stream);
  fail(stream);
}

void KernelStreams::on_readable(Stream& stream, int result) {
  if (stream.ending != Ending::no || try_again(result)) return touch(stream);
  if (result < 0) return fail(stream);
  const BufferIndex buffer = small_.take();
  if (buffer == no_buffer) return wait_for_memory(stream, WaitsFor::small_buffer);
  start_tail(stream, buffer);
  arm_tail_receive(stream);
}

void KernelStreams::start_tail(Stream& stream, BufferIndex buffer) {
  buffers_.open(buffer, 0, Holder::device);
  stream.plan.start(buffer, 0, buffers_);
  ++statistics_.small_receives;
}

void KernelStreams::deliver(Stream& stream, uint64_t bytes) {
  check(bytes <= stream.credit, "received more than allowed", static_cast<long long>(bytes),
        static_cast<long long>(stream.credit));
  stream.plan.advance(bytes, arena_, buffers_,
                      [&](const Piece& piece) { add_event(StreamEventKind::data, stream).piece = piece; });
  stream.credit -= bytes;
  stream.delivered += bytes;
  statistics_.received_bytes += bytes;
  if (stream.credit == 0) stream.exact = false;
  if (std::exchange(stream.tail_unwanted, false)) stream.plan.drop(buffers_);
}

void KernelStreams::arm_receive(Stream& stream) {
  if (stream.receiving != Receiving::nothing || stream.waits_for != WaitsFor::nothing) return;
  // A tail that nobody else holds has no partial request before it.
  if (std::exchange(stream.tail_unwanted, false) || stream.plan.only_ours(buffers_)) stream.plan.drop(buffers_);
  if (stream.credit == 0 || stream.peer_finished) return;
  const uint64_t room = stream.plan.room();
  if (stream.exact || stream.credit > room + SmallBuffers::bytes_each) {
    arm_exact_receive(stream);
  } else if (room > 0) {
    arm_tail_receive(stream);
  } else {
    arm_small_receive(stream);
  }
}

void KernelStreams::arm_small_receive(Stream& stream) {
  const uint32_t index = table_.index_of(stream);
  if (!small_.picked_by_kernel()) {
    stream.receiving = Receiving::readable;
    ring_.prepare(RingOwner::streams, tag(Operation::wait_readable, index),
                  [&](io_uring_sqe* entry) { io_uring_prep_poll_add(entry, stream.descriptor, POLLIN | POLLRDHUP); });
    return;
  }
  stream.receiving = Receiving::small;
  const uint64_t length = std::min<uint64_t>(stream.credit, SmallBuffers::bytes_each);
  ring_.prepare(RingOwner::streams, tag(Operation::small_receive, index), [&](io_uring_sqe* entry) {
    io_uring_prep_recv(entry, stream.descriptor, nullptr, length, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = SmallBuffers::group;
    wait_first(stream, entry);
  });
}

void KernelStreams::arm_tail_receive(Stream& stream) {
  sweep_at_ = std::min(sweep_at_, now_ + sweep_interval_ns);
  stream.receiving = Receiving::tail;
  const uint64_t length = std::min(stream.credit, stream.plan.room());
  ring_.prepare(RingOwner::streams, tag(Operation::tail_receive, table_.index_of(stream)), [&](io_uring_sqe* entry) {
    iovec where[1];
    stream.plan.vectors(length, arena_, buffers_, where, 1);
    // A socket that only seemed readable must not keep the buffer that was taken for it: then no waiting.
    io_uring_prep_recv(entry, stream.descriptor, where[0].iov_base, where[0].iov_len,
                       small_.picked_by_kernel() || stream.plan.touched() ? 0 : MSG_DONTWAIT);
    if (stream.plan.touched()) wait_first(stream, entry);
  });
}

void KernelStreams::arm_exact_receive(Stream& stream) {
  // Memory that is short goes to those who waited first.
  const bool may_take = serving_ || table_.waiting_for_runs.empty();
  if (may_take) stream.plan.extend(stream.credit, allocator_, buffers_);
  if (stream.plan.room() == 0) return wait_for_memory(stream, WaitsFor::page_runs);
  stream.exact = true;
  stream.receiving = Receiving::exact;
  ++statistics_.exact_receives;
  ring_.prepare(RingOwner::streams, tag(Operation::exact_receive, table_.index_of(stream)), [&](io_uring_sqe* entry) {
    const uint32_t set = next_vector_set();
    iovec* vectors = &vectors_[uint64_t{set} * vectors_per_set];
    stream.receive_header = {};
    stream.receive_header.msg_iov = vectors;
    stream.receive_header.msg_iovlen = stream.plan.vectors(stream.credit, arena_, buffers_, vectors, vectors_per_set);
    io_uring_prep_recvmsg(entry, stream.descriptor, &stream.receive_header, MSG_WAITALL);
    wait_first(stream, entry);
  });
}

void KernelStreams::wait_first(const Stream& stream, io_uring_sqe* entry) const {
  if (!stream.likely_readable && ring_.features().poll_first) entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

// ---- memory ----

void KernelStreams::wait_for_memory(Stream& stream, WaitsFor what) {
  ++statistics_.memory_waits;
  stream.waits_for = what;
  (what == WaitsFor::small_buffer ? table_.waiting_for_small : table_.waiting_for_runs).add(table_, stream);
}

void KernelStreams::release(std::span<const BufferIndex> buffers) {
  for (const BufferIndex buffer : buffers) allocator_.free(buffer, buffers_.order(buffer));
  small_.refill();
}

// While small requests come, they share a tail; when the log has let go of them and no more come, it goes too.
void KernelStreams::sweep_tails() {
  sweep_at_ = never_ns;
  for (uint32_t index = 0; index < table_.capacity(); ++index) {
    Stream& stream = table_.at(index);
    if (stream.descriptor < 0 || stream.receiving != Receiving::tail) continue;
    if (stream.plan.only_ours(buffers_)) {
      stream.tail_unwanted = true;
      cancel_receive(stream);
    } else {
      sweep_at_ = now_ + sweep_interval_ns;
    }
  }
}

void KernelStreams::serve_waiting() {
  const auto serve = [&](StreamTable::List& list) {
    Stream& stream = *list.take_front(table_);
    stream.waits_for = WaitsFor::nothing;
    serving_ = true;
    arm(stream);
    serving_ = false;
  };
  for (uint64_t free = small_.available(); free > 0 && !table_.waiting_for_small.empty(); --free) {
    serve(table_.waiting_for_small);
  }
  while (allocator_.free_bytes() > 0 && !table_.waiting_for_runs.empty()) serve(table_.waiting_for_runs);
}

// ---- sending ----

void KernelStreams::arm_send(Stream& stream) {
  if (stream.sending || stream.send_queue.empty()) return;
  stream.sending = true;
  ring_.prepare(RingOwner::streams, tag(Operation::send, table_.index_of(stream)), [&](io_uring_sqe* entry) {
    const uint32_t set = next_vector_set();
    iovec* vectors = &vectors_[uint64_t{set} * vectors_per_set];
    uint32_t count = 0;
    stream.send_queue.slice(0, std::min(stream.send_queue.size(), send_bytes_max)).for_each([&](const Piece& piece) {
      if (count < vectors_per_set) vectors[count++] = {piece.data, piece.length};
    });
    send_headers_[set] = {};
    send_headers_[set].msg_iov = vectors;
    send_headers_[set].msg_iovlen = count;
    io_uring_prep_sendmsg(entry, stream.descriptor, &send_headers_[set], MSG_NOSIGNAL);
  });
}

void KernelStreams::on_sent(Stream& stream, int result) {
  stream.sending = false;
  stream.send_cancelling = false;
  if (result > 0) {
    const auto bytes = static_cast<uint64_t>(result);
    drop_sent(stream, bytes);
    statistics_.sent_bytes += bytes;
    add_event(StreamEventKind::sent, stream).bytes = bytes;
  } else if (!try_again(result)) {
    return fail(stream);
  }
  touch(stream);
}

void KernelStreams::drop_sent(Stream& stream, uint64_t bytes) {
  stream.send_queue.drop_front(send_pool_, bytes, [&](BufferIndex buffer) {
    --stream.send_pieces;
    if (buffer != no_buffer) buffers_.release(buffer, Holder::send);
  });
}

// ---- what is due ----

void KernelStreams::touch(Stream& stream) {
  if (in_poll_) {
    table_.touched.add(table_, stream);
  } else {
    arm(stream);
  }
}

void KernelStreams::arm(Stream& stream) {
  if (stream.ending != Ending::at_once) arm_send(stream);
  if (stream.ending == Ending::no) return arm_receive(stream);
  if (stream.ending == Ending::after_sent && !stream.sending) {
    ::shutdown(stream.descriptor, SHUT_WR);
    stream.ending = Ending::at_once;
  }
  if (stream.ending == Ending::at_once) try_finish(stream);
}

void KernelStreams::try_finish(Stream& stream) {
  cancel_receive(stream);
  if (stream.sending && !std::exchange(stream.send_cancelling, true)) {
    ring_.cancel(RingOwner::streams, tag(Operation::send, table_.index_of(stream)));
  }
  if (stream.receiving == Receiving::nothing && !stream.sending) table_.ended.add(table_, stream);
}

void KernelStreams::cancel_receive(Stream& stream) {
  if (stream.receiving == Receiving::nothing || std::exchange(stream.cancelling, true)) return;
  Operation operation = Operation::exact_receive;
  switch (stream.receiving) {
    case Receiving::small:
      operation = Operation::small_receive;
      break;
    case Receiving::readable:
      operation = Operation::wait_readable;
      break;
    case Receiving::tail:
      operation = Operation::tail_receive;
      break;
    case Receiving::exact:
    case Receiving::nothing:
      break;
  }
  ring_.cancel(RingOwner::streams, tag(operation, table_.index_of(stream)));
}

void KernelStreams::fail(Stream& stream) {
  stream.ending = Ending::at_once;
  stream.reset = true;
  touch(stream);
}

void KernelStreams::finish(Stream& stream) {
  table_.touched.remove(table_, stream);
  table_.ended.remove(table_, stream);
  if (stream.waits_for == WaitsFor::small_buffer) table_.waiting_for_small.remove(table_, stream);
  if (stream.waits_for == WaitsFor::page_runs) table_.waiting_for_runs.remove(table_, stream);
  stream.plan.drop(buffers_);
  drop_sent(stream, stream.send_queue.size());
  if (stream.reset) {
    const linger at_once{1, 0};
    ::setsockopt(stream.descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  } else {
    discard_unread(stream.descriptor);
  }
  ::close(stream.descriptor);
  add_event(StreamEventKind::closed, stream);
  table_.close(stream);
}

// ---- calls ----

void KernelStreams::allow(StreamId id, uint64_t count) {
  Stream* stream = table_.find(id);
  if (stream == nullptr || stream->ending != Ending::no) return;
  stream->credit += count;
  touch(*stream);
}

size_t KernelStreams::send(StreamId id, std::span<const Piece> pieces) {
  Stream* stream = table_.find(id);
  if (stream == nullptr || stream->ending != Ending::no) return 0;
  size_t taken = 0;
  while (taken < pieces.size() && stream->send_pieces < config_.send_pieces_max &&
         stream->send_queue.push_back(send_pool_, pieces[taken])) {
    ++stream->send_pieces;
    ++taken;
  }
  if (taken > 0) touch(*stream);
  return taken;
}

void KernelStreams::close(StreamId id) {
  Stream* stream = table_.find(id);
  if (stream == nullptr || stream->ending != Ending::no) return;
  stream->ending = Ending::after_sent;
  touch(*stream);
}

void KernelStreams::abort(StreamId id) {
  Stream* stream = table_.find(id);
  if (stream == nullptr) return;
  stream->ending = Ending::at_once;
  stream->reset = true;
  touch(*stream);
}

void KernelStreams::abort_all() {
  stop_accepting();
  for (uint32_t index = 0; index < table_.capacity(); ++index) {
    if (table_.at(index).descriptor >= 0) abort({index, table_.at(index).generation});
  }
}

void KernelStreams::request_done(StreamId id) {
  Stream* stream = table_.find(id);
  if (stream == nullptr || stream->plan.empty()) return;
  stream->exact = false;
  if (stream->receiving == Receiving::nothing) return stream->plan.drop(buffers_);
  stream->tail_unwanted = true;
  cancel_receive(*stream);
}

void KernelStreams::probe(StreamId id) {
  Stream* stream = table_.find(id);
  if (stream != nullptr && stream->receiving == Receiving::exact) cancel_receive(*stream);
}

uint64_t KernelStreams::bytes_received(StreamId id) const {
  const Stream* stream = table_.find(id);
  if (stream == nullptr) return 0;
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(stream->descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return 0;
  return info.tcpi_bytes_received > stream->delivered ? info.tcpi_bytes_received - stream->delivered : 0;
}

void KernelStreams::stop_accepting() { listener_.stop(ring_, tag(Operation::accept, 0)); }

Nanoseconds KernelStreams::next_deadline() const {
  const bool can_serve = (!table_.waiting_for_small.empty() && small_.available() > 0) ||
                         (!table_.waiting_for_runs.empty() && allocator_.free_bytes() > 0);
  if (can_serve || !table_.ended.empty() || !table_.touched.empty()) return 0;
  return std::min(listener_.next_deadline(), sweep_at_);
}

// ---- helpers ----

StreamEvent& KernelStreams::add_event(StreamEventKind kind, const Stream& stream) {
  check(event_count_ < events_per_burst_max, "too many events in one burst", event_count_);
  StreamEvent& event = events_[event_count_++];
  event = StreamEvent{};
  event.kind = kind;
  event.stream = {table_.index_of(stream), stream.generation};
  return event;
}

uint32_t KernelStreams::next_vector_set() { return next_vector_set_++ % vector_sets_; }

}  // namespace penstock
