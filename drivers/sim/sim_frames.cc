#include "drivers/sim/sim_frames.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "dataplane/base/byte_order.h"

namespace penstock {
namespace {

constexpr size_t link_header_bytes = 14;
constexpr size_t link_frame_bytes_min = 60;

uint16_t load16(const std::byte* from) { return load_big<uint16_t>(from); }
uint8_t load8(const std::byte* from) { return static_cast<uint8_t>(*from); }
void store8(std::byte* to, uint32_t value) { *to = static_cast<std::byte>(value); }

// RFC 1071, not folded.
uint32_t sum_words(const std::byte* from, size_t length, uint32_t sum = 0) {
  for (; length >= 2; from += 2, length -= 2) sum += load16(from);
  return length == 1 ? sum + (uint32_t{load8(from)} << 8) : sum;
}
uint16_t fold(uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// Where IP and the transport begin in a frame that a stack built; VLAN tags are stepped over.
size_t network_header_at(const std::vector<std::byte>& frame) {
  size_t at = link_header_bytes;
  while (frame.size() >= at + 4 && load16(&frame[at - 2]) == 0x8100) at += 4;
  return at;
}

void fill_network_checksum(std::vector<std::byte>& frame, size_t network) {
  if (load8(&frame[network]) >> 4 != 4) return;
  const size_t length = (load8(&frame[network]) & 15u) * 4;
  store_big<uint16_t>(&frame[network + 10], 0);
  store_big<uint16_t>(&frame[network + 10], static_cast<uint16_t>(~fold(sum_words(&frame[network], length))));
}

// The field holds the folded sum of the pseudo-header, so a sum over everything includes it.
void fill_transport_checksum(std::vector<std::byte>& frame, size_t transport) {
  const uint16_t sum = fold(sum_words(&frame[transport], frame.size() - transport));
  store_big<uint16_t>(&frame[transport + 16], static_cast<uint16_t>(~sum));
}

// What a port with segmentation does: the headers again in front of every `payload` bytes.
std::vector<std::vector<std::byte>> cut_segments(const std::vector<std::byte>& frame, size_t network, size_t transport,
                                                 size_t payload) {
  const size_t headers = transport + (load8(&frame[transport + 12]) >> 4) * 4u;
  const size_t total = frame.size() - headers;
  const auto sequence = load_big<uint32_t>(&frame[transport + 4]);
  const bool v4 = load8(&frame[network]) >> 4 == 4;
  const uint32_t whole_length = static_cast<uint32_t>(frame.size() - transport);
  std::vector<std::vector<std::byte>> segments;
  for (size_t at = 0; at < total || at == 0; at += payload) {
    const size_t count = std::min(payload, total - at);
    std::vector<std::byte> segment(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(headers));
    segment.insert(segment.end(), frame.begin() + static_cast<ptrdiff_t>(headers + at),
                   frame.begin() + static_cast<ptrdiff_t>(headers + at + count));
    store_big<uint32_t>(&segment[transport + 4], sequence + static_cast<uint32_t>(at));
    if (at + count < total) store8(&segment[transport + 13], load8(&segment[transport + 13]) & ~0x09u);  // FIN, PSH
    const size_t from_network = segment.size() - network;
    if (v4) {
      store_big<uint16_t>(&segment[network + 2], static_cast<uint16_t>(from_network));
      store_big<uint16_t>(&segment[network + 4], static_cast<uint16_t>(load16(&frame[network + 4]) + segments.size()));
    } else {
      store_big<uint16_t>(&segment[network + 4], static_cast<uint16_t>(from_network - 40));
    }
    // The pseudo-header sum given is of the whole frame's length: exchange that for this segment's.
    const auto length = static_cast<uint32_t>(segment.size() - transport);
    const uint32_t sum = load16(&frame[transport + 16]) + (0xffffu - fold(whole_length)) + fold(length);
    store_big<uint16_t>(&segment[transport + 16], fold(sum));
    segments.push_back(std::move(segment));
  }
  return segments;
}

bool later(const auto& a, const auto& b) {
  return a.arrives != b.arrives ? a.arrives > b.arrives : a.number > b.number;
}

}  // namespace

SimFrames::SimFrames(const SimFramesConfig& config, Arena arena, BufferTable& buffers, BufferAllocator& allocator)
    : config_(config), arena_(arena), buffers_(buffers), allocator_(allocator), random_(config.seed) {}

SimFrames::~SimFrames() {
  for (const Queued& queued : ring_) {
    for (const Piece& piece : queued.pieces) buffers_.release(piece.buffer, Holder::send);
  }
}

// ---- from the stack ----

bool SimFrames::transmit(const TransmitFrame& frame) {
  if (ring_.size() >= config_.ring_frames || happens(config_.refuse_one_in)) {
    ++statistics_.refused;
    return false;
  }
  const PortFeatures& features = config_.features;
  check(!frame.pieces.empty() && frame.pieces.size() <= features.pieces_max, "pieces of a frame",
        static_cast<long long>(frame.pieces.size()), features.pieces_max);
  size_t total = 0;
  for (const Piece& piece : frame.pieces) {
    check(piece.length > 0 && arena_.contains(piece.data) && arena_.contains(piece.data + piece.length - 1),
          "piece of a frame outside the arena", piece.length);
    check(buffers_.holders(piece.buffer) > 0, "piece of a frame in a buffer nobody holds", piece.buffer.value);
    total += piece.length;
  }
  check(frame.pieces[0].length > frame.network_header_at, "headers not in the first piece", frame.pieces[0].length);
  check(!frame.fill_checksums || features.transmit_checksums, "checksums asked of a port that does none");
  if (frame.segment_payload_bytes == 0) {
    check(total - frame.network_header_at <= features.mtu_bytes, "frame larger than the MTU",
          static_cast<long long>(total), features.mtu_bytes);
  } else {
    check(features.segmentation && frame.fill_checksums, "segmentation asked of a port that does none");
    check(total <= uint64_t{frame.transport_header_at} + 60 + features.segmentation_bytes_max,
          "frame larger than the port segments", static_cast<long long>(total), features.segmentation_bytes_max);
  }
  Queued queued{.frame = frame, .pieces = {frame.pieces.begin(), frame.pieces.end()}};
  queued.frame.pieces = {};
  ring_.push_back(std::move(queued));
  return true;
}

void SimFrames::flush() {
  Nanoseconds leaves = now_;
  for (Queued& queued : ring_) {
    if (queued.leaves == never_ns) {
      const auto delay = static_cast<Nanoseconds>(random_.below(static_cast<uint64_t>(config_.ring_delay_max_ns) + 1));
      queued.leaves = std::max(leaves, now_ + delay);
    }
    leaves = queued.leaves;
  }
}

void SimFrames::advance(Nanoseconds now) {
  now_ = std::max(now_, now);
  while (!ring_.empty() && ring_.front().leaves <= now_) {
    leave(ring_.front());
    for (const Piece& piece : ring_.front().pieces) buffers_.release(piece.buffer, Holder::send);
    ring_.pop_front();
  }
}

void SimFrames::leave(const Queued& queued) {
  Bytes frame;
  for (const Piece& piece : queued.pieces) frame.insert(frame.end(), piece.data, piece.data + piece.length);
  const size_t network = queued.frame.network_header_at, transport = queued.frame.transport_header_at;
  std::vector<Bytes> frames;
  if (queued.frame.segment_payload_bytes != 0) {
    frames = cut_segments(frame, network, transport, queued.frame.segment_payload_bytes);
  } else {
    frames.push_back(std::move(frame));
  }
  for (Bytes& each : frames) {
    if (queued.frame.fill_checksums) {
      fill_network_checksum(each, network);
      fill_transport_checksum(each, transport);
    }
    ++statistics_.from_stack;
    if (left_) left_(each, true, queued.leaves);
    carry(from_stack_, std::move(each), queued.leaves);
  }
}

bool SimFrames::take(Bytes& frame, Nanoseconds now) {
  advance(now);
  InFlight arrived;
  if (!pop_arrived(from_stack_, now, arrived)) return false;
  frame = std::move(arrived.bytes);
  return true;
}

Nanoseconds SimFrames::next_arrival() const {
  const Nanoseconds leaves = ring_.empty() ? never_ns : ring_.front().leaves;
  return from_stack_.frames.empty() ? leaves : std::min(leaves, from_stack_.frames.front().arrives);
}

// ---- to the stack ----

void SimFrames::put(Bytes frame, Nanoseconds now) {
  advance(now);
  // Ethernet's shortest frame; not every sender's driver shows the padding.
  if (frame.size() < link_frame_bytes_min && random_.one_in(2)) frame.resize(link_frame_bytes_min);
  carry(to_stack_, std::move(frame), now);
}

Nanoseconds SimFrames::next_deadline() const {
  const Nanoseconds leaves = ring_.empty() ? never_ns : ring_.front().leaves;
  return to_stack_.frames.empty() ? leaves : std::min(leaves, to_stack_.frames.front().arrives);
}

bool SimFrames::next_received(Nanoseconds now) {
  for (InFlight frame; pop_arrived(to_stack_, now, frame);) {
    if (!place(frame)) {
      ++statistics_.no_buffer;
      continue;
    }
    ++statistics_.to_stack;
    received_verified_ = frame.intact && config_.features.receive_checksums;
    if (delivered_) delivered_(frame.bytes, frame.intact, now);
    return true;
  }
  return false;
}

// Into buffers, as many as it takes; all of them or none.
bool SimFrames::place(const InFlight& frame) {
  received_pieces_.clear();
  if (starved_) return false;
  const auto shift = static_cast<uint32_t>(random_.below(uint64_t{config_.shift_max} + 1));
  size_t placed = 0;
  if (happens(config_.header_split_one_in) && frame.bytes.size() > 200) {
    const size_t network = network_header_at(frame.bytes);
    const bool v4 = load8(&frame.bytes[network]) >> 4 == 4;
    const size_t transport = network + (v4 ? (load8(&frame.bytes[network]) & 15u) * 4 : 40);
    placed = std::min(frame.bytes.size(), transport + (load8(&frame.bytes[transport + 12]) >> 4) * 4u);
    if (!place_bytes(frame.bytes.data(), placed, shift)) return false;
  }
  if (!place_bytes(frame.bytes.data() + placed, frame.bytes.size() - placed, placed == 0 ? shift : 0)) {
    give_up_received();
    return false;
  }
  return true;
}

bool SimFrames::place_bytes(const std::byte* from, size_t length, uint32_t shift) {
  const size_t buffer_bytes = size_t{arena_unit_bytes} << config_.buffer_order;
  while (length > 0) {
    const BufferIndex buffer = allocator_.allocate(config_.buffer_order);
    if (buffer == no_buffer) return false;
    buffers_.open(buffer, config_.buffer_order, Holder::device);
    const size_t count = std::min(length, buffer_bytes - shift);
    std::byte* to = arena_.at(buffer) + shift;
    std::memcpy(to, from, count);
    received_pieces_.push_back({to, static_cast<uint32_t>(count), buffer});
    from += count;
    length -= count;
    shift = 0;
  }
  return true;
}

void SimFrames::give_up_received() {
  for (const Piece& piece : received_pieces_) buffers_.release(piece.buffer, Holder::device);
  received_pieces_.clear();
}

void SimFrames::release(std::span<const BufferIndex> buffers) {
  for (const BufferIndex buffer : buffers) allocator_.free(buffer, buffers_.order(buffer));
}

// ---- the link ----

void SimFrames::carry(Direction& direction, Bytes frame, Nanoseconds now) {
  const LinkFaults& faults = direction.faults;
  if (faults.down) {
    ++statistics_.lost;
    return;
  }
  if (too_big(direction, frame, now)) {
    ++statistics_.too_big;
    return;
  }
  if (faults.lose_one_in == 0) direction.lose_next = 0;
  if (direction.lose_next == 0 && happens(faults.lose_one_in)) {
    direction.lose_next = static_cast<uint32_t>(random_.between(1, std::max(1u, faults.lose_in_a_row_max)));
  }
  if (direction.lose_next > 0) {
    --direction.lose_next;
    ++statistics_.lost;
    return;
  }
  if (happens(faults.duplicate_one_in)) {
    ++statistics_.duplicated;
    travel(direction, frame, true, now);
  }
  bool intact = true;
  if (happens(faults.corrupt_one_in) && frame.size() > link_header_bytes) {
    ++statistics_.corrupted;
    intact = false;
    if (random_.one_in(4)) {
      frame.resize(random_.between(link_header_bytes, frame.size() - 1));
    } else {
      const size_t at = random_.between(link_header_bytes, frame.size() - 1);
      frame[at] ^= static_cast<std::byte>(1u << random_.below(8));
    }
  }
  travel(direction, std::move(frame), intact, now);
}

void SimFrames::travel(Direction& direction, Bytes frame, bool intact, Nanoseconds now) {
  const LinkFaults& faults = direction.faults;
  Nanoseconds arrives = now + faults.delay_ns;
  if (faults.jitter_ns > 0) arrives += static_cast<Nanoseconds>(random_.below(static_cast<uint64_t>(faults.jitter_ns)));
  if (faults.bytes_per_second > 0) {
    const Nanoseconds begins = std::max(now, direction.free_at);
    const auto waiting = static_cast<uint64_t>(begins - now) * faults.bytes_per_second / second_ns;
    if (waiting > faults.queue_bytes) {
      ++statistics_.lost;
      return;
    }
    direction.free_at = begins + static_cast<Nanoseconds>(frame.size() * second_ns / faults.bytes_per_second);
    arrives += direction.free_at - now;
  }
  if (happens(faults.reorder_one_in)) {
    ++statistics_.reordered;
    arrives += static_cast<Nanoseconds>(random_.below(static_cast<uint64_t>(faults.reorder_ns) + 1));
  } else {
    direction.last_arrival = arrives = std::max(arrives, direction.last_arrival);
  }
  direction.frames.push_back({arrives, ++frame_count_, intact, std::move(frame)});
  std::ranges::push_heap(direction.frames, later<InFlight, InFlight>);
}

bool SimFrames::pop_arrived(Direction& direction, Nanoseconds now, InFlight& frame) {
  if (direction.frames.empty() || direction.frames.front().arrives > now) return false;
  std::ranges::pop_heap(direction.frames, later<InFlight, InFlight>);
  frame = std::move(direction.frames.back());
  direction.frames.pop_back();
  return true;
}

// A packet that does not fit the path. If it came from the stack and the router is one that says so, the answer goes
// back to the stack: RFC 792 with RFC 1191's MTU field, RFC 4443 section 3.2.
bool SimFrames::too_big(Direction& direction, const Bytes& frame, Nanoseconds now) {
  const uint32_t mtu = direction.faults.path_mtu_bytes;
  const size_t network = network_header_at(frame);
  if (mtu == 0 || frame.size() - network <= mtu) return false;
  if (&direction != &from_stack_ || !direction.faults.path_mtu_told) return true;
  const bool v4 = load8(&frame[network]) >> 4 == 4;
  const size_t address_bytes = v4 ? 4 : 16, addresses_at = v4 ? 12 : 8, header_bytes = v4 ? 20 : 40;
  const size_t quoted = std::min<size_t>(frame.size() - network, v4 ? 20 + 8 : 1232);
  Bytes answer(link_header_bytes + header_bytes + 8 + quoted);
  std::memcpy(&answer[0], &frame[6], 6);
  std::memcpy(&answer[6], &frame[0], 6);
  store_big<uint16_t>(&answer[12], v4 ? 0x0800 : 0x86dd);
  std::byte* ip = &answer[link_header_bytes];
  std::byte* icmp = ip + header_bytes;
  // From the address the packet was going to, which saves the router one of its own.
  std::memcpy(ip + addresses_at, &frame[network + addresses_at + address_bytes], address_bytes);
  std::memcpy(ip + addresses_at + address_bytes, &frame[network + addresses_at], address_bytes);
  std::memcpy(icmp + 8, &frame[network], quoted);
  if (v4) {
    store8(ip, 0x45);
    store_big<uint16_t>(ip + 2, static_cast<uint16_t>(answer.size() - link_header_bytes));
    store8(ip + 8, 64);
    store8(ip + 9, 1);
    store_big<uint16_t>(ip + 10, static_cast<uint16_t>(~fold(sum_words(ip, 20))));
    store8(icmp, 3);
    store8(icmp + 1, 4);
    store_big<uint16_t>(icmp + 6, static_cast<uint16_t>(mtu));
    store_big<uint16_t>(icmp + 2, static_cast<uint16_t>(~fold(sum_words(icmp, 8 + quoted))));
  } else {
    store8(ip, 0x60);
    store_big<uint16_t>(ip + 4, static_cast<uint16_t>(8 + quoted));
    store8(ip + 6, 58);
    store8(ip + 7, 64);
    store8(icmp, 2);
    store_big<uint32_t>(icmp + 4, mtu);
    const uint32_t pseudo = sum_words(ip + 8, 32) + static_cast<uint32_t>(8 + quoted) + 58;
    store_big<uint16_t>(icmp + 2, static_cast<uint16_t>(~fold(sum_words(icmp, 8 + quoted, pseudo))));
  }
  carry(to_stack_, std::move(answer), now);
  return true;
}

}  // namespace penstock
