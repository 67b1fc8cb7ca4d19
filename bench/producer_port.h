// A port with producers behind it, for benchmarks: each sends the same Produce request over and over on a connection of
// its own, in segments of 1448 bytes, as far as it has been given a window; the last segment of a request is what is
// left. What is sent to them is read for acknowledgements and windows, and dropped.
//
//   lay_out()   hears what was sent and lays the next burst out. For the time outside the measurement.
//   poll()      hands the burst over.
//
// Payload lies ready in the arena, once for each of `copies` requests; laying out writes headers only, and what the node
// writes over in a batch. A request's buffers are used again when all of them have come back: those that came last
// first, so that as little memory is touched as can be, or with `rotate` those that came first, so that all of it is.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <span>
#include <vector>

#include "bench/produce_frame.h"
#include "bench/tcp_frame.h"
#include "dataplane/base/buffer_table.h"
#include "dataplane/frames.h"

namespace penstock::bench {

struct ProducerPortConfig {
  uint32_t flows = 1;
  uint32_t copies = 1;
  bool rotate = false;
};

class ProducerPort {
 public:
  static constexpr uint32_t burst = 64, run = 16;  // frames at once; frames of one flow in a row
  static constexpr uint16_t port = 9092, first_port = 20'000;
  static net::IpAddress address() { return net::IpAddress::v4(10, 0, 0, 1); }

  // Buffers are the arena's from `first_unit` on.
  ProducerPort(const ProducerPortConfig& config, const Frame& request, Arena arena, BufferTable& buffers,
               uint32_t first_unit)
      : rotate_(config.rotate),
        request_(request),
        frames_((static_cast<uint32_t>(request.bytes.size()) + frame_payload_bytes - 1) / frame_payload_bytes),
        arena_(arena),
        buffers_(buffers),
        first_unit_(first_unit),
        flows_(config.flows),
        out_(config.copies) {
    check(uint64_t{first_unit} + uint64_t{config.copies} * frames_ <= arena.unit_count(), "bench: arena too small");
    features_.address = our_link;
    features_.receive_checksums = features_.transmit_checksums = true;
    for (uint32_t copy = 0; copy < config.copies; ++copy) {
      for (uint32_t i = 0; i < frames_; ++i) {
        std::memcpy(payload_at(buffer_of(copy, i)), request.bytes.data() + i * frame_payload_bytes, length_of(i));
      }
      free_.push_back(copy);
    }
  }

  // ---- concept Frames ----
  const PortFeatures& features() const { return features_; }
  template <class Handler>
  uint32_t poll(Nanoseconds, Handler&& handler) {
    for (const Piece& piece : next_) handler(ReceivedFrame{{&piece, 1}, true});
    const auto count = static_cast<uint32_t>(next_.size());
    next_.clear();
    return count;
  }
  bool transmit(const TransmitFrame& frame) {
    check(heard_count_ < heard_.size(), "bench: more frames sent than are heard");
    std::memcpy(heard_[heard_count_++].data(), frame.pieces[0].data, std::min<size_t>(frame.pieces[0].length, heard_bytes));
    for (const Piece& piece : frame.pieces) buffers_.release(piece.buffer, Holder::send);
    ++transmitted_;
    return true;
  }
  void flush() {}
  void release(std::span<const BufferIndex> buffers) {
    for (const BufferIndex buffer : buffers) {
      const uint32_t copy = (buffer.value - first_unit_) / frames_;
      if (--out_[copy] == 0) free_.push_back(copy);
    }
  }
  uint64_t receive_free() const { return GiB; }
  Nanoseconds next_deadline() const { return never_ns; }

  // ---- the producers ----
  // Data frames of the next burst.
  uint32_t lay_out(Nanoseconds now) {
    for (size_t i = 0; i < heard_count_; ++i) hear(heard_[i].data());
    heard_count_ = 0;
    uint32_t data = 0;
    for (size_t silent = 0; silent < flows_.size() && next_.size() < burst;) {
      Flow& flow = flows_[turn_];
      const size_t before = next_.size();
      if (flow.state < FlowState::open) shake_hands(flow, now);
      for (uint32_t i = 0; i < run && next_.size() < burst && send_next(flow, now); ++i) ++data;
      silent = next_.size() > before ? 0 : silent + 1;
      turn_ = (turn_ + 1) % flows_.size();
    }
    return data;
  }
  // Without a node: all connections stand and every window is open.
  void pretend_connected() {
    for (Flow& flow : flows_) flow.state = FlowState::boundless;
  }
  std::span<const Piece> next() const { return next_; }  // the burst that is laid out
  bool connected() const {
    return std::ranges::all_of(flows_, [](const Flow& flow) { return flow.state == FlowState::open; });
  }
  uint64_t transmitted() const { return transmitted_; }
  uint64_t requests() const { return requests_; }

 private:
  static constexpr size_t heard_bytes = 14 + 20 + 60;
  static constexpr uint32_t frame_at = 128;  // into its buffer, as DPDK's headroom has it
  static constexpr uint32_t none = UINT32_MAX;
  enum class FlowState : uint8_t { closed, syn_sent, answered, open, boundless };
  struct Flow {
    FlowState state = FlowState::closed;
    uint32_t sequence = 1000, acknowledgment = 0;
    uint32_t edge = 0;
    uint8_t scale = 0;
    uint32_t timestamp_echo = 0;
    uint32_t copy = none;  // the request being sent
    uint32_t frame = 0;    // the next one of it
  };

