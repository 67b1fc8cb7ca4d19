#include "tests/packets/packet.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace penstock::packets {

// ---- text ----

namespace {

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// A number of `base` not above `max`, of nothing but digits.
std::optional<uint32_t> small_number(const std::string& text, int base, uint32_t max) {
  if (text.empty() || text.size() > 5) return std::nullopt;
  char* end = nullptr;
  const unsigned long value = std::strtoul(text.c_str(), &end, base);
  if (*end != 0 || digit_of(text[0]) < 0 || value > max) return std::nullopt;
  return static_cast<uint32_t>(value);
}

std::optional<Address> parse_ipv4(const std::string& text) {
  const std::vector<std::string> parts = split(text, '.');
  if (parts.size() != 4) return std::nullopt;
  Address address;
  for (size_t i = 0; i < 4; ++i) {
    const auto value = small_number(parts[i], 10, 255);
    if (!value) return std::nullopt;
    address.bytes[i] = static_cast<uint8_t>(*value);
  }
  return address;
}

std::optional<Bytes> parse_groups(const std::string& text) {
  Bytes bytes;
  if (text.empty()) return bytes;
  for (const std::string& part : split(text, ':')) {
    const auto value = small_number(part, 16, 0xffff);
    if (!value) return std::nullopt;
    bytes.push_back(static_cast<uint8_t>(*value >> 8));
    bytes.push_back(static_cast<uint8_t>(*value));
  }
  return bytes;
}

std::optional<Address> parse_ipv6(const std::string& text) {
  const size_t gap = text.find("::");
  const auto head = parse_groups(gap == std::string::npos ? text : text.substr(0, gap));
  const auto tail = parse_groups(gap == std::string::npos ? "" : text.substr(gap + 2));
  if (!head || !tail || head->size() + tail->size() > 16) return std::nullopt;
  if (gap == std::string::npos && head->size() != 16) return std::nullopt;
  Address address;
  address.v6 = true;
  std::copy(head->begin(), head->end(), address.bytes.begin());
  std::copy(tail->begin(), tail->end(), address.bytes.end() - static_cast<std::ptrdiff_t>(tail->size()));
  return address;
}

constexpr char flag_letters[] = "FSRPAUEC";

}  // namespace

std::optional<Address> parse_address(const std::string& text) {
  return text.find(':') == std::string::npos ? parse_ipv4(text) : parse_ipv6(text);
}

std::optional<Mac> parse_mac(const std::string& text) {
  const std::vector<std::string> parts = split(text, ':');
  if (parts.size() != 6) return std::nullopt;
  Mac mac{};
  for (size_t i = 0; i < 6; ++i) {
    const auto value = small_number(parts[i], 16, 255);
    if (!value) return std::nullopt;
    mac[i] = static_cast<uint8_t>(*value);
  }
  return mac;
}

std::optional<Bytes> parse_hex(const std::string& text) {
  if (text.size() % 2 != 0) return std::nullopt;
  Bytes bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = digit_of(text[i]), low = digit_of(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes.push_back(static_cast<uint8_t>(high * 16 + low));
  }
  return bytes;
}

std::string to_string(const Address& address) {
  std::string text;
  char part[8];
  if (!address.v6) {
    for (size_t i = 0; i < 4; ++i) {
      std::snprintf(part, sizeof part, i == 0 ? "%u" : ".%u", address.bytes[i]);
      text += part;
    }
    return text;
  }
  for (size_t i = 0; i < 16; i += 2) {
    std::snprintf(part, sizeof part, i == 0 ? "%x" : ":%x", address.bytes[i] << 8 | address.bytes[i + 1]);
    text += part;
  }
  return text;
}

std::string to_string(const Mac& mac) {
  std::string text;
  char part[8];
  for (size_t i = 0; i < 6; ++i) {
    std::snprintf(part, sizeof part, i == 0 ? "%02x" : ":%02x", mac[i]);
    text += part;
  }
  return text;
}

