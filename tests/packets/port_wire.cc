#include "tests/packets/port_wire.h"

#include <algorithm>

namespace penstock::packets {

namespace {

uint32_t get16(const Bytes& bytes, size_t at) { return uint32_t{bytes[at]} << 8 | bytes[at + 1]; }
void set16(Bytes& bytes, size_t at, uint32_t value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}
uint32_t get32(const Bytes& bytes, size_t at) { return get16(bytes, at) << 16 | get16(bytes, at + 2); }
void set32(Bytes& bytes, size_t at, uint32_t value) {
  set16(bytes, at, value >> 16);
  set16(bytes, at + 2, value);
}

struct Headers {
  size_t network, transport, payload;
  bool v6;
};

uint32_t pseudo_of(const Bytes& bytes, const Headers& at, size_t length) {
  Address source, destination;
  source.v6 = destination.v6 = at.v6;
  const size_t first = at.network + (at.v6 ? 8 : 12);
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(first), source.size(), source.bytes.begin());
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(first + source.size()), source.size(),
              destination.bytes.begin());
  return pseudo_header(source, destination, protocol_tcp, length);
}

void fill_checksums(Bytes& bytes, const Headers& at) {
  const size_t length = bytes.size() - at.transport;
  if (!at.v6) {
    set16(bytes, at.network + 10, 0);
    const std::span<const uint8_t> header(bytes.data() + at.network, at.transport - at.network);
    set16(bytes, at.network + 10, ~uint32_t{fold(add_up(header))});
  }
  set16(bytes, at.transport + 16, 0);
  const std::span<const uint8_t> message(bytes.data() + at.transport, length);
  set16(bytes, at.transport + 16, ~uint32_t{fold(add_up(message, pseudo_of(bytes, at, length)))});
}

// A segment of a large frame: its own length, sequence number and, but for the last, neither FIN nor PSH.
Bytes cut(const Bytes& whole, const Headers& at, size_t from, size_t count, uint32_t index) {
  Bytes bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(at.payload));
  const auto payload = whole.begin() + static_cast<std::ptrdiff_t>(at.payload + from);
  bytes.insert(bytes.end(), payload, payload + static_cast<std::ptrdiff_t>(count));
  if (at.v6) {
    set16(bytes, at.network + 4, static_cast<uint32_t>(bytes.size() - at.transport));
  } else {
    set16(bytes, at.network + 2, static_cast<uint32_t>(bytes.size() - at.network));
    set16(bytes, at.network + 4, get16(bytes, at.network + 4) + index);
  }
  set32(bytes, at.transport + 4, get32(bytes, at.transport + 4) + static_cast<uint32_t>(from));
  if (at.payload + from + count < whole.size())
    bytes[at.transport + 13] &= static_cast<uint8_t>(~(flag::fin | flag::psh));
  fill_checksums(bytes, at);
  return bytes;
}

}  // namespace

std::vector<Bytes> on_the_wire(const Transmitted& frame, const PortFeatures& features,
                               std::vector<std::string>& faults) {
  if (!frame.fill_checksums && frame.segment_payload_bytes == 0) return {frame.bytes};
  Headers at{frame.network_header_at, frame.transport_header_at, 0, false};
  if (frame.bytes.size() < at.transport + 20u || at.network >= at.transport) {
    faults.push_back("header positions outside the frame");
    return {frame.bytes};
  }
  at.v6 = frame.bytes[at.network] >> 4 == 6;
  at.payload = at.transport + (frame.bytes[at.transport + 12] >> 4) * size_t{4};
  if (!features.transmit_checksums) faults.push_back("asks for checksums the port does not fill in");
  const size_t length = frame.bytes.size() - at.transport;
  const uint32_t given = get16(frame.bytes, at.transport + 16);
  const bool segmented = frame.segment_payload_bytes != 0;
  if (given != fold(pseudo_of(frame.bytes, at, length)) &&
      !(segmented && given == fold(pseudo_of(frame.bytes, at, 0)))) {
    faults.push_back("TCP checksum field does not hold the pseudo-header's sum");
  }
  Bytes bytes = frame.bytes;
  if (!segmented) {
    fill_checksums(bytes, at);
    return {bytes};
  }
  const size_t payload = bytes.size() - at.payload;
  if (!features.segmentation) faults.push_back("asks for segmentation the port does not do");
  if (payload > features.segmentation_bytes_max) faults.push_back("larger than the port cuts");
  std::vector<Bytes> frames;
  uint32_t index = 0;
  for (size_t from = 0; from < payload; from += frame.segment_payload_bytes) {
    const size_t count = std::min<size_t>(frame.segment_payload_bytes, payload - from);
    frames.push_back(cut(bytes, at, from, count, index++));
  }
  return frames;
}

}  // namespace penstock::packets
