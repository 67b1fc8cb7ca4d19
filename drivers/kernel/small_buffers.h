// The 4 KiB buffers that first receives go to. A number of them lies in a ring shared with the kernel, which picks one
// only when data is there; each one picked is replaced from the allocator. Where the kernel lacks that (before 5.19)
// nothing is set aside, and a buffer is taken when a socket has become readable.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "dataplane/base/buffer_table.h"
#include "drivers/uring/ring.h"

namespace penstock {

class SmallBuffers {
 public:
  static constexpr uint16_t group = 0;
  static constexpr uint32_t bytes_each = arena_unit_bytes;

  // `count`: of buffers in the ring, a power of two up to 32768.
  static std::expected<SmallBuffers, std::string> create(Ring& ring, const Arena& arena, BufferAllocator& allocator,
                                                         uint32_t count);
  SmallBuffers(SmallBuffers&& other) noexcept;
  SmallBuffers& operator=(SmallBuffers&&) = delete;
  ~SmallBuffers();  // gives what lies in the ring back to the allocator

  bool picked_by_kernel() const { return shared_ != nullptr; }
  // Whether a first receive may find a buffer now, or how many may.
  uint64_t available() const;

  // picked_by_kernel: the buffer that a completion names (flags >> 16). In use from now on, or put back at once.
  BufferIndex picked(uint32_t number);
  void put_back(uint32_t number);
  // Else: a free one, or no_buffer.
  BufferIndex take();
  // Fills the ring up from the allocator, as far as it has memory.
  void refill();

 private:
  SmallBuffers() = default;
  void share(uint16_t number);

  Ring* ring_ = nullptr;
  BufferAllocator* allocator_ = nullptr;
  Arena arena_;
  io_uring_buf_ring* shared_ = nullptr;
  uint32_t count_ = 0;
  std::unique_ptr<BufferIndex[]> buffers_;  // by number; no_buffer: this number is not in the ring
  std::unique_ptr<uint16_t[]> absent_;      // a stack of the numbers that are not
  uint32_t absent_count_ = 0;
};

}  // namespace penstock