std::string hex(std::span<const uint8_t> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::optional<uint8_t> parse_flags(const std::string& text) {
  uint8_t flags = 0;
  for (const char c : text) {
    const char* at = std::find(flag_letters, flag_letters + 8, c);
    if (at == flag_letters + 8) return std::nullopt;
    flags |= static_cast<uint8_t>(1 << (at - flag_letters));
  }
  return flags;
}

std::string flags_to_string(uint8_t flags) {
  std::string text;
  for (const uint8_t bit : {flag::syn, flag::fin, flag::rst, flag::psh, flag::ack, flag::urg, flag::ece, flag::cwr}) {
    if ((flags & bit) == 0) continue;
    for (int i = 0; i < 8; ++i) {
      if (bit == 1 << i) text += flag_letters[i];
    }
  }
  return text.empty() ? "-" : text;
}

const TcpOption* Tcp::option(uint8_t kind) const {
  for (const TcpOption& option : options) {
    if (option.kind == kind) return &option;
  }
  return nullptr;
}

// ---- checksums ----

uint32_t add_up(std::span<const uint8_t> bytes, uint32_t sum) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? uint32_t{bytes[i]} << 8 : uint32_t{bytes[i]};
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return sum;
}

uint16_t fold(uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint32_t pseudo_header(const Address& source, const Address& destination, uint8_t protocol, size_t length) {
  uint32_t sum = add_up({source.bytes.data(), source.size()});
  sum = add_up({destination.bytes.data(), destination.size()}, sum);
  return sum + protocol + static_cast<uint32_t>(length & 0xffff) + static_cast<uint32_t>(length >> 16);
}

// ---- encoding ----

namespace {

void put8(Bytes& to, uint32_t value) { to.push_back(static_cast<uint8_t>(value)); }
void put16(Bytes& to, uint32_t value) {
  put8(to, value >> 8);
  put8(to, value);
}
void put32(Bytes& to, uint32_t value) {
  put16(to, value >> 16);
  put16(to, value);
}
template <class Range>
void put(Bytes& to, const Range& bytes) {
  to.insert(to.end(), std::begin(bytes), std::end(bytes));
}
void put(Bytes& to, const Address& address) {
  to.insert(to.end(), address.bytes.begin(), address.bytes.begin() + static_cast<std::ptrdiff_t>(address.size()));
}
void set16(Bytes& in, size_t at, uint32_t value) {
  if (at + 2 > in.size()) return;
  in[at] = static_cast<uint8_t>(value >> 8);
  in[at + 1] = static_cast<uint8_t>(value);
}

void apply(Bytes& to, const std::vector<Patch>& patches, Patch::Layer layer, bool after_checksums) {
  for (const Patch& patch : patches) {
    if (patch.layer != layer || patch.after_checksums != after_checksums) continue;
    for (size_t i = 0; i < patch.bytes.size() && patch.at + i < to.size(); ++i) to[patch.at + i] = patch.bytes[i];
  }
}

Bytes encode_icmp(const Icmp& icmp) {
  Bytes bytes;
  put8(bytes, icmp.type);
  put8(bytes, icmp.code);
  put16(bytes, 0);
  put(bytes, icmp.rest);
  put(bytes, icmp.payload);
  return bytes;
}

Bytes encode_arp(const Arp& arp) {
  Bytes bytes;
  put16(bytes, 1);
  put16(bytes, ether_ipv4);
  put8(bytes, 6);
  put8(bytes, 4);
  put16(bytes, arp.operation);
  put(bytes, arp.sender_mac);
  put(bytes, arp.sender);
  put(bytes, arp.target_mac);
  put(bytes, arp.target);
  return bytes;
}

Bytes encode_ipv4(const Ip& ip, size_t payload_bytes) {
  Bytes bytes;
  const size_t header_bytes = 20 + ip.options.size();
  put8(bytes, static_cast<uint32_t>(0x40 | header_bytes / 4));
  put8(bytes, ip.tos);
  put16(bytes, ip.total_length ? *ip.total_length : static_cast<uint32_t>(header_bytes + payload_bytes));
  put16(bytes, ip.id);
  put16(bytes, ip.dont_fragment * 0x4000u | ip.more_fragments * 0x2000u | ip.fragment_offset);
  put8(bytes, ip.ttl);
  put8(bytes, ip.protocol);
  put16(bytes, 0);
  put(bytes, ip.source);
  put(bytes, ip.destination);
  put(bytes, ip.options);
  return bytes;
}

Bytes encode_ipv6(const Ip& ip, size_t payload_bytes) {
  Bytes bytes;
  const size_t extension_bytes = ip.extensions.size() * 8;
  put32(bytes, 6u << 28 | uint32_t{ip.tos} << 20);
  put16(bytes, ip.total_length ? *ip.total_length : static_cast<uint32_t>(extension_bytes + payload_bytes));
  put8(bytes, ip.extensions.empty() ? ip.protocol : ip.extensions[0]);
  put8(bytes, ip.ttl);
  put(bytes, ip.source);
  put(bytes, ip.destination);
  for (size_t i = 0; i < ip.extensions.size(); ++i) {
    put8(bytes, i + 1 < ip.extensions.size() ? ip.extensions[i + 1] : ip.protocol);
    put8(bytes, 0);
    if (ip.extensions[i] == 44) {  // a fragment header; an identification of its own
      put16(bytes, uint32_t{ip.fragment_offset} << 3 | ip.more_fragments);
      put32(bytes, 0x01020304);
    } else {  // options or routing: one PadN of four bytes
      put(bytes, Bytes{1, 4, 0, 0, 0, 0});
    }
  }
  return bytes;
}

size_t checksum_position(const Packet& packet) {
  if (packet.kind == Kind::tcp) return 16;
  return packet.kind == Kind::icmp ? 2 : SIZE_MAX;
}

Bytes encode_network(const Packet& packet, const std::vector<Patch>& patches) {
  if (packet.kind == Kind::arp) {
    Bytes bytes = encode_arp(packet.arp);
    apply(bytes, patches, Patch::Layer::network, false);
    return bytes;
  }
  if (!packet.ip) return packet.payload;
  const Ip& ip = *packet.ip;
  Bytes transport = packet.kind == Kind::tcp    ? encode_tcp(packet.tcp)
                    : packet.kind == Kind::icmp ? encode_icmp(packet.icmp)
                                                : packet.payload;
  apply(transport, patches, Patch::Layer::transport, false);
  if (const size_t at = checksum_position(packet); at != SIZE_MAX) {
    const bool pseudo = packet.kind == Kind::tcp || ip.source.v6;
    const uint32_t start = pseudo ? pseudo_header(ip.source, ip.destination, ip.protocol, transport.size()) : 0;
    set16(transport, at, fold(~uint32_t{fold(add_up(transport, start))} & 0xffff));
  }
  apply(transport, patches, Patch::Layer::transport, true);
  Bytes network = ip.source.v6 ? encode_ipv6(ip, transport.size()) : encode_ipv4(ip, transport.size());
  apply(network, patches, Patch::Layer::network, false);
  if (!ip.source.v6) set16(network, 10, ~uint32_t{fold(add_up(network))} & 0xffff);
  apply(network, patches, Patch::Layer::network, true);
  put(network, transport);
  return network;
}

}  // namespace

Bytes encode_tcp(const Tcp& tcp) {
  Bytes options;
  for (const TcpOption& option : tcp.options) {
    put8(options, option.kind);
    if (option.kind < 2 && !option.stated_length) continue;
    put8(options, option.stated_length ? *option.stated_length : static_cast<uint32_t>(option.body.size() + 2));
    put(options, option.body);
  }
  while (options.size() % 4 != 0) put8(options, 0);
  Bytes bytes;
  put16(bytes, tcp.source_port);
  put16(bytes, tcp.destination_port);
  put32(bytes, tcp.sequence);
  put32(bytes, tcp.acknowledgement);
  const uint32_t words = tcp.header_words ? *tcp.header_words : static_cast<uint32_t>(5 + options.size() / 4);
  put8(bytes, words << 4 | tcp.reserved);
  put8(bytes, tcp.flags);
  put16(bytes, tcp.window);
  put16(bytes, 0);
  put16(bytes, tcp.urgent);
  put(bytes, options);
  put(bytes, tcp.payload);
  return bytes;
}

Bytes encode(const Packet& packet, const std::vector<Patch>& patches) {
  Bytes frame;
  put(frame, packet.destination_mac);
  put(frame, packet.source_mac);
  if (packet.vlan) {
    put16(frame, ether_vlan);
    put16(frame, *packet.vlan);
  }
  put16(frame, packet.ether_type);
  apply(frame, patches, Patch::Layer::ethernet, false);
  put(frame, encode_network(packet, patches));
  return frame;
}

// ---- decoding ----

namespace {

// Reads a frame front to back; what is missing reads as zero and is remembered.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : left_(bytes) {}
  uint32_t number(size_t bytes) {
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; ++i) {
      value <<= 8;
      if (left_.empty()) {
        short_ = true;
        continue;
      }
      value |= left_.front();
      left_ = left_.subspan(1);
    }
    return value;
  }
  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint16_t u16() { return static_cast<uint16_t>(number(2)); }
  template <class Array>
  void array(Array& to, size_t count) {
    for (size_t i = 0; i < count; ++i) to[i] = u8();
  }
  std::span<const uint8_t> left() const { return left_; }
  void keep(size_t count) { left_ = left_.first(std::min(count, left_.size())); }
  bool was_short() const { return short_; }

 private:
  std::span<const uint8_t> left_;
  bool short_ = false;
};

