// Entries that are named by an index, all allocated at start, and lists through them.
#pragma once

#include <cstdint>
#include <memory>

#include "dataplane/base/check.h"

namespace penstock::tcp {

inline constexpr uint32_t no_index = UINT32_MAX;

// `T` has a member `uint32_t next`, used by the pool while the entry is free.
template <class T>
class IndexPool {
 public:
  explicit IndexPool(uint32_t count) : entries_(std::make_unique<T[]>(count)), count_(count), free_count_(count) {
    for (uint32_t i = 0; i < count; ++i) entries_[i].next = i + 1 < count ? i + 1 : no_index;
    free_ = count > 0 ? 0 : no_index;
  }
  // no_index when all are taken. The entry is as its last user left it.
  uint32_t take() {
    const uint32_t index = free_;
    if (index == no_index) return no_index;
    free_ = entries_[index].next;
    --free_count_;
    return index;
  }
  void give(uint32_t index) {
    entries_[index].next = free_;
    free_ = index;
    ++free_count_;
    check(free_count_ <= count_, "entry given back twice", index, count_);
  }
  T& operator[](uint32_t index) { return entries_[index]; }
  const T& operator[](uint32_t index) const { return entries_[index]; }
  uint32_t count() const { return count_; }
  uint32_t free_count() const { return free_count_; }
  uint32_t taken_count() const { return count_ - free_count_; }
  uint64_t memory_bytes() const { return uint64_t{count_} * sizeof(T); }

 private:
  std::unique_ptr<T[]> entries_;
  uint32_t count_;
  uint32_t free_count_;
  uint32_t free_ = no_index;
};

// First in, first out; removal from the middle. `T` has members `uint32_t next, previous`.
template <class T>
class IndexList {
 public:
  template <class Pool>
  void push_back(Pool& pool, uint32_t index) {
    pool[index].previous = last_;
    pool[index].next = no_index;
    (last_ == no_index ? first_ : pool[last_].next) = index;
    last_ = index;
    ++count_;
  }
  template <class Pool>
  void remove(Pool& pool, uint32_t index) {
    const T& entry = pool[index];
    (entry.previous == no_index ? first_ : pool[entry.previous].next) = entry.next;
    (entry.next == no_index ? last_ : pool[entry.next].previous) = entry.previous;
    --count_;
  }
  uint32_t first() const { return first_; }
  uint32_t count() const { return count_; }

 private:
  uint32_t first_ = no_index;
  uint32_t last_ = no_index;
  uint32_t count_ = 0;
};

}  // namespace penstock::tcp
