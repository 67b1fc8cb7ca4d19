#include "drivers/uring/slot_preparer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

namespace penstock {

namespace {

constexpr uint64_t step_bytes = MiB;
constexpr auto busy_look_every = std::chrono::microseconds(100);
// A step of 1 MiB at least every 4 ms: a segment gets ready at 250 MB/s or more however busy the lane is. When that is
// slower than the lane consumes segments, the lane soon waits for one, is not busy any more, and the pace rises.
constexpr auto give_way_max = std::chrono::milliseconds(4);
constexpr size_t page_bytes = 4096;

struct FreeAligned {
  void operator()(void* memory) const { std::free(memory); }
};

}  // namespace

SlotPreparer::SlotPreparer(const LaneDirectory& directory, uint64_t segment_bytes, uint32_t orders_max,
                           std::function<void()> notify)
    : directory_(directory), segment_bytes_(segment_bytes), orders_(orders_max), done_(orders_max) {
  done_.on_push(std::move(notify));
  orders_.on_push([this] {
    const std::lock_guard lock(mutex_);
    arrived_.notify_one();
  });
  thread_ = std::thread([this] { run(); });
}

SlotPreparer::~SlotPreparer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    arrived_.notify_one();
  }
  thread_.join();
  while (const auto prepared = done_.pop()) {
    if (prepared->descriptor >= 0) ::close(prepared->descriptor);
  }
}

bool SlotPreparer::prepare(uint32_t request, SegmentSlot slot) { return orders_.push(Order{request, slot}); }

void SlotPreparer::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [&] { return stopping_ || !orders_.empty(); });
    }
    if (stopping_) return;
    const auto order = orders_.pop();
    const bool pushed = done_.push(make(*order));
    check(pushed, "more slots prepared than ordered");
  }
}

PreparedSlot SlotPreparer::make(const Order& order) {
  PreparedSlot prepared{order.request, order.slot, 0, directory_.create_slot(order.slot)};
  prepared.result = prepared.descriptor < 0 ? prepared.descriptor : fill(prepared.descriptor);
  if (prepared.result == 0) prepared.result = directory_.sync();
  if (prepared.result < 0) {
    if (prepared.descriptor >= 0) ::close(prepared.descriptor);
    prepared.descriptor = -1;
    directory_.remove_slot(order.slot);
  }
  return prepared;
}

int SlotPreparer::fill(int descriptor) {
  if (::ftruncate(descriptor, static_cast<off_t>(segment_bytes_)) != 0) return -errno;  // a recycled file may be longer
  // Where the file system can't reserve space up front the zeros below do it.
  if (::fallocate(descriptor, 0, 0, static_cast<off_t>(segment_bytes_)) != 0 && errno != EOPNOTSUPP) return -errno;

  const std::unique_ptr<void, FreeAligned> zeros(std::aligned_alloc(page_bytes, step_bytes));
  if (zeros == nullptr) return -ENOMEM;
  std::memset(zeros.get(), 0, step_bytes);
  for (uint64_t at = 0; at < segment_bytes_;) {
    give_way();
    if (stopping_) return -ECANCELED;
    const uint64_t length = std::min(step_bytes, segment_bytes_ - at);
    const ssize_t written = ::pwrite(descriptor, zeros.get(), length, static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return -errno;
    if (written == 0) return -EIO;
    at += round_down(static_cast<uint64_t>(written), page_bytes);
    if (static_cast<uint64_t>(written) < page_bytes) return -EIO;
  }
  return ::fsync(descriptor) == 0 ? 0 : -errno;
}

void SlotPreparer::give_way() {
  const auto until = std::chrono::steady_clock::now() + give_way_max;
  while (busy_.load(std::memory_order_relaxed) && !stopping_ && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(busy_look_every);
  }
}

}  // namespace penstock
