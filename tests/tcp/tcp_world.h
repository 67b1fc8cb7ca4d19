// A stack over frames in memory, and the other end written byte by byte: nothing here uses the code under test to make
// or read a segment.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/tcp/tcp_streams.h"

namespace penstock::test {

using Bytes = std::vector<uint8_t>;

inline void put16(Bytes& to, uint32_t value) {
  to.push_back(static_cast<uint8_t>(value >> 8));
  to.push_back(static_cast<uint8_t>(value));
}
inline void put32(Bytes& to, uint32_t value) {
  put16(to, value >> 16);
  put16(to, value & 0xffff);
}
inline uint32_t get16(const uint8_t* at) { return static_cast<uint32_t>(at[0]) << 8 | at[1]; }
inline uint32_t get32(const uint8_t* at) { return get16(at) << 16 | get16(at + 2); }

// RFC 1071, byte by byte.
inline uint32_t plain_sum(const uint8_t* at, size_t count, uint32_t sum = 0) {
  for (size_t i = 0; i < count; ++i) sum += i % 2 == 0 ? static_cast<uint32_t>(at[i]) << 8 : at[i];
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

enum Flag : uint8_t { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

struct Options {
  std::optional<uint16_t> mss;
  std::optional<uint8_t> scale;
  bool sack_permitted = false;
  std::optional<std::pair<uint32_t, uint32_t>> timestamps;
  std::vector<std::pair<uint32_t, uint32_t>> sacks;
};

struct Wire {
  uint32_t seq = 0, ack = 0;
  uint8_t flags = 0;
  uint16_t window = 65535;
  Options options;
  Bytes payload;
  uint16_t peer_port = 40000, port = 9092;
  bool v6 = false;
  std::optional<uint16_t> vlan;
  Bytes link_source{2, 0, 0, 0, 0, 9};
};

inline const Bytes our_link{2, 0, 0, 0, 0, 1};
inline const Bytes our_v4{10, 0, 0, 1}, peer_v4{10, 0, 0, 2};
inline const Bytes our_v6{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
inline const Bytes peer_v6{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};

inline Bytes with_link(const Bytes& to, const Bytes& from, std::optional<uint16_t> vlan, uint16_t type,
                       const Bytes& rest) {
  Bytes frame = to;
  frame.insert(frame.end(), from.begin(), from.end());
  if (vlan.has_value()) {
    put16(frame, 0x8100);
    put16(frame, *vlan);
  }
  put16(frame, type);
  frame.insert(frame.end(), rest.begin(), rest.end());
  return frame;
}

inline Bytes with_ip(bool v6, const Bytes& from, const Bytes& to, uint8_t protocol, const Bytes& message) {
  Bytes packet;
  if (v6) {
    put32(packet, 6u << 28);
    put16(packet, static_cast<uint32_t>(message.size()));
    packet.push_back(protocol);
    packet.push_back(255);
  } else {
    put16(packet, 0x4500);
    put16(packet, static_cast<uint32_t>(20 + message.size()));
    put32(packet, 0x00004000);
    packet.push_back(64);
    packet.push_back(protocol);
    put16(packet, 0);
  }
  packet.insert(packet.end(), from.begin(), from.end());
  packet.insert(packet.end(), to.begin(), to.end());
  if (!v6) {
    const uint32_t sum = ~plain_sum(packet.data(), 20);
    packet[10] = static_cast<uint8_t>(sum >> 8);
    packet[11] = static_cast<uint8_t>(sum);
  }
  packet.insert(packet.end(), message.begin(), message.end());
  return packet;
}

inline uint32_t message_sum(const Bytes& from, const Bytes& to, uint8_t protocol, const uint8_t* message,
                            size_t bytes) {
  Bytes pseudo = from;
  pseudo.insert(pseudo.end(), to.begin(), to.end());
  put32(pseudo, static_cast<uint32_t>(bytes));
  put32(pseudo, protocol);
  return plain_sum(message, bytes, plain_sum(pseudo.data(), pseudo.size()));
}

inline Bytes options_of(const Options& options) {
  Bytes out;
  if (options.mss) {
    out.insert(out.end(), {2, 4});
    put16(out, *options.mss);
  }
  if (options.scale) out.insert(out.end(), {1, 3, 3, *options.scale});
  if (options.sack_permitted) out.insert(out.end(), {1, 1, 4, 2});
  if (options.timestamps) {
    out.insert(out.end(), {1, 1, 8, 10});
    put32(out, options.timestamps->first);
    put32(out, options.timestamps->second);
  }
  if (!options.sacks.empty()) {
    out.insert(out.end(), {1, 1, 5, static_cast<uint8_t>(2 + 8 * options.sacks.size())});
    for (const auto& [first, end] : options.sacks) {
      put32(out, first);
      put32(out, end);
    }
  }
  return out;
}

inline Bytes frame_of(const Wire& wire) {
  const Bytes options = options_of(wire.options);
  Bytes tcp;
  put16(tcp, wire.peer_port);
  put16(tcp, wire.port);
  put32(tcp, wire.seq);
  put32(tcp, wire.ack);
  tcp.push_back(static_cast<uint8_t>((20 + options.size()) / 4 << 4));
  tcp.push_back(wire.flags);
  put16(tcp, wire.window);
  put32(tcp, 0);
  tcp.insert(tcp.end(), options.begin(), options.end());
  tcp.insert(tcp.end(), wire.payload.begin(), wire.payload.end());
  const Bytes &from = wire.v6 ? peer_v6 : peer_v4, &to = wire.v6 ? our_v6 : our_v4;
  const uint32_t sum = ~message_sum(from, to, 6, tcp.data(), tcp.size());
  tcp[16] = static_cast<uint8_t>(sum >> 8);
  tcp[17] = static_cast<uint8_t>(sum);
  return with_link(our_link, wire.link_source, wire.vlan, wire.v6 ? 0x86dd : 0x0800,
                   with_ip(wire.v6, from, to, 6, tcp));
}

// A segment the stack sent; its checksums are checked.
inline std::optional<Wire> wire_of(const Bytes& frame) {
  Wire wire;
  size_t at = 12;
  if (get16(&frame[at]) == 0x8100) {
    wire.vlan = static_cast<uint16_t>(get16(&frame[at + 2]));
    at += 4;
  }
  const uint32_t type = get16(&frame[at]);
  at += 2;
  wire.link_source.assign(frame.begin(), frame.begin() + 6);  // where it goes
  size_t tcp_bytes;
  Bytes from, to;
  if (type == 0x0800) {
    if (frame[at + 9] != 6) return std::nullopt;
    EXPECT_EQ(plain_sum(&frame[at], 20), 0xffffu) << "IPv4 checksum";
    tcp_bytes = get16(&frame[at + 2]) - 20;
    from.assign(&frame[at + 12], &frame[at + 16]);
    to.assign(&frame[at + 16], &frame[at + 20]);
    at += 20;
  } else if (type == 0x86dd) {
    if (frame[at + 6] != 6) return std::nullopt;
    wire.v6 = true;
    tcp_bytes = get16(&frame[at + 4]);
    from.assign(&frame[at + 8], &frame[at + 24]);
    to.assign(&frame[at + 24], &frame[at + 40]);
    at += 40;
  } else {
    return std::nullopt;
  }
  EXPECT_EQ(frame.size(), at + tcp_bytes);
  EXPECT_EQ(message_sum(from, to, 6, &frame[at], tcp_bytes), 0xffffu) << "TCP checksum";
  const uint8_t* tcp = &frame[at];
  wire.port = static_cast<uint16_t>(get16(tcp));
  wire.peer_port = static_cast<uint16_t>(get16(tcp + 2));
  wire.seq = get32(tcp + 4);
  wire.ack = get32(tcp + 8);
  const size_t header_bytes = (tcp[12] >> 4) * 4u;
  wire.flags = tcp[13];
  wire.window = static_cast<uint16_t>(get16(tcp + 14));
  for (size_t i = 20; i < header_bytes;) {
    const uint8_t kind = tcp[i];
    if (kind == 0) break;
    if (kind == 1) {
      ++i;
      continue;
    }
    const uint8_t length = tcp[i + 1];
    if (kind == 2) wire.options.mss = static_cast<uint16_t>(get16(tcp + i + 2));
    if (kind == 3) wire.options.scale = tcp[i + 2];
    if (kind == 4) wire.options.sack_permitted = true;
    if (kind == 8) wire.options.timestamps = {get32(tcp + i + 2), get32(tcp + i + 6)};
    if (kind == 5) {
      for (size_t block = i + 2; block < i + length; block += 8) {
        wire.options.sacks.emplace_back(get32(tcp + block), get32(tcp + block + 4));
      }
    }
    i += length;
  }
  wire.payload.assign(tcp + header_bytes, tcp + tcp_bytes);
  return wire;
}

class MemoryFrames {
 public:
  MemoryFrames(const PortFeatures& features, Arena arena, BufferTable& buffers, BufferAllocator& receive)
      : features_(features), arena_(arena), buffers_(buffers), receive_(receive) {}
  const PortFeatures& features() const { return features_; }
  template <class Handler>
  uint32_t poll(Nanoseconds, Handler&& handler) {
    uint32_t count = 0;
    while (!incoming.empty() && count < 64) {
      const Bytes bytes = std::move(incoming.front());
      incoming.pop_front();
      std::vector<Piece> pieces;
      for (size_t at = 0; at < bytes.size();) {
        const size_t length = std::min<size_t>(bytes.size() - at, buffer_bytes);
        const BufferIndex buffer = receive_.allocate(0);
        if (buffer == no_buffer) break;
        buffers_.open(buffer, 0, Holder::device);
        std::memcpy(arena_.at(buffer), &bytes[at], length);
        pieces.push_back({arena_.at(buffer), static_cast<uint32_t>(length), buffer});
        at += length;
      }
      if (!pieces.empty()) handler(ReceivedFrame{pieces, verified});
      ++count;
    }
    return count;
  }
  bool transmit(const TransmitFrame& frame) {
    if (room == 0) return false;
    --room;
    Bytes bytes;
    for (const Piece& piece : frame.pieces) {
      const auto* data = reinterpret_cast<const uint8_t*>(piece.data);
      bytes.insert(bytes.end(), data, data + piece.length);
      buffers_.release(piece.buffer, Holder::send);
    }
    EXPECT_LE(frame.pieces.size(), features_.pieces_max);
    outgoing.push_back(std::move(bytes));
    return true;
  }
  void flush() {}
  void release(std::span<const BufferIndex> buffers) {
    for (const BufferIndex buffer : buffers) receive_.free(buffer, buffers_.order(buffer));
  }
  uint64_t receive_free() const { return receive_.free_bytes(); }
  Nanoseconds next_deadline() const { return incoming.empty() ? never_ns : 0; }

  std::deque<Bytes> incoming;
  std::deque<Bytes> outgoing;
  uint64_t room = UINT64_MAX;
  bool verified = false;
  size_t buffer_bytes = 4096;

 private:
  PortFeatures features_;
  Arena arena_;
  BufferTable& buffers_;
  BufferAllocator& receive_;
};
static_assert(Frames<MemoryFrames>);
static_assert(Streams<TcpStreams<MemoryFrames>>);

inline TcpConfig small_config() {
  TcpConfig config;
  config.addresses = {{net::IpAddress::v4(10, 0, 0, 1), 24}, {net::IpAddress::from_v6(our_v6.data()), 64}};
  config.ports = {9092};
  config.connections_max = 64;
  config.syn_backlog = 16;
  config.time_wait_max = 8;
  config.send_chunks = 256;
  config.send_records = 1024;
  config.reassembly_pieces = 512;
  config.secret = {0x1234, 0x5678};
  config.times.duplicate_address_wait = 0;
  return config;
}

inline PortFeatures small_port() {
  PortFeatures features;
  features.address = {2, 0, 0, 0, 0, 1};
  return features;
}

class TcpWorld {
 public:
  static constexpr uint32_t units = 8192, send_units = 1024;

  explicit TcpWorld(const TcpConfig& config = small_config(), const PortFeatures& features = small_port())
      : memory_(static_cast<std::byte*>(std::aligned_alloc(4096, uint64_t{units} * 4096)), &std::free),
        arena{memory_.get(), uint64_t{units} * 4096},
        buffers(units),
        receive(send_units, units - send_units),
        headers(0, send_units),
        frames(features, arena, buffers, receive),
        streams(std::in_place, config, arena, buffers, headers, frames) {}
  ~TcpWorld() {
    streams.reset();
    for (const Piece& piece : kept) buffers.release(piece.buffer, Holder::request);
    give_back();
    EXPECT_EQ(buffers.leak_report(), "");
  }

  // Time passes, frames and events flow.
  void poll(Nanoseconds forward = 0) {
    now += forward;
    streams->poll(now, [&](const StreamEvent& event) { on_event(event); });
    // The handler's calls may have made more.
    streams->poll(now, [&](const StreamEvent& event) { on_event(event); });
    streams->stack().check_invariants();
    give_back();
  }
  void in(const Wire& wire) { frames.incoming.push_back(frame_of(wire)); }
  // The next segment sent, if any; other frames are skipped.
  std::optional<Wire> out() {
    while (!frames.outgoing.empty()) {
      const Bytes frame = std::move(frames.outgoing.front());
      frames.outgoing.pop_front();
      if (auto wire = wire_of(frame)) return wire;
    }
    return std::nullopt;
  }
  std::vector<Wire> all_out() {
    std::vector<Wire> all;
    while (auto wire = out()) all.push_back(*wire);
    return all;
  }
  void on_event(const StreamEvent& event) {
    check(std::ranges::find(over, event.stream) == over.end(), "an event of a stream that is closed");
    switch (event.kind) {
      case StreamEventKind::opened:
        stream = event.stream;
        opened_event = event;
        ++opened;
        if (credit_at_open > 0) streams->allow(event.stream, credit_at_open);
        break;
      case StreamEventKind::data:
        received.append(reinterpret_cast<const char*>(event.piece.data), event.piece.length);
        ++pieces;
        if (keep) {
          kept.push_back(event.piece);
        } else {
          buffers.release(event.piece.buffer, Holder::request);
        }
        break;
      case StreamEventKind::sent:
        sent += event.bytes;
        break;
      case StreamEventKind::peer_finished:
        ++finished;
        break;
      case StreamEventKind::closed:
        ++closed;
        over.push_back(event.stream);
        break;
    }
  }
  void give_back() {
    const std::vector<BufferIndex> released(buffers.released().begin(), buffers.released().end());
    if (streams.has_value()) {
      streams->release(released);
    } else {
      for (const BufferIndex buffer : released)
        (headers.owns(buffer) ? headers : receive).free(buffer, buffers.order(buffer));
    }
    buffers.forget_released();
  }
  size_t send(const std::string& text) {
    size_t taken = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t length = std::min<size_t>(text.size() - at, 4096);
      const BufferIndex buffer = headers.allocate(0);
      if (buffer == no_buffer) return taken;
      buffers.open(buffer, 0, Holder::send);
      std::memcpy(arena.at(buffer), text.data() + at, length);
      const Piece piece{arena.at(buffer), static_cast<uint32_t>(length), buffer};
      if (streams->send(stream, {&piece, 1}) == 0) {
        buffers.release(buffer, Holder::send);
        return taken;
      }
      at += length;
      taken += length;
    }
    return taken;
  }
  uint64_t counted(TcpCount which) const { return streams->stack().counters()[which]; }

 private:
  std::unique_ptr<std::byte, decltype(&std::free)> memory_;

 public:
  Arena arena;
  BufferTable buffers;
  BufferAllocator receive;
  BufferAllocator headers;
  MemoryFrames frames;
  std::optional<TcpStreams<MemoryFrames>> streams;
  Nanoseconds now = 1000 * second_ns;

  StreamId stream;
  StreamEvent opened_event;
  uint64_t credit_at_open = 4096;
  bool keep = false;
  std::vector<Piece> kept;
  std::string received;
  uint64_t sent = 0, pieces = 0;
  int opened = 0, finished = 0, closed = 0;
  std::vector<StreamId> over;
};

// The other end of one connection: knows where both sequences are.
struct Peer {
  TcpWorld& world;
  Wire base;  // ports, family, VLAN
  bool timestamps = true, sack = true;
  std::optional<uint8_t> scale = 7;
  uint16_t mss = 1460;
  uint32_t seq = 5000, ack = 0;
  uint32_t clock = 100, echo = 0;
  uint16_t window = 65535;
  Wire syn_ack;

  Wire segment(uint8_t flags, const std::string& payload = "") const {
    Wire wire = base;
    wire.seq = seq;
    wire.ack = ack;
    wire.flags = flags;
    wire.window = window;
    wire.payload.assign(payload.begin(), payload.end());
    if (timestamps) wire.options.timestamps = {clock, echo};
    return wire;
  }
  void syn() {
    Wire wire = segment(SYN);
    wire.options.mss = mss;
    wire.options.scale = scale;
    wire.options.sack_permitted = sack;
    world.in(wire);
    world.poll();
  }
  void connect() {
    world.all_out();
    syn();
    const auto answer = world.out();
    ASSERT_TRUE(answer.has_value());
    syn_ack = *answer;
    ASSERT_EQ(syn_ack.flags, SYN | ACK);
    ASSERT_EQ(syn_ack.ack, seq + 1);
    seq += 1;
    ack = syn_ack.seq + 1;
    if (syn_ack.options.timestamps) echo = syn_ack.options.timestamps->first;
    world.in(segment(ACK));
    world.poll();
  }
  // Sends the next bytes in order.
  void data(const std::string& payload, uint8_t flags = ACK) {
    world.in(segment(flags, payload));
    seq += static_cast<uint32_t>(payload.size()) + ((flags & FIN) != 0);
  }
};

}  // namespace penstock::test
