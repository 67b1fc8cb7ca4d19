// Takes streams over DPDK's tap device, drops their bytes and says what that cost: the bar of tools/bench/over_tap.
//
//   sink trivial|tcp --address 10.9.0.1 [--device net_tap0,iface=penstock0] [--port 9192] [--mtu 65521]
//                    [--header-bytes 66] [--huge-pages on] [--keep-mib 0]
//
// `trivial` answers ARP, SYN and FIN, acknowledges a burst of frames with one frame a connection and knows nothing else
// of TCP: no checks, no timers, no reassembly, one window for ever. What is not next in order it drops. `tcp` is the
// TCP of a node. Both take the same frames from the same driver and sleep as a lane does.
//
// --keep-mib: what has arrived is held until so much more has come, as a node holds it for the drive and for consumers.
// At 0 the same few buffers come again and again, and the copy into them never leaves the processor's cache.
//
// Prints "ready", then one line of JSON for each connection that ends: bytes, seconds and processor time since the end
// of the one before. Ends on SIGTERM.
#include <arpa/inet.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "dataplane/net/arp.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/tcp_header.h"
#include "dataplane/tcp/tcp_streams.h"
#include "drivers/dpdk/dpdk_frames.h"
#include "drivers/dpdk/eal.h"
#include "drivers/dpdk/frame_wait.h"
#include "drivers/uring/arena_memory.h"

namespace penstock {
namespace {

using net::ArpPacket;
using net::EthernetHeader;
using net::Ipv4Header;
using net::TcpHeader;

constexpr uint64_t arena_bytes = 256 * MiB;
constexpr uint32_t header_units = 512, receive_units = 40'960;  // as a node's
constexpr uint32_t window_bytes = 4 * MiB;

volatile sig_atomic_t stopping = 0;

struct Options {
  std::string receiver;
  std::string device = "net_tap0,iface=penstock0";
  std::string address;
  uint16_t port = 9192;
  uint32_t mtu = 65521;
  uint32_t header_bytes = 66;
  bool huge_pages = false;
  uint32_t keep_mib = 0;
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "sink: %s\n", what.c_str());
  std::_Exit(1);
}

template <class T>
T wanted(std::expected<T, std::string> result) {
  if (!result) fail(result.error());
  return std::move(*result);
}

Nanoseconds clock_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return double(time.tv_sec) + double(time.tv_usec) / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// One line for each stream, which begins when the first byte comes.
class Report {
 public:
  void took(uint64_t bytes, Nanoseconds now) {
    if (bytes_ == 0) began_ = now, cpu_began_ = cpu_seconds();
    bytes_ += bytes;
  }
  void ended(Nanoseconds now) {
    std::printf("{\"bytes\": %llu, \"seconds\": %.6f, \"cpu_s\": %.3f}\n", static_cast<unsigned long long>(bytes_),
                double(now - began_) / 1e9, cpu_seconds() - cpu_began_);
    std::fflush(stdout);
    bytes_ = 0;
  }

 private:
  uint64_t bytes_ = 0;
  Nanoseconds began_ = 0;
  double cpu_began_ = 0;
};

struct Memory {
  ArenaMemory mapping;
  Arena arena = mapping.arena();
  BufferTable buffers{arena.unit_count()};
  BufferAllocator headers{0, header_units};

  std::deque<std::pair<BufferIndex, Holder>> kept;
  uint32_t kept_count_max = 0;

  void drop(BufferIndex buffer, Holder holder) {
    kept.emplace_back(buffer, holder);
    if (kept.size() <= kept_count_max) return;
    buffers.release(kept.front().first, kept.front().second);
    kept.pop_front();
  }
  void give_back(auto&& receive_released) {
    for (const BufferIndex& buffer : buffers.released()) {
      if (headers.owns(buffer))
        headers.free(buffer, buffers.order(buffer));
      else
        receive_released(buffer);
    }
    buffers.forget_released();
  }
};

// ---------------------------------------------------------------------------------------------------------- trivial

class Trivial {
 public:
  Trivial(const Options& options, Memory& memory, DpdkFrames& frames)
      : memory_(memory),
        frames_(frames),
        mss_(options.mtu >= 4180 ? (options.mtu - 40) / 4096 * 4096 : options.mtu - 40) {
    inet_pton(AF_INET, options.address.c_str(), address_);
  }

