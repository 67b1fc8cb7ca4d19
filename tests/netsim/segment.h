// TCP segments as the simulated peers see them: parsed from frames and built into frames, both v4 and v6, with nothing
// shared with the stack under test. Slow and plain on purpose.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace penstock::netsim {

using Bytes = std::vector<std::byte>;
using Link = std::array<uint8_t, 6>;

struct Address {
  bool v6 = false;
  std::array<uint8_t, 16> bytes{};  // v4: the first four
  auto operator<=>(const Address&) const = default;
};
Address address_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
// fd00::<high>:<low>
Address address_v6(uint16_t high, uint16_t low);

struct Place {
  Address address;
  uint16_t port = 0;
  auto operator<=>(const Place&) const = default;
};

struct Segment {
  Link link_from{}, link_to{};
  Place from, to;
  uint32_t sequence = 0, acknowledgement = 0;
  bool fin = false, syn = false, rst = false, psh = false, ack = false, urg = false;
  uint16_t window = 0;  // as it stands in the header
  std::optional<uint16_t> mss;
  std::optional<uint8_t> window_scale;
  bool sack_permitted = false;
  std::optional<std::pair<uint32_t, uint32_t>> timestamps;  // value, echo
  std::vector<std::pair<uint32_t, uint32_t>> sack;
  Bytes payload;
  size_t option_bytes = 0;    // parsed: the option list with its padding
  size_t packet_bytes = 0;    // parsed: of the IP packet
  bool may_fragment = false;  // parsed, v4: DF is not set
};

Bytes encode(const Segment& segment);
size_t option_bytes(const Segment& segment);  // that encode() writes

// Nothing: not a whole, right TCP segment. `why`, if given, says what is wrong with one that claims to be TCP; it stays
// empty for what is no TCP at all.
std::optional<Segment> parse(std::span<const std::byte> frame, std::string* why = nullptr);

std::string to_string(const Segment& segment);

// RFC 1071 over any number of bytes, folded, not complemented.
uint16_t internet_sum(std::span<const std::byte> bytes, uint32_t start = 0);

}  // namespace penstock::netsim
