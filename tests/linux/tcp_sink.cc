// A small server on our own TCP over a tap device: takes, gives and returns bulk content; see bulk.h.
//
//   tcp_sink (--tap NAME | --file N) --address 10.9.0.1/24 [--address fd09::1/64] --port N [--mtu N] [--seconds N]
//            [--backlog N]
//
// --file: an open file descriptor whose reads and writes are frames. It ends on SIGTERM and says what its TCP counted.
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "dataplane/tcp/tcp_streams.h"
#include "drivers/tap/tap_frames.h"
#include "tests/linux/bulk.h"
#include "tests/netsim/content.h"

namespace penstock {
namespace {

using bulk::BulkHeader;
using bulk::BulkReport;
using bulk::Kind;

constexpr uint64_t header_region_bytes = 16 * MiB, send_region_bytes = 64 * MiB, receive_region_bytes = 160 * MiB;
constexpr uint64_t window_bytes = 4 * MiB;
constexpr uint8_t send_order = 4;  // 64 KiB

volatile sig_atomic_t stopping = 0;

Nanoseconds clock_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}

struct Memory {
  static constexpr uint64_t bytes = header_region_bytes + send_region_bytes + receive_region_bytes;
  static uint32_t units(uint64_t count) { return static_cast<uint32_t>(count / arena_unit_bytes); }
  Arena arena{static_cast<std::byte*>(std::aligned_alloc(2 * MiB, bytes)), bytes};
  BufferTable buffers{arena.unit_count()};
  BufferAllocator headers{0, units(header_region_bytes)};
  BufferAllocator send{units(header_region_bytes), units(send_region_bytes)};
  BufferAllocator receive{units(header_region_bytes + send_region_bytes), units(receive_region_bytes)};
};

// What becomes of one connection's bytes.
struct Bulk {
  StreamId stream;
  BulkHeader header;
  uint64_t header_bytes = 0;
  uint64_t received = 0, made = 0;
  Nanoseconds stops = never_ns;
  bulk::ContentHash hash;
  uint64_t wrong_at = bulk::nowhere;
  bool peer_finished = false, closed = false;
  std::deque<Piece> to_send;

  bool begun() const { return header_bytes == sizeof header; }
  Kind kind() const { return static_cast<Kind>(header.kind.get()); }
};

class Server {
 public:
  using Streams = TcpStreams<TapFrames>;
  Server(Memory& memory, Streams& streams) : memory_(memory), streams_(streams) {}

  void on_event(const StreamEvent& event, Nanoseconds now) {
    if (event.kind == StreamEventKind::opened) {
      bulks_[event.stream.index].stream = event.stream;
      streams_.allow(event.stream, window_bytes);
      return;
    }
    Bulk& bulk = bulks_[event.stream.index];
    switch (event.kind) {
      case StreamEventKind::opened:
        break;
      case StreamEventKind::sent:
        break;
      case StreamEventKind::data:
        take(bulk, event.piece, now);
        break;
      case StreamEventKind::peer_finished:
        bulk.peer_finished = true;
        break;
      case StreamEventKind::closed:
        for (const Piece& piece : bulk.to_send) memory_.buffers.release(piece.buffer, Holder::send);
        bulks_.erase(event.stream.index);
        break;
    }
  }

  bool work(Nanoseconds now) {
    bool busy = false;
    for (auto& [index, bulk] : bulks_) {
      if (!bulk.closed) busy |= work(bulk, now);
    }
    return busy;
  }

 private:
  void take(Bulk& bulk, const Piece& piece, Nanoseconds now) {
    streams_.allow(bulk.stream, piece.length);
    const std::byte* data = piece.data;
    uint64_t length = piece.length;
    if (!bulk.begun()) {
      const uint64_t count = std::min<uint64_t>(length, sizeof bulk.header - bulk.header_bytes);
      std::memcpy(reinterpret_cast<std::byte*>(&bulk.header) + bulk.header_bytes, data, count);
      bulk.header_bytes += count;
      data += count;
      length -= count;
      if (bulk.begun() && bulk.header.duration_ns > 0) {
        bulk.stops = now + static_cast<Nanoseconds>(bulk.header.duration_ns.get());
      }
    }
    if (length > 0) {
      if (!netsim::is_content(bulk.header.seed, bulk.received, {data, length})) {
        bulk.wrong_at = std::min(bulk.wrong_at, bulk.received);
      }
      bulk.hash.add(data, length);
      bulk.received += length;
    }
    if (length > 0 && bulk.kind() == Kind::echo) {
      memory_.buffers.hold(piece.buffer, Holder::send);
      bulk.to_send.push_back({piece.data + (piece.length - length), static_cast<uint32_t>(length), piece.buffer});
    }
    memory_.buffers.release(piece.buffer, Holder::request);
  }