void decode_options(std::span<const uint8_t> bytes, Packet& packet) {
  while (!bytes.empty() && bytes[0] != 0) {
    if (bytes[0] == 1) {
      packet.tcp.options.push_back({1, {}, {}});
      bytes = bytes.subspan(1);
      continue;
    }
    if (bytes.size() < 2 || bytes[1] < 2 || bytes[1] > bytes.size()) {
      packet.faults.push_back("TCP option " + std::to_string(bytes[0]) + " runs past the header");
      return;
    }
    packet.tcp.options.push_back({bytes[0], Bytes(bytes.begin() + 2, bytes.begin() + bytes[1]), {}});
    bytes = bytes.subspan(bytes[1]);
  }
}

void decode_tcp(std::span<const uint8_t> bytes, Packet& packet) {
  packet.kind = Kind::tcp;
  Reader in(bytes);
  Tcp& tcp = packet.tcp;
  tcp.source_port = in.u16();
  tcp.destination_port = in.u16();
  tcp.sequence = in.number(4);
  tcp.acknowledgement = in.number(4);
  const uint8_t offset = in.u8();
  tcp.reserved = offset & 15;
  tcp.flags = in.u8();
  tcp.window = in.u16();
  in.u16();
  tcp.urgent = in.u16();
  const size_t header_bytes = (offset >> 4) * size_t{4};
  if (in.was_short() || header_bytes < 20 || header_bytes > bytes.size()) {
    packet.faults.push_back("TCP header of " + std::to_string(header_bytes) + " in " + std::to_string(bytes.size()));
    return;
  }
  decode_options(bytes.subspan(20, header_bytes - 20), packet);
  tcp.payload.assign(bytes.begin() + static_cast<std::ptrdiff_t>(header_bytes), bytes.end());
}

