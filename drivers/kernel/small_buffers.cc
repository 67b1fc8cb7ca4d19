#include "drivers/kernel/small_buffers.h"

#include <sys/mman.h>

#include <bit>
#include <utility>

namespace penstock {

namespace {
constexpr uint32_t count_max = 32'768;  // of a buffer ring
}

std::expected<SmallBuffers, std::string> SmallBuffers::create(Ring& ring, const Arena& arena,
                                                              BufferAllocator& allocator, uint32_t count) {
  if (!std::has_single_bit(count) || count > count_max) {
    return std::unexpected("the number of small receive buffers must be a power of two up to 32768, not " +
                           std::to_string(count));
  }
  if (allocator.free_bytes() < uint64_t{count} * bytes_each) {
    return std::unexpected("the receive region is too small for " + std::to_string(count) + " buffers of 4 KiB");
  }
  SmallBuffers small;
  small.ring_ = &ring;
  small.allocator_ = &allocator;
  small.arena_ = arena;
  small.count_ = count;
  if (!ring.features().buffer_ring) return small;

  const size_t shared_bytes = count * sizeof(io_uring_buf);
  void* shared = ::mmap(nullptr, shared_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return std::unexpected("no memory for the ring of small receive buffers");
  auto* const buffer_ring = static_cast<io_uring_buf_ring*>(shared);
  if (!ring.register_buffer_ring(buffer_ring, count, group)) {
    ::munmap(shared, shared_bytes);
    return small;
  }
  io_uring_buf_ring_init(buffer_ring);
  small.shared_ = buffer_ring;
  small.buffers_ = std::make_unique<BufferIndex[]>(count);
  small.absent_ = std::make_unique<uint16_t[]>(count);
  for (uint32_t number = count; number-- > 0;) {
    small.buffers_[number] = no_buffer;
    small.absent_[small.absent_count_++] = static_cast<uint16_t>(number);
  }
  small.refill();
  return small;
}

SmallBuffers::SmallBuffers(SmallBuffers&& other) noexcept
    : ring_(other.ring_),
      allocator_(other.allocator_),
      arena_(other.arena_),
      shared_(std::exchange(other.shared_, nullptr)),
      count_(other.count_),
      buffers_(std::move(other.buffers_)),
      absent_(std::move(other.absent_)),
      absent_count_(other.absent_count_) {}

SmallBuffers::~SmallBuffers() {
  if (shared_ == nullptr) return;
  ring_->unregister_buffer_ring(group);
  ::munmap(shared_, count_ * sizeof(io_uring_buf));
  for (uint32_t number = 0; number < count_; ++number) {
    if (buffers_[number] != no_buffer) allocator_->free(buffers_[number], 0);
  }
}

uint64_t SmallBuffers::available() const {
  return picked_by_kernel() ? count_ - absent_count_ : allocator_->free_bytes() / bytes_each;
}

BufferIndex SmallBuffers::picked(uint32_t number) {
  check(number < count_ && buffers_[number] != no_buffer, "the kernel picked a small buffer that is not there", number);
  absent_[absent_count_++] = static_cast<uint16_t>(number);
  return std::exchange(buffers_[number], no_buffer);
}

void SmallBuffers::put_back(uint32_t number) { share(static_cast<uint16_t>(number)); }

BufferIndex SmallBuffers::take() { return allocator_->allocate(0); }

void SmallBuffers::refill() {
  while (absent_count_ > 0) {
    const BufferIndex buffer = allocator_->allocate(0);
    if (buffer == no_buffer) return;
    const uint16_t number = absent_[--absent_count_];
    buffers_[number] = buffer;
    share(number);
  }
}

void SmallBuffers::share(uint16_t number) {
  io_uring_buf_ring_add(shared_, arena_.at(buffers_[number]), bytes_each, number, io_uring_buf_ring_mask(count_), 0);
  io_uring_buf_ring_advance(shared_, 1);
}

}  // namespace penstock
