// One io_uring per lane, shared by its sockets and its drive, and the one place where a lane sleeps.
//
// An owner (the streams, the drive) prepares submissions under a tag of its own and drains its own completions; the
// ring sorts them by the owner in the top byte of user_data. Nothing is submitted until poll() or wait(), unless the
// submission queue is full.
//
// A ring belongs to the thread of its first poll() or wait() (bind_to_this_thread() says so explicitly); before that
// any one thread may prepare on it and register memory. Only wake() may be called from other threads.
//
// wake() and sleeping: a read of an eventfd is kept armed, and an eventfd remembers, so a wake between the lane's last
// look at its mailboxes and its falling asleep ends the sleep at once. Wakes that nobody has seen yet cost the caller
// no system call. After wait() or poll() returned, everything pushed before the wake is visible.
#pragma once

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/check.h"
#include "dataplane/base/units.h"

namespace penstock {

enum class RingOwner : uint8_t { wake, watch, drive, streams, nobody, count };  // nobody: completions are dropped

// What this kernel offers. In RingConfig::allowed each can be switched off, so that the way around it is tested.
struct RingFeatures {
  bool defer_taskrun = true;     // kernel 6.1: completions are made only when the lane asks
  bool writev_fixed = true;      // kernel 6.15: vectors from registered memory (opcodes 60 and 61)
  bool buffer_ring = true;       // kernel 5.19: the kernel picks a receive buffer when data is there
  bool multishot_accept = true;  // kernel 5.19
  bool poll_first = true;        // kernel 5.19: wait for data before the first attempt
};

struct RingConfig {
  uint32_t entries = 1024;  // submissions; completions have four times as many
  RingFeatures allowed{};
  bool register_arena = true;  // false: ordinary vectors only, no memlock limit to raise
};

struct RingCompletion {
  uint64_t tag = 0;    // 56 bits, as prepared
  int32_t result = 0;  // of the operation, or -errno
  uint32_t flags = 0;  // IORING_CQE_F_*
};

class Ring {
 public:
  static constexpr uint64_t registered_bytes_max = GiB;  // kernel's limit for one fixed buffer

  // Registers the arena as the one fixed buffer. The error is a line for the operator, with the remedy.
  static std::expected<std::unique_ptr<Ring>, std::string> create(const Arena& arena, const RingConfig& config = {});
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  const RingFeatures& features() const { return features_; }
  bool arena_registered() const { return arena_registered_; }
  uint32_t entries() const { return raw_.sq.ring_entries; }
  std::string describe() const;  // one line for the start report

  // A submission with its user_data set and everything else zero; fill it with the io_uring_prep_* helper of choice
  // and set no user_data. Submits what is there when the queue is full.
  template <class Prepare>
  io_uring_sqe* prepare(RingOwner owner, uint64_t tag, Prepare&& fill) {
    io_uring_sqe* entry = next_entry();
    fill(entry);
    entry->user_data = user_data(owner, tag);
    return entry;
  }
  // Asks the kernel to cancel the submission prepared with this owner and tag; its own completion says how it ended.
  void cancel(RingOwner owner, uint64_t tag);

  void bind_to_this_thread();
  // The kernel's worker threads of this ring's thread (see ring_workers.h) run on these processors only; by default on
  // all there are. By the ring's thread, once bound; false: the kernel (before 5.14) or a cgroup refuses.
  bool keep_workers_on(const std::vector<uint32_t>& processors);
  bool bound_to_this_thread() const;

  // Submits, and collects completions without sleeping; no system call when there is nothing to do.
  void poll();
  // Submits and sleeps until a completion, a wake, or the deadline (never_ns: none). Like poll() when there are
  // completions not yet drained or the deadline has passed.
  void wait(Nanoseconds now, Nanoseconds deadline);
  // Ends the present or the next wait(). From any thread.
  void wake();

  // wait() ends also when `file` is readable, at once if it already is; after that watching() is false until the next
  // call. One file a ring.
  void watch(int file);
  bool watching() const { return watch_armed_; }

  // Calls visit(const RingCompletion&) for at most `limit` completions of this owner; returns how many.
  template <class Visit>
  uint32_t drain(RingOwner owner, uint32_t limit, Visit&& visit) {
    uint32_t count = 0;
    RingCompletion done;
    while (count < limit && next_completion(owner, done)) {
      visit(done);
      ++count;
    }
    return count;
  }
  bool next_completion(RingOwner owner, RingCompletion& done) {
    Queue& queue = queues_[static_cast<size_t>(owner)];
    if (queue.head == queue.tail) return false;
    done = queue.slots[queue.head++ & queue_mask_];
    --undrained_;
    return true;
  }
  uint32_t undrained(RingOwner owner) const {
    const Queue& queue = queues_[static_cast<size_t>(owner)];
    return queue.tail - queue.head;
  }

  // A ring of provided buffers (see liburing); false: this kernel has none.
  [[nodiscard]] bool register_buffer_ring(io_uring_buf_ring* ring, uint32_t entries, uint16_t group);
  void unregister_buffer_ring(uint16_t group);

 private:
  static constexpr int owner_shift = 56;
  static uint64_t user_data(RingOwner owner, uint64_t tag) {
    check(tag >> owner_shift == 0, "ring tag wider than 56 bits", static_cast<long long>(tag));
    return static_cast<uint64_t>(owner) << owner_shift | tag;
  }
  struct Queue {
    std::unique_ptr<RingCompletion[]> slots;
    uint32_t head = 0;
    uint32_t tail = 0;
  };

  Ring() = default;
  std::expected<void, std::string> set_up(const RingConfig& config);
  std::expected<void, std::string> register_arena(const Arena& arena);
  void probe(const RingFeatures& allowed);
  io_uring_sqe* next_entry();
  void arm_wake();
  void collect();

  io_uring raw_{};
  bool set_up_ = false;
  bool arena_registered_ = false;
  bool enabled_ = false;
  RingFeatures features_{};
  pid_t owner_thread_ = 0;
  Queue queues_[static_cast<size_t>(RingOwner::count)];
  uint32_t queue_mask_ = 0;
  uint32_t undrained_ = 0;  // over all queues
  int wake_event_ = -1;
  uint64_t wake_value_ = 0;  // where the armed read of the eventfd goes
  bool wake_armed_ = false;
  bool watch_armed_ = false;
  alignas(64) std::atomic<bool> wake_pending_{false};
};

}  // namespace penstock
