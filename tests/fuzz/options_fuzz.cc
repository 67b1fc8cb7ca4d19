// TCP option lists, beside a second reading of RFC 9293 3.1 that works on a list of octets: both take the same lists and
// find the same in them.
//
// Input: byte 0, bit 0: a SYN, else an acknowledgement; bit 1: one octet of payload; the rest is the option list, filled
// up with zeros to whole words, at most 40 octets.
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "dataplane/net/segment.h"

namespace penstock::net {
namespace {

struct Found {
  std::optional<uint16_t> mss;
  std::optional<uint8_t> window_scale;
  bool sack_permitted = false;
  std::optional<std::pair<uint32_t, uint32_t>> timestamps;
  std::vector<std::pair<uint32_t, uint32_t>> sacks;
};

uint32_t number(const std::vector<uint8_t>& body, size_t at, size_t octets) {
  uint32_t value = 0;
  for (size_t i = 0; i < octets; ++i) value = value << 8 | body.at(at + i);
  return value;
}

void take(uint8_t kind, const std::vector<uint8_t>& body, bool syn, Found& found) {
  if (kind == 2 && syn && body.size() == 2) found.mss = static_cast<uint16_t>(number(body, 0, 2));
  if (kind == 3 && syn && body.size() == 1) found.window_scale = std::min<uint8_t>(body[0], 14);
  if (kind == 4 && syn && body.empty()) found.sack_permitted = true;
  if (kind == 8 && body.size() == 8) found.timestamps = {number(body, 0, 4), number(body, 4, 4)};
  if (kind == 5 && !syn && !body.empty() && body.size() % 8 == 0) {
    for (size_t at = 0; at < body.size(); at += 8) found.sacks.emplace_back(number(body, at, 4), number(body, at + 4, 4));
  }
}

std::optional<Found> read(const std::vector<uint8_t>& list, bool syn) {
  Found found;
  for (size_t at = 0; at < list.size() && list[at] != 0;) {
    if (list[at] == 1) {
      ++at;
      continue;
    }
    const size_t length = at + 1 < list.size() ? list[at + 1] : 0;
    if (length < 2 || at + length > list.size()) return std::nullopt;
    const auto begin = list.begin() + static_cast<ptrdiff_t>(at);
    take(list[at], {begin + 2, begin + static_cast<ptrdiff_t>(length)}, syn, found);
    at += length;
  }
  return found;
}

void require_same(const Segment& segment, const Found& found, bool syn) {
  check(segment.has_timestamps() == found.timestamps.has_value(), "timestamps");
  if (found.timestamps) {
    check(segment.timestamp() == found.timestamps->first, "timestamp");
    check(segment.timestamp_echo() == found.timestamps->second, "timestamp echo");
  }
  check(segment.sacks().size() == found.sacks.size(), "SACK blocks");
  for (size_t i = 0; i < found.sacks.size(); ++i) {
    check(segment.sacks()[i].first == SeqNumber(found.sacks[i].first), "SACK block's first");
    check(segment.sacks()[i].end == SeqNumber(found.sacks[i].second), "SACK block's end");
  }
  if (!syn) return;  // the rest means something there only
  check(segment.mss() == found.mss.value_or(0), "MSS");
  check(segment.window_scale() == found.window_scale.value_or(Segment::no_window_scale), "window scale");
  check(segment.sack_permitted() == found.sack_permitted, "SACK permitted");
}

}  // namespace
}  // namespace penstock::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  using namespace penstock::net;
  if (size < 1) return 0;
  const bool syn = (data[0] & 1) != 0;
  const uint32_t payload = data[0] >> 1 & 1;
  std::vector<uint8_t> list(data + 1, data + std::min<size_t>(size, 1 + tcp_options_bytes_max));
  list.resize((list.size() + 3) / 4 * 4);

  TcpHeader header{};
  header.source_port = 1;
  header.destination_port = 9092;
  header.words_and_reserved = static_cast<uint8_t>((5 + list.size() / 4) << 4);
  header.flags = syn ? flag_syn : flag_ack;
  std::vector<std::byte> bytes(sizeof header + list.size() + payload);
  std::memcpy(bytes.data(), &header, sizeof header);
  if (!list.empty()) std::memcpy(bytes.data() + sizeof header, list.data(), list.size());
  const Piece piece{bytes.data(), static_cast<uint32_t>(bytes.size()), no_buffer};
  IpPacket packet;
  packet.checksum_verified = true;
  packet.frame = {&piece, 1};
  packet.transport_bytes = piece.length;

  static SegmentReader reader;
  TcpCounters counters;
  const Segment* segment = reader.read(packet, counters);
  const std::optional<Found> found = read(list, syn);
  check((segment != nullptr) == found.has_value(), "one takes the list, the other refuses it");
  if (segment == nullptr) return 0;
  check(segment->payload_bytes() == payload, "payload");
  require_same(*segment, *found, syn);
  return 0;
}
