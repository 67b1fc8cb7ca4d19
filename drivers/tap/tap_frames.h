// Frames over a Linux tap device, or over anything else whose reads and writes are one frame each (a SEQPACKET socket).
// No offloads: Linux does checksums and segmentation itself before a frame comes here. For tests against Linux and for
// machines without a card of their own to give.
//
// Below a reserve of free buffers only short frames are received: acknowledgements, SYN, ARP and ICMP still arrive and
// let memory come free, payload is dropped and counted, and its sender sends it again.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"
#include "dataplane/frames.h"

namespace penstock {

// Opens (and creates, if it is not there) the tap device of this name in the caller's network namespace: non-blocking,
// one queue, bare Ethernet frames. A file descriptor, or what went wrong.
std::expected<int, std::string> open_tap(const std::string& name);

struct TapFramesConfig {
  LinkAddress address{};
  uint32_t mtu_bytes = 1500;
  uint32_t shift_bytes = 0;       // in front of a frame in its first buffer, so that payload lands where it is wanted
  uint32_t reserve_buffers = 64;  // for short frames only
};

struct TapFramesStatistics {
  uint64_t received = 0, sent = 0;
  uint64_t dropped_no_buffer = 0;  // received without memory for them
  uint64_t dropped_by_device = 0;  // sent, and refused with an error
};

class TapFrames {
 public:
  // `file` stays the caller's. Buffers are single units of `allocator`.
  TapFrames(int file, const TapFramesConfig& config, Arena arena, BufferTable& buffers, BufferAllocator& allocator);
  ~TapFrames();
  TapFrames(const TapFrames&) = delete;

  // ---- concept Frames ----
  const PortFeatures& features() const { return features_; }
  template <class Handler>
  uint32_t poll(Nanoseconds, Handler&& handler) {
    uint32_t count = 0;
    while (count < burst_max && receive()) {
      if (pieces_.empty()) continue;  // dropped
      handler(ReceivedFrame{.pieces = pieces_, .checksums_verified = false});
      ++count;
    }
    more_ = count == burst_max;
    return count;
  }
  bool transmit(const TransmitFrame& frame);
  void flush() {}
  void release(std::span<const BufferIndex> buffers);
  uint64_t receive_free() const;
  // The device's readiness is the caller's to wait for, by file(); this only says that a burst was not the last.
  Nanoseconds next_deadline() const { return more_ ? 0 : never_ns; }

  int file() const { return file_; }
  const TapFramesStatistics& statistics() const { return statistics_; }

 private:
  static constexpr uint32_t burst_max = 64;
  static constexpr size_t short_frame_bytes = 256;

  // Reads one frame into pieces_; empty if it was dropped. False: there is none.
  bool receive();
  bool take_spares();

  const int file_;
  const TapFramesConfig config_;
  PortFeatures features_;
  Arena arena_;
  BufferTable& buffers_;
  BufferAllocator& allocator_;
  uint32_t frame_buffers_;           // that the longest frame takes
  std::vector<BufferIndex> spares_;  // of the next frame; not open in the table yet
  std::vector<Piece> pieces_;
  bool more_ = false;
  TapFramesStatistics statistics_;
};

}  // namespace penstock
