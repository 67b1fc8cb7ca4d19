// Penstock's own TCP as Streams over any Frames: moves frames in and out of a TcpStack, and its events to the lane.
//
// One poll: timers, a burst of frames, the events they caused, then everything the connections and the handler's calls
// made ready to be sent. So acknowledgements cover a whole burst, and a response leaves with the acknowledgement.
//
// `headers`: where buffers for transmit headers come from; its buffers come back through release(), or through whoever
// else shares the allocator.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "dataplane/base/buffer_table.h"
#include "dataplane/frames.h"
#include "dataplane/streams.h"
#include "dataplane/tcp/tcp_config.h"
#include "dataplane/tcp/tcp_stack.h"

namespace penstock {

template <Frames F>
class TcpStreams {
 public:
  TcpStreams(const TcpConfig& config, Arena arena, BufferTable& buffers, BufferAllocator& headers, F& frames)
      : buffers_(buffers),
        headers_(headers),
        frames_(frames),
        stack_(config, frames.features(), arena, buffers, headers) {}

  // ---- concept Streams ----
  template <class Handler>
  uint32_t poll(Nanoseconds now, Handler&& handler) {
    stack_.begin_poll(now);
    uint32_t delivered = deliver(handler);
    if (stack_.has_event_room()) {
      frames_.poll(now, [&](const ReceivedFrame& frame) { stack_.on_frame(frame); });
    }
    delivered += deliver(handler);
    stack_.end_poll();
    transmit();
    return delivered;
  }
  void allow(StreamId id, uint64_t byte_count) { stack_.allow(id, byte_count); }
  size_t send(StreamId id, std::span<const Piece> pieces) { return stack_.send(id, pieces); }
  void request_done(StreamId id) { stack_.request_done(id); }
  void probe(StreamId) {}  // what has arrived in order has been delivered
  void close(StreamId id) { stack_.close(id); }
  void abort(StreamId id) { stack_.abort(id); }
  uint64_t receive_cost(uint64_t byte_count) const { return stack_.receive_cost(byte_count); }
  uint64_t receive_free() const { return frames_.receive_free(); }
  void release(std::span<const BufferIndex> buffers) {
    for (const BufferIndex& buffer : buffers) {
      if (headers_.owns(buffer)) {
        headers_.free(buffer, buffers_.order(buffer));
      } else {
        frames_.release({&buffer, 1});
      }
    }
  }
  void stop_accepting() { stack_.stop_accepting(); }
  Nanoseconds next_deadline() const { return std::min(stack_.next_deadline(), frames_.next_deadline()); }

  // ---- beyond the concept ----
  uint64_t bytes_copied() const { return stack_.counters()[TcpCount::bytes_copied]; }  // short payload, together
  TcpStack& stack() { return stack_; }
  const TcpStack& stack() const { return stack_; }

 private:
  template <class Handler>
  uint32_t deliver(Handler&& handler) {
    uint32_t delivered = 0;
    StreamEvent event;
    while (stack_.next_event(event)) {
      handler(event);
      ++delivered;
    }
    return delivered;
  }

  void transmit() {
    bool any = false;
    while (const TransmitFrame* frame = stack_.outgoing()) {
      if (!frames_.transmit(*frame)) break;  // kept, and offered again
      stack_.outgoing_taken();
      any = true;
    }
    if (any) frames_.flush();
  }

  BufferTable& buffers_;
  BufferAllocator& headers_;
  F& frames_;
  TcpStack stack_;
};

}  // namespace penstock
