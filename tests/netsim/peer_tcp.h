// A second TCP, the client's side of it: deliberately simple, so that one can see that it is right, and written without
// a line of the stack it is used against. It opens, sends with cumulative and selective acknowledgement and a timer,
// receives into a map, closes, resets, probes a closed window, and complains about what a peer must never do.
//
// Positions are 64-bit offsets from the initial sequence number: the SYN is at 0, the first byte at 1, the FIN behind
// the last byte. Nothing here wraps; only the wire does.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/units.h"
#include "tests/netsim/segment.h"

namespace penstock::netsim {

struct PeerConfig {
  Place local, remote;
  Link link_local{}, link_remote{};
  uint32_t initial_sequence = 0;
  uint16_t mss = 1460;  // announced, and what it sends at most
  bool announce_mss = true;
  bool timestamps = true;
  bool sack = true;
  bool duplicate_sack = true;  // RFC 2883
  std::optional<uint8_t> window_scale = 7;
  uint64_t receive_buffer_bytes = 256 * 1024;
  Nanoseconds delayed_ack_ns = 0;  // 0: every segment is acknowledged at once
  uint32_t ack_every = 2;          // else at the latest so many segments
  uint64_t flight_bytes_max = 256 * 1024;
  Nanoseconds retransmit_ns = 300 * millisecond_ns;  // first timeout; doubles up to 4 s
  Nanoseconds keepalive_ns = 0;  // asks whether the other side is there when it was silent for so long; 0: never
  bool probe_with_data = true;  // a zero-window probe is one byte of new data or the FIN, else an old sequence number
};

class PeerTcp {
 public:
  enum class State : uint8_t { opening, open, refused, reset };  // reset: by either side

  PeerTcp(const PeerConfig& config, Nanoseconds now);

  // ---- who uses it ----
  void write(std::span<const std::byte> bytes) { to_send_.insert(to_send_.end(), bytes.begin(), bytes.end()); }
  void finish() { finishing_ = true; }
  void reset();                        // RST, and nothing more
  void vanish() { vanished_ = true; }  // nothing more at all
  // Takes what has arrived in order, at most `limit` bytes.
  size_t read(Bytes& to, size_t limit);
  void set_mss(uint16_t mss) { mss_ = mss; }  // of what it sends; the path has changed

  State state() const { return state_; }
  const PeerConfig& config() const { return config_; }
  bool vanished() const { return vanished_; }
  bool all_acknowledged() const {
    return in_flight_.empty() && next_ == end_to_send() + (fin_sent_ ? 1 : 0) && !fin_waits();
  }
  bool finished_by_stack() const { return fin_received_; }  // its FIN, and all before it, is here
  uint64_t unread() const { return received_.size(); }
  uint64_t bytes_acknowledged() const { return static_cast<uint64_t>(first_ - 1); }
  // The first thing the other side did that it must never do; empty: nothing.
  const std::string& fault() const { return fault_; }

  // ---- the wire ----
  void on_segment(const Segment& segment, Nanoseconds now);
  // Timers and sending. What there is to send is appended to `out`.
  void step(Nanoseconds now, std::vector<Segment>& out);
  Nanoseconds next_deadline() const;

 private:
  using At = int64_t;
  struct Sent {
    At end = 0;
    Nanoseconds at = 0;
    bool sacked = false;
    bool lost = false;
    uint32_t times = 1;
  };

  At unwrap(uint32_t wire, uint32_t base, At near) const {
    return near + static_cast<int32_t>(wire - (base + static_cast<uint32_t>(near)));
  }
  At payload_max() const { return mss_ - (timestamps_ ? 12 : 0); }  // RFC 6691
  At end_to_send() const { return stream_begin_ + static_cast<At>(to_send_.size()); }
  bool fin_waits() const { return finishing_ && !fin_sent_; }

  void on_opening(const Segment& segment, Nanoseconds now);
  bool timestamps_acceptable(const Segment& segment, At at);
  void take_acknowledgement(const Segment& segment, Nanoseconds now);
  void find_losses(Nanoseconds now);
  void take_payload(const Segment& segment, At at);
  void note_duplicate(At begin, At end);
  void move_edge();

  void retransmit_after_timeout(Nanoseconds now);
  void send_lost(Nanoseconds now, std::vector<Segment>& out);
  void send_new(Nanoseconds now, std::vector<Segment>& out);
  void probe(Nanoseconds now, std::vector<Segment>& out);
  void heard(Nanoseconds now) { keepalive_at_ = config_.keepalive_ns > 0 ? now + config_.keepalive_ns : never_ns; }
  Segment segment_of(At begin, At end, Nanoseconds now);
  Segment bare(At sequence, Nanoseconds now);
  uint64_t outstanding() const;
  void complain(const std::string& what) {
    if (fault_.empty()) fault_ = what;
  }

  const PeerConfig config_;
  State state_ = State::opening;
  bool vanished_ = false;
  bool reset_due_ = false;
  std::string fault_;
  uint16_t mss_;
  bool timestamps_ = false, sack_ = false;
  uint8_t scale_in_ = 0, scale_out_ = 0;  // of windows that arrive, of windows it announces

  // Sending. first_ <= next_; everything in [first_, next_) is in in_flight_.
  Bytes to_send_;
  At stream_begin_ = 1;  // position of to_send_[0]
  bool finishing_ = false, fin_sent_ = false;
  At first_ = 0, next_ = 0;
  At edge_ = 0;  // the rightmost the stack has ever allowed
  std::map<At, Sent> in_flight_;
  uint64_t congestion_window_ = 0;
  At recover_ = 0;
  uint32_t duplicate_acks_ = 0;
  Nanoseconds timeout_ns_, timeout_at_ = never_ns, probe_at_ = never_ns, probe_ns_;
  Nanoseconds keepalive_at_ = never_ns;

  // Receiving.
  uint32_t stack_initial_ = 0;
  At expected_ = 0;
  At my_edge_ = 0;  // the rightmost it has ever announced
  Bytes received_;  // in order, not read yet
  std::map<At, Bytes> early_;
  std::optional<At> fin_at_;
  bool fin_received_ = false;
  uint32_t recent_timestamp_ = 0;
  At last_ack_sent_ = 0;
  uint32_t unacknowledged_segments_ = 0;
  bool ack_now_ = false;
  Nanoseconds ack_at_ = never_ns;
  std::optional<std::pair<At, At>> duplicate_;  // to report first
  At latest_early_ = 0;
};

}  // namespace penstock::netsim
