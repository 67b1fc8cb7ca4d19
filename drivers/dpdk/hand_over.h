// Frames from the lane that received them to the lane they are for, when the port could not be told who that is.
//
// The receiver of the copy owns the memory: it lends empty buffers of its arena to each other lane, and gets them back
// filled. One direction between two lanes is one queue each way, one writer and one reader: no lock, and bounded by the
// number of buffers lent. With none left the frame is dropped and its sender sends it again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace penstock {

struct HandedFrame {
  void* owner = nullptr;  // the receiver's name for the buffer
  std::byte* data = nullptr;
  uint32_t room = 0;
  uint32_t length = 0;
  bool checksums_verified = false;
};

// From one thread to one other.
class HandOverQueue {
 public:
  static constexpr uint32_t capacity = 64;
  [[nodiscard]] bool push(const HandedFrame& frame) {
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) == capacity) return false;
    slots_[tail % capacity] = frame;
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }
  [[nodiscard]] bool pop(HandedFrame& frame) {
    const uint32_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return false;
    frame = slots_[head % capacity];
    head_.store(head + 1, std::memory_order_release);
    return true;
  }
  bool empty() const { return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire); }

 private:
  HandedFrame slots_[capacity];
  alignas(64) std::atomic<uint32_t> head_{0};
  alignas(64) std::atomic<uint32_t> tail_{0};
};

struct HandOverLink {
  HandOverQueue empty;   // lent by the lane the frames are for
  HandOverQueue filled;  // by the lane that received them
};

// All links between `lane_count` lanes.
class HandOver {
 public:
  explicit HandOver(uint32_t lane_count)
      : lane_count_(lane_count), links_(std::make_unique<HandOverLink[]>(size_t{lane_count} * lane_count)) {}
  HandOverLink& link(uint32_t from, uint32_t to) { return links_[size_t{from} * lane_count_ + to]; }
  uint32_t lane_count() const { return lane_count_; }

 private:
  uint32_t lane_count_;
  std::unique_ptr<HandOverLink[]> links_;
};

}  // namespace penstock
