// Streams over kernel TCP sockets, through the lane's ring.
//
// Receiving. An idle connection owns no buffer: its first receive waits for data and only then gets one small buffer
// (4 KiB, from a fixed set). Credit of up to 4096 bytes always comes that way, as soon as anything arrives. What the
// small buffer has left is the stream's *tail*; while the lane is in the middle of a request, later bytes go on there,
// and beyond it into page runs from the allocator, so that one piece ends and the next begins on a page edge:
//
//     small buffer                       page runs, largest first
//   |  request head ....|rest of tail|  |0                512 KiB|  |0     64 KiB|
//      delivered         <---- one receive of exactly the credit, MSG_WAITALL ---->
//
// A receive waits for all of its credit only when the credit reaches more than 4096 bytes beyond the tail. So the lane
// must keep to this: credit that large ends exactly where a request ends. Leftovers of earlier, small credit never
// wait.
//
// request_done(id) lets go of the tail: an idle connection owns nothing. probe(id) makes a receive that waits for all
// of its bytes deliver what it has.
//
// Buffers: the table's Holder::device counts what a receive may write to and the tail; Holder::request each delivered
// piece; Holder::send each piece queued. When memory is short, streams wait for it in the order they came.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/streams.h"
#include "drivers/kernel/listener.h"
#include "drivers/kernel/receive_plan.h"
#include "drivers/kernel/small_buffers.h"
#include "drivers/kernel/stream_table.h"
#include "drivers/uring/ring.h"

namespace penstock {

struct KernelStreamsConfig {
  Endpoint listen{};               // address all zero: every local address, IPv4 and IPv6; port 0: any
  uint32_t streams_max = 4096;     // connections; more are accepted and closed at once
  uint32_t small_buffers = 1024;   // a power of two, at most 32768; taken from the allocator at start
  uint32_t send_pieces_max = 256;  // queued per stream
  uint32_t send_chunks = 8192;     // of 15 pieces each, shared by all streams
  int backlog = 1024;
  int socket_send_bytes = 0;                   // SO_SNDBUF; 0: the kernel's choice
  int socket_receive_bytes = 0;                // SO_RCVBUF
  std::function<void(std::string_view)> warn;  // rate-limited lines for the operator; empty: stderr
};

struct KernelStreamsStatistics {
  uint64_t accepted = 0;
  uint64_t refused = 0;        // over streams_max
  uint64_t accept_errors = 0;  // out of descriptors or memory
  uint64_t received_bytes = 0;
  uint64_t sent_bytes = 0;
  uint64_t small_receives = 0;  // into a small buffer
  uint64_t exact_receives = 0;  // of exactly the credit, into page runs
  uint64_t memory_waits = 0;    // a receive had to wait for a buffer
};

class KernelStreams {
 public:
  // `allocator`: of the receive region of `arena`; every receive buffer comes from it.
  static std::expected<std::unique_ptr<KernelStreams>, std::string> create(Ring& ring, const Arena& arena,
                                                                           BufferTable& buffers,
                                                                           BufferAllocator& allocator,
                                                                           const KernelStreamsConfig& config);
  // Aborts every connection, waits until the kernel has let go of all buffers, and gives them back to the table. Runs
  // on the ring's thread, or after that thread has ended.
  ~KernelStreams();
  KernelStreams(const KernelStreams&) = delete;
  KernelStreams& operator=(const KernelStreams&) = delete;

  // ---- concept Streams ----
  template <class Handler>
  uint32_t poll(Nanoseconds now, Handler&& handler) {
    uint32_t delivered = 0;
    begin_poll(now);
    while (delivered < events_per_poll && next_burst()) {
      for (const StreamEvent& event : std::span(events_.get(), event_count_)) handler(event);
      delivered += event_count_;
    }
    end_poll();
    return delivered;
  }
  void allow(StreamId id, uint64_t count);
  size_t send(StreamId id, std::span<const Piece> pieces);
  void close(StreamId id);
  void abort(StreamId id);
  void request_done(StreamId id);
  void probe(StreamId id);
  // The small buffer a request begins in, and page runs for the rest.
  uint64_t receive_cost(uint64_t count) const { return round_up(count, arena_unit_bytes) + arena_unit_bytes; }
  uint64_t receive_free() const { return allocator_.free_bytes(); }
  // Takes back buffers of the receive region. Releases none itself, so the caller may be walking the table's list of
  // released ones; streams that wait for memory are served by the next poll.
  void release(std::span<const BufferIndex> buffers);
  void stop_accepting();
  // 0 (already passed) when something waits for the next poll.
  Nanoseconds next_deadline() const;

