// An array whose capacity is fixed at construction: the log's tables, sized once from limits.h, never reallocated.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "dataplane/base/check.h"

namespace penstock {

template <class T>
class Bounded {
 public:
  explicit Bounded(size_t capacity) : items_(std::make_unique<T[]>(capacity)), capacity_(capacity) {}

  bool full() const { return count_ == capacity_; }
  bool empty() const { return count_ == 0; }
  size_t size() const { return count_; }
  size_t capacity() const { return capacity_; }

  void push_back(const T& item) {
    check(count_ < capacity_, "bounded array: full", static_cast<long long>(capacity_));
    items_[count_++] = item;
  }
  void truncate(size_t count) {
    check(count <= count_, "bounded array: truncated beyond its end", static_cast<long long>(count),
          static_cast<long long>(count_));
    count_ = count;
  }
  void clear() { count_ = 0; }

  T& operator[](size_t index) { return items_[index]; }
  const T& operator[](size_t index) const { return items_[index]; }
  T& back() { return items_[count_ - 1]; }
  const T& back() const { return items_[count_ - 1]; }
  std::span<T> all() { return {items_.get(), count_}; }
  std::span<const T> all() const { return {items_.get(), count_}; }

 private:
  std::unique_ptr<T[]> items_;
  size_t capacity_;
  size_t count_ = 0;
};

// A queue with a fixed capacity, first in first out; positions count on for ever, so an item keeps its position while
// it is in the queue.
template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : items_(std::make_unique<T[]>(capacity)), capacity_(capacity) {}

  uint64_t begin() const { return begin_; }  // position of the oldest
  uint64_t end() const { return end_; }      // position the next one gets
  size_t size() const { return static_cast<size_t>(end_ - begin_); }
  size_t room() const { return capacity_ - size(); }
  bool empty() const { return begin_ == end_; }

  void push_back(const T& item) {
    check(room() > 0, "bounded queue: full", static_cast<long long>(capacity_));
    items_[end_++ % capacity_] = item;
  }
  void pop_front() {
    check(!empty(), "bounded queue: empty");
    ++begin_;
  }
  void pop_back() {
    check(!empty(), "bounded queue: empty");
    --end_;
  }
  T& operator[](uint64_t position) { return items_[position % capacity_]; }
  const T& operator[](uint64_t position) const { return items_[position % capacity_]; }
  T& front() { return (*this)[begin_]; }
  T& back() { return (*this)[end_ - 1]; }
  const T& front() const { return (*this)[begin_]; }
  const T& back() const { return (*this)[end_ - 1]; }

 private:
  std::unique_ptr<T[]> items_;
  size_t capacity_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
};

}  // namespace penstock