  uint32_t poll(Nanoseconds now, Report& report) {
    const uint32_t count = frames_.poll(now, [&](const ReceivedFrame& frame) {
      take(frame.pieces.front(), now, report);
      for (const Piece& piece : frame.pieces) memory_.drop(piece.buffer, Holder::device);
    });
    for (Flow* flow : due_) {
      flow->due = false;
      answer(*flow);
    }
    if (!due_.empty()) frames_.flush();
    due_.clear();
    memory_.give_back([&](const BufferIndex& buffer) { frames_.release({&buffer, 1}); });
    return count;
  }
  Nanoseconds next_deadline() const { return frames_.next_deadline(); }

 private:
  static constexpr uint8_t scale = 7;
  struct Flow {
    EthernetHeader link;  // as it came; so are the next two
    Ipv4Header ip;
    TcpHeader tcp;
    uint32_t next = 0;  // RCV.NXT
    uint8_t flags = 0;
    bool due = false;
  };

  void take(const Piece& frame, Nanoseconds now, Report& report) {
    EthernetHeader link;
    std::memcpy(&link, frame.data, sizeof link);
    const std::byte* at = frame.data + sizeof link;
    if (link.type == net::ether_arp) return answer_arp(link, at);
    if (link.type != net::ether_ipv4) return;
    Ipv4Header ip;
    TcpHeader tcp;
    std::memcpy(&ip, at, sizeof ip);
    std::memcpy(&tcp, at + sizeof ip, sizeof tcp);
    if (ip.protocol != net::protocol_tcp) return;
    Flow& flow = flows_[tcp.source_port];
    flow.link = link, flow.ip = ip, flow.tcp = tcp;
    const auto payload_bytes =
        static_cast<uint32_t>(ip.total_bytes - sizeof ip - (tcp.words_and_reserved >> 4) * size_t{4});
    if ((tcp.flags & net::flag_syn) != 0) {
      flow.next = tcp.sequence + 1;
      flow.flags = net::flag_syn | net::flag_ack;
    } else {
      if (payload_bytes == 0 && (tcp.flags & net::flag_fin) == 0) return;
      flow.flags = net::flag_ack;
      if (tcp.sequence == flow.next) {
        report.took(payload_bytes, now);
        flow.next += payload_bytes;
        if ((tcp.flags & net::flag_fin) != 0) {
          ++flow.next;
          flow.flags |= net::flag_fin;
          report.ended(now);
        }
      }
    }
    if (!flow.due) due_.push_back(&flow);
    flow.due = true;
  }

  void answer(const Flow& flow) {
    const bool syn = (flow.flags & net::flag_syn) != 0;
    const uint8_t options[] = {net::option_mss,
                               4,
                               static_cast<uint8_t>(mss_ >> 8),
                               static_cast<uint8_t>(mss_),
                               net::option_none,
                               net::option_window_scale,
                               3,
                               scale};
    const size_t option_bytes = syn ? sizeof options : 0;
    EthernetHeader link{.destination = flow.link.source, .source = flow.link.destination, .type = net::ether_ipv4};
    Ipv4Header ip;
    ip.protocol = net::protocol_tcp;
    ip.total_bytes = static_cast<uint16_t>(sizeof ip + sizeof(TcpHeader) + option_bytes);
    std::memcpy(ip.source, address_, 4);
    std::memcpy(ip.destination, flow.ip.source, 4);
    ip.checksum = net::checksum_of(&ip, sizeof ip);
    TcpHeader tcp;
    tcp.source_port = flow.tcp.destination_port;
    tcp.destination_port = flow.tcp.source_port;
    tcp.sequence = syn ? 0 : 1;
    tcp.acknowledgment = flow.next;
    tcp.words_and_reserved = static_cast<uint8_t>((sizeof tcp + option_bytes) / 4 << 4);
    tcp.flags = flow.flags;
    tcp.window = static_cast<uint16_t>(syn ? UINT16_MAX : window_bytes >> scale);
    net::Checksum sum;
    sum.add_pseudo_header(net::IpAddress::from_v4(ip.source), net::IpAddress::from_v4(ip.destination),
                          net::protocol_tcp, static_cast<uint32_t>(sizeof tcp + option_bytes));
    sum.add(&tcp, sizeof tcp);
    sum.add(options, option_bytes);
    tcp.checksum = sum.finish();
    send({{&link, sizeof link}, {&ip, sizeof ip}, {&tcp, sizeof tcp}, {options, option_bytes}});
  }

