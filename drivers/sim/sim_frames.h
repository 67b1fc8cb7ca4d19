// Frames of the simulated world: a port and the link behind it, in virtual time, from a seed. What is sent at one end
// arrives at the other later, or twice, or out of order, or damaged, or not at all.
//
//   stack -- transmit, flush --> ring --> [ faults, from the stack ] --> take()
//   stack <-- poll ------------ buffers <-- [ faults, to the stack ] <-- put()
//
// It is as bad as a port may be. A received frame lies at any shift in its buffers; buffers run out; the transmit ring
// is short and refuses; a frame that was sent is read when it leaves, not when it was handed over, so bytes that change
// in between are found by whoever compares. It also holds the stack to its side of the contract: pieces within the
// port's limits, headers in the first of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"
#include "dataplane/frames.h"
#include "drivers/sim/random.h"

namespace penstock {

// What goes wrong in one direction. "one_in": once in so many frames; 0: never. May be changed at any time.
struct LinkFaults {
  Nanoseconds delay_ns = 50'000;
  Nanoseconds jitter_ns = 0;  // more delay, but order is kept
  uint64_t lose_one_in = 0;
  uint32_t lose_in_a_row_max = 1;  // a loss takes 1 to so many frames
  uint64_t duplicate_one_in = 0;
  uint64_t reorder_one_in = 0;  // held back while those behind it pass
  Nanoseconds reorder_ns = millisecond_ns;
  uint64_t corrupt_one_in = 0;        // one bit flips, or the end is missing; never in the Ethernet header
  uint64_t bytes_per_second = 0;      // 0: no limit
  uint32_t queue_bytes = 256 * 1024;  // in front of the limit; what finds it full is lost
  uint32_t path_mtu_bytes = 0;        // larger packets are lost; 0: no limit
  bool path_mtu_told = true;          // a router says so: ICMP type 3 code 4, ICMPv6 type 2
  bool down = false;                  // everything is lost
};

struct SimFramesConfig {
  uint64_t seed = 1;
  PortFeatures features;
  uint8_t buffer_order = 0;                // receive buffers are 2^order units; larger frames take several
  uint32_t shift_max = 127;                // bytes in front of a frame in its first buffer, 0 to so many
  uint64_t header_split_one_in = 0;        // headers in a buffer of their own
  uint32_t ring_frames = 256;              // transmit() refuses beyond
  uint64_t refuse_one_in = 0;              // transmit() refuses for no reason
  Nanoseconds ring_delay_max_ns = 20'000;  // from flush() until the frame is read and its pieces are let go
};

struct SimFramesStatistics {
  uint64_t to_stack = 0, from_stack = 0;  // frames delivered to, and left from, the stack
  uint64_t lost = 0, duplicated = 0, reordered = 0, corrupted = 0, too_big = 0;
  uint64_t no_buffer = 0;  // frames that found no receive buffer
  uint64_t refused = 0;    // by transmit()
};

class SimFrames {
 public:
  using Bytes = std::vector<std::byte>;
  // What passes between stack and port, in the order in which the stack sees or sends it. `intact`: no bit was flipped.
  using Watch = std::function<void(std::span<const std::byte> frame, bool intact, Nanoseconds now)>;

  SimFrames(const SimFramesConfig& config, Arena arena, BufferTable& buffers, BufferAllocator& allocator);
  ~SimFrames();
  SimFrames(const SimFrames&) = delete;

  // ---- concept Frames ----
  const PortFeatures& features() const { return config_.features; }
  template <class Handler>
  uint32_t poll(Nanoseconds now, Handler&& handler) {
    advance(now);
    uint32_t count = 0;
    for (; count < burst_max && next_received(now); ++count) {
      handler(ReceivedFrame{.pieces = received_pieces_, .checksums_verified = received_verified_});
    }
    return count;
  }
  bool transmit(const TransmitFrame& frame);
  void flush();
  void release(std::span<const BufferIndex> buffers);
  uint64_t receive_free() const { return starved_ ? 0 : allocator_.free_bytes(); }
  Nanoseconds next_deadline() const;

  // ---- the other end ----
  void put(Bytes frame, Nanoseconds now);
  // The next frame that has arrived there; false: none.
  bool take(Bytes& frame, Nanoseconds now);
  Nanoseconds next_arrival() const;

  LinkFaults& to_stack() { return to_stack_.faults; }
  LinkFaults& from_stack() { return from_stack_.faults; }
  void watch(Watch delivered, Watch left) {
    delivered_ = std::move(delivered);
    left_ = std::move(left);
  }
  // While true there is no buffer for any received frame.
  void set_starved(bool starved) { starved_ = starved; }
  const SimFramesStatistics& statistics() const { return statistics_; }
  bool idle() const { return ring_.empty() && to_stack_.frames.empty() && from_stack_.frames.empty(); }

 private:
  static constexpr uint32_t burst_max = 64;
  struct InFlight {
    Nanoseconds arrives = 0;
    uint64_t number = 0;  // of equal times, the earlier one first
    bool intact = true;
    Bytes bytes;
  };
  struct Direction {
    LinkFaults faults;
    std::vector<InFlight> frames;  // a heap, earliest first
    Nanoseconds last_arrival = 0;  // of those in order
    Nanoseconds free_at = 0;       // when the limit has sent what is queued
    uint32_t lose_next = 0;
  };
  struct Queued {
    Nanoseconds leaves = never_ns;  // never: not flushed yet
    TransmitFrame frame;            // its pieces are below
    std::vector<Piece> pieces;
  };

  void advance(Nanoseconds now);
  void leave(const Queued& queued);
  void carry(Direction& direction, Bytes frame, Nanoseconds now);
  void travel(Direction& direction, Bytes frame, bool intact, Nanoseconds now);
  bool too_big(Direction& direction, const Bytes& frame, Nanoseconds now);
  bool next_received(Nanoseconds now);
  bool place(const InFlight& frame);
  bool place_bytes(const std::byte* from, size_t length, uint32_t shift);
  void give_up_received();
  bool happens(uint64_t one_in) { return one_in != 0 && random_.one_in(one_in); }
  static bool pop_arrived(Direction& direction, Nanoseconds now, InFlight& frame);

  const SimFramesConfig config_;
  Arena arena_;
  BufferTable& buffers_;
  BufferAllocator& allocator_;
  SimRandom random_;
  Nanoseconds now_ = 0;
  std::deque<Queued> ring_;
  Direction to_stack_, from_stack_;
  std::vector<Piece> received_pieces_;
  bool received_verified_ = false;
  bool starved_ = false;
  uint64_t frame_count_ = 0;
  Watch delivered_, left_;
  SimFramesStatistics statistics_;
};

}  // namespace penstock
