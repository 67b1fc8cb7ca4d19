// What the lane is to be told, in order. The ring has room for whatever must not be lost (opened, finished, closed:
// each at most once for a connection) beside a bounded number of the others.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>

#include "dataplane/base/check.h"
#include "dataplane/base/piece.h"
#include "dataplane/streams.h"

namespace penstock::tcp {

struct Event {
  Piece piece;
  uint64_t bytes = 0;
  StreamId stream;
  StreamEventKind kind{};
};

class EventRing {
 public:
  static constexpr uint32_t bulk_max = 4096;    // data and sent
  static constexpr uint32_t burst_room = 1280;  // 64 frames: pieces, and acknowledgements

  explicit EventRing(uint32_t connections_max)
      : mask_(std::bit_ceil(bulk_max + 1024 + 3 * connections_max) - 1), ring_(std::make_unique<Event[]>(mask_ + 1)) {}

  bool has_room() const { return tail_ - head_ < bulk_max; }
  bool has_burst_room() const { return tail_ - head_ + burst_room < bulk_max; }
  Event& push() {
    check(tail_ - head_ <= mask_, "event ring full", tail_ - head_, mask_);
    return ring_[tail_++ & mask_];
  }
  bool empty() const { return head_ == tail_; }
  const Event& front() const { return ring_[head_ & mask_]; }
  // When it is empty it begins anew, so that the same few places stay in the cache.
  void pop() {
    if (++head_ == tail_) head_ = tail_ = 0;
  }
  uint64_t memory_bytes() const { return (uint64_t{mask_} + 1) * sizeof(Event); }

 private:
  uint32_t mask_;
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
  std::unique_ptr<Event[]> ring_;
};

}  // namespace penstock::tcp
