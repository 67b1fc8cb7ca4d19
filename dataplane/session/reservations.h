// Memory for requests larger than a small buffer, promised before they are read.
//
// After its length prefix a request reserves all the buffers it may come to occupy, in arrival order. Without a
// reservation its connection is not read further, so half-sent requests can never fill the arena: what was granted
// always fits. Two classes wait apart:
//
//   proven    connections that have completed a reserved request. They may take the whole budget but `largest`.
//   newcomer  all others. They may take half of what the proven may, so a crowd of half-sent first requests
//             leaves the other half to those who are known to finish what they begin.
//
// `largest`, one largest request, is kept for the oldest waiter when nothing else is free: something can always finish.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "dataplane/base/check.h"

namespace penstock {

class Reservations {
 public:
  enum class Class : uint8_t { newcomer, proven };

  // Bytes, by buffer. `connection_count`: connections are named by an index below it. largest <= total / 2.
  Reservations(uint64_t total, uint64_t largest, uint32_t connection_count);

  struct Grant {
    uint64_t cost = 0;  // bytes; 0: nothing granted
    Class from = Class::newcomer;
    bool reserve = false;  // out of the part that is kept for the oldest waiter
  };

  // Grants at once if nobody of the same class waits and there is room; else `connection` waits (at most once each).
  Grant request(uint32_t connection, uint64_t cost, Class from);
  // The next waiter that can be granted now: returns its connection index and fills `grant`; UINT32_MAX when none can.
  uint32_t grant_next(Grant& grant);
  void release(const Grant& grant);
  void stop_waiting(uint32_t connection);

  bool waits(uint32_t connection) const { return nodes_[connection].waiting; }
  uint64_t used() const { return used_[0] + used_[1] + (reserve_used_ ? reserve_cost_ : 0); }
  uint32_t waiting() const { return waiting_; }
  uint64_t total() const { return total_; }
  uint64_t largest() const { return largest_; }

 private:
  static constexpr uint32_t none = UINT32_MAX;
  struct Node {
    uint64_t cost = 0;
    uint32_t next = none;
    uint32_t previous = none;
    Class from = Class::newcomer;
    bool waiting = false;
  };
  struct Queue {
    uint32_t head = none;
    uint32_t tail = none;
  };
  static size_t index(Class from) { return static_cast<size_t>(from); }
  bool fits(uint64_t cost, Class from) const;

  uint64_t total_;
  uint64_t largest_;
  std::unique_ptr<Node[]> nodes_;
  std::array<Queue, 2> queues_;
  std::array<uint64_t, 2> used_{};
  uint64_t reserve_cost_ = 0;
  bool reserve_used_ = false;
  uint32_t waiting_ = 0;
  bool proven_had_reserve_ = false;  // the reserve goes to the classes in turn
};

}  // namespace penstock
