// Frames in memory: what a script injects waits here for the stack's next poll; what the stack transmits is copied out
// and noted with its time. Receive buffers come from a small allocator, so that a script can run it dry.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"
#include "dataplane/frames.h"
#include "tests/packets/packet.h"

namespace penstock::packets {

struct Transmitted {
  Nanoseconds at = 0;
  Bytes bytes;
  uint16_t network_header_at = 0;
  uint16_t transport_header_at = 0;
  bool fill_checksums = false;
  uint16_t segment_payload_bytes = 0;
  size_t pieces = 0;
};

class MemoryFrames {
 public:
  MemoryFrames(const PortFeatures& features, Arena arena, BufferTable& buffers, BufferAllocator& allocator)
      : features_(features), arena_(arena), buffers_(buffers), allocator_(allocator) {}

  // ---- concept Frames ----
  const PortFeatures& features() const { return features_; }

  template <class Receive>
  uint32_t poll(Nanoseconds now, Receive&& receive) {
    now_ = now;
    uint32_t count = 0;
    while (!waiting_.empty() && count < burst_max) {
      const Waiting frame = std::move(waiting_.front());
      waiting_.pop_front();
      receive(ReceivedFrame{frame.pieces, frame.verified});
      ++count;
    }
    return count;
  }

  bool transmit(const TransmitFrame& frame) {
    if (full_) return false;
    check(frame.pieces.size() <= features_.pieces_max, "frame of more pieces than the port takes",
          static_cast<long long>(frame.pieces.size()), features_.pieces_max);
    Transmitted out{now_,
                    {},
                    frame.network_header_at,
                    frame.transport_header_at,
                    frame.fill_checksums,
                    frame.segment_payload_bytes,
                    frame.pieces.size()};
    for (const Piece& piece : frame.pieces) {
      const auto* from = reinterpret_cast<const uint8_t*>(piece.data);
      out.bytes.insert(out.bytes.end(), from, from + piece.length);
      held_.push_back(piece.buffer);
    }
    transmitted_.push_back(std::move(out));
    if (!holds_) give();
    return true;
  }
  void flush() {}
  void release(std::span<const BufferIndex> buffers) {
    for (const BufferIndex& buffer : buffers) allocator_.free(buffer, buffers_.order(buffer));
  }
  uint64_t receive_free() const { return allocator_.free_bytes(); }
  Nanoseconds next_deadline() const { return waiting_.empty() ? never_ns : now_; }

  // ---- the script's side ----
  // A frame in buffers of one unit each; the first piece ends after `first_bytes` when that is not 0. False: no
  // buffers.
  bool inject(std::span<const uint8_t> bytes, size_t first_bytes, bool verified) {
    Waiting frame{{}, verified};
    size_t room = first_bytes > 0 ? first_bytes : arena_unit_bytes;
    do {
      const size_t count = std::min({bytes.size(), room, size_t{arena_unit_bytes}});
      const BufferIndex buffer = allocator_.allocate(0);
      if (buffer == no_buffer) {
        drop(frame);
        return false;
      }
      buffers_.open(buffer, 0, Holder::device);
      std::copy(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count),
                reinterpret_cast<uint8_t*>(arena_.at(buffer)));
      frame.pieces.push_back({arena_.at(buffer), static_cast<uint32_t>(count), buffer});
      bytes = bytes.subspan(count);
      room = arena_unit_bytes;
    } while (!bytes.empty());
    waiting_.push_back(std::move(frame));
    return true;
  }
  bool waiting() const { return !waiting_.empty(); }
  std::vector<Transmitted> take() { return std::exchange(transmitted_, {}); }
  // The port has no room; the port keeps the buffers of what it sent until give().
  void set_full(bool full) { full_ = full; }
  bool full() const { return full_; }
  void set_holds(bool holds) { holds_ = holds; }
  void give() {
    for (const BufferIndex& buffer : held_) buffers_.release(buffer, Holder::send);
    held_.clear();
  }

 private:
  static constexpr uint32_t burst_max = 64;
  struct Waiting {
    std::vector<Piece> pieces;
    bool verified = false;
  };
  void drop(const Waiting& frame) {
    for (const Piece& piece : frame.pieces) buffers_.release(piece.buffer, Holder::device);
  }

  PortFeatures features_;
  Arena arena_;
  BufferTable& buffers_;
  BufferAllocator& allocator_;
  std::deque<Waiting> waiting_;
  std::vector<Transmitted> transmitted_;
  std::vector<BufferIndex> held_;
  bool full_ = false;
  bool holds_ = false;
  Nanoseconds now_ = 0;
};

}  // namespace penstock::packets
