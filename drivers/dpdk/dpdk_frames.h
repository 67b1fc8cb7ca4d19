// Frames over one queue pair of a DPDK port, for one lane.
//
// Receiving. The pool's buffers are runs of units of the lane's arena; a frame's payload lies where ReceiveShape put
// it. While the stack holds a buffer its mbuf is nobody's: it waits in a table by unit until release() returns it to
// the pool, in bursts.
//
//   pool -> port -> (mbuf) poll() -> BufferTable, Holder::device ... last holder lets go -> release() -> pool
//
// The pool never runs dry, for some ports would never receive again: below a reserve, long frames are dropped and
// counted; short ones (acknowledgements, SYN, ARP, ICMP) are processed, and let memory come free.
//
// Sending. Headers are copied in front of an mbuf of ours; payload is attached where it lies and its reference is let
// go of when the port frees the mbuf.
//
// Hand-over. A frame for another lane is copied into a buffer that lane lent, and that lane is woken once a burst.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"
#include "dataplane/frames.h"
#include "drivers/dpdk/port.h"

struct rte_mbuf;
struct rte_mempool;

namespace penstock {

struct DpdkFramesConfig {
  uint32_t lane = 0;
  uint32_t first_unit = 0;  // of the arena: the receive region
  uint32_t unit_count = 0;
  std::function<void(uint32_t lane)> wake;  // another lane has been handed a frame
};

struct DpdkFramesStatistics {
  uint64_t received = 0, received_bytes = 0;
  uint64_t sent = 0, sent_bytes = 0;
  uint64_t sent_copied_bytes = 0;       // payload that was not sent from where it lay
  uint64_t payload_frames = 0;          // received with payload
  uint64_t payload_frames_aligned = 0;  // of them, payload lay on the alignment
  uint64_t dropped_reserve = 0;         // long, while memory was short
  uint64_t dropped_hand_over = 0;       // for a lane that had no buffer to lend
  uint64_t dropped_send = 0;            // the port took nothing for too long
  uint64_t handed_out = 0, handed_in = 0;
};

// By what the port said of it: neither the sum of TCP nor that of IPv4 needs to be looked at again.
bool checksums_verified(const rte_mbuf& frame);

class DpdkFrames {
 public:
  // From the lane's own thread, before the port starts.
  static std::expected<std::unique_ptr<DpdkFrames>, std::string> create(Port& port, const DpdkFramesConfig& config,
                                                                        Arena arena, BufferTable& buffers);
  // After the port has stopped.
  ~DpdkFrames();
  DpdkFrames(const DpdkFrames&) = delete;

  // ---- concept Frames ----
  const PortFeatures& features() const { return port_.features(); }
  template <class Handler>
  uint32_t poll(Nanoseconds now, Handler&& handler) {
    receive(now);
    for (uint32_t i = 0; i < frame_count_; ++i) {
      const Frame& frame = frames_[i];
      handler(ReceivedFrame{.pieces = {&pieces_[frame.first_piece], frame.piece_count},
                            .checksums_verified = frame.checksums_verified});
    }
    return frame_count_;
  }
  bool transmit(const TransmitFrame& frame);
  void flush();
  void release(std::span<const BufferIndex> buffers);
  uint64_t receive_free() const;
  // At once while there are frames; a moment later while the port takes none of ours or still holds some.
  Nanoseconds next_deadline() const { return deadline_; }

  // ---- sleeping (drivers/dpdk/frame_wait.h) ----
  int interrupt_file() const { return interrupt_file_; }  // readable when there are frames; -1: there is none
  void begin_interrupts();
  void end_interrupts();
  void give_up_interrupts(const char* why);  // for good
  bool busy() const { return frame_count_ > 0 || !quiet_; }  // the last poll saw something

  // After the port has stopped: what is left in its hands.
  uint64_t buffers_held() const { return held_; }
  // Takes back what the port and other lanes hold; the port has stopped.
  void take_back();

  uint32_t buffer_count() const { return buffer_count_; }
  const DpdkFramesStatistics& statistics() const { return statistics_; }

 private:
  static constexpr uint32_t burst_max = 64;
  static constexpr uint32_t frame_pieces_max = 17;
  static constexpr uint32_t short_frame_bytes = 256;
  static constexpr uint32_t copied_payload_bytes_max = 256;  // cheaper to copy than to attach

  struct Frame {
    uint32_t first_piece = 0;
    uint32_t piece_count = 0;
    bool checksums_verified = false;
  };
  struct Attachments;  // of payload to mbufs: for each a reference count and the buffer it holds

  DpdkFrames(Port& port, const DpdkFramesConfig& config, Arena arena, BufferTable& buffers);
  std::expected<void, std::string> make_pools();
  void find_interrupt();

  void count_port();
  void receive(Nanoseconds now);
  void take(rte_mbuf* frame);
  void take_handed();
  void open(rte_mbuf* frame, bool checksums_verified);
  void hand_over(rte_mbuf* frame, uint32_t to);
  void lend();
  bool scarce() const;
  void put_back(rte_mbuf* segment);
  void return_to_pool();
  void reap();
  rte_mbuf* attach(const Piece& piece);
  rte_mbuf* build(const TransmitFrame& frame);

  Port& port_;
  const DpdkFramesConfig config_;
  const uint32_t lane_count_;
  const ReceiveShape shape_;
  Arena arena_;
  BufferTable& buffers_;
  rte_mempool* receive_pool_ = nullptr;
  rte_mempool* head_pool_ = nullptr;
  rte_mempool* attach_pool_ = nullptr;
  std::unique_ptr<Attachments> attachments_;
  std::vector<rte_mbuf*> mbufs_;  // by unit of the receive region
  uint32_t buffer_count_ = 0;
  uint32_t port_holds_ = 0;  // in its rings
  bool counted_ = false;     // once it has started
  uint32_t reserve_buffers_ = 0;
  uint64_t held_ = 0;  // buffers the stack has
  uint64_t lent_ = 0;  // to other lanes
  std::vector<uint32_t> lent_to_;
  uint32_t lend_max_ = 0;
  std::vector<bool> wake_due_;

  std::array<Frame, burst_max> frames_;
  std::array<Piece, burst_max * frame_pieces_max> pieces_;
  uint32_t frame_count_ = 0, piece_count_ = 0;
  bool quiet_ = true;
  Nanoseconds now_ = 0;
  Nanoseconds deadline_ = never_ns;

  std::array<rte_mbuf*, burst_max> returning_;
  uint32_t returning_count_ = 0;
  std::array<rte_mbuf*, burst_max> queued_;
  uint32_t queued_count_ = 0;
  Nanoseconds stuck_since_ = never_ns;

  int interrupt_file_ = -1;
  bool interrupts_given_up_ = false;
  bool interrupt_counts_ = false;  // an eventfd, to be read; else it is readable as long as there are frames
  DpdkFramesStatistics statistics_;
};

}  // namespace penstock
