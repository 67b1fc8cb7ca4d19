#include "dataplane/control/identity.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr uint8_t base64_dash = 62;

}  // namespace

kafka::Uuid random_uuid(const RandomSource& random) {
  kafka::Uuid id;
  do {
    const uint64_t halves[2] = {random(), random()};
    std::memcpy(id.bytes.data(), halves, sizeof halves);
  } while (id.bytes[0] >> 2 == base64_dash);
  id.bytes[6] = static_cast<uint8_t>((id.bytes[6] & 0x0f) | 0x40);  // version 4
  id.bytes[8] = static_cast<uint8_t>((id.bytes[8] & 0x3f) | 0x80);  // RFC 9562's variant
  return id;
}

std::string to_text(const kafka::Uuid& id) {
  std::string text;
  uint32_t bits = 0;
  int bit_count = 0;
  for (const uint8_t byte : id.bytes) {
    bits = (bits << 8) | byte;
    for (bit_count += 8; bit_count >= 6; bit_count -= 6) text += base64_url[(bits >> (bit_count - 6)) & 63];
  }
  text += base64_url[(bits << (6 - bit_count)) & 63];
  return text;
}

bool valid_cluster_id(std::string_view id) {
  constexpr size_t length_max = 64;
  return !id.empty() && id.size() <= length_max && std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

}  // namespace penstock
