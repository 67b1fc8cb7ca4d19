// Deadlines of many things that are named by an index, at most one deadline each: a hashed wheel (Varghese and Lauck,
// scheme 6). Setting, moving and clearing are constant time; nothing is allocated after construction. A deadline fires
// at the first expire() at or after it, up to one tick late, never early.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "dataplane/base/check.h"
#include "dataplane/base/units.h"

namespace penstock {

class TimerWheel {
 public:
  static constexpr uint32_t bucket_count = 512;
  static constexpr Nanoseconds tick_ns = 4 * millisecond_ns;  // one turn of the wheel is 2 s

  explicit TimerWheel(uint32_t index_count) : nodes_(std::make_unique<Node[]>(index_count)), index_count_(index_count) {
    heads_.fill(none);
  }

  void set(uint32_t index, Nanoseconds deadline) {
    check(index < index_count_, "timer index beyond end", index, index_count_);
    clear(index);
    Node& node = nodes_[index];
    node.deadline = deadline;
    const uint32_t bucket = bucket_of(deadline < last_ ? last_ : deadline);
    node.bucket = bucket;
    node.previous = none;
    node.next = heads_[bucket];
    if (node.next != none) nodes_[node.next].previous = index;
    heads_[bucket] = index;
    ++count_;
    if (deadline < earliest_) earliest_ = deadline;
  }

  void clear(uint32_t index) {
    Node& node = nodes_[index];
    if (node.bucket == none) return;
    (node.previous == none ? heads_[node.bucket] : nodes_[node.previous].next) = node.next;
    if (node.next != none) nodes_[node.next].previous = node.previous;
    node.bucket = none;
    --count_;
  }

  bool is_set(uint32_t index) const { return nodes_[index].bucket != none; }
  uint32_t count() const { return count_; }

  // When expire() should be called next: no later than the earliest deadline, perhaps sooner.
  Nanoseconds next_deadline() const { return count_ == 0 ? never_ns : earliest_; }

  // Clears every deadline at or before `now` and calls fired(index) for each; fired may set deadlines again.
  template <class Fired>
  uint32_t expire(Nanoseconds now, Fired&& fired) {
    if (count_ == 0 || now < earliest_) {
      return 0;
    }
    uint32_t fired_count = 0;
    const int64_t first_tick = last_ / tick_ns, last_tick = now / tick_ns;
    const int64_t ticks = last_tick - first_tick >= bucket_count ? bucket_count - 1 : last_tick - first_tick;
    last_ = now;
    for (int64_t tick = last_tick - ticks; tick <= last_tick; ++tick) {
      uint32_t index = heads_[static_cast<uint64_t>(tick) % bucket_count];
      while (index != none) {
        const uint32_t next = nodes_[index].next;
        if (nodes_[index].deadline <= now) {
          clear(index);
          ++fired_count;
          fired(index);
          // The handler may have changed this bucket: begin it again.
          index = heads_[static_cast<uint64_t>(tick) % bucket_count];
          continue;
        }
        index = next;
      }
    }
    find_earliest();
    return fired_count;
  }

 private:
  static constexpr uint32_t none = UINT32_MAX;
  static constexpr uint32_t looked_at_max = 4096;  // about 10 us
  struct Node {
    Nanoseconds deadline = 0;
    uint32_t next = none;
    uint32_t previous = none;
    uint32_t bucket = none;  // none: not set
  };
  static uint32_t bucket_of(Nanoseconds time) {
    return static_cast<uint32_t>(static_cast<uint64_t>(time / tick_ns) % bucket_count);
  }
  // The first non-empty bucket ahead bounds the earliest deadline from below. Where many are further turns away it is
  // not looked for to the end: expire() is called for the next bucket then, and looks again.
  void find_earliest() {
    earliest_ = never_ns;
    if (count_ == 0) return;
    const int64_t tick = last_ / tick_ns;
    uint32_t looked_at = 0;
    for (int64_t ahead = 0; ahead < bucket_count; ++ahead) {
      uint32_t index = heads_[static_cast<uint64_t>(tick + ahead) % bucket_count];
      for (; index != none; index = nodes_[index].next) {
        if (nodes_[index].deadline < earliest_) earliest_ = nodes_[index].deadline;
        if (++looked_at == looked_at_max) {
          earliest_ = std::min(earliest_, (tick + ahead + 1) * tick_ns);
          return;
        }
      }
      // Later buckets hold later deadlines of this turn; those of further turns are later still.
      if (earliest_ < (tick + ahead + 1) * tick_ns) return;
    }
  }

  std::unique_ptr<Node[]> nodes_;
  uint32_t index_count_;
  uint32_t count_ = 0;
  std::array<uint32_t, bucket_count> heads_;
  Nanoseconds last_ = 0;
  Nanoseconds earliest_ = never_ns;
};

}  // namespace penstock
