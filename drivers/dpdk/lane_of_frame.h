// Whose a frame is: the lane that listens on its destination port. What belongs to no port (ARP, neighbours, echo, a
// port nobody has) is lane 0's; an ICMP error goes where the segment it quotes came from. Reads headers and nothing
// else; a frame that is not what it says is lane 0's to refuse.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock {

struct LanePorts {
  uint16_t first = 0;  // lane i listens on first + i
  uint32_t lane_count = 1;
};

enum class FrameFor : uint8_t {
  one_lane,
  every_lane,  // ARP and neighbour discovery: each lane has the same addresses and learns what happens to them
};

struct Destination {
  FrameFor kind = FrameFor::one_lane;
  uint32_t lane = 0;
};

// `frame`: its first bytes, from the Ethernet header on; all headers are expected in them.
Destination lane_of_frame(std::span<const std::byte> frame, const LanePorts& ports);

// ARP or neighbour discovery, which of all lanes only lane 0 sends.
bool about_addresses(std::span<const std::byte> frame);

}  // namespace penstock
