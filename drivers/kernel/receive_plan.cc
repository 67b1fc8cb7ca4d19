#include "drivers/kernel/receive_plan.h"

#include <algorithm>
#include <bit>

namespace penstock {

void ReceivePlan::start(BufferIndex buffer, uint32_t filled, const BufferTable& buffers) {
  check(empty(), "receive plan started twice", buffer.value);
  buffers_[0] = buffer;
  first_ = 0;
  count_ = 1;
  fill_ = filled;
  room_ = buffers.bytes(buffer) - filled;
}

bool ReceivePlan::extend(uint64_t bytes, BufferAllocator& allocator, BufferTable& buffers) {
  if (first_ > 0) {
    std::copy_n(buffers_.begin() + first_, count_, buffers_.begin());
    first_ = 0;
  }
  while (room_ < bytes && count_ < buffers_max) {
    uint8_t order = 0;
    const BufferIndex buffer = allocator.allocate_at_most(next_order(bytes - room_), &order);
    if (buffer == no_buffer) return false;
    buffers.open(buffer, order, Holder::device);
    buffers_[count_++] = buffer;
    room_ += buffers.bytes(buffer);
  }
  return true;
}

uint32_t ReceivePlan::vectors(uint64_t bytes, const Arena& arena, const BufferTable& buffers, iovec* out,
                              uint32_t count_max) const {
  uint32_t count = 0;
  uint64_t skip = fill_;
  for (uint32_t index = first_; index < first_ + count_ && bytes > 0 && count < count_max; ++index) {
    const uint64_t length = std::min(bytes, buffers.bytes(buffers_[index]) - skip);
    out[count++] = {arena.at(buffers_[index]) + skip, length};
    bytes -= length;
    skip = 0;
  }
  return count;
}

void ReceivePlan::drop(BufferTable& buffers) {
  while (count_ > 0) drop_first(buffers);
  room_ = 0;
}

void ReceivePlan::drop_untouched(BufferTable& buffers) {
  const uint32_t keep = fill_ > 0 ? 1 : 0;
  while (count_ > keep) {
    const BufferIndex last = buffers_[first_ + --count_];
    room_ -= buffers.bytes(last);
    buffers.release(last, Holder::device);
  }
}

uint8_t ReceivePlan::next_order(uint64_t bytes) {
  const uint64_t pages = (bytes + arena_unit_bytes - 1) / arena_unit_bytes;
  return static_cast<uint8_t>(std::min<uint64_t>(std::bit_width(pages) - 1, BufferAllocator::order_max));
}

void ReceivePlan::drop_first(BufferTable& buffers) {
  buffers.release(buffers_[first_], Holder::device);
  ++first_;
  --count_;
  fill_ = 0;
  if (count_ == 0) first_ = 0;
}

}  // namespace penstock
