// Fuzzes our TCP with sequences of frames. It sees what a port would give it: valid segments of up to eight flows whose
// numbers fit what it answered, the same with fields changed, and frames of nothing but input.
//
// Input: steps, one after the other, each a byte that says what (its low four bits, see Step) and whose (its high four:
// flow 0 to 7, and IPv6), then what that step needs; make_frames_corpus.py writes some. A frame's step ends with a
// count of changes and for each its position and value; the count's top bit says that the checksums stay as they were.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/tcp/tcp_stack.h"
#include "tests/netsim/segment.h"

namespace penstock {
namespace {

using netsim::Bytes;
using netsim::Segment;

enum class Step : uint8_t {
  wait,
  syn,
  data,
  ack,
  fin,
  rst,
  raw,
  icmp,
  arp,
  neighbour,
  app,
  options,
  repeat,
  sack,
  count
};

constexpr uint64_t arena_bytes = 2 * MiB;
constexpr uint32_t header_units = 64, send_units = 64;
constexpr uint64_t budget_bytes = 64 * KiB;
constexpr uint16_t port = 9092;
constexpr netsim::Link link_node{2, 0, 0, 0, 0, 1}, link_peer{2, 0, 0, 0, 0, 2};
constexpr size_t link_header_bytes = 14;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint16_t two() { return static_cast<uint16_t>(byte() | byte() << 8); }
  Bytes bytes(size_t count) {
    Bytes taken;
    while (taken.size() < count && left_ > 0) taken.push_back(static_cast<std::byte>(byte()));
    return taken;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

// A peer's numbers, as far as the stack's answers tell.
struct Flow {
  uint32_t next = 0;      // that it would send
  uint32_t expected = 0;  // of the stack
  bool open = false, stamped = false;
  uint32_t timestamp = 1, echo = 0;
};

uint16_t load16(const Bytes& from, size_t at) {
  return static_cast<uint16_t>(static_cast<unsigned>(from[at]) << 8 | static_cast<unsigned>(from[at + 1]));
}
void store16(Bytes& to, size_t at, uint16_t value) {
  to[at] = static_cast<std::byte>(value >> 8);
  to[at + 1] = static_cast<std::byte>(value & 0xff);
}

// Makes the checksums of an IP frame right, whatever else is wrong with it.
void fix_checksums(Bytes& frame) {
  if (frame.size() < link_header_bytes + 20) return;
  const bool v6 = load16(frame, 12) == 0x86dd;
  const size_t ip = link_header_bytes;
  const size_t header = v6 ? 40 : (static_cast<size_t>(frame[ip]) & 15) * 4;
  if (header < 20 || frame.size() < ip + header) return;
  const auto span = std::span<const std::byte>(frame);
  if (!v6) {
    store16(frame, ip + 10, 0);
    store16(frame, ip + 10, static_cast<uint16_t>(~netsim::internet_sum(span.subspan(ip, header))));
  }
  const size_t at = ip + header;
  const size_t total = v6 ? 40u + load16(frame, ip + 4) : load16(frame, ip + 2);
  if (total <= header || frame.size() < ip + total) return;
  const size_t length = total - header;
  const auto protocol = static_cast<uint8_t>(frame[ip + (v6 ? 6 : 9)]);
  const size_t field = protocol == 6 ? 16 : 2;
  if (length < field + 2) return;
  uint32_t sum = 0;
  if (protocol == 6 || protocol == 58) {
    sum =
        netsim::internet_sum(span.subspan(ip + (v6 ? 8 : 12), v6 ? 32 : 8)) + static_cast<uint32_t>(length) + protocol;
  }
  store16(frame, at + field, 0);
  store16(frame, at + field, static_cast<uint16_t>(~netsim::internet_sum(span.subspan(at, length), sum)));
}

class World {
 public:
  explicit World(uint8_t shape)
      : memory_(static_cast<std::byte*>(std::aligned_alloc(arena_unit_bytes, arena_bytes)), &std::free),
        arena_{memory_.get(), arena_bytes},
        buffers_(arena_.unit_count()),
        headers_(0, header_units),
        send_(header_units, send_units),
        receive_(header_units + send_units, arena_.unit_count() - header_units - send_units),
        whole_(std::make_unique<TcpStack>(config(shape), features(shape), arena_, buffers_, headers_)),
        stack_(*whole_),
        several_(shape & 4) {}

  void run(Input& input) {
    while (!input.empty()) {
      const uint8_t what = input.byte();
      step(static_cast<Step>((what & 15) % static_cast<uint8_t>(Step::count)), what >> 4, input);
      if (++steps_ % 16 == 0) stack_.check_invariants();
    }
    end();
  }

 private:
  static TcpConfig config(uint8_t shape) {
    TcpConfig config;
    const netsim::Address v6 = netsim::address_v6(0, 1);
    config.addresses = {{net::IpAddress::v4(10, 0, 0, 1), 24}, {net::IpAddress::from_v6(v6.bytes.data()), 64}};
    config.ports = {port};
    config.connections_max = 6;
    config.syn_backlog = shape & 1 ? 1 : 4;
    config.time_wait_max = 3;
    config.receive_budget_bytes = budget_bytes;
    config.receive_window_bytes_max = 32 * 1024;
    config.reassembly_pieces = 16;
    config.reassembly_pieces_max = 12;
    config.reassembly_ranges_max = 4;
    config.send_pieces_max = 8;
    config.send_bytes_max = 16 * KiB;
    config.send_chunks = 8;
    config.send_records = 24;
    config.send_records_max = 12;
    config.times.duplicate_address_wait = shape & 2 ? second_ns : 0;
    config.times.keepalive_idle = 30 * second_ns;
    return config;
  }
  static PortFeatures features(uint8_t shape) {
    PortFeatures features;
    std::copy(link_node.begin(), link_node.end(), features.address.begin());
    features.pieces_max = shape & 8 ? 2 : 16;
    features.transmit_checksums = shape & 16;
    features.segmentation = shape & 16 && shape & 32;
    features.segmentation_bytes_max = features.segmentation ? 20'000 : 0;
    return features;
  }

  void step(Step what, uint8_t whose, Input& input) {
    Flow& flow = flows_[whose];
    switch (what) {
      case Step::wait:
        now_ += Nanoseconds{input.byte()} * input.byte() * millisecond_ns;
        return turn();
      case Step::syn: {
        Segment segment = begin(whose);
        const uint8_t offers = input.byte();
        segment.syn = true, segment.ack = (offers & 64) != 0;
        segment.sequence = flow.next = input.two() * 0x10001u;
        if (offers & 1) segment.mss = input.two();
        if (offers & 2) segment.window_scale = input.byte();
        if (offers & 4) segment.sack_permitted = true;
        segment.timestamps.reset();
        if (offers & 8) segment.timestamps = {flow.timestamp, 0};
        flow.next += 1;
        flow.open = false;
        return frame(segment, input);
      }
      case Step::data: {
        Segment segment = begin(whose);
        const int8_t shift = static_cast<int8_t>(input.byte());
        segment.sequence += static_cast<uint32_t>(shift * 100);
        segment.acknowledgement += static_cast<uint32_t>(static_cast<int8_t>(input.byte()));
        segment.payload.assign(input.two() % 1461, std::byte{0x5a});
        if (shift == 0) flow.next += static_cast<uint32_t>(segment.payload.size());
        return frame(segment, input);
      }
      case Step::ack: {
        Segment segment = begin(whose);
        segment.acknowledgement += static_cast<uint32_t>(static_cast<int8_t>(input.byte()) * 100);
        segment.window = input.two();
        return frame(segment, input);
      }
      case Step::fin: {
        Segment segment = begin(whose);
        segment.fin = true;
        segment.sequence += input.byte();
        flow.next += 1;
        return frame(segment, input);
      }
      case Step::rst: {
        Segment segment = begin(whose);
        const uint8_t how = input.byte();
        segment.rst = true, segment.ack = how & 1, segment.syn = how & 2;
        segment.sequence += how >> 2;
        return frame(segment, input);
      }
      case Step::raw: {
        const size_t count = input.byte() * (whose & 8 ? 8u : 1u);
        const bool addressed = whose & 1;
        Bytes bytes = input.bytes(count);
        if (addressed && bytes.size() > link_header_bytes) {
          for (size_t i = 0; i < 6; ++i) bytes[i] = static_cast<std::byte>(link_node[i]);
          store16(bytes, 12, whose & 2 ? 0x86dd : 0x0800);
          if (whose & 4) fix_checksums(bytes);
        }
        return deliver(bytes);
      }
      case Step::icmp:
        return icmp(whose, input);
      case Step::arp:
        return arp(input);
      case Step::neighbour:
        return neighbour(input);
      case Step::app:
        return app(input);
      case Step::options: {
        Segment segment = begin(whose);
        const uint8_t how = input.byte();
        segment.syn = how & 1, segment.ack = !segment.syn;
        segment.timestamps.reset();
        Bytes options = input.bytes((how >> 1) % 41);
        options.resize((options.size() + 3) / 4 * 4);
        Bytes bytes = netsim::encode(segment);
        const size_t tcp = bytes.size() - 20;
        bytes.insert(bytes.end(), options.begin(), options.end());
        bytes[tcp + 12] = static_cast<std::byte>((20 + options.size()) / 4 << 4);
        const bool v6 = segment.from.address.v6;
        const size_t length_at = link_header_bytes + (v6 ? 4 : 2);
        store16(bytes, length_at, static_cast<uint16_t>(load16(bytes, length_at) + options.size()));
        fix_checksums(bytes);
        return changed(bytes, input);
      }
      case Step::repeat:
        if (!last_.empty()) deliver(last_);
        return;
      case Step::sack: {
        Segment segment = begin(whose);
        const uint8_t count = input.byte() % 4;
        for (uint8_t i = 0; i < count; ++i) {
          const uint32_t first =
              segment.acknowledgement + static_cast<uint32_t>(static_cast<int8_t>(input.byte()) * 100);
          segment.sack.emplace_back(first, first + input.byte() * 50u);
        }
        segment.acknowledgement -= input.byte() * 100u;
        return frame(segment, input);
      }
      case Step::count:
        return;
    }
  }

  Segment begin(uint8_t whose) {
    const Flow& flow = flows_[whose];
    const bool v6 = whose & 8;
    Segment segment;
    segment.link_from = link_peer, segment.link_to = link_node;
    segment.from = {v6 ? netsim::address_v6(1, 2) : netsim::address_v4(10, 0, 0, 2),
                    static_cast<uint16_t>(30000 + whose % 8)};
    segment.to = {v6 ? netsim::address_v6(0, 1) : netsim::address_v4(10, 0, 0, 1), port};
    segment.ack = true;
    segment.sequence = flow.next, segment.acknowledgement = flow.expected;
    segment.window = 8192;
    if (flow.stamped) segment.timestamps = {flow.timestamp + static_cast<uint32_t>(now_ / millisecond_ns), flow.echo};
    return segment;
  }

  void frame(const Segment& segment, Input& input) {
    Bytes bytes = netsim::encode(segment);
    changed(bytes, input);
  }

  void changed(Bytes& bytes, Input& input) {
    const uint8_t count = input.byte();
    for (uint8_t i = 0; i < (count & 3); ++i) {
      const size_t at = input.byte();
      bytes[at % bytes.size()] = static_cast<std::byte>(input.byte());
    }
    if ((count & 3) != 0 && !(count & 128)) fix_checksums(bytes);
    if (count & 64) bytes.resize(bytes.size() - std::min<size_t>(bytes.size(), input.byte()));
    deliver(bytes);
  }

  void icmp(uint8_t whose, Input& input) {
    const Segment segment = begin(whose);
    const bool v6 = whose & 8;
    Bytes bytes = netsim::encode(segment);  // its IP header is borrowed
    bytes.resize(link_header_bytes + (v6 ? 40 : 20));
    bytes[link_header_bytes + (v6 ? 6 : 9)] = static_cast<std::byte>(v6 ? 58 : 1);
    bytes.push_back(static_cast<std::byte>(input.byte()));  // type
    bytes.push_back(static_cast<std::byte>(input.byte()));  // code
    bytes.resize(bytes.size() + 4);
    const uint16_t mtu = input.two();
    bytes.push_back(static_cast<std::byte>(mtu >> 8));
    bytes.push_back(static_cast<std::byte>(mtu & 255));
    if (v6) std::swap(bytes[bytes.size() - 4], bytes[bytes.size() - 2]);
    // Quotes what the stack sent last, or what the input says.
    const uint8_t how = input.byte();
    Bytes quoted = how & 1 && !sent_.empty() ? Bytes(sent_.begin() + link_header_bytes, sent_.end()) : input.bytes(how);
    if (quoted.size() > 100 || how & 2) quoted.resize(std::min<size_t>(quoted.size(), how & 4 ? 28 : 100));
    bytes.insert(bytes.end(), quoted.begin(), quoted.end());
    const size_t length = bytes.size() - link_header_bytes;
    store16(bytes, link_header_bytes + (v6 ? 4 : 2), static_cast<uint16_t>(v6 ? length - 40 : length));
    fix_checksums(bytes);
    changed(bytes, input);
  }

  void arp(Input& input) {
    Bytes bytes;
    for (const uint8_t byte : link_node) bytes.push_back(static_cast<std::byte>(byte));
    for (const uint8_t byte : link_peer) bytes.push_back(static_cast<std::byte>(byte));
    const uint8_t how = input.byte();
    const uint8_t body[] = {8, 6, 0, 1, 8, 0, 6,  4, 0, static_cast<uint8_t>(how & 3),
                            2, 0, 0, 0, 0, 2, 10, 0, 0, static_cast<uint8_t>(how & 4 ? 1 : 2),
                            0, 0, 0, 0, 0, 0, 10, 0, 0, 1};
    for (const uint8_t byte : body) bytes.push_back(static_cast<std::byte>(byte));
    changed(bytes, input);
  }

  void neighbour(Input& input) {
    const uint8_t how = input.byte();
    Segment segment = begin(8);
    Bytes bytes = netsim::encode(segment);
    bytes.resize(link_header_bytes + 40);
    bytes[link_header_bytes + 6] = std::byte{58};
    bytes[link_header_bytes + 7] = std::byte{255};
    bytes.push_back(how & 1 ? std::byte{136} : std::byte{135});
    bytes.resize(bytes.size() + 7);
    for (size_t i = 0; i < 16; ++i) bytes.push_back(bytes[link_header_bytes + 24 + i]);  // the node's own address
    if (how & 2) {
      const uint8_t option[] = {1, static_cast<uint8_t>(how >> 4), 2, 0, 0, 0, 0, 2};
      for (const uint8_t byte : option) bytes.push_back(static_cast<std::byte>(byte));
    }
    if (how & 4) {  // nobody asks: duplicate address detection
      for (size_t i = 0; i < 16; ++i) bytes[link_header_bytes + 8 + i] = std::byte{0};
    }
    store16(bytes, link_header_bytes + 4, static_cast<uint16_t>(bytes.size() - link_header_bytes - 40));
    fix_checksums(bytes);
    changed(bytes, input);
  }

  void app(Input& input) {
    const uint8_t how = input.byte();
    if (streams_.empty()) return;
    auto it = streams_.begin();
    std::advance(it, how % streams_.size());
    const StreamId id = it->second;
    switch (how >> 5) {
      case 0:
        stack_.allow(id, input.two());
        break;
      case 1:
        stack_.allow(id, input.byte());
        break;
      case 2:
        stack_.request_done(id);
        break;
      case 3:
        stack_.close(id);
        break;
      case 4:
        stack_.abort(id);
        break;
      case 5:
        hold_ = !hold_;
        break;
      default:
        send(id, input.two());
        break;
    }
    turn();
  }

  void send(StreamId id, uint16_t length) {
    const BufferIndex buffer = send_.allocate(0);
    if (buffer == no_buffer) return;
    buffers_.open(buffer, 0, Holder::send);
    const Piece piece{arena_.at(buffer), length % 4096u + 1, buffer};
    if (stack_.send(id, {&piece, 1}) == 0) buffers_.release(buffer, Holder::send);
  }

  // ---- the lane's part ----

  void deliver(const Bytes& bytes) {
    last_ = bytes;
    if (bytes.empty()) return;
    std::vector<Piece> pieces;
    // Headers together in the first piece; what follows may lie elsewhere.
    const size_t cut = several_ ? std::min<size_t>(bytes.size(), 134) : bytes.size();
    for (size_t at = 0; at < bytes.size();) {
      const BufferIndex buffer = receive_.allocate(0);
      if (buffer == no_buffer) break;
      buffers_.open(buffer, 0, Holder::device);
      const size_t count = at == 0 ? cut : std::min<size_t>(bytes.size() - at, 700);
      std::byte* to = arena_.at(buffer) + bytes.size() % 61;
      std::memcpy(to, bytes.data() + at, count);
      pieces.push_back({to, static_cast<uint32_t>(count), buffer});
      at += count;
    }
    stack_.begin_poll(now_);
    events();
    if (!pieces.empty() && stack_.has_event_room()) {
      stack_.on_frame({.pieces = pieces, .checksums_verified = false});
    } else {
      for (const Piece& piece : pieces) buffers_.release(piece.buffer, Holder::device);
    }
    finish_turn();
  }

  void turn() {
    stack_.begin_poll(now_);
    finish_turn();
  }

  void finish_turn() {
    events();
    check(buffers_.held(Holder::device) == 0, "a frame's buffer stays with the device");
    stack_.end_poll();
    uint32_t frames = 0;
    while (const TransmitFrame* out = stack_.outgoing()) {
      take(*out);
      stack_.outgoing_taken();
      check(++frames < 2000, "a stack that never stops sending");
    }
    give_back();
    check(stack_.window_bytes() <= budget_bytes, "windows beyond the budget",
          static_cast<long long>(stack_.window_bytes()));
    (void)stack_.next_deadline();
  }

  void events() {
    for (StreamEvent event; stack_.next_event(event);) {
      switch (event.kind) {
        case StreamEventKind::opened:
          check(!streams_.contains(event.stream.index), "opened while open");
          streams_[event.stream.index] = event.stream;
          stack_.allow(event.stream, 3000);
          break;
        case StreamEventKind::data:
          check(streams_.contains(event.stream.index), "data of a stream that is over");
          if (hold_ && held_.size() < 100) {
            held_.push_back(event.piece.buffer);
          } else {
            buffers_.release(event.piece.buffer, Holder::request);
            stack_.allow(event.stream, event.piece.length);
          }
          break;
        case StreamEventKind::sent:
        case StreamEventKind::peer_finished:
          check(streams_.contains(event.stream.index), "an event of a stream that is over");
          break;
        case StreamEventKind::closed:
          check(streams_.erase(event.stream.index) == 1, "closed twice");
          break;
      }
    }
  }

  // What the stack sends is right, and tells the flows where they are.
  void take(const TransmitFrame& out) {
    Bytes bytes;
    for (const Piece& piece : out.pieces) {
      check(arena_.contains(piece.data) && piece.length > 0, "a piece outside the arena");
      bytes.insert(bytes.end(), piece.data, piece.data + piece.length);
      buffers_.release(piece.buffer, Holder::send);
    }
    if (out.fill_checksums) {
      if (out.segment_payload_bytes != 0) return;
      fix_checksums(bytes);
    }
    check(bytes.size() <= 1514, "larger than the MTU", static_cast<long long>(bytes.size()));
    sent_ = bytes;
    std::string why;
    const std::optional<Segment> segment = netsim::parse(bytes, &why);
    check(why.empty(), "the stack sends a bad frame");
    if (!segment) return;
    const unsigned whose = (segment->to.port - 30000u) % 8 + (segment->to.address.v6 ? 8 : 0);
    Flow& flow = flows_[whose];
    if (segment->rst) return;
    const uint32_t end =
        segment->sequence + static_cast<uint32_t>(segment->payload.size()) + segment->fin + segment->syn;
    if (segment->syn || static_cast<int32_t>(end - flow.expected) > 0) flow.expected = end;
    if (segment->syn) flow.stamped = segment->timestamps.has_value(), flow.next = segment->acknowledgement;
    if (segment->timestamps) flow.echo = segment->timestamps->first;
    flow.open = true;
  }

  void give_back() {
    for (const BufferIndex buffer : buffers_.released()) {
      BufferAllocator& owner = headers_.owns(buffer) ? headers_ : send_.owns(buffer) ? send_ : receive_;
      owner.free(buffer, buffers_.order(buffer));
    }
    buffers_.forget_released();
  }

  // Everybody goes; nothing may stay.
  void end() {
    for (const BufferIndex buffer : held_) buffers_.release(buffer, Holder::request);
    held_.clear();
    hold_ = false;
    for (const auto& [index, id] : streams_) stack_.abort(id);
    for (int i = 0; i < 400; ++i) {
      turn();
      if (stack_.open_connections() + stack_.half_open_connections() + stack_.time_wait_connections() == 0) break;
      now_ = std::max(now_ + second_ns, std::min(stack_.next_deadline(), now_ + 60 * second_ns));
    }
    stack_.check_invariants();
    check(stack_.open_connections() == 0, "connections that never end", stack_.open_connections());
    check(stack_.half_open_connections() == 0, "handshakes that never end", stack_.half_open_connections());
    check(streams_.empty(), "streams that never close", static_cast<long long>(streams_.size()));
    check(stack_.window_bytes() == 0, "windows without connections", static_cast<long long>(stack_.window_bytes()));
    // The stack may keep the one buffer it is filling with headers, until it goes itself.
    check(receive_.free_bytes() == receive_.bytes(), "receive buffers leak");
    check(send_.free_bytes() == send_.bytes(), "send buffers leak");
    check(buffers_.held(Holder::send) <= 1, "header buffers leak", static_cast<long long>(buffers_.held(Holder::send)));
    whole_.reset();
    check(buffers_.leak_report().empty(), "buffers leak");
  }

  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  Arena arena_;
  BufferTable buffers_;
  BufferAllocator headers_, send_, receive_;
  std::unique_ptr<TcpStack> whole_;
  TcpStack& stack_;
  const bool several_;
  Nanoseconds now_ = second_ns;
  uint32_t steps_ = 0;
  Flow flows_[16];
  std::map<uint32_t, StreamId> streams_;
  std::vector<BufferIndex> held_;
  bool hold_ = false;
  Bytes last_, sent_;
};

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  penstock::Input input(data + 1, size - 1);
  penstock::World(data[0]).run(input);
  return 0;
}
