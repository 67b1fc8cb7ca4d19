// After start a lane does not allocate: a whole lane behind an in-process sender on a drive that keeps nothing, with
// every call of operator new counted, within a segment.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "bench/memory_streams.h"
#include "bench/null_drive.h"
#include "bench/produce_frame.h"
#include "dataplane/lane.h"
#include "tests/drivers/count_allocations.h"

namespace penstock {
namespace {

// Batches of this size in pieces of that size; commits that gather, and commits that copy.
class SteadyState : public testing::TestWithParam<std::pair<uint32_t, uint32_t>> {};

TEST_P(SteadyState, ALaneDoesNotAllocate) {
  const auto [batch_bytes, piece_bytes] = GetParam();
  constexpr uint64_t arena_bytes = 96 * MiB;
  constexpr uint32_t log_units = 40 * MiB / arena_unit_bytes, send_units = 8 * MiB / arena_unit_bytes;
  const std::unique_ptr<std::byte, decltype(&std::free)> memory(
      static_cast<std::byte*>(std::aligned_alloc(2 * MiB, arena_bytes)), &std::free);
  const Arena arena{memory.get(), arena_bytes};
  const bench::Frame frame = bench::make_frame(batch_bytes);
  BufferTable buffers(arena.unit_count());
  BufferAllocator log_buffers(0, log_units), send_buffers(log_units, send_units);
  BufferAllocator receive_buffers(log_units + send_units, arena.unit_count() - log_units - send_units);
  PiecePool pieces(20'000);
  MemoryStreams streams(arena, buffers, receive_buffers, frame.bytes, frame.batch_position, piece_bytes);
  DriveUnits units;
  units.copybreak = 4096;
  NullDrive drive(units);
  Log log({.segment_bytes = 16 * MiB, .spare_segments = 2, .resident_bytes_max = 8 * MiB, .random_seed = 1}, units,
          {arena, &buffers, &log_buffers}, drive);
  Mailbox<ToLane> inbox(8);
  Mailbox<ToControl> outbox(64);
  LaneMetrics metrics;
  Lane<MemoryStreams, NullDrive> lane({.connections_max = 4, .receive_bytes = 16 * MiB, .request_bytes_max = 4 * MiB},
                                      {arena, &buffers, &log_buffers, &send_buffers, &pieces}, streams, drive, log,
                                      inbox, outbox, metrics);
  ToLane message;
  message.view = bench::make_view();
  ASSERT_TRUE(inbox.push(std::move(message)));

  Nanoseconds now = 0;
  const auto run_to = [&](uint64_t payload_bytes) {
    const Nanoseconds deadline = now + 100 * second_ns;
    while (log.statistics().payload_bytes < payload_bytes && now < deadline) lane.poll(now += 1000, 0);
    ASSERT_GE(log.statistics().payload_bytes, payload_bytes);
  };
  // A segment's index holds a batch for every 2 KiB of the segment: with small batches it is sealed early.
  const uint64_t segment_payload = std::min<uint64_t>(15 * MiB, 16 * MiB / 2048 * batch_bytes);
  run_to(segment_payload / 3);
  const uint64_t before = test::allocations_of_this_thread();
  run_to(segment_payload * 9 / 10);
  EXPECT_EQ(test::allocations_of_this_thread() - before, 0u) << "within a segment";
  EXPECT_GT(metrics.produce_latency.count.get(), 0u);

  streams.pause(true);
  while (!log.drained()) lane.poll(now += 1000, 0);
  lane.release_all();
  EXPECT_EQ(buffers.leak_report(), "");
}

INSTANTIATE_TEST_SUITE_P(Sizes, SteadyState,
                         testing::Values(std::pair{200u, 4096u}, std::pair{16u << 10, 1448u},
                                         std::pair{16u << 10, 4096u}, std::pair{900'000u, 1u << 20}));

}  // namespace
}  // namespace penstock