  bool work(Bulk& bulk, Nanoseconds now) {
    bool finished = false;
    if (bulk.begun() && bulk.kind() == Kind::receive) {
      finished = now >= bulk.stops || bulk.made >= bulk.header.bytes;
      while (!finished && bulk.to_send.size() < 4 && has_room(bulk) && make_content(bulk)) {
        finished = bulk.made >= bulk.header.bytes;
      }
    } else if (bulk.peer_finished) {
      if (bulk.kind() == Kind::send && bulk.made == 0) make_report(bulk);
      finished = true;
    }
    bool busy = false;
    if (!bulk.to_send.empty()) {
      const std::vector<Piece> pieces(bulk.to_send.begin(), bulk.to_send.end());
      const size_t taken = streams_.send(bulk.stream, pieces);
      bulk.to_send.erase(bulk.to_send.begin(), bulk.to_send.begin() + static_cast<ptrdiff_t>(taken));
      busy = taken > 0;
    }
    if (finished && bulk.to_send.empty()) {
      bulk.closed = true;
      streams_.close(bulk.stream);
      busy = true;
    }
    return busy;
  }

  // As Linux's send buffers: twice the congestion window, so that a slow transfer ends soon after its time.
  bool has_room(const Bulk& bulk) const {
    const TcpConnectionView view = streams_.stack().view(bulk.stream);
    return view.queued_bytes < 2 * view.congestion_window_bytes + bulk::unsent_bytes_max;
  }

  bool make_content(Bulk& bulk) {
    const BufferIndex buffer = memory_.send.allocate(send_order);
    if (buffer == no_buffer) return false;
    memory_.buffers.open(buffer, send_order, Holder::send);
    const uint64_t length = std::min<uint64_t>(bulk.header.bytes - bulk.made, arena_unit_bytes << send_order);
    netsim::fill_content(bulk.header.seed, bulk.made, {memory_.arena.at(buffer), length});
    bulk.made += length;
    bulk.to_send.push_back({memory_.arena.at(buffer), static_cast<uint32_t>(length), buffer});
    return true;
  }

  void make_report(Bulk& bulk) {
    const BufferIndex buffer = memory_.send.allocate(0);
    if (buffer == no_buffer) return;
    memory_.buffers.open(buffer, 0, Holder::send);
    const BulkReport report{bulk.received, bulk.hash.value(), bulk.wrong_at};
    std::memcpy(memory_.arena.at(buffer), static_cast<const void*>(&report), sizeof report);
    bulk.made = sizeof report;
    bulk.to_send.push_back({memory_.arena.at(buffer), sizeof report, buffer});
  }

