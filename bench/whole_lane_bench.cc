// What a frame costs on its way through everything: TcpStack, Broker, Log, a drive that has finished at once; and beside
// it the parts. Frames lie in memory (MTU 1500, checksums verified by the port), producers send Produce requests of one
// batch in order and honour the window they are given (producer_port.h).
//
//   whole/BATCH/FLOWS      frames to acknowledgements; batches copied to the commit in the pass that checksums them
//   gathered/BATCH/FLOWS   the same for a drive that takes every frame's payload from where it lies
//   tcp/BATCH/FLOWS        the stack alone: the reader only lets go
//   lane/BATCH             the lane alone, over MemoryStreams with pieces of 1448 bytes
//   crc/BATCH/FLOWS        the CRC alone over the same payload, frame by frame
//   dram_...               requests lie in 320 MiB and each is touched once in a round through it
//
// One iteration is a round in which each producer sends about one request. Laying frames out is not timed, so their
// headers are in cache; payload is as near as the requests under way let it be. Counters of the median round, which
// keeps out what others do on a shared machine: ns and reference cycles (rdtsc) for each frame with payload. Of the
// whole run: payload bytes, copied bytes, frames sent for each frame, and frames for each poll.
#include <benchmark/benchmark.h>
#include <x86intrin.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/memory_streams.h"
#include "bench/null_drive.h"
#include "bench/produce_frame.h"
#include "bench/producer_port.h"
#include "dataplane/lane.h"
#include "dataplane/tcp/tcp_streams.h"
#include "drivers/uring/arena_memory.h"
#include "storage/crc/crc32c.h"

namespace penstock {
namespace {

using bench::Frame;
using bench::ProducerPort;

constexpr uint32_t unit(uint64_t bytes) { return static_cast<uint32_t>(bytes / arena_unit_bytes); }
constexpr uint32_t log_units = unit(96 * MiB), send_units = unit(16 * MiB), header_units = unit(4 * MiB);
constexpr uint32_t receive_unit = log_units + send_units + header_units;
constexpr uint64_t arena_bytes = 512 * MiB, dram_bytes = 320 * MiB;
constexpr Nanoseconds poll_ns = 8000;

struct Case {
  uint32_t batch_bytes = 64 * KiB;
  uint32_t flows = 1;
  bool gathered = false;
  bool dram = false;
};

uint32_t frames_of(const Frame& request) {
  return static_cast<uint32_t>((request.bytes.size() + bench::frame_payload_bytes - 1) / bench::frame_payload_bytes);
}

bench::ProducerPortConfig port_config(const Case& what, const Frame& request) {
  if (what.dram) return {what.flows, unit(dram_bytes) / frames_of(request), true};
  // One under way for each flow, one that waits for the drive, and a commit's worth.
  return {what.flows, 2 * what.flows + static_cast<uint32_t>(2 * MiB / request.bytes.size()) + 2, false};
}

TcpConfig tcp_config(uint32_t flows) {
  TcpConfig config;
  config.addresses = {{ProducerPort::address(), 8}};
  config.ports = {ProducerPort::port};
  config.connections_max = flows;
  config.receive_budget_bytes = uint64_t{1} << 40;
  config.times.duplicate_address_wait = 0;
  return config;
}

DriveUnits drive_units(bool gathered) {
  DriveUnits units;
  units.address_unit = 4;
  units.copybreak = gathered ? 1024 : 4096;
  units.commit_bytes_max = units.inflight_bytes_max = 1 * MiB;
  return units;
}

// A lane, with whatever brings its bytes.
struct LaneParts {
  LaneParts(const Arena& arena, const DriveUnits& units)
      : buffers(arena.unit_count()),
        log_buffers(0, log_units),
        send_buffers(log_units, send_units),
        header_buffers(log_units + send_units, header_units),
        pieces(200'000),
        drive(units),
        log({.segment_bytes = 256 * MiB, .spare_segments = 1, .resident_bytes_max = 0, .random_seed = 1}, units,
            {arena, &buffers, &log_buffers}, drive),
        inbox(8),
        outbox(64) {
    ToLane message;
    message.view = bench::make_view();
    check(inbox.push(std::move(message)), "bench: mailbox");
  }
  static BrokerConfig config(uint32_t flows) {
    return {.connections_max = flows, .receive_bytes = 1 * GiB, .request_bytes_max = 8 * MiB};
  }
  LaneMemory memory(const Arena& arena) { return {arena, &buffers, &log_buffers, &send_buffers, &pieces}; }

  BufferTable buffers;
  BufferAllocator log_buffers, send_buffers, header_buffers;
  PiecePool pieces;
  NullDrive drive;
  Log log;
  Mailbox<ToLane> inbox;
  Mailbox<ToControl> outbox;
  LaneMetrics metrics;
};

class Whole {
 public:
  Whole(const Case& what, const Frame& request, const Arena& arena)
      : parts_(arena, drive_units(what.gathered)),
        port_(port_config(what, request), request, arena, parts_.buffers, receive_unit),
        streams_(tcp_config(what.flows), arena, parts_.buffers, parts_.header_buffers, port_),
        lane_(LaneParts::config(what.flows), parts_.memory(arena), streams_, parts_.drive, parts_.log, parts_.inbox,
              parts_.outbox, parts_.metrics) {}
  uint32_t lay_out() { return port_.lay_out(now_ += poll_ns); }
  void run() { lane_.poll(now_, 0); }
  bool connected() const { return port_.connected(); }
  uint64_t transmitted() const { return port_.transmitted(); }
  uint64_t copied_bytes() const { return parts_.log.statistics().payload_bytes_copied; }
  std::string fault() const {
    // What is still under way is not acknowledged.
    const uint64_t acknowledged = parts_.metrics.produce_latency.count.get();
    return port_.requests() - acknowledged < 4096 && acknowledged > 0 ? "" : "requests were not acknowledged";
  }

