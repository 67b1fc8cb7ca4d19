// Frames as the packet scripts see them: plain fields, an encoder and a decoder with checksums of their own. They share
// no code with dataplane/net, so that a mistake there cannot hide behind the same mistake here.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace penstock::packets {

using Bytes = std::vector<uint8_t>;
using Mac = std::array<uint8_t, 6>;

struct Address {
  bool v6 = false;
  std::array<uint8_t, 16> bytes{};  // IPv4: the first four
  bool operator==(const Address&) const = default;
  size_t size() const { return v6 ? 16 : 4; }
};

// From "10.0.0.1" or "fe80::1"; nullopt when it is neither.
std::optional<Address> parse_address(const std::string& text);
std::optional<Mac> parse_mac(const std::string& text);
// Pairs of hexadecimal digits; nullopt when they are not.
std::optional<Bytes> parse_hex(const std::string& text);
std::string to_string(const Address& address);
std::string to_string(const Mac& mac);
std::string hex(std::span<const uint8_t> bytes);

namespace flag {
inline constexpr uint8_t fin = 1, syn = 2, rst = 4, psh = 8, ack = 16, urg = 32, ece = 64, cwr = 128;
}
// "SA" to bits and back: F S R P A U E C, in any order.
std::optional<uint8_t> parse_flags(const std::string& text);
std::string flags_to_string(uint8_t flags);

struct TcpOption {
  uint8_t kind = 0;
  Bytes body;                            // what follows kind and length
  std::optional<uint8_t> stated_length;  // other than what it is
  bool operator==(const TcpOption&) const = default;
};

struct Tcp {
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint32_t sequence = 0;
  uint32_t acknowledgement = 0;
  std::optional<uint8_t> header_words;  // data offset, when it shall be wrong
  uint8_t reserved = 0;
  uint8_t flags = 0;
  uint16_t window = 0;
  uint16_t urgent = 0;
  std::vector<TcpOption> options;
  Bytes payload;

  const TcpOption* option(uint8_t kind) const;
};

struct Icmp {
  uint8_t type = 0;
  uint8_t code = 0;
  std::array<uint8_t, 4> rest{};  // id and sequence, MTU, flags: as the type has it
  Bytes payload;
};

struct Arp {
  uint16_t operation = 0;
  Mac sender_mac{};
  Address sender;
  Mac target_mac{};
  Address target;
};

struct Ip {
  Address source;
  Address destination;
  uint8_t protocol = 0;  // IPv6: of the header after the extension headers
  uint8_t ttl = 64;
  uint8_t tos = 0;
  uint16_t id = 0;
  bool dont_fragment = true;
  bool more_fragments = false;
  uint16_t fragment_offset = 0;          // in units of 8 bytes
  std::optional<uint16_t> total_length;  // when it shall be wrong
  Bytes options;                         // IPv4, a multiple of four bytes
  std::vector<uint8_t> extensions;       // IPv6: kinds of extension headers, 8 bytes each
};

enum class Kind : uint8_t { tcp, icmp, arp, other };

// One frame. When decoded, `faults` lists what is wrong with it on the wire.
struct Packet {
  Mac destination_mac{};
  Mac source_mac{};
  std::optional<uint16_t> vlan;  // the tag's 16 bits
  uint16_t ether_type = 0;
  Kind kind = Kind::other;
  std::optional<Ip> ip;
  Tcp tcp;
  Icmp icmp;  // also of IPv6
  Arp arp;
  Bytes payload;  // of a kind that is not decoded
  std::vector<std::string> faults;
};

// What an encoder shall spoil on purpose.
struct Patch {
  enum class Layer : uint8_t { ethernet, network, transport };
  Layer layer{};
  size_t at = 0;
  Bytes bytes;
  bool after_checksums = false;
};

Bytes encode(const Packet& packet, const std::vector<Patch>& patches = {});
Packet decode(std::span<const uint8_t> frame);

// The Internet checksum of `bytes` continued from `sum`, not yet complemented.
uint32_t add_up(std::span<const uint8_t> bytes, uint32_t sum = 0);
uint16_t fold(uint32_t sum);
// The sum of the pseudo header, not complemented.
uint32_t pseudo_header(const Address& source, const Address& destination, uint8_t protocol, size_t length);

// The transport part of a TCP segment, with the checksum filled in when `ip` is given.
Bytes encode_tcp(const Tcp& tcp);

inline constexpr uint16_t ether_ipv4 = 0x0800, ether_arp = 0x0806, ether_vlan = 0x8100, ether_ipv6 = 0x86dd;
inline constexpr uint8_t protocol_icmp = 1, protocol_tcp = 6, protocol_udp = 17, protocol_icmp6 = 58;

}  // namespace penstock::packets