  Memory& memory_;
  Streams& streams_;
  std::map<uint32_t, Bulk> bulks_;  // by stream index
};

bool parse_address(const char* text, net::InterfaceAddress& to) {
  const std::string whole = text;
  const size_t slash = whole.find('/');
  if (slash == std::string::npos) return false;
  const std::string address = whole.substr(0, slash);
  to.prefix_bits = static_cast<uint8_t>(std::atoi(whole.c_str() + slash + 1));
  std::array<uint8_t, 16> bytes;
  if (inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) {
    to.address = net::IpAddress::from_v4(bytes.data());
    return true;
  }
  if (inet_pton(AF_INET6, address.c_str(), bytes.data()) != 1) return false;
  to.address = net::IpAddress::from_v6(bytes.data());
  return true;
}

void give_back(Memory& memory, Server::Streams& streams) {
  for (const BufferIndex buffer : memory.buffers.released()) {
    if (memory.send.owns(buffer)) {
      memory.send.free(buffer, memory.buffers.order(buffer));
    } else {
      streams.release({&buffer, 1});
    }
  }
  memory.buffers.forget_released();
}

void print_counters(const TcpStack& stack, const TapFrames& frames) {
  for (size_t i = 0; i < static_cast<size_t>(TcpCount::count); ++i) {
    const auto which = static_cast<TcpCount>(i);
    const uint64_t value = stack.counters()[which];
    if (value != 0) std::printf("  %-32s %llu\n", to_string(which), static_cast<unsigned long long>(value));
  }
  const TapFramesStatistics& port = frames.statistics();
  std::printf("  %-32s %llu\n  %-32s %llu\n", "port_dropped_no_buffer",
              static_cast<unsigned long long>(port.dropped_no_buffer), "port_dropped_by_device",
              static_cast<unsigned long long>(port.dropped_by_device));
  std::printf("  %-32s %llu\n", "memory_bytes", static_cast<unsigned long long>(stack.memory_bytes()));
}

int serve(int file, const TcpConfig& config, uint32_t mtu_bytes, Nanoseconds ends) {
  static Memory memory;
  std::memset(memory.arena.base, 0, memory.arena.size);  // no page faults while it is measured
  TapFrames frames(file, {.address = {2, 9, 0, 0, 0, 1}, .mtu_bytes = mtu_bytes}, memory.arena, memory.buffers,
                   memory.receive);
  Server::Streams streams(config, memory.arena, memory.buffers, memory.headers, frames);
  Server server(memory, streams);
  std::printf("ready\n");
  std::fflush(stdout);
  while (stopping == 0) {
    Nanoseconds now = clock_now();
    if (now >= ends) break;
    bool busy = streams.poll(now, [&](const StreamEvent& event) { server.on_event(event, now); }) > 0;
    busy |= server.work(now);
    give_back(memory, streams);
    const Nanoseconds wait = std::min(streams.next_deadline(), now + 20 * millisecond_ns) - now;
    if (busy || wait <= 0) continue;
    pollfd ready{.fd = file, .events = POLLIN, .revents = 0};
    const timespec timeout{.tv_sec = 0, .tv_nsec = wait};
    ppoll(&ready, 1, &timeout, nullptr);
  }
  print_counters(streams.stack(), frames);
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  using namespace penstock;
  TcpConfig config;
  config.connections_max = 4096;
  config.receive_budget_bytes = 56 * MiB;
  config.receive_window_bytes_max = static_cast<uint32_t>(window_bytes);
  config.send_bytes_max = 4 * MiB;
  // The tables a window of 4 MiB needs: a piece and a record for every segment of it, and holes for a reordering link.
  config.reassembly_pieces = 64 * 1024;
  config.reassembly_pieces_max = 4096;
  config.reassembly_ranges_max = 256;
  config.send_records = 64 * 1024;
  config.send_records_max = 4096;
  config.times.duplicate_address_wait = 0;
  int file = -1;
  uint32_t mtu_bytes = 1500;
  Nanoseconds ends = never_ns;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    const char* value = argv[i + 1];
    net::InterfaceAddress address;
    if (option == "--tap") {
      const auto opened = open_tap(value);
      if (!opened) {
        std::fprintf(stderr, "%s\n", opened.error().c_str());
        return 77;
      }
      file = *opened;
    } else if (option == "--file") {
      file = std::atoi(value);
    } else if (option == "--address" && parse_address(value, address)) {
      config.addresses.push_back(address);
    } else if (option == "--port") {
      config.ports.push_back(static_cast<uint16_t>(std::atoi(value)));
    } else if (option == "--mtu") {
      mtu_bytes = static_cast<uint32_t>(std::atoi(value));
    } else if (option == "--backlog") {
      config.syn_backlog = static_cast<uint32_t>(std::atoi(value));
    } else if (option == "--seconds") {
      ends = clock_now() + std::atoi(value) * second_ns;
    } else {
      std::fprintf(stderr, "tcp_sink: what is %s %s? See the head of its source.\n", argv[i], value);
      return 2;
    }
  }
  if (file < 0 || config.addresses.empty() || config.ports.empty()) {
    std::fprintf(stderr, "tcp_sink: it needs a device, an address and a port. See the head of its source.\n");
    return 2;
  }
  struct sigaction stop{};
  stop.sa_handler = [](int) { stopping = 1; };
  sigaction(SIGTERM, &stop, nullptr);
  sigaction(SIGINT, &stop, nullptr);
  return serve(file, config, mtu_bytes, ends);
}