  void answer_arp(const EthernetHeader& from, const std::byte* at) {
    ArpPacket asked;
    std::memcpy(&asked, at, sizeof asked);
    if (asked.operation != net::arp_request || std::memcmp(asked.target, address_, 4) != 0) return;
    const LinkAddress ours = frames_.features().address;
    EthernetHeader link{.destination = from.source, .source = ours, .type = net::ether_arp};
    ArpPacket reply{
        .operation = net::arp_reply, .sender_link = ours, .sender = {}, .target_link = asked.sender_link, .target = {}};
    std::memcpy(reply.sender, address_, 4);
    std::memcpy(reply.target, asked.sender, 4);
    send({{&link, sizeof link}, {&reply, sizeof reply}});
    frames_.flush();
  }

  struct Part {
    const void* data;
    size_t bytes;
  };
  void send(std::initializer_list<Part> parts) {
    const BufferIndex buffer = memory_.headers.allocate(0);
    if (buffer == no_buffer) return;  // an acknowledgement less
    memory_.buffers.open(buffer, 0, Holder::send);
    std::byte* const begin = memory_.arena.at(buffer);
    std::byte* at = begin;
    for (const Part& part : parts) {
      std::memcpy(at, part.data, part.bytes);
      at += part.bytes;
    }
    const Piece piece{begin, static_cast<uint32_t>(at - begin), buffer};
    if (!frames_.transmit({.pieces = {&piece, 1}})) memory_.buffers.release(buffer, Holder::send);
  }

  Memory& memory_;
  DpdkFrames& frames_;
  const uint32_t mss_;
  uint8_t address_[4];
  std::unordered_map<uint16_t, Flow> flows_;  // by the peer's port
  std::vector<Flow*> due_;
};

// -------------------------------------------------------------------------------------------------------------- tcp

class OurTcp {
 public:
  OurTcp(const Options& options, Memory& memory, DpdkFrames& frames)
      : memory_(memory), streams_(config_of(options), memory.arena, memory.buffers, memory.headers, frames) {}

  uint32_t poll(Nanoseconds now, Report& report) {
    const uint32_t count = streams_.poll(now, [&](const StreamEvent& event) {
      switch (event.kind) {
        case StreamEventKind::opened:
          streams_.allow(event.stream, window_bytes);
          break;
        case StreamEventKind::data:
          report.took(event.piece.length, now);
          streams_.allow(event.stream, event.piece.length);
          memory_.drop(event.piece.buffer, Holder::request);
          break;
        case StreamEventKind::peer_finished:
          report.ended(now);
          streams_.close(event.stream);
          break;
        case StreamEventKind::sent:
        case StreamEventKind::closed:
          break;
      }
    });
    memory_.give_back([&](const BufferIndex& buffer) { streams_.release({&buffer, 1}); });
    return count;
  }
  Nanoseconds next_deadline() const { return streams_.next_deadline(); }

 private:
  static TcpConfig config_of(const Options& options) {
    TcpConfig config;
    config.receive_budget_bytes = 96 * MiB;
    config.receive_window_bytes_max = window_bytes;
    config.receive_buffer_bytes =
        receive_shape(options.mtu, options.header_bytes, arena_unit_bytes).units * arena_unit_bytes;
    config.ports = {options.port};
    config.times.duplicate_address_wait = 0;
    in_addr address{};
    if (inet_pton(AF_INET, options.address.c_str(), &address) != 1) fail("--address is not an IPv4 address");
    config.addresses = {{.address = net::IpAddress::from_v4(&address), .prefix_bits = 24}};
    return config;
  }

