// What a durable write costs from a drive's point of view: one contiguous vector, gathered pieces, or pieces copied
// together first. Wall time and CPU of this thread; run it in the directory under test or name one:
//
//   PENSTOCK_BENCH_DIR=/var/lib/penstock build/bench/drive_bench --benchmark_repetitions=5
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "drivers/uring/arena_memory.h"
#include "drivers/uring/drive_units.h"
#include "drivers/uring/uring_drive.h"

namespace penstock {
namespace {

constexpr uint64_t segment_bytes = 64 * MiB;
constexpr uint64_t source_bytes = 48 * MiB;  // larger than the caches: payload comes from memory
constexpr uint64_t packing_bytes = 4 * MiB;

template <class T>
T must(std::expected<T, std::string> result) {
  check(result.has_value(), result ? "" : result.error().c_str());
  return std::move(*result);
}

std::string make_directory() {
  const char* chosen = std::getenv("PENSTOCK_BENCH_DIR");
  std::string path = std::string(chosen != nullptr ? chosen : ".") + "/penstock-bench-XXXXXX";
  check(::mkdtemp(path.data()) != nullptr, "cannot make a directory for the benchmark", errno);
  return path;
}

class World {
 public:
  World() {
    DriveRequest request{.op = DriveOp::prepare};
    check(run(request) == 0, "cannot prepare a segment");
  }
  ~World() {
    drive_.reset();
    std::filesystem::remove_all(path_);
  }

  int64_t run(const DriveRequest& request) {
    check(drive_->submit(request), "drive queue full");
    int64_t result = 0;
    while (drive_->poll(0, [&](DriveCompletion done) { result = done.result; }) == 0) ring_->wait(0, never_ns);
    return result;
  }
  void write(std::span<const iovec> vectors, uint64_t bytes) {
    if (position_ + bytes > segment_bytes) position_ = 0;
    const int64_t written =
        run({.op = DriveOp::write, .durable = true, .position = FilePosition(position_), .vectors = vectors});
    check(written == static_cast<int64_t>(bytes), "short write", written, static_cast<long long>(bytes));
    position_ += bytes;
  }

  // `bytes` in pieces of `piece_bytes` with gaps as large between them, from a new place each time.
  std::span<const iovec> scatter(uint64_t bytes, uint64_t piece_bytes) {
    if (source_at_ + 2 * bytes > source_bytes) source_at_ = 0;
    vectors_.clear();
    for (uint64_t at = 0; at < bytes; at += piece_bytes) {
      vectors_.push_back({memory_.arena().base + source_at_ + 2 * at, piece_bytes});
    }
    source_at_ += 2 * bytes;
    return vectors_;
  }
  iovec pack(std::span<const iovec> pieces) {
    std::byte* const packing = memory_.arena().base + source_bytes;
    uint64_t bytes = 0;
    for (const iovec& piece : pieces) {
      std::memcpy(packing + bytes, piece.iov_base, piece.iov_len);
      bytes += piece.iov_len;
    }
    return {packing, bytes};
  }
  const DriveUnits& units() const { return drive_->units(); }

 private:
  std::string path_ = make_directory();
  ArenaMemory memory_ = must(ArenaMemory::map({.bytes = source_bytes + packing_bytes}));
  std::unique_ptr<Ring> ring_ = must(Ring::create(memory_.arena()));
  std::unique_ptr<UringDrive> drive_ = must(
      UringDrive::create(*ring_, memory_.arena(), must(LaneDirectory::open(path_, DirectoryAccess::own)),
                         must(find_drive_units(path_, {.measure = false})).units, {.segment_bytes = segment_bytes}));
  std::vector<iovec> vectors_;
  uint64_t position_ = 0;
  uint64_t source_at_ = 0;
};

World& world() {
  static World the_world;
  return the_world;
}

void contiguous(benchmark::State& state) {
  const auto bytes = static_cast<uint64_t>(state.range(0));
  for (auto _ : state) world().write(world().scatter(bytes, bytes), bytes);
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

bool fits(benchmark::State& state, uint64_t bytes, uint64_t piece_bytes) {
  const DriveUnits& units = world().units();
  const bool fitting = bytes / piece_bytes <= units.vectors_max && piece_bytes % units.length_unit == 0;
  if (!fitting) state.SkipWithError("this drive does not take such pieces");
  return fitting;
}

void gathered(benchmark::State& state) {
  const auto bytes = static_cast<uint64_t>(state.range(0)), piece_bytes = static_cast<uint64_t>(state.range(1));
  if (!fits(state, bytes, piece_bytes)) return;
  for (auto _ : state) world().write(world().scatter(bytes, piece_bytes), bytes);
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void copied(benchmark::State& state) {
  const auto bytes = static_cast<uint64_t>(state.range(0)), piece_bytes = static_cast<uint64_t>(state.range(1));
  for (auto _ : state) {
    const iovec packed = world().pack(world().scatter(bytes, piece_bytes));
    world().write(std::span(&packed, 1), bytes);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

constexpr int64_t kib = 1024, mib = 1024 * kib;
BENCHMARK(contiguous)->Arg(64 * kib)->Arg(256 * kib)->Arg(mib)->UseRealTime();
BENCHMARK(gathered)->ArgsProduct({{64 * kib, 256 * kib, mib}, {kib, 4 * kib, 64 * kib}})->UseRealTime();
BENCHMARK(copied)->ArgsProduct({{64 * kib, 256 * kib, mib}, {kib, 4 * kib, 64 * kib}})->UseRealTime();

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
