// The fixed set of 4 KiB buffers that first receives go to. Kept in a ring shared with the kernel, which picks one only
// when data is there; where the kernel lacks that (before 5.19), in a plain list from which one is taken when a socket
// has become readable.
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

  // Takes `count` (a power of two) pages from the allocator.
  static std::expected<SmallBuffers, std::string> create(Ring& ring, const Arena& arena, BufferAllocator& allocator,
                                                         uint32_t count);
  SmallBuffers(SmallBuffers&& other) noexcept;
  SmallBuffers& operator=(SmallBuffers&&) = delete;
  ~SmallBuffers();

  bool picked_by_kernel() const { return shared_ != nullptr; }
  bool owns(BufferIndex buffer) const { return number_of_unit_[buffer.value] != none; }
  uint32_t available() const { return available_; }

  // picked_by_kernel: the buffer that a completion names (flags >> 16), now in use.
  BufferIndex picked(uint32_t number);
  // Else: a free one, or no_buffer.
  BufferIndex take();
  void give_back(BufferIndex buffer);

 private:
  static constexpr uint16_t none = UINT16_MAX;
  SmallBuffers() = default;
  void share(uint16_t number);

  Ring* ring_ = nullptr;
  Arena arena_;
  io_uring_buf_ring* shared_ = nullptr;
  uint32_t count_ = 0;
  uint32_t available_ = 0;
  std::unique_ptr<BufferIndex[]> buffers_;      // by number
  std::unique_ptr<uint16_t[]> number_of_unit_;  // by arena unit
  std::unique_ptr<uint16_t[]> free_;            // numbers, when not shared
};

}  // namespace penstock
