// A bounded queue from one thread to one other. The sender wakes the receiver by a function it was given (an eventfd
// write in the real worlds, nothing in the simulator). Push fails when full; nothing waits.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <utility>

namespace penstock {

template <class Message>
class Mailbox {
 public:
  explicit Mailbox(size_t capacity) : capacity_(capacity + 1), slots_(std::make_unique<Message[]>(capacity_)) {}

  void on_push(std::function<void()> wake) { wake_ = std::move(wake); }

  [[nodiscard]] bool push(Message&& message) {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    const size_t next = (tail + 1) % capacity_;
    if (next == head_.load(std::memory_order_acquire)) return false;
    slots_[tail] = std::move(message);
    tail_.store(next, std::memory_order_release);
    if (wake_) wake_();
    return true;
  }

  std::optional<Message> pop() {
    const size_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return std::nullopt;
    std::optional<Message> message(std::move(slots_[head]));
    slots_[head] = Message{};
    head_.store((head + 1) % capacity_, std::memory_order_release);
    return message;
  }

  bool empty() const { return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire); }

 private:
  static constexpr size_t cache_line = 64;
  const size_t capacity_;
  std::unique_ptr<Message[]> slots_;
  std::function<void()> wake_;
  alignas(cache_line) std::atomic<size_t> head_{0};
  alignas(cache_line) std::atomic<size_t> tail_{0};
};

}  // namespace penstock
