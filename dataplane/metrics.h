// What a lane counts for operators. Written by the lane alone, read by whoever renders /metrics: relaxed atomics, so a
// reader sees each number whole but not all of one instant. Histograms are cumulative-ready: bucket i counts values
// below 2^i microseconds.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "dataplane/base/units.h"

namespace penstock {

class Counter {
 public:
  // Only one thread writes: a load and a store, no locked instruction.
  void add(uint64_t count) { value_.store(value_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed); }
  void set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

struct LatencyHistogram {
  static constexpr size_t bucket_count = 28;  // the last one is "2^27 us (134 s) or more"
  std::array<Counter, bucket_count> buckets;
  Counter sum_us;
  Counter count;
  void add(Nanoseconds duration) {
    const uint64_t us = duration < 0 ? 0 : static_cast<uint64_t>(duration) / 1000;
    const size_t bucket = std::min<size_t>(static_cast<size_t>(std::bit_width(us)), bucket_count - 1);
    buckets[bucket].add(1);
    sum_us.add(us);
    count.add(1);
  }
};

inline constexpr size_t error_code_slots = 160;  // Kafka's error codes -1 .. 158

inline constexpr size_t tcp_count_slots = 96;  // at least TcpCount::count

// A lane with a port and a TCP of its own.
struct NetworkMetrics {
  Counter frames_received, frame_bytes_received, frames_sent, frame_bytes_sent, payload_bytes_sent_copied;
  Counter frames_dropped_memory, frames_dropped_hand_over, frames_dropped_send;
  Counter frames_handed_out, frames_handed_in;
  Counter payload_frames, payload_frames_aligned;
  Counter frame_cycles;  // of turns that received frames
  Counter buffers_held;
  std::array<Counter, tcp_count_slots> tcp;  // by TcpCount
};

struct alignas(64) LaneMetrics {
  // the log (mirrors LogStatistics)
  Counter payload_bytes, payload_bytes_copied, written_bytes, commits, writes, flushes, write_errors, read_errors;
  Counter read_bytes, reads, resident_hits, inflight_bytes, resident_bytes;
  Counter index_bytes, footer_cache_bytes, footer_cache_hits, footer_cache_misses, footer_read_bytes;
  Counter footer_blocks_damaged;
  Counter segments, segments_released, footers, slots_recycled, slots_prepared, log_start_moves, retention_moves;
  // connections and requests
  Counter connections, connections_accepted, connections_closed_idle, connections_closed_stalled, connections_closed_slow;
  Counter connections_refused, connections_closed_malformed;
  Counter requests, records, fetch_bytes;
  Counter reserved_bytes, reservations_waiting, receive_bytes_held;
  std::array<Counter, error_code_slots> errors;  // responses by error code, index code + 1
  LatencyHistogram produce_latency;              // request complete -> response handed to the stream
  Counter log_state;                             // LogState as a number
  Counter log_trouble;                           // LogTrouble as a number
  Counter drive_error, space_error, read_error;  // errno of the last, see LogStatistics
  Counter polls, idle_waits;
  NetworkMetrics network;
};

}  // namespace penstock
