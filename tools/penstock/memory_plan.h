// How a lane's arena is divided. The receive region also holds the newest records, which stay where they were received.
//
//   arena:  | receive region: requests + resident | send | log: headers, copies of small batches, reads |
#pragma once

#include <cstdint>

#include "dataplane/base/buffer_table.h"

namespace penstock {

struct MemoryPlan {
  uint64_t arena_bytes = 0;
  uint64_t receive_bytes = 0;   // requests; of the receive region
  uint64_t resident_bytes = 0;  // newest records; likewise
  uint64_t send_bytes = 0;
  uint64_t log_bytes = 0;
  uint32_t small_buffer_count = 0;  // 4 KiB each, out of receive_bytes; a power of two
  uint64_t read_bytes = 0;          // out of log_bytes, for consumers of older records
  uint64_t footer_cache_bytes = 0;  // likewise, to find them
  uint64_t request_bytes_max = 0;

  uint32_t receive_units() const { return units(receive_bytes + resident_bytes); }
  uint32_t send_units() const { return units(send_bytes); }
  uint32_t log_units() const { return units(log_bytes); }
  // What reservations may take: not the small buffers, which connections hold without one.
  uint64_t reservation_bytes() const { return receive_bytes - uint64_t{small_buffer_count} * arena_unit_bytes; }

 private:
  static uint32_t units(uint64_t bytes) { return static_cast<uint32_t>(bytes / arena_unit_bytes); }
};

// Zero shares get their usual part; the configuration was checked to leave an eighth for the log.
MemoryPlan plan_memory(uint64_t arena_bytes, uint64_t receive_bytes, uint64_t resident_bytes, uint64_t send_bytes,
                       uint64_t request_bytes_max);

// The receive region when frames are received into it, of buffers as large as a frame:
//
//   | headers to be sent | a pool of buffers ...                                                        |
//                          one for each connection, a reserve, what the port and other lanes hold, the rest: requests
struct FramePlan {
  static constexpr uint32_t header_units = 512;
  uint32_t brief_bytes = 0;  // payload shorter than this is copied together, so that it fills buffers
  uint32_t connections_max = 0;
  uint64_t reservation_bytes = 0;
  uint64_t request_bytes_max = 0;
};

FramePlan plan_frames(const MemoryPlan& plan, uint32_t buffer_units, uint32_t descriptors, uint32_t connections_max);

}  // namespace penstock