  BufferIndex buffer_of(uint32_t copy, uint32_t frame) const { return BufferIndex(first_unit_ + copy * frames_ + frame); }
  std::byte* payload_at(BufferIndex buffer) const { return arena_.at(buffer) + frame_at + frame_header_bytes; }
  uint32_t length_of(uint32_t frame) const {
    return std::min(frame_payload_bytes, static_cast<uint32_t>(request_.bytes.size()) - frame * frame_payload_bytes);
  }

  void shake_hands(Flow& flow, Nanoseconds now) {
    // Any free buffer serves: neither frame has payload.
    if (flow.state == FlowState::syn_sent || free_.empty()) return;
    const uint32_t copy = take_copy();
    out_[copy] = 1;
    const bool first = flow.state == FlowState::closed;
    put(flow, buffer_of(copy, 0), first ? net::flag_syn : net::flag_ack, 0, now);
    flow.sequence += first ? 1 : 0;
    flow.state = first ? FlowState::syn_sent : FlowState::open;
  }

  bool send_next(Flow& flow, Nanoseconds now) {
    if (flow.state < FlowState::open) return false;
    if (flow.copy == none) {
      if (free_.empty()) return false;
      flow.copy = take_copy();
      flow.frame = 0;
      out_[flow.copy] = frames_;
      // The node has written offset and epoch into the batch.
      std::memcpy(payload_at(buffer_of(flow.copy, 0)), request_.bytes.data(), request_.batch_position + 61);
    }
    const uint32_t length = length_of(flow.frame);
    if (flow.state == FlowState::open && static_cast<int32_t>(flow.sequence + length - flow.edge) > 0) return false;
    const bool last = flow.frame + 1 == frames_;
    const auto flags = static_cast<uint8_t>(net::flag_ack | (last ? net::flag_psh : 0));
    put(flow, buffer_of(flow.copy, flow.frame), flags, length, now);
    flow.sequence += length;
    ++flow.frame;
    if (last) {
      flow.copy = none;
      ++requests_;
    }
    return true;
  }

  uint32_t take_copy() {
    const uint32_t copy = rotate_ ? free_.front() : free_.back();
    rotate_ ? free_.pop_front() : free_.pop_back();
    return copy;
  }

  void put(const Flow& flow, BufferIndex buffer, uint8_t flags, uint32_t length, Nanoseconds now) {
    const auto number = static_cast<uint16_t>(&flow - flows_.data());
    const uint32_t headers = write_tcp_frame(arena_.at(buffer) + frame_at,
                                             {.remote = net::IpAddress::v4(10, 1, 0, 1),
                                              .local = address(),
                                              .remote_port = static_cast<uint16_t>(first_port + number),
                                              .local_port = port,
                                              .sequence = flow.sequence,
                                              .acknowledgment = flow.acknowledgment,
                                              .flags = flags,
                                              .timestamp = static_cast<uint32_t>(now / millisecond_ns),
                                              .timestamp_echo = flow.timestamp_echo,
                                              .payload_bytes = length});
    buffers_.open(buffer, 0, Holder::device);
    next_.push_back({arena_.at(buffer) + frame_at, headers + length, buffer});
  }

  void hear(const std::byte* frame) {
    if (load_big<uint16_t>(frame + 12) != net::ether_ipv4) return;
    const auto* header = reinterpret_cast<const net::TcpHeader*>(frame + 34);
    const uint32_t number = header->destination_port - first_port;
    check(number < flows_.size() && (header->flags & net::flag_rst) == 0, "bench: a frame for nobody", number,
          header->flags);
    Flow& flow = flows_[number];
    const uint32_t tcp_bytes = (header->words_and_reserved >> 4) * 4u;
    const std::byte* option = frame + 34 + 20;
    for (const std::byte* end = frame + 34 + tcp_bytes; option < end;) {
      const auto kind = static_cast<uint8_t>(option[0]);
      if (kind == net::option_end) break;
      if (kind == net::option_window_scale) flow.scale = static_cast<uint8_t>(option[2]);
      if (kind == net::option_timestamps) flow.timestamp_echo = load_big<uint32_t>(option + 2);
      option += kind == net::option_none ? 1 : static_cast<uint8_t>(option[1]);
    }
    const bool syn = (header->flags & net::flag_syn) != 0;
    if (syn) flow.state = FlowState::answered;
    const uint32_t payload = load_big<uint16_t>(frame + 16) - 20u - tcp_bytes;
    flow.acknowledgment = header->sequence + payload + (syn ? 1 : 0);
    flow.edge = header->acknowledgment + (uint32_t{header->window} << (syn ? 0 : flow.scale));
  }

  const bool rotate_;
  const Frame& request_;
  const uint32_t frames_;  // of a request
  Arena arena_;
  BufferTable& buffers_;
  const uint32_t first_unit_;
  PortFeatures features_;
  std::vector<Flow> flows_;
  std::vector<uint32_t> out_;  // frames of each copy that have not come back
  std::deque<uint32_t> free_;  // copies
  std::vector<Piece> next_;
  std::array<std::array<std::byte, heard_bytes>, 4096> heard_;
  size_t heard_count_ = 0, turn_ = 0;
  uint64_t transmitted_ = 0, requests_ = 0;
};

}  // namespace penstock::bench
