// Memory for the headers of frames to be sent: runs cut from send buffers one after another. Each run holds its buffer
// once as Holder::send, and the one buffer runs are being cut from is held once more; so a buffer goes back when the
// last frame whose headers it holds has left.
#pragma once

#include <cstdint>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"

namespace penstock::net {

class HeaderMemory {
 public:
  HeaderMemory(Arena arena, BufferTable& buffers, BufferAllocator& allocator)
      : arena_(arena), buffers_(buffers), allocator_(allocator) {}
  ~HeaderMemory() {
    if (buffer_ != no_buffer) buffers_.release(buffer_, Holder::send);
  }
  HeaderMemory(const HeaderMemory&) = delete;
  HeaderMemory& operator=(const HeaderMemory&) = delete;

  // A run of `bytes`, at most bytes_max; no_buffer in it when memory is short.
  static constexpr uint32_t bytes_max = arena_unit_bytes;
  Piece take(uint32_t bytes);

 private:
  static constexpr uint32_t alignment = 64;  // two frames' headers share no cache line
  Arena arena_;
  BufferTable& buffers_;
  BufferAllocator& allocator_;
  BufferIndex buffer_ = no_buffer;
  uint32_t used_ = 0;
};

}  // namespace penstock::net
