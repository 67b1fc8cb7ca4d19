// What the one pass over a batch costs: checksum alone, copy alone, one after the other, and both in one pass.
// The argument is the bytes of a batch; a ring of batches larger than the caches makes every run start in DRAM,
// as bytes a card just wrote do when it does not place them in the cache.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "storage/crc/crc32c.h"

namespace penstock {
namespace {

constexpr size_t ring_bytes = size_t{256} << 20;

struct Batches {
  std::vector<std::byte> ring = std::vector<std::byte>(ring_bytes, std::byte{0x5a});
  std::vector<std::byte> copy;
  size_t batch_bytes;
  size_t at = 0;

  explicit Batches(const benchmark::State& state) : batch_bytes(static_cast<size_t>(state.range(0))) {
    copy.resize(batch_bytes);
  }
  const std::byte* next() {
    if (at + batch_bytes > ring.size()) at = 0;
    const std::byte* batch = ring.data() + at;
    at += batch_bytes;
    return batch;
  }
};

template <class OneBatch>
void run(benchmark::State& state, OneBatch&& one_batch) {
  Batches batches(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(one_batch(batches.next(), batches.copy.data(), batches.batch_bytes));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}

void crc_alone(benchmark::State& state) {
  run(state, [](const std::byte* from, std::byte*, size_t count) { return crc32c(0, from, count); });
}
void copy_alone(benchmark::State& state) {
  run(state, [](const std::byte* from, std::byte* to, size_t count) { return std::memcpy(to, from, count); });
}
void copy_then_crc(benchmark::State& state) {
  run(state, [](const std::byte* from, std::byte* to, size_t count) {
    std::memcpy(to, from, count);
    return crc32c(0, from, count);
  });
}
void one_pass(benchmark::State& state) {
  run(state, [](const std::byte* from, std::byte* to, size_t count) { return copy_and_crc32c(0, to, from, count); });
}

BENCHMARK(crc_alone)->Arg(1448)->Arg(16 << 10)->Arg(1 << 20);
BENCHMARK(copy_alone)->Arg(1448)->Arg(16 << 10)->Arg(1 << 20);
BENCHMARK(copy_then_crc)->Arg(1448)->Arg(16 << 10)->Arg(1 << 20);
BENCHMARK(one_pass)->Arg(1448)->Arg(16 << 10)->Arg(1 << 20);

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