void decode_icmp(std::span<const uint8_t> bytes, Packet& packet) {
  packet.kind = Kind::icmp;
  Reader in(bytes);
  packet.icmp.type = in.u8();
  packet.icmp.code = in.u8();
  in.u16();
  in.array(packet.icmp.rest, 4);
  if (in.was_short()) packet.faults.push_back("ICMP message too short");
  packet.icmp.payload.assign(in.left().begin(), in.left().end());
}

void decode_transport(std::span<const uint8_t> bytes, Packet& packet) {
  const Ip& ip = *packet.ip;
  const bool icmp = ip.protocol == (ip.source.v6 ? protocol_icmp6 : protocol_icmp);
  if (!icmp && ip.protocol != protocol_tcp) {
    packet.payload.assign(bytes.begin(), bytes.end());
    return;
  }
  const bool pseudo = !icmp || ip.source.v6;
  const uint32_t start = pseudo ? pseudo_header(ip.source, ip.destination, ip.protocol, bytes.size()) : 0;
  if (fold(add_up(bytes, start)) != 0xffff) packet.faults.push_back(icmp ? "ICMP checksum" : "TCP checksum");
  if (icmp) {
    decode_icmp(bytes, packet);
  } else {
    decode_tcp(bytes, packet);
  }
}

void decode_ipv4(std::span<const uint8_t> bytes, Packet& packet) {
  Reader in(bytes);
  Ip& ip = packet.ip.emplace();
  const uint8_t first = in.u8();
  const size_t header_bytes = (first & 15u) * 4u;
  ip.tos = in.u8();
  const size_t total = in.u16();
  ip.id = in.u16();
  const uint16_t fragment = in.u16();
  ip.dont_fragment = (fragment & 0x4000) != 0;
  ip.more_fragments = (fragment & 0x2000) != 0;
  ip.fragment_offset = fragment & 0x1fff;
  ip.ttl = in.u8();
  ip.protocol = in.u8();
  in.u16();
  in.array(ip.source.bytes, 4);
  in.array(ip.destination.bytes, 4);
  if (in.was_short() || first >> 4 != 4 || header_bytes < 20 || total < header_bytes || total > bytes.size()) {
    packet.faults.push_back("IPv4 header: version, header length or total length");
    return;
  }
  if (fold(add_up(bytes.first(header_bytes))) != 0xffff) packet.faults.push_back("IPv4 header checksum");
  if (bytes.size() > total && bytes.size() > 46) packet.faults.push_back("bytes after the IPv4 packet");
  decode_transport(bytes.subspan(header_bytes, total - header_bytes), packet);
}

