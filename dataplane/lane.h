// A lane: one core's share of everything, and the one template that knows a device. It carries work between the
// streams, the broker, the log and the drive; it decides nothing.
//
//   control  ->            +--------+   stage, append   +-----+   write, flush   +-------+
//   streams  -> data ->    | Broker | ----------------> | Log | ---------------> | Drive |
//            <- allow, send|        | <---------------- |     | <--------------- |       |
//                          +--------+  durable, fetch   +-----+   completions    +-------+
//
// poll() does one burst of each and says how much there was to do and when it should be called again; the caller
// sleeps in between, or does not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/mailbox.h"
#include "dataplane/session/broker.h"
#include "dataplane/session/stream_port.h"
#include "dataplane/streams.h"
#include "storage/drive.h"
#include "storage/log.h"

namespace penstock {

// StreamPort answered by the Streams of a lane.
template <Streams S>
class PortOf final : public StreamPort {
 public:
  explicit PortOf(S& streams) : streams_(streams) {}
  void allow(StreamId stream, uint64_t byte_count) override { streams_.allow(stream, byte_count); }
  void request_done(StreamId stream) override { streams_.request_done(stream); }
  size_t send(StreamId stream, std::span<const Piece> pieces) override { return streams_.send(stream, pieces); }
  void close(StreamId stream) override { streams_.close(stream); }
  void abort(StreamId stream) override { streams_.abort(stream); }
  void probe(StreamId stream) override { streams_.probe(stream); }
  uint64_t receive_cost(uint64_t byte_count) const override { return streams_.receive_cost(byte_count); }
  uint64_t receive_free() const override { return streams_.receive_free(); }
  void stop_accepting() override { streams_.stop_accepting(); }

 private:
  S& streams_;
};

struct Polled {
  uint32_t work = 0;  // events, completions, messages handled; 0: nothing to do until `next`
  Nanoseconds next = never_ns;
};

// Memory of a lane: one arena, three regions of it. The log's and the broker's allocators are given here; the
// receive region belongs to the streams.
struct LaneMemory {
  Arena arena;
  BufferTable* buffers = nullptr;
  BufferAllocator* log_buffers = nullptr;
  BufferAllocator* send_buffers = nullptr;
  PiecePool* pieces = nullptr;
};

template <Streams S, Drive D>
class Lane {
 public:
  Lane(const BrokerConfig& config, const LaneMemory& memory, S& streams, D& drive, Log& log, Mailbox<ToLane>& inbox,
       Mailbox<ToControl>& control, LaneMetrics& metrics)
      : memory_(memory),
        streams_(streams),
        drive_(drive),
        log_(log),
        inbox_(inbox),
        metrics_(metrics),
        port_(streams),
        broker_(config, log, memory.arena, *memory.buffers, *memory.send_buffers, *memory.pieces, port_, control,
                metrics) {}

  Polled poll(Nanoseconds now, Milliseconds wall_ms) {
    Polled polled;
    while (auto message = inbox_.pop()) {
      broker_.on_control(std::move(*message), now, wall_ms);
      ++polled.work;
    }
    polled.work += drive_.poll(now, [&](const DriveCompletion& done) { log_.completed(done, now); });
    polled.work += streams_.poll(now, [&](const StreamEvent& event) { broker_.on_stream(event, now, wall_ms); });
    broker_.stopping() ? log_.stop_retaining() : log_.retain(now, wall_ms);
    polled.work += submit(now);
    polled.work += broker_.work(now, wall_ms);
    polled.work += submit(now);  // a retried request may have appended
    give_back();
    publish();
    polled.next =
        std::min({broker_.next_deadline(), log_.next_deadline(), drive_.next_deadline(), streams_.next_deadline()});
    return polled;
  }

  Broker& broker() { return broker_; }
  bool stopped() const { return broker_.stopped(); }

  // After the last poll: nothing is in flight; every buffer goes back, and the buffer table shows what does not.
  void release_all() {
    broker_.release_all();
    log_.release_all();
    give_back();
  }

  // Buffers whose last holder let go return to whoever gave them out.
  void give_back() {
    BufferTable& buffers = *memory_.buffers;
    for (const BufferIndex& buffer : buffers.released()) {
      if (memory_.log_buffers->owns(buffer)) {
        memory_.log_buffers->free(buffer, buffers.order(buffer));
      } else if (memory_.send_buffers->owns(buffer)) {
        memory_.send_buffers->free(buffer, buffers.order(buffer));
      } else {
        streams_.release({&buffer, 1});
      }
    }
    buffers.forget_released();
  }

 private:
  uint32_t submit(Nanoseconds now) {
    uint32_t submitted = 0;
    while (const DriveRequest* request = log_.next_request(now)) {
      if (!drive_.submit(*request)) break;
      log_.submitted();
      ++submitted;
    }
    return submitted;
  }

  void publish() {
    const LogStatistics& log = log_.statistics();
    metrics_.payload_bytes.set(log.payload_bytes);
    uint64_t copied = log.payload_bytes_copied;
    if constexpr (requires { streams_.bytes_copied(); }) copied += streams_.bytes_copied();
    metrics_.payload_bytes_copied.set(copied);
    metrics_.written_bytes.set(log.written_bytes);
    metrics_.commits.set(log.commits);
    metrics_.writes.set(log.writes);
    metrics_.flushes.set(log.flushes);
    metrics_.write_errors.set(log.write_errors);
    metrics_.read_errors.set(log.read_errors);
    metrics_.drive_error.set(log.drive_error);
    metrics_.space_error.set(log.space_error);
    metrics_.read_error.set(log.read_error);
    metrics_.read_bytes.set(log.read_bytes);
    metrics_.reads.set(log.reads);
    metrics_.resident_hits.set(log.resident_hits);
    metrics_.index_bytes.set(log.index_bytes);
    metrics_.footer_cache_bytes.set(log.footer_cache_bytes);
    metrics_.footer_cache_hits.set(log.footer_cache_hits);
    metrics_.footer_cache_misses.set(log.footer_cache_misses);
    metrics_.footer_read_bytes.set(log.footer_read_bytes);
    metrics_.footer_blocks_damaged.set(log.footer_blocks_damaged);
    metrics_.segments.set(log.segments);
    metrics_.segments_released.set(log.segments_released);
    metrics_.footers.set(log.footers);
    metrics_.slots_recycled.set(log.slots_recycled);
    metrics_.slots_prepared.set(log.slots_prepared);
    metrics_.log_start_moves.set(log.log_start_moves);
    metrics_.retention_moves.set(log.retention_moves);
    metrics_.inflight_bytes.set(log.inflight_bytes);
    metrics_.resident_bytes.set(log.resident_bytes);
    metrics_.log_trouble.set(static_cast<uint64_t>(log_.trouble()));
    metrics_.log_state.set(static_cast<uint64_t>(log_.state()));
    if constexpr (requires { streams_.statistics().refused; })
      metrics_.connections_refused.set(streams_.statistics().refused);
    metrics_.polls.add(1);
  }

  LaneMemory memory_;
  S& streams_;
  D& drive_;
  Log& log_;
  Mailbox<ToLane>& inbox_;
  LaneMetrics& metrics_;
  PortOf<S> port_;
  Broker broker_;
};

}  // namespace penstock
