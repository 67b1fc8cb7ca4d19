#include "tests/netsim/segment.h"

#include <cstdio>
#include <cstring>

namespace penstock::netsim {
namespace {

constexpr size_t link_header_bytes = 14;

void put8(Bytes& to, uint64_t value) { to.push_back(static_cast<std::byte>(value & 0xff)); }
void put16(Bytes& to, uint64_t value) { put8(to, value >> 8), put8(to, value); }
void put32(Bytes& to, uint64_t value) { put16(to, value >> 16), put16(to, value); }
void put_address(Bytes& to, const Address& address) {
  for (size_t i = 0; i < (address.v6 ? 16 : 4); ++i) put8(to, address.bytes[i]);
}
void set16(Bytes& to, size_t at, uint16_t value) {
  to[at] = static_cast<std::byte>(value >> 8);
  to[at + 1] = static_cast<std::byte>(value & 0xff);
}
uint32_t get8(std::span<const std::byte> from, size_t at) { return static_cast<uint32_t>(from[at]); }
uint32_t get16(std::span<const std::byte> from, size_t at) { return get8(from, at) << 8 | get8(from, at + 1); }
uint32_t get32(std::span<const std::byte> from, size_t at) { return get16(from, at) << 16 | get16(from, at + 2); }

Bytes encode_options(const Segment& segment) {
  Bytes options;
  if (segment.mss) put8(options, 2), put8(options, 4), put16(options, *segment.mss);
  if (segment.window_scale) put8(options, 1), put8(options, 3), put8(options, 3), put8(options, *segment.window_scale);
  if (segment.sack_permitted) put8(options, 1), put8(options, 1), put8(options, 4), put8(options, 2);
  if (segment.timestamps) {
    put8(options, 1), put8(options, 1), put8(options, 8), put8(options, 10);
    put32(options, segment.timestamps->first), put32(options, segment.timestamps->second);
  }
  if (!segment.sack.empty()) {
    put8(options, 1), put8(options, 1), put8(options, 5), put8(options, 2 + 8 * segment.sack.size());
    for (const auto& [begin, end] : segment.sack) put32(options, begin), put32(options, end);
  }
  return options;
}

// The pseudo-header's sum.
uint32_t pseudo_sum(const Address& from, const Address& to, size_t length) {
  Bytes pseudo;
  put_address(pseudo, from);
  put_address(pseudo, to);
  put32(pseudo, length);
  put32(pseudo, 6);
  return internet_sum(pseudo);
}

bool parse_options(std::span<const std::byte> options, Segment& segment) {
  for (size_t at = 0; at < options.size();) {
    const uint32_t kind = get8(options, at);
    if (kind == 0) return true;
    if (kind == 1) {
      ++at;
      continue;
    }
    if (at + 2 > options.size()) return false;
    const size_t length = get8(options, at + 1);
    if (length < 2 || at + length > options.size()) return false;
    if (kind == 2 && length == 4) segment.mss = static_cast<uint16_t>(get16(options, at + 2));
    if (kind == 3 && length == 3) segment.window_scale = static_cast<uint8_t>(get8(options, at + 2));
    if (kind == 4 && length == 2) segment.sack_permitted = true;
    if (kind == 8 && length == 10) segment.timestamps = {get32(options, at + 2), get32(options, at + 6)};
    if (kind == 5 && length >= 10 && (length - 2) % 8 == 0) {
      for (size_t block = at + 2; block < at + length; block += 8) {
        segment.sack.emplace_back(get32(options, block), get32(options, block + 4));
      }
    }
    at += length;
  }
  return true;
}

}  // namespace

Address address_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) { return {false, {a, b, c, d}}; }

Address address_v6(uint16_t high, uint16_t low) {
  Address address{true, {0xfd}};
  address.bytes[12] = static_cast<uint8_t>(high >> 8), address.bytes[13] = static_cast<uint8_t>(high & 0xff);
  address.bytes[14] = static_cast<uint8_t>(low >> 8), address.bytes[15] = static_cast<uint8_t>(low & 0xff);
  return address;
}