void decode_ipv6(std::span<const uint8_t> bytes, Packet& packet) {
  Reader in(bytes);
  Ip& ip = packet.ip.emplace();
  const uint32_t first = in.number(4);
  ip.tos = static_cast<uint8_t>(first >> 20);
  const size_t length = in.u16();
  ip.protocol = in.u8();
  ip.ttl = in.u8();
  ip.source.v6 = ip.destination.v6 = true;
  in.array(ip.source.bytes, 16);
  in.array(ip.destination.bytes, 16);
  if (in.was_short() || first >> 28 != 6 || length > in.left().size()) {
    packet.faults.push_back("IPv6 header: version or payload length");
    return;
  }
  if (in.left().size() > length && bytes.size() > 46) packet.faults.push_back("bytes after the IPv6 packet");
  in.keep(length);
  decode_transport(in.left(), packet);
}

void decode_arp(std::span<const uint8_t> bytes, Packet& packet) {
  packet.kind = Kind::arp;
  Reader in(bytes);
  if (in.u16() != 1 || in.u16() != ether_ipv4 || in.u8() != 6 || in.u8() != 4) {
    packet.faults.push_back("ARP header");
  }
  Arp& arp = packet.arp;
  arp.operation = in.u16();
  in.array(arp.sender_mac, 6);
  in.array(arp.sender.bytes, 4);
  in.array(arp.target_mac, 6);
  in.array(arp.target.bytes, 4);
  if (in.was_short()) packet.faults.push_back("ARP packet too short");
}

}  // namespace

Packet decode(std::span<const uint8_t> frame) {
  Packet packet;
  Reader in(frame);
  in.array(packet.destination_mac, 6);
  in.array(packet.source_mac, 6);
  packet.ether_type = in.u16();
  if (packet.ether_type == ether_vlan) {
    packet.vlan = in.u16();
    packet.ether_type = in.u16();
  }
  if (in.was_short()) packet.faults.push_back("Ethernet header");
  if (packet.ether_type == ether_ipv4) {
    decode_ipv4(in.left(), packet);
  } else if (packet.ether_type == ether_ipv6) {
    decode_ipv6(in.left(), packet);
  } else if (packet.ether_type == ether_arp) {
    decode_arp(in.left(), packet);
  } else {
    packet.payload.assign(in.left().begin(), in.left().end());
  }
  return packet;
}

}  // namespace penstock::packets
