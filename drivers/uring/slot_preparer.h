// Makes slots ready on a thread of its own: create the file, allocate it, write it whole with zeros (a write into
// allocated but unwritten extents would cost a journal commit each: 126 -> 229 us on ext4), sync the file and the
// directory. Gives way to the lane: before each 1 MiB step it waits for a moment without commits in flight, but never
// long, since without a prepared slot the lane would soon stand still.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "dataplane/base/check.h"
#include "dataplane/base/mailbox.h"
#include "dataplane/base/units.h"
#include "drivers/uring/lane_directory.h"

namespace penstock {

struct PreparedSlot {
  uint32_t request = 0;  // as given to prepare()
  SegmentSlot slot{};
  int result = 0;       // 0 or -errno; on error the file is gone
  int descriptor = -1;  // open, when result is 0; the receiver closes it
};

class SlotPreparer {
 public:
  // `notify` is called from the thread after each slot; `directory` outlives the preparer. No more than `orders_max`
  // orders may be without their take().
  SlotPreparer(const LaneDirectory& directory, uint64_t segment_bytes, uint32_t orders_max,
               std::function<void()> notify);
  ~SlotPreparer();  // stops between two steps; what was not finished is removed

  [[nodiscard]] bool prepare(uint32_t request, SegmentSlot slot);  // false: queue full
  std::optional<PreparedSlot> take() { return done_.pop(); }
  void set_busy(bool busy) { busy_.store(busy, std::memory_order_relaxed); }

 private:
  struct Order {
    uint32_t request = 0;
    SegmentSlot slot{};
  };
  void run();
  PreparedSlot make(const Order& order);
  int fill(int descriptor);
  void give_way();

  const LaneDirectory& directory_;
  const uint64_t segment_bytes_;
  Mailbox<Order> orders_;
  Mailbox<PreparedSlot> done_;
  std::atomic<bool> busy_{false};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::thread thread_;
};

}  // namespace penstock
