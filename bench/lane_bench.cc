// A whole lane behind an in-process sender: the same Produce request over and over, out of buffers that lie ready, so
// that neither a network nor a client is in the figures.
//
//   null/BATCH/PIECE   nothing is written: the cost of decoding, checksum, append and acknowledgement
//   crc/BATCH          the CRC pass alone over the same bytes, for the ratio
//   drive/BATCH/PIECE  written durably under $PENSTOCK_BENCH_DIR (default: the working directory), at most 4 GiB a run
//
// Counters: payload bytes a second; written and copied bytes for each byte of payload; commits, and writes for each.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "bench/memory_streams.h"
#include "bench/null_drive.h"
#include "bench/produce_frame.h"
#include "dataplane/lane.h"
#include "drivers/uring/arena_memory.h"
#include "drivers/uring/drive_units.h"
#include "drivers/uring/uring_drive.h"
#include "storage/crc/crc32c.h"

namespace penstock {
namespace {

constexpr uint64_t arena_bytes = 512 * MiB;
constexpr uint32_t log_units = 96 * MiB / arena_unit_bytes, send_units = 16 * MiB / arena_unit_bytes;

using bench::Frame;
using bench::make_frame;
using bench::make_view;

template <class D>
struct Bench {
  Bench(const Arena& arena, D& drive, const Frame& frame, uint32_t piece_bytes)
      : buffers(arena.unit_count()),
        log_buffers(0, log_units),
        send_buffers(log_units, send_units),
        receive_buffers(log_units + send_units, arena.unit_count() - log_units - send_units),
        pieces(200'000),
        streams(arena, buffers, receive_buffers, frame.bytes, frame.batch_position, piece_bytes),
        log({.segment_bytes = 256 * MiB, .spare_segments = 20, .resident_bytes_max = 32 * MiB, .random_seed = 1},
            drive.units(), {arena, &buffers, &log_buffers}, drive),
        inbox(8),
        outbox(64),
        lane({.connections_max = 4, .receive_bytes = 256 * MiB, .request_bytes_max = 8 * MiB},
             {arena, &buffers, &log_buffers, &send_buffers, &pieces}, streams, drive, log, inbox, outbox, metrics) {
    ToLane message;
    message.view = make_view();
    check(inbox.push(std::move(message)), "bench: mailbox");
  }
  uint64_t acknowledged() const { return metrics.produce_latency.count.get(); }

  BufferTable buffers;
  BufferAllocator log_buffers, send_buffers, receive_buffers;
  PiecePool pieces;
  MemoryStreams streams;
  Log log;
  Mailbox<ToLane> inbox;
  Mailbox<ToControl> outbox;
  LaneMetrics metrics;
  Lane<MemoryStreams, D> lane;
};

template <class B>
void report(benchmark::State& state, const B& bench, uint64_t payload) {
  const LogStatistics& log = bench.log.statistics();
  state.SetBytesProcessed(static_cast<int64_t>(payload));
  state.counters["written"] = static_cast<double>(log.written_bytes) / static_cast<double>(log.payload_bytes);
  state.counters["copied"] = static_cast<double>(log.payload_bytes_copied) / static_cast<double>(log.payload_bytes);
  state.counters["commits"] = static_cast<double>(log.commits);
  state.counters["writes_per_commit"] = static_cast<double>(log.writes) / static_cast<double>(log.commits);
}

Nanoseconds clock_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * second_ns + time.tv_nsec;
}

void null_drive(benchmark::State& state) {
  const Frame frame = make_frame(static_cast<uint32_t>(state.range(0)));
  const auto memory = ArenaMemory::map({.bytes = arena_bytes});
  DriveUnits units;
  units.copybreak = 4096;
  units.commit_bytes_max = units.inflight_bytes_max = 1 * MiB;
  NullDrive drive(units);
  Bench<NullDrive> bench(memory->arena(), drive, frame, static_cast<uint32_t>(state.range(1)));
  Nanoseconds now = 0;
  while (bench.acknowledged() < 100) bench.lane.poll(now += 1000, 0);
  const uint64_t before = bench.acknowledged();
  for (auto _ : state) bench.lane.poll(now += 1000, 0);
  report(state, bench, (bench.acknowledged() - before) * frame.batch_bytes);
}
BENCHMARK(null_drive)->Name("null")->ArgsProduct({{16 << 10, 256 << 10, 900'000}, {4096, 64 << 10, 1 << 20}});

void crc_alone(benchmark::State& state) {
  const Frame frame = make_frame(static_cast<uint32_t>(state.range(0)));
  // Over as many copies as the lane uses, so that the bytes are as far from the core.
  const size_t copies = 256 * MiB / frame.bytes.size();
  std::vector<std::vector<std::byte>> all(copies, frame.bytes);
  size_t next = 0;
  for (auto _ : state) {
    const auto& bytes = all[next++ % copies];
    benchmark::DoNotOptimize(crc32c(0, bytes.data() + frame.batch_position + 21, frame.batch_bytes - 21));
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * frame.batch_bytes);
}
BENCHMARK(crc_alone)->Name("crc")->Arg(16 << 10)->Arg(256 << 10)->Arg(900'000);

// Until 4 GiB are acknowledged; the segments are written before the clock starts.
void real_drive(benchmark::State& state) {
  const char* where = std::getenv("PENSTOCK_BENCH_DIR");
  const std::string path = std::string(where == nullptr ? "." : where) + "/lane-bench";
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  const Frame frame = make_frame(static_cast<uint32_t>(state.range(0)));
  {
    const auto memory = ArenaMemory::map({.bytes = arena_bytes});
    auto ring = Ring::create(memory->arena());
    auto units = find_drive_units(path, {});
    auto directory = LaneDirectory::open(path, DirectoryAccess::own);
    if (!ring || !units || !directory) return state.SkipWithError("no drive here");
    auto drive = UringDrive::create(**ring, memory->arena(), std::move(*directory), units->units, {});
    if (!drive) return state.SkipWithError(drive.error().c_str());
    Bench<UringDrive> bench(memory->arena(), **drive, frame, static_cast<uint32_t>(state.range(1)));
    const auto turn = [&] {
      const Nanoseconds now = clock_now();
      const Polled polled = bench.lane.poll(now, 0);
      if (polled.work > 0)
        (*ring)->poll();
      else
        (*ring)->wait(now, polled.next);
    };
    bench.streams.pause(true);
    while ((*drive)->slot_count() < 20 || (*drive)->in_flight() > 0) turn();
    bench.streams.pause(false);
    const uint64_t requests = 4 * GiB / frame.batch_bytes;
    for (auto _ : state) {
      while (bench.acknowledged() < requests) turn();
    }
    report(state, bench, requests * frame.batch_bytes);
    bench.streams.pause(true);
    while (!bench.log.drained() || (*drive)->in_flight() > 0) turn();
  }
  std::filesystem::remove_all(path);
}
BENCHMARK(real_drive)
    ->Name("drive")
    ->Args({900'000, 1 << 20})
    ->Args({64 << 10, 1 << 20})
    ->Iterations(1)
    ->UseRealTime()
    ->MeasureProcessCPUTime();

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
