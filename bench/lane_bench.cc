// A whole lane behind an in-process sender: the same Produce request over and over, out of buffers that lie ready, so
// that neither a network nor a client is in the figures.
//
//   null/BATCH/PIECE/PARTITIONS   nothing is written: the cost of decoding, checksum, append and acknowledgement
//   crc/BATCH                     the CRC pass alone over the same bytes, for the ratio
//   drive/BATCH/PIECE/PARTITIONS  written durably under $PENSTOCK_BENCH_DIR (default: the working directory), 4 GiB
//
// Counters: payload bytes a second; written and copied bytes for each byte of payload; commits, and writes for each.
//
//   lane_bench --round DIRECTORY BYTES BATCH PARTITIONS
//
// is one round of tools/bench/ingest: everything is prepared, then BYTES are written durably to a log in DIRECTORY,
// and a line of JSON says what happened between the first request and the last acknowledgement. Before that it prints
// "ready" and waits for a line, so that the caller can look at the drive's counters.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

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
constexpr uint64_t segment_bytes = 256 * MiB;
constexpr uint32_t log_units = 96 * MiB / arena_unit_bytes, send_units = 16 * MiB / arena_unit_bytes;

using bench::Frame;
using bench::make_frame;
using bench::make_view;

template <class D>
struct Bench {
  Bench(const Arena& arena, D& drive, const Frame& frame, uint32_t piece_bytes, uint32_t partition_count,
        uint32_t spare_segments)
      : buffers(arena.unit_count()),
        log_buffers(0, log_units),
        send_buffers(log_units, send_units),
        receive_buffers(log_units + send_units, arena.unit_count() - log_units - send_units),
        pieces(200'000),
        streams(arena, buffers, receive_buffers, frame.bytes, frame.batch_position, piece_bytes),
        log({.segment_bytes = segment_bytes,
             .spare_segments = spare_segments,
             .resident_bytes_max = 32 * MiB,
             .random_seed = 1},
            drive.units(), {arena, &buffers, &log_buffers}, drive),
        inbox(8),
        outbox(64),
        lane({.connections_max = 4, .receive_bytes = 256 * MiB, .request_bytes_max = 8 * MiB},
             {arena, &buffers, &log_buffers, &send_buffers, &pieces}, streams, drive, log, inbox, outbox, metrics) {
    ToLane message;
    message.view = make_view(partition_count);
    streams.rotate(frame.partition_position, partition_count);
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
  Bench<NullDrive> bench(memory->arena(), drive, frame, static_cast<uint32_t>(state.range(1)),
                         static_cast<uint32_t>(state.range(2)), 1);
  Nanoseconds now = 0;
  while (bench.acknowledged() < 100) bench.lane.poll(now += 1000, 0);
  const uint64_t before = bench.acknowledged();
  for (auto _ : state) bench.lane.poll(now += 1000, 0);
  report(state, bench, (bench.acknowledged() - before) * frame.batch_bytes);
}
BENCHMARK(null_drive)->Name("null")->ArgsProduct({{16 << 10, 256 << 10, 900'000}, {4096, 64 << 10, 1 << 20}, {1}})
    ->ArgsProduct({{16 << 10, 256 << 10, 900'000}, {64 << 10}, {10'000}});

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

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Round {
  std::string directory;
  uint64_t bytes = 0;
  uint32_t batch_bytes = 0;
  uint32_t piece_bytes = MiB;
  uint32_t partition_count = 1;
};

// A lane on a drive. `measure(bench, run)` is called when all segments that the round needs are written; `run()` returns
// when its bytes are acknowledged. An error text, or nothing.
template <class Measure>
std::string run_round(const Round& round, Measure&& measure) {
  std::filesystem::create_directories(round.directory);
  const Frame frame = make_frame(round.batch_bytes);
  const auto memory = ArenaMemory::map({.bytes = arena_bytes});
  if (!memory) return memory.error();
  auto ring = Ring::create(memory->arena());
  if (!ring) return ring.error();
  const auto units = find_drive_units(round.directory, {});
  if (!units) return units.error();
  auto directory = LaneDirectory::open(round.directory, DirectoryAccess::own);
  if (!directory) return directory.error();
  auto drive = UringDrive::create(**ring, memory->arena(), std::move(*directory), units->units,
                                  {.segment_bytes = segment_bytes});
  if (!drive) return drive.error();
  // More are written when half of them are gone; that must not happen while the clock runs. One is taken at once.
  const auto spares = static_cast<uint32_t>(2 * (round.bytes / segment_bytes + 2));
  Bench<UringDrive> bench(memory->arena(), **drive, frame, round.piece_bytes, round.partition_count, spares);
  const auto turn = [&] {
    const Nanoseconds now = clock_now();
    const Polled polled = bench.lane.poll(now, 0);
    if (polled.work > 0)
      (*ring)->poll();
    else
      (*ring)->wait(now, polled.next);
  };
  bench.streams.pause(true);
  while ((*drive)->statistics().prepares < spares + 1 || (*drive)->in_flight() > 0) turn();
  const uint64_t requests = round.bytes / frame.batch_bytes;
  measure(bench, requests * frame.batch_bytes, [&] {
    bench.streams.pause(false);
    while (bench.acknowledged() < requests) turn();
    bench.streams.pause(true);
  });
  while (!bench.log.drained() || (*drive)->in_flight() > 0) turn();
  return "";
}

// Until 4 GiB are acknowledged; the segments are written before the clock starts.
void real_drive(benchmark::State& state) {
  const char* where = std::getenv("PENSTOCK_BENCH_DIR");
  const std::string path = std::string(where == nullptr ? "." : where) + "/lane-bench";
  std::filesystem::remove_all(path);
  const Round round{.directory = path,
                    .bytes = 4 * GiB,
                    .batch_bytes = static_cast<uint32_t>(state.range(0)),
                    .piece_bytes = static_cast<uint32_t>(state.range(1)),
                    .partition_count = static_cast<uint32_t>(state.range(2))};
  const std::string error = run_round(round, [&](const auto& bench, uint64_t payload, auto&& run) {
    for (auto _ : state) run();
    report(state, bench, payload);
  });
  if (!error.empty()) state.SkipWithError(error.c_str());
  std::filesystem::remove_all(path);
}
BENCHMARK(real_drive)
    ->Name("drive")
    ->ArgsProduct({{900'000, 64 << 10}, {1 << 20}, {1, 10'000}})
    ->Iterations(1)
    ->UseRealTime()
    ->MeasureProcessCPUTime();

int print_round(const Round& round) {
  const std::string error = run_round(round, [](const auto& bench, uint64_t payload, auto&& run) {
    std::puts("ready");
    std::fflush(stdout);
    while (std::getchar() != '\n') {
    }
    const LogStatistics before = bench.log.statistics();
    const Nanoseconds began = clock_now();
    const double cpu_before = cpu_seconds();
    run();
    const double seconds = static_cast<double>(clock_now() - began) / static_cast<double>(second_ns);
    const double cpu_s = cpu_seconds() - cpu_before;
    const LogStatistics& after = bench.log.statistics();
    std::printf("{\"acknowledged_bytes\": %llu, \"seconds\": %.6f, \"cpu_s\": %.3f",
                static_cast<unsigned long long>(payload), seconds, cpu_s);
    const auto put = [](const char* name, uint64_t count) {
      std::printf(", \"%s\": %llu", name, static_cast<unsigned long long>(count));
    };
    put("payload", after.payload_bytes - before.payload_bytes);
    put("copied", after.payload_bytes_copied - before.payload_bytes_copied);
    put("written", after.written_bytes - before.written_bytes);
    put("commits", after.commits - before.commits);
    put("writes", after.writes - before.writes);
    put("flushes", after.flushes - before.flushes);
    std::puts("}");
  });
  if (!error.empty()) std::fprintf(stderr, "lane_bench: %s\n", error.c_str());
  return error.empty() ? 0 : 1;
}

}  // namespace
}  // namespace penstock

int main(int argument_count, char** arguments) {
  using namespace penstock;
  if (argument_count == 6 && std::string_view(arguments[1]) == "--round") {
    return print_round({.directory = arguments[2],
                        .bytes = std::strtoull(arguments[3], nullptr, 10),
                        .batch_bytes = static_cast<uint32_t>(std::atoi(arguments[4])),
                        .partition_count = static_cast<uint32_t>(std::atoi(arguments[5]))});
  }
  benchmark::Initialize(&argument_count, arguments);
  if (benchmark::ReportUnrecognizedArguments(argument_count, arguments)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
