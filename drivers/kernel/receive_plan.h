// Where the next bytes of one stream go: a short list of buffers, the first of which may be partly filled (the tail).
// Pure bookkeeping; the kernel fills what vectors() names and advance() hands the filled runs out as pieces.
//
//        fill                       room()
//   |///////|-------|   |-----------------------------|   |--------------|
//    buffers[first]      buffers[first + 1]                ...
//
// Every buffer of a plan is held once as Holder::device; a piece handed out is held as Holder::request.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"

namespace penstock {

class ReceivePlan {
 public:
  static constexpr uint32_t buffers_max = 64;  // also the vectors of one receive

  bool empty() const { return count_ == 0; }
  uint64_t room() const { return room_; }
  // A tail whose pieces have all been released.
  bool only_ours(const BufferTable& buffers) const { return fill_ > 0 && buffers.holders(buffers_[first_]) == 1; }
  bool touched() const { return fill_ > 0; }  // the first buffer is partly filled

  // Takes over a buffer already held as device, of which `filled` bytes are used. The plan must be empty.
  void start(BufferIndex buffer, uint32_t filled, const BufferTable& buffers);
  // Adds page runs, largest first, until there is room for `bytes` or the plan is full; false: memory ran out before
  // (what was found is kept).
  bool extend(uint64_t bytes, BufferAllocator& allocator, BufferTable& buffers);
  // Vectors for at most `bytes`; returns their number, at most `count_max`.
  uint32_t vectors(uint64_t bytes, const Arena& arena, const BufferTable& buffers, iovec* out,
                   uint32_t count_max) const;

  // `bytes` (at most room()) have been filled: calls deliver(Piece) per run, each held as request.
  template <class Deliver>
  void advance(uint64_t bytes, const Arena& arena, BufferTable& buffers, Deliver&& deliver) {
    check(bytes <= room_, "received more than there was room for", static_cast<long long>(bytes),
          static_cast<long long>(room_));
    while (bytes > 0) {
      const BufferIndex buffer = buffers_[first_];
      const uint64_t whole = buffers.bytes(buffer);
      const auto length = static_cast<uint32_t>(bytes < whole - fill_ ? bytes : whole - fill_);
      buffers.hold(buffer, Holder::request);
      const Piece piece{arena.at(buffer) + fill_, length, buffer};
      bytes -= length;
      room_ -= length;
      fill_ += length;
      if (fill_ == whole) drop_first(buffers);
      deliver(piece);
    }
  }

  // Lets go of everything.
  void drop(BufferTable& buffers);
  // Lets go of buffers nothing was written to yet, keeps the tail.
  void drop_untouched(BufferTable& buffers);

  // The order of the next run for `bytes` more: the largest without a page to spare. (Runs cut one after another from
  // free memory usually lie side by side.)
  static uint8_t next_order(uint64_t bytes);

 private:
  void drop_first(BufferTable& buffers);

  std::array<BufferIndex, buffers_max> buffers_;
  uint32_t first_ = 0;
  uint32_t count_ = 0;  // from first_ on
  uint64_t fill_ = 0;   // bytes used of buffers_[first_]
  uint64_t room_ = 0;
};

}  // namespace penstock