uint16_t internet_sum(std::span<const std::byte> bytes, uint32_t start) {
  uint64_t sum = start;
  for (size_t at = 0; at < bytes.size(); ++at) sum += at % 2 == 0 ? get8(bytes, at) << 8 : get8(bytes, at);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

size_t option_bytes(const Segment& segment) { return encode_options(segment).size(); }

Bytes encode(const Segment& segment) {
  const Bytes options = encode_options(segment);
  const size_t tcp_bytes = 20 + options.size() + segment.payload.size();
  Bytes frame;
  for (const uint8_t byte : segment.link_to) put8(frame, byte);
  for (const uint8_t byte : segment.link_from) put8(frame, byte);
  put16(frame, segment.from.address.v6 ? 0x86dd : 0x0800);
  if (segment.from.address.v6) {
    put32(frame, 0x60000000), put16(frame, tcp_bytes), put8(frame, 6), put8(frame, 64);
    put_address(frame, segment.from.address), put_address(frame, segment.to.address);
  } else {
    put8(frame, 0x45), put8(frame, 0), put16(frame, 20 + tcp_bytes), put16(frame, 0), put16(frame, 0x4000);
    put8(frame, 64), put8(frame, 6), put16(frame, 0);
    put_address(frame, segment.from.address), put_address(frame, segment.to.address);
    const uint16_t sum = internet_sum(std::span(frame).subspan(link_header_bytes, 20));
    set16(frame, link_header_bytes + 10, static_cast<uint16_t>(~sum));
  }
  const size_t tcp = frame.size();
  put16(frame, segment.from.port), put16(frame, segment.to.port);
  put32(frame, segment.sequence), put32(frame, segment.acknowledgement);
  put8(frame, (20 + options.size()) / 4 << 4);
  put8(frame,
       segment.fin | segment.syn << 1 | segment.rst << 2 | segment.psh << 3 | segment.ack << 4 | segment.urg << 5);
  put16(frame, segment.window), put16(frame, 0), put16(frame, 0);
  frame.insert(frame.end(), options.begin(), options.end());
  frame.insert(frame.end(), segment.payload.begin(), segment.payload.end());
  const uint32_t pseudo = pseudo_sum(segment.from.address, segment.to.address, tcp_bytes);
  set16(frame, tcp + 16, static_cast<uint16_t>(~internet_sum(std::span(frame).subspan(tcp), pseudo)));
  return frame;
}

std::optional<Segment> parse(std::span<const std::byte> frame, std::string* why) {
  const auto wrong = [&](const char* what) {
    if (why != nullptr) *why = what;
    return std::nullopt;
  };
  Segment segment;
  if (frame.size() < link_header_bytes) return std::nullopt;
  for (size_t i = 0; i < 6; ++i) {
    segment.link_to[i] = static_cast<uint8_t>(get8(frame, i));
    segment.link_from[i] = static_cast<uint8_t>(get8(frame, 6 + i));
  }
  const uint32_t type = get16(frame, 12);
  std::span<const std::byte> ip = frame.subspan(link_header_bytes), tcp;
  if (type == 0x0800) {
    if (ip.size() < 20 || get8(ip, 0) >> 4 != 4) return wrong("not IPv4");
    const size_t header = (get8(ip, 0) & 15) * 4, total = get16(ip, 2);
    if (header < 20 || total < header || total > ip.size()) return wrong("IPv4 lengths");
    if (get8(ip, 9) != 6) return std::nullopt;
    if (internet_sum(ip.first(header)) != 0xffff) return wrong("IPv4 checksum");
    if ((get16(ip, 6) & 0x3fff) != 0) return wrong("a fragment");
    segment.may_fragment = (get16(ip, 6) & 0x4000) == 0;
    for (size_t i = 0; i < 4; ++i) {
      segment.from.address.bytes[i] = static_cast<uint8_t>(get8(ip, 12 + i));
      segment.to.address.bytes[i] = static_cast<uint8_t>(get8(ip, 16 + i));
    }
    segment.packet_bytes = total;
    tcp = ip.first(total).subspan(header);
  } else if (type == 0x86dd) {
    if (ip.size() < 40 || get8(ip, 0) >> 4 != 6) return wrong("not IPv6");
    const size_t length = get16(ip, 4);
    if (40 + length > ip.size()) return wrong("IPv6 length");
    if (get8(ip, 6) != 6) return std::nullopt;
    segment.from.address.v6 = segment.to.address.v6 = true;
    for (size_t i = 0; i < 16; ++i) {
      segment.from.address.bytes[i] = static_cast<uint8_t>(get8(ip, 8 + i));
      segment.to.address.bytes[i] = static_cast<uint8_t>(get8(ip, 24 + i));
    }
    segment.packet_bytes = 40 + length;
    tcp = ip.subspan(40, length);
  } else {
    return std::nullopt;
  }
  if (tcp.size() < 20) return wrong("TCP header cut short");
  const uint32_t pseudo = pseudo_sum(segment.from.address, segment.to.address, tcp.size());
  if (internet_sum(tcp, pseudo) != 0xffff) return wrong("TCP checksum");
  const size_t header = (get8(tcp, 12) >> 4) * 4;
  if (header < 20 || header > tcp.size()) return wrong("TCP header length");
  segment.from.port = static_cast<uint16_t>(get16(tcp, 0));
  segment.to.port = static_cast<uint16_t>(get16(tcp, 2));
  segment.sequence = get32(tcp, 4);
  segment.acknowledgement = get32(tcp, 8);
  const uint32_t flags = get8(tcp, 13);
  segment.fin = flags & 1, segment.syn = flags & 2, segment.rst = flags & 4;
  segment.psh = flags & 8, segment.ack = flags & 16, segment.urg = flags & 32;
  segment.window = static_cast<uint16_t>(get16(tcp, 14));
  segment.option_bytes = header - 20;
  if (!parse_options(tcp.first(header).subspan(20), segment)) return wrong("TCP options");
  segment.payload.assign(tcp.begin() + static_cast<ptrdiff_t>(header), tcp.end());
  return segment;
}

std::string to_string(const Segment& segment) {
  char text[256];
  int length = std::snprintf(text, sizeof text, "%u>%u %s%s%s%s%s seq %u ack %u win %u len %zu", segment.from.port,
                             segment.to.port, segment.syn ? "S" : "", segment.fin ? "F" : "", segment.rst ? "R" : "",
                             segment.psh ? "P" : "", segment.ack ? "." : "", segment.sequence, segment.acknowledgement,
                             segment.window, segment.payload.size());
  std::string line(text, static_cast<size_t>(length));
  if (segment.mss) line += " mss " + std::to_string(*segment.mss);
  if (segment.window_scale) line += " scale " + std::to_string(*segment.window_scale);
  if (segment.sack_permitted) line += " sackOK";
  if (segment.timestamps) {
    line += " ts " + std::to_string(segment.timestamps->first) + "/" + std::to_string(segment.timestamps->second);
  }
  for (const auto& [begin, end] : segment.sack) line += " sack " + std::to_string(begin) + "-" + std::to_string(end);
  return line;
}

}  // namespace penstock::netsim
