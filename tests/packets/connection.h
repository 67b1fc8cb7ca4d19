// One connection as its peer sees it: the numbers that make a script's relative sequence numbers and timestamps, and
// the rules that every segment of ours has to keep whatever the script is about.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/streams.h"
#include "tests/packets/packet.h"
#include "tests/packets/settings.h"

namespace penstock::packets {

struct SeenFrame {
  Nanoseconds at = 0;
  Packet packet;
};

struct SeenEvent {
  StreamEventKind kind{};
  Nanoseconds at = 0;
  uint64_t bytes = 0;
};

struct Connection {
  std::string name;
  uint32_t number = 0;  // its content is stream 2n from the peer, 2n+1 from the application
  Address peer;
  Address us;
  Mac mac{};
  uint16_t peer_port = 0;
  uint16_t peer_port_last = 0;  // a range: a crowd whose numbers are not followed
  uint16_t our_port = 0;
  bool crowd() const { return peer_port_last != peer_port; }

  // ---- the peer's side ----
  uint32_t peer_isn = 0;
  uint32_t peer_ts = 0;
  int64_t next = 0;                   // what the peer sends next: behind what it has sent without a gap
  std::map<int64_t, int64_t> beyond;  // what it has sent behind a gap: from, to
  int64_t sent_end = 0;               // behind the last it has ever sent
  int64_t acked = 0;                  // what the peer acknowledges: the end of what the script has seen in order
  uint16_t window = 65535;
  int64_t offered_edge = 0;  // the furthest the peer has allowed us to send
  std::optional<uint16_t> peer_mss;
  bool offers_scale = false, offers_ts = false, offers_sack = false;
  uint8_t peer_scale = 0;

  // ---- our side, as seen ----
  std::optional<uint32_t> our_isn;
  uint32_t our_ts = 0;       // of the SYN-ACK
  uint32_t last_our_ts = 0;  // echoed by the peer
  uint8_t our_scale = 0;
  uint16_t our_mss = 0;
  bool scale_on = false, ts_on = false, sack_on = false;
  int64_t our_next = 0;  // behind the last of ours that the script has seen
  int64_t highest = 0;   // behind the last that was captured
  int64_t last_ack = -1;
  int64_t edge = -1;      // the right edge of our window
  bool finished = false;  // our FIN was captured

  // ---- the application's side ----
  std::optional<StreamId> stream;
  uint64_t delivered = 0;
  uint64_t handed_over = 0;  // to send()
  bool keeps_credit = false;
  bool holds = false;
  std::vector<Piece> held;

  std::deque<SeenFrame> frames;  // captured, not yet expected
  std::deque<SeenEvent> events;

  int64_t seq_of_peer(uint32_t raw) const { return static_cast<int32_t>(raw - peer_isn); }
  int64_t seq_of_ours(uint32_t raw) const { return static_cast<int32_t>(raw - our_isn.value_or(0)); }
  // The payload of either side; `seq` is relative.
  uint8_t peer_content(int64_t seq) const;
  uint8_t our_content(int64_t seq) const;

  // A segment of the peer's goes out.
  void injected(const Tcp& tcp);
  // A segment of ours was captured: learns from it. Returns the rules it breaks.
  std::vector<std::string> captured(const Packet& packet, const Settings& settings);

 private:
  void learn_syn_ack(const Tcp& tcp);
  void check_options(const Tcp& tcp, std::vector<std::string>& broken) const;
  void check_sacks(const Tcp& tcp, int64_t ack, std::vector<std::string>& broken) const;
  void check_window(const Tcp& tcp, std::vector<std::string>& broken);
  void check_payload(const Packet& packet, const Settings& settings, std::vector<std::string>& broken);
};

inline constexpr uint8_t option_mss = 2, option_scale = 3, option_sack_ok = 4, option_sack = 5, option_ts = 8;
// A big-endian number in an option's body; 0 when the body is too short.
uint32_t option_number(const TcpOption& option, size_t at, size_t bytes);

}  // namespace penstock::packets
