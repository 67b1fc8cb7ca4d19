// Watches what passes between the stack and its port, in the order in which the stack saw and sent it, and says what a
// TCP must never do. It knows only frames; the stack's own books are not asked.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/units.h"
#include "tests/netsim/segment.h"

namespace penstock::netsim {

class Audit {
 public:
  // A run of bytes the stack sends: `at` counts from 0.
  using Content = std::function<bool(const Place& peer, uint64_t at, std::span<const std::byte> bytes)>;

  Audit(uint32_t mtu_bytes, Content content) : mtu_bytes_(mtu_bytes), content_(std::move(content)) {}

  void delivered(std::span<const std::byte> frame);  // to the stack
  void left(std::span<const std::byte> frame);       // from the stack
  // The stack has no window open for this peer any more: its stream is over.
  void gone(const Place& peer);

  // What all peers may still send, as far as the stack has told them.
  uint64_t advertised_bytes() const;
  const std::string& fault() const { return fault_; }  // the first one; empty: none
  uint64_t segments() const { return segments_; }
  uint64_t resets() const { return resets_; }  // RST the stack sent

 private:
  using At = int64_t;
  struct Flow {
    // Of what was delivered to the stack.
    uint32_t peer_initial = 0;
    std::map<At, At> ranges;  // delivered bytes of the peer's sequence space, merged; the SYN is at 0
    bool scale_offered = false, sack_offered = false, timestamps_offered = false;
    uint8_t peer_scale = 0;
    uint16_t peer_mss = 0;
    std::set<uint32_t> timestamps;
    bool peer_reset = false;
    std::optional<At> peer_fin_at;  // where its sequence space ends
    At peer_edge = 0;
    // Of what the stack sent.
    std::vector<uint32_t> offered;    // initial sequence numbers of its SYN-ACKs: cookies change with time
    std::optional<uint32_t> initial;  // the one the peer acknowledged
    bool scaled = false, sack = false, stamped = false;
    uint8_t scale = 0;
    At ack = 1, edge = 1, end = 1;
    At acknowledged = 0;  // by the peer
    std::optional<At> fin_at;
    uint32_t timestamp = 0;
    bool gone = false;
    bool reset = false;  // by the stack
  };

  static bool over(const Flow& flow);
  void left_syn(Flow& flow, const Segment& segment);
  void left_segment(Flow& flow, const Segment& segment);
  void check_options(Flow& flow, const Segment& segment);
  void check_window(Flow& flow, const Segment& segment);
  void check_payload(Flow& flow, const Segment& segment);
  void complain(const char* what, const Segment& segment) {
    if (fault_.empty()) fault_ = std::string(what) + ": " + to_string(segment);
  }
  static void add_range(Flow& flow, At begin, At end);
  static At contiguous(const Flow& flow) { return flow.ranges.empty() ? 0 : flow.ranges.begin()->second; }
  static At unwrap(uint32_t wire, uint32_t base, At near) {
    return near + static_cast<int32_t>(wire - (base + static_cast<uint32_t>(near)));
  }

  const uint32_t mtu_bytes_;
  const Content content_;
  std::map<Place, Flow> flows_;  // by peer
  std::set<Place> open_;         // whose handshake is over
  std::string fault_;
  uint64_t segments_ = 0, resets_ = 0;
};

}  // namespace penstock::netsim
