// What a script may `set` before its first step: the stack's configuration, the port's features, the memory, and how
// the peers are.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/frames.h"
#include "dataplane/tcp/tcp_config.h"
#include "tests/packets/packet.h"
#include "tests/packets/script.h"

namespace penstock::packets {

// Who there is on the simulated link.
inline constexpr Mac our_mac{0x02, 0, 0, 0, 0, 1}, peer_mac{0x02, 0, 0, 0, 0, 2}, gateway_mac{0x02, 0, 0, 0, 0, 0xfe},
    stranger_mac{0x02, 0, 0, 0, 0, 0x66};

struct Settings {
  TcpConfig config;
  PortFeatures features;
  uint32_t receive_units = 2048;  // buffers for received frames, each arena_unit_bytes
  uint32_t header_units = 1024;   // buffers for headers
  uint32_t send_units = 2048;     // buffers of the application
  bool v6 = false;
  bool show_start = false;       // announcements sent at start are for the script to expect
  std::optional<uint16_t> vlan;  // of frames that are injected
  uint32_t peer_isn = 1'000'000;
  uint32_t peer_ts = 5'000'000;  // the peer's timestamp clock at the script's start
  Nanoseconds start = 1000 * second_ns;
};

// Throws ScriptError for a name that does not exist or a value that does not fit.
Settings settings_of(const Script& script);

}  // namespace penstock::packets
