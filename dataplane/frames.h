// The seam of frames: what our TCP asks of a port, whoever it is (DPDK, a tap reader, the simulator, a packet script).
// Nothing here does I/O.
//
// A received frame lies whole in one arena buffer, or in several when it is larger than a buffer (jumbo frames, LRO);
// each buffer is held once, as Holder::device, for the stack: whatever it does not pass on it releases. Payload that
// goes to a stream's reader passes from Holder::device to Holder::reassembly or Holder::request.
//
// A frame to be sent is a list of pieces: headers first, in a send buffer of the stack's, then payload where it lies.
// Each piece carries one Holder::send reference, which the port lets go of when the frame has left.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <span>

#include "dataplane/base/buffer_table.h"
#include "dataplane/base/piece.h"
#include "dataplane/base/units.h"

namespace penstock {

using LinkAddress = std::array<uint8_t, 6>;

// What the port has already verified or wants done.
struct PortFeatures {
  LinkAddress address{};
  uint32_t mtu_bytes = 1500;           // of the IP packet
  uint32_t receive_mtu_bytes = 0;      // where the port takes in larger packets than it sends; 0: it does not
  uint32_t pieces_max = 16;            // of one frame to be sent
  bool receive_checksums = false;      // ReceivedFrame::checksums_verified can be true
  bool transmit_checksums = false;     // IPv4 header and TCP/UDP checksums are filled in by the port
  bool segmentation = false;           // TSO: a TCP frame larger than the MTU is cut by the port
  uint32_t segmentation_bytes_max = 0; // payload of such a frame
};

struct ReceivedFrame {
  std::span<const Piece> pieces;    // Ethernet header first; at least one
  bool checksums_verified = false;  // IPv4 header and TCP checksums are right; false: nobody looked
};

struct TransmitFrame {
  std::span<const Piece> pieces;    // Ethernet header first; headers of all layers in the first piece
  uint16_t network_header_at = 14;  // bytes into the first piece
  uint16_t transport_header_at = 34;
  bool fill_checksums = false;      // PortFeatures::transmit_checksums; the pseudo-header sum is in the TCP checksum field
  uint16_t segment_payload_bytes = 0;  // not 0: cut into segments of so much payload (PortFeatures::segmentation)
};

template <class F>
concept Frames = requires(F frames, Nanoseconds now, const TransmitFrame& frame, std::span<const BufferIndex> buffers) {
  { frames.features() } -> std::convertible_to<const PortFeatures&>;
  // Calls back with a burst of frames, at most 64; returns how many.
  { frames.poll(now, [](const ReceivedFrame&) {}) } -> std::convertible_to<uint32_t>;
  // False: no room now; nothing was taken.
  { frames.transmit(frame) } -> std::same_as<bool>;
  // Sends what transmit() queued.
  { frames.flush() };
  { frames.release(buffers) };  // receive buffers whose last holder let go
  { frames.receive_free() } -> std::convertible_to<uint64_t>;  // bytes of receive buffers nobody holds
  { frames.next_deadline() } -> std::same_as<Nanoseconds>;
};

}  // namespace penstock