 private:
  LaneParts parts_;
  ProducerPort port_;
  TcpStreams<ProducerPort> streams_;
  Lane<TcpStreams<ProducerPort>, NullDrive> lane_;
  Nanoseconds now_ = second_ns;
};

class TcpAlone {
 public:
  TcpAlone(const Case& what, const Frame& request, const Arena& arena)
      : buffers_(arena.unit_count()),
        headers_(log_units + send_units, header_units),
        port_(port_config(what, request), request, arena, buffers_, receive_unit),
        streams_(tcp_config(what.flows), arena, buffers_, headers_, port_) {}
  uint32_t lay_out() { return port_.lay_out(now_ += poll_ns); }
  void run() {
    streams_.poll(now_, [&](const StreamEvent& event) {
      if (event.kind == StreamEventKind::opened) streams_.allow(event.stream, uint64_t{1} << 50);
      if (event.kind != StreamEventKind::data) return;
      buffers_.release(event.piece.buffer, Holder::request);
    });
    for (const BufferIndex buffer : buffers_.released()) streams_.release({&buffer, 1});
    buffers_.forget_released();
  }
  bool connected() const { return port_.connected(); }
  uint64_t transmitted() const { return port_.transmitted(); }
  uint64_t copied_bytes() const { return 0; }
  std::string fault() const { return ""; }

 private:
  BufferTable buffers_;
  BufferAllocator headers_;
  ProducerPort port_;
  TcpStreams<ProducerPort> streams_;
  Nanoseconds now_ = second_ns;
};

class CrcAlone {
 public:
  CrcAlone(const Case& what, const Frame& request, const Arena& arena)
      : buffers_(arena.unit_count()), port_(port_config(what, request), request, arena, buffers_, receive_unit) {
    port_.pretend_connected();
  }
  uint32_t lay_out() { return port_.lay_out(0); }
  void run() {
    for (const Piece& piece : port_.next()) {
      benchmark::DoNotOptimize(crc_ = crc32c(crc_, piece.data + bench::frame_header_bytes,
                                             piece.length - bench::frame_header_bytes));
    }
    // What follows is nothing beside a checksum, and takes the burst away.
    port_.poll(0, [&](const ReceivedFrame& frame) {
      buffers_.release(frame.pieces[0].buffer, Holder::device);
    });
    port_.release(buffers_.released());
    buffers_.forget_released();
  }
  bool connected() const { return true; }
  uint64_t transmitted() const { return 0; }
  uint64_t copied_bytes() const { return 0; }
  std::string fault() const { return ""; }

 private:
  BufferTable buffers_;
  ProducerPort port_;
  uint32_t crc_ = 0;
};

// The lane alone: MemoryStreams gives as much of the same requests in a poll as a burst.
class LaneAlone {
 public:
  LaneAlone(const Case& what, const Frame& request, const Arena& arena)
      : parts_(arena, drive_units(what.gathered)),
        receive_buffers_(receive_unit, port_config(what, request).copies * frames_of(request)),
        streams_(arena, parts_.buffers, receive_buffers_, request.bytes, request.batch_position,
                 bench::frame_payload_bytes),
        lane_(LaneParts::config(1), parts_.memory(arena), streams_, parts_.drive, parts_.log, parts_.inbox,
              parts_.outbox, parts_.metrics),
        frames_(frames_of(request)) {}
  uint32_t lay_out() {
    const uint64_t before = std::exchange(counted_, streams_.requests() * frames_);
    return static_cast<uint32_t>(counted_ - before);
  }
  void run() { lane_.poll(now_ += poll_ns, 0); }
  bool connected() const { return true; }
  uint64_t transmitted() const { return 0; }
  uint64_t copied_bytes() const { return parts_.log.statistics().payload_bytes_copied; }
  std::string fault() const { return streams_.aborted() ? "the connection was aborted" : ""; }

