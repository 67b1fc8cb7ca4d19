#include "dataplane/net/header_memory.h"

namespace penstock::net {

Piece HeaderMemory::take(uint32_t bytes) {
  check(bytes <= bytes_max, "headers larger than a buffer", bytes, bytes_max);
  if (buffer_ == no_buffer || used_ + bytes > arena_unit_bytes) {
    const BufferIndex next = allocator_.allocate(0);
    if (next == no_buffer) return {};
    buffers_.open(next, 0, Holder::send);
    if (buffer_ != no_buffer) buffers_.release(buffer_, Holder::send);
    buffer_ = next;
    used_ = 0;
  }
  const Piece piece{arena_.at(buffer_) + used_, bytes, buffer_};
  buffers_.hold(buffer_, Holder::send);
  used_ += static_cast<uint32_t>(round_up(bytes, alignment));
  return piece;
}

}  // namespace penstock::net