  Memory& memory_;
  TcpStreams<DpdkFrames> streams_;
};

// -------------------------------------------------------------------------------------------------------------- main

template <class Receiver>
void serve(const Options& options, Memory& memory, Port& port, DpdkFrames& frames, Ring& ring) {
  Receiver receiver(options, memory, frames);
  if (auto up = port.start(); !up) fail(up.error());
  FrameWait wait(frames, ring);
  Report report;
  std::printf("ready\n");
  std::fflush(stdout);
  while (stopping == 0) {
    const Nanoseconds now = clock_now();
    const uint32_t count = receiver.poll(now, report);
    if (count > 0 || frames.busy()) {
      wait.worked(frames.busy());
      ring.poll();
    } else {
      wait.idle(now, std::min(receiver.next_deadline(), now + 100 * millisecond_ns));
    }
  }
  port.stop();
  frames.take_back();
}

void run_lane(const Options& options) {
  if (!join_eal()) fail("DPDK has no room for a thread");
  Memory memory{wanted(ArenaMemory::map(
      {.bytes = arena_bytes, .huge_pages = options.huge_pages ? HugePages::required : HugePages::preferred}))};
  auto ring = wanted(Ring::create(memory.arena, {}));
  ring->bind_to_this_thread();
  auto port = wanted(Port::open({.device = options.device,
                                 .lanes = {options.port, 1},
                                 .mtu_bytes = options.mtu,
                                 .header_bytes = options.header_bytes,
                                 .log = [](std::string_view) {},
                                 .warn = [](std::string_view line) { fail(std::string(line)); }}));
  if (auto placed = port->place(arena_unit_bytes, receive_units - header_units); !placed) fail(placed.error());
  memory.kept_count_max =
      static_cast<uint32_t>(options.keep_mib * MiB / arena_unit_bytes / port->receive_shape().units);
  {
    auto frames = wanted(DpdkFrames::create(
        *port, {.lane = 0, .first_unit = header_units, .unit_count = receive_units - header_units, .wake = {}},
        memory.arena, memory.buffers));
    if (options.receiver == "trivial")
      serve<Trivial>(options, memory, *port, *frames, *ring);
    else
      serve<OurTcp>(options, memory, *port, *frames, *ring);
  }
  leave_eal();
}

Options parse(int count, char** arguments) {
  Options options;
  if (count > 1) options.receiver = arguments[1];
  for (int i = 2; i + 1 < count; i += 2) {
    const std::string name = arguments[i], value = arguments[i + 1];
    const auto number = static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    if (name == "--address")
      options.address = value;
    else if (name == "--device")
      options.device = value;
    else if (name == "--port")
      options.port = static_cast<uint16_t>(number);
    else if (name == "--mtu")
      options.mtu = number;
    else if (name == "--header-bytes")
      options.header_bytes = number;
    else if (name == "--keep-mib")
      options.keep_mib = number;
    else if (name == "--huge-pages")
      options.huge_pages = value == "on";
    else
      fail("unknown option " + name);
  }
  if ((options.receiver != "trivial" && options.receiver != "tcp") || options.address.empty())
    fail("usage: sink trivial|tcp --address IPV4 [options], see the head of its source");
  return options;
}

}  // namespace
}  // namespace penstock

int main(int count, char** arguments) {
  using namespace penstock;
  const Options options = parse(count, arguments);
  struct sigaction stop{};
  stop.sa_handler = [](int) { stopping = 1; };
  sigaction(SIGTERM, &stop, nullptr);
  if (auto eal = start_eal({.device = options.device, .huge_pages = options.huge_pages, .log = {}}); !eal)
    fail(eal.error());
  std::thread(run_lane, std::cref(options)).join();
  return 0;
}
