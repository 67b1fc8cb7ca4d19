#include "drivers/kernel/receive_plan.h"

#include <gtest/gtest.h>

#include <vector>

namespace penstock::test {
namespace {

struct Plan {
  static constexpr uint32_t units = 1024;
  std::vector<std::byte> memory = std::vector<std::byte>(units * arena_unit_bytes);
  Arena arena{memory.data(), memory.size()};
  BufferTable buffers{units};
  BufferAllocator allocator{0, units};
  ReceivePlan plan;
  std::vector<Piece> pieces;

  void advance(uint64_t bytes) {
    plan.advance(bytes, arena, buffers, [&](const Piece& piece) { pieces.push_back(piece); });
  }
  void release() {
    for (const Piece& piece : pieces) buffers.release(piece.buffer, Holder::request);
    pieces.clear();
    plan.drop(buffers);
    EXPECT_EQ(buffers.leak_report(), "");
  }
};

TEST(ReceivePlan, ChoosesLargestRunsAndWastesNoPage) {
  struct Case {
    uint64_t pages;
    int order;
  };
  for (const Case& expected :
       {Case{1, 0}, {2, 1}, {3, 1}, {4, 2}, {7, 2}, {8, 3}, {20, 4}, {255, 7}, {256, 8}, {10'000, 8}}) {
    EXPECT_EQ(ReceivePlan::next_order(expected.pages * arena_unit_bytes), expected.order) << expected.pages;
    EXPECT_EQ(ReceivePlan::next_order((expected.pages - 1) * arena_unit_bytes + 1), expected.order) << expected.pages;
  }
  Plan world;
  for (const uint64_t bytes : {1ul, 4096ul, 4097ul, 900'000ul, 3'000'000ul}) {
    const uint64_t before = world.allocator.free_bytes();
    EXPECT_TRUE(world.plan.extend(bytes, world.allocator, world.buffers));
    EXPECT_EQ(before - world.allocator.free_bytes(), round_up(bytes, arena_unit_bytes));
    world.release();
    for (const BufferIndex buffer : world.buffers.released()) world.allocator.free(buffer, world.buffers.order(buffer));
    world.buffers.forget_released();
  }
}

TEST(ReceivePlan, GoesOnInTheTailAndThenOnPageEdges) {
  Plan world;
  const BufferIndex small = world.allocator.allocate(0);
  world.buffers.open(small, 0, Holder::device);
  world.plan.start(small, 0, world.buffers);
  world.advance(1000);
  EXPECT_EQ(world.plan.room(), 3096u);

  const uint64_t rest = 3096 + 20 * 4096 + 5;
  EXPECT_TRUE(world.plan.extend(rest, world.allocator, world.buffers));
  iovec vectors[ReceivePlan::buffers_max];
  const uint32_t count = world.plan.vectors(rest, world.arena, world.buffers, vectors, ReceivePlan::buffers_max);
  EXPECT_EQ(vectors[0].iov_base, world.arena.at(small) + 1000);
  EXPECT_EQ(vectors[0].iov_len, 3096u);
  uint64_t total = 0;
  for (uint32_t i = 0; i < count; ++i) total += vectors[i].iov_len;
  EXPECT_EQ(total, rest);

  world.advance(rest - 100);  // cut short, for instance by a probe
  world.advance(100);
  for (size_t i = 1; i + 1 < world.pieces.size(); ++i) {  // each goes on where the one before it ended, or on an edge
    const std::byte* end = world.pieces[i].data + world.pieces[i].length;
    EXPECT_TRUE((end - world.arena.base) % 4096 == 0 || end == world.pieces[i + 1].data) << i;
  }
  uint64_t delivered = 0;
  for (const Piece& piece : world.pieces) delivered += piece.length;
  EXPECT_EQ(delivered, 1000 + rest);
  EXPECT_LE(world.buffers.held(Holder::device), 1u);  // the last run, partly filled
  world.release();
}

TEST(ReceivePlan, TakesWhatMemoryThereIs) {
  Plan world;
  while (world.allocator.free_bytes() > 3 * arena_unit_bytes) world.allocator.allocate(0);
  EXPECT_FALSE(world.plan.extend(MiB, world.allocator, world.buffers));
  EXPECT_EQ(world.plan.room(), 3 * arena_unit_bytes);
  EXPECT_FALSE(world.plan.touched());
  world.plan.drop_untouched(world.buffers);
  EXPECT_TRUE(world.plan.empty());
  EXPECT_EQ(world.plan.room(), 0u);
  world.release();
}

TEST(ReceivePlan, StopsAtItsNumberOfBuffers) {
  Plan world;
  std::vector<BufferIndex> taken;  // every second page free: fragmented to single pages
  for (uint32_t i = 0; i < Plan::units; ++i) taken.push_back(world.allocator.allocate(0));
  for (const BufferIndex buffer : taken) {
    if (buffer.value % 2 == 0) world.allocator.free(buffer, 0);
  }
  EXPECT_TRUE(world.plan.extend(MiB, world.allocator, world.buffers));
  EXPECT_EQ(world.plan.room(), uint64_t{ReceivePlan::buffers_max} * arena_unit_bytes);
  world.advance(arena_unit_bytes * 3 / 2);
  EXPECT_TRUE(world.plan.extend(MiB, world.allocator, world.buffers));
  EXPECT_EQ(world.plan.room(), uint64_t{ReceivePlan::buffers_max} * arena_unit_bytes - arena_unit_bytes / 2);
  world.plan.drop_untouched(world.buffers);
  EXPECT_EQ(world.plan.room(), arena_unit_bytes / 2);
  world.release();
}

}  // namespace
}  // namespace penstock::test
