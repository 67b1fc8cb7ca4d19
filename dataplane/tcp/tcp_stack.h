// Penstock's TCP, server side, for one lane: frames in, ordered bytes out, and back. No I/O, no clock, no randomness.
//
//   begin_poll(now)            timers
//   on_frame(frame) ...        a burst; each buffer of the frame arrives held as Holder::device and is passed on or
//                              released before on_frame returns
//   next_event(event) ...      until false; in between allow, send, close, ... may be called
//   end_poll()                 acknowledgements that are due are marked
//   outgoing(), outgoing_taken() ...   until nullptr; the frame stays the same until it is taken
//
// The window. allow() moves the right edge, and nothing moves it back: what is advertised is the edge rounded up to the
// window scale, so up to edge_overshoot_max bytes can arrive that no credit was given for; they wait here. (Only when
// rounding has used that up it goes down instead, and the edge seems to move left by less than 1 << scale bytes, as
// RFC 7323 2.4 allows; what was promised is accepted all the same.) The sum of all edges stays within
// receive_budget_bytes: what goes beyond opens, first come first served, when others have received.
//
// Where buffers go. A delivered piece holds its buffer as Holder::request. Payload shorter than TcpConfig::brief_bytes
// is copied behind other short payload of the same stream, so that n bytes never hold more than
// receive_cost(n) bytes of buffers; request_done() lets go of the buffer that short payload is collected in.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"
#include "dataplane/frames.h"
#include "dataplane/net/counters.h"
#include "dataplane/streams.h"
#include "dataplane/tcp/tcp_config.h"

namespace penstock {

namespace tcp {
class Core;
}

// For metrics and tests; RFC 9293 3.3.2. Connections in SYN-RECEIVED, FIN-WAIT-2 (we have closed and
// that is acknowledged) and TIME-WAIT have no stream and are kept in tables of their own.
enum class TcpState : uint8_t {
  closed,
  established,
  fin_wait_1,
  close_wait,
  closing,
  last_ack,
};
const char* to_string(TcpState state);

// A look at one connection, for tests and `penstock` diagnostics.
struct TcpConnectionView {
  TcpState state = TcpState::closed;
  uint64_t window_bytes = 0;        // right edge beyond what was received
  uint64_t credit_bytes = 0;        // allowed and not yet received, whether the budget has opened it or not
  uint64_t out_of_order_bytes = 0;  // waiting in reassembly
  uint64_t queued_bytes = 0;        // sent by the lane and not acknowledged
  uint64_t in_flight_bytes = 0;
  uint64_t congestion_window_bytes = 0;
  uint32_t mss_bytes = 0;  // of what we send
  Nanoseconds rto = 0;
  Nanoseconds smoothed_rtt = 0;
};

class TcpStack {
 public:
  TcpStack(const TcpConfig& config, const PortFeatures& features, Arena arena, BufferTable& buffers,
           BufferAllocator& headers);
  ~TcpStack();  // lets go of every buffer
  TcpStack(const TcpStack&) = delete;
  TcpStack& operator=(const TcpStack&) = delete;

  void begin_poll(Nanoseconds now);
  void on_frame(const ReceivedFrame& frame);
  bool has_event_room() const;  // for a burst of 64 frames
  bool next_event(StreamEvent& event);
  void end_poll();
  const TransmitFrame* outgoing();
  void outgoing_taken();

  void allow(StreamId id, uint64_t byte_count);
  size_t send(StreamId id, std::span<const Piece> pieces);
  void request_done(StreamId id);
  void close(StreamId id);
  void abort(StreamId id);
  uint64_t receive_cost(uint64_t byte_count) const;
  void stop_accepting();
  Nanoseconds next_deadline() const;

  const TcpCounters& counters() const;
  TcpConnectionView view(StreamId id) const;
  uint32_t open_connections() const;
  uint32_t half_open_connections() const;
  uint32_t time_wait_connections() const;
  uint64_t window_bytes() const;  // the sum of all edges; at most receive_budget_bytes
  uint64_t memory_bytes() const;  // of all tables
  // Breaks with check() when a connection, a list or a sum is inconsistent: for tests, slow.
  void check_invariants() const;

 private:
  std::unique_ptr<tcp::Core> core_;
};

}  // namespace penstock
