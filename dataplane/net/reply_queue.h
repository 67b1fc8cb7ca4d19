// Frames that answer something and belong to no connection (ARP, ICMP, RST, SYN-ACK), until the port takes them.
// Bounded: what does not fit is not sent, as if the network had lost it.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/frames.h"
#include "dataplane/net/counters.h"
#include "dataplane/net/header_memory.h"

namespace penstock::net {

class ReplyQueue {
 public:
  static constexpr uint32_t capacity = 512;

  ReplyQueue(HeaderMemory& memory, BufferTable& buffers, TcpCounters& counters)
      : memory_(memory), buffers_(buffers), counters_(counters) {}
  ~ReplyQueue() {
    while (!empty()) buffers_.release(take().buffer, Holder::send);
  }
  ReplyQueue(const ReplyQueue&) = delete;
  ReplyQueue& operator=(const ReplyQueue&) = delete;

  // Memory for a frame of `bytes`, which push() then queues; nullptr: it is not to be sent.
  std::byte* reserve(uint32_t bytes);
  void push() { ++tail_; }

  bool empty() const { return head_ == tail_; }
  // Its reference goes to the caller.
  Piece take() { return frames_[head_++ % capacity]; }

 private:
  HeaderMemory& memory_;
  BufferTable& buffers_;
  TcpCounters& counters_;
  std::array<Piece, capacity> frames_;
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
};

}  // namespace penstock::net