 private:
  LaneParts parts_;
  BufferAllocator receive_buffers_;
  MemoryStreams streams_;
  Lane<MemoryStreams, NullDrive> lane_;
  uint32_t frames_;
  uint64_t counted_ = 0;
  Nanoseconds now_ = second_ns;
};

double cycles_per_ns() {
  const auto start = std::chrono::steady_clock::now();
  const uint64_t before = __rdtsc();
  std::chrono::nanoseconds took{};
  while ((took = std::chrono::steady_clock::now() - start) < std::chrono::milliseconds(50)) {
  }
  return static_cast<double>(__rdtsc() - before) / static_cast<double>(took.count());
}

template <class B>
void measure(benchmark::State& state, const Case& what) {
  static const double clock = cycles_per_ns();
  const Frame request = bench::make_frame(what.batch_bytes);
  const uint64_t round_frames = std::max(1500u, what.flows * frames_of(request));
  const auto memory = ArenaMemory::map({.bytes = arena_bytes});
  const auto bench = std::make_unique<B>(what, request, memory->arena());
  uint64_t frames = 0, polls = 0, cycles = 0;
  const auto poll = [&] {
    frames += bench->lay_out();
    const uint64_t before = __rdtsc();
    bench->run();
    cycles += __rdtsc() - before;
    ++polls;
  };
  for (int i = 0; i < 10'000 && !bench->connected(); ++i) poll();
  if (!bench->connected()) return state.SkipWithError("no connection");
  frames = 0;
  while (frames < 20 * round_frames && polls < 100'000) poll();

  std::vector<double> rounds;
  uint64_t all_frames = 0;
  const uint64_t sent = bench->transmitted(), copied = bench->copied_bytes();
  polls = 0;
  for (auto _ : state) {
    frames = cycles = 0;
    const uint64_t last = polls + 20'000;
    while (frames < round_frames && polls < last) poll();
    rounds.push_back(static_cast<double>(cycles) / static_cast<double>(frames));
    all_frames += frames;
    state.SetIterationTime(static_cast<double>(cycles) / clock / 1e9);
  }
  if (const std::string fault = bench->fault(); !fault.empty()) return state.SkipWithError(fault.c_str());
  const auto of = [&](uint64_t count) { return static_cast<double>(count) / static_cast<double>(all_frames); };
  std::nth_element(rounds.begin(), rounds.begin() + static_cast<long>(rounds.size() / 2), rounds.end());
  const double median = rounds[rounds.size() / 2];
  state.counters["ns"] = median / clock;
  state.counters["cycles"] = median;
  state.counters["payload"] = static_cast<double>(request.bytes.size()) / frames_of(request);
  state.counters["copied"] = of(bench->copied_bytes() - copied);
  state.counters["sent"] = of(bench->transmitted() - sent);
  state.counters["burst"] = static_cast<double>(all_frames) / static_cast<double>(polls);
  state.SetItemsProcessed(static_cast<int64_t>(all_frames));
}

template <class B>
void add(const char* name, bool gathered, bool dram, const std::vector<int64_t>& flows) {
  benchmark::RegisterBenchmark(
      name,
      [gathered, dram](benchmark::State& state) {
        measure<B>(state, {.batch_bytes = static_cast<uint32_t>(state.range(0)),
                           .flows = static_cast<uint32_t>(state.range(1)),
                           .gathered = gathered,
                           .dram = dram});
      })
      ->ArgsProduct({{16 * KiB, 64 * KiB, 900'000}, flows})
      ->Iterations(1000)
      ->UseManualTime();
}

}  // namespace
}  // namespace penstock

int main(int argument_count, char** arguments) {
  using namespace penstock;
  add<Whole>("whole", false, false, {1, 4});
  add<Whole>("gathered", true, false, {1, 4});
  add<TcpAlone>("tcp", false, false, {1, 4});
  add<LaneAlone>("lane", false, false, {1});
  add<LaneAlone>("lane_gathered", true, false, {1});
  add<CrcAlone>("crc", false, false, {1, 4});
  add<Whole>("dram_whole", false, true, {4});
  add<Whole>("dram_gathered", true, true, {4});
  add<TcpAlone>("dram_tcp", false, true, {4});
  add<CrcAlone>("dram_crc", false, true, {4});
  benchmark::Initialize(&argument_count, arguments);
  if (benchmark::ReportUnrecognizedArguments(argument_count, arguments)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
