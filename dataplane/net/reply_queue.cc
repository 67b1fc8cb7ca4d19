#include "dataplane/net/reply_queue.h"

namespace penstock::net {

std::byte* ReplyQueue::reserve(uint32_t bytes) {
  const Piece piece = tail_ - head_ < capacity && bytes <= HeaderMemory::bytes_max ? memory_.take(bytes) : Piece{};
  if (piece.buffer == no_buffer) {
    counters_.add(TcpCount::transmit_memory_waits);
    return nullptr;
  }
  frames_[tail_ % capacity] = piece;
  return piece.data;
}

}  // namespace penstock::net