  // ---- beyond the concept ----
  // Bytes that have arrived but were not delivered: asks the kernel, so for tests and timeouts.
  uint64_t bytes_received(StreamId id) const;
  // Aborts every connection and stops accepting; `closed` events follow. Done when open_streams() is 0.
  void abort_all();

  uint16_t port() const { return listener_.port(); }
  uint32_t open_streams() const { return table_.open_count(); }
  const KernelStreamsStatistics& statistics() const { return statistics_; }

 private:
  static constexpr uint32_t events_per_poll = 256;

  enum class Operation : uint8_t { accept, small_receive, wait_readable, tail_receive, exact_receive, send };
  static constexpr int operation_shift = 32;
  static uint64_t tag(Operation operation, uint32_t index) {
    return static_cast<uint64_t>(operation) << operation_shift | index;
  }

  KernelStreams(Ring& ring, const Arena& arena, BufferTable& buffers, BufferAllocator& allocator,
                const KernelStreamsConfig& config, Listener listener, SmallBuffers small);

  void begin_poll(Nanoseconds now);
  bool next_burst();  // fills events_ from one completion or one stream that ended; false: nothing left
  void end_poll();

  void on_completion(const RingCompletion& done);
  void on_accept(const RingCompletion& done);
  void on_receive(Stream& stream, Operation operation, const RingCompletion& done);
  void on_readable(Stream& stream, int result);
  void on_sent(Stream& stream, int result);

  void start_tail(Stream& stream, BufferIndex buffer);
  void deliver(Stream& stream, uint64_t bytes);
  void arm_receive(Stream& stream);
  void arm_small_receive(Stream& stream);
  void arm_tail_receive(Stream& stream);
  void arm_exact_receive(Stream& stream);
  void wait_first(const Stream& stream, io_uring_sqe* entry) const;
  void cancel_receive(Stream& stream);
  void wait_for_memory(Stream& stream, WaitsFor what);
  void serve_waiting();
  void sweep_tails();

  void arm_send(Stream& stream);
  void drop_sent(Stream& stream, uint64_t bytes);

  void touch(Stream& stream);  // something may be due: armed now, or at the end of poll
  void arm(Stream& stream);
  void fail(Stream& stream);
  void try_finish(Stream& stream);
  void finish(Stream& stream);

  StreamEvent& add_event(StreamEventKind kind, const Stream& stream);
  uint32_t next_vector_set();

  Ring& ring_;
  const Arena arena_;
  BufferTable& buffers_;
  BufferAllocator& allocator_;
  const KernelStreamsConfig config_;
  Listener listener_;
  SmallBuffers small_;
  StreamTable table_;
  PiecePool send_pool_;

  // Vectors handed to the kernel have to last until they are submitted; there are never more unsubmitted than the ring
  // has entries, so they are used in turn.
  uint32_t vector_sets_;
  uint32_t next_vector_set_ = 0;
  std::unique_ptr<iovec[]> vectors_;
  std::unique_ptr<msghdr[]> send_headers_;

  std::unique_ptr<StreamEvent[]> events_;
  uint32_t event_count_ = 0;
  bool in_poll_ = false;
  bool serving_ = false;  // arming a stream that had waited for memory
  Nanoseconds now_ = 0;
  Nanoseconds sweep_at_ = never_ns;  // when to look for tails that nobody needs any more
  KernelStreamsStatistics statistics_;
};

}  // namespace penstock
