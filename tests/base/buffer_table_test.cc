#include "dataplane/base/buffer_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace penstock {
namespace {

TEST(BufferTable, ReleasesAtTheLastHolderAndNamesLeaks) {
  BufferTable table(16);
  table.open(BufferIndex(4), 2, Holder::request);
  table.hold(BufferIndex(4), Holder::commit);
  table.release(BufferIndex(4), Holder::request);
  EXPECT_TRUE(table.released().empty());
  EXPECT_NE(table.leak_report().find("commit holds 1"), std::string::npos) << table.leak_report();
  table.pass(BufferIndex(4), Holder::commit, Holder::resident);
  EXPECT_EQ(table.held(Holder::commit), 0u);
  table.release(BufferIndex(4), Holder::resident);
  ASSERT_EQ(table.released().size(), 1u);
  EXPECT_EQ(table.released()[0], BufferIndex(4));
  EXPECT_EQ(table.order(BufferIndex(4)), 2);
  table.forget_released();
  EXPECT_EQ(table.leak_report(), "");
}

TEST(BufferTableDeathTest, RefusesWhatNobodyHolds) {
  BufferTable table(16);
  table.open(BufferIndex(1), 0, Holder::request);
  EXPECT_DEATH(table.release(BufferIndex(1), Holder::send), "does not hold it");
  EXPECT_DEATH(table.hold(BufferIndex(2), Holder::send), "held after release");
}

TEST(BufferAllocator, GivesDisjointBuffersAndJoinsThemAgain) {
  constexpr uint32_t units = 1000;  // not a power of two
  BufferAllocator allocator(100, units);
  EXPECT_EQ(allocator.free_bytes(), uint64_t{units} * arena_unit_bytes);
  std::mt19937 random(3);
  struct Held {
    BufferIndex buffer;
    uint8_t order;
  };
  std::vector<Held> held;
  std::vector<bool> used(units);
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      uint8_t got = 0;
      const auto wanted = static_cast<uint8_t>(random() % (BufferAllocator::order_max + 1));
      const BufferIndex buffer = allocator.allocate_at_most(wanted, &got);
      if (buffer == no_buffer) {
        EXPECT_EQ(allocator.free_bytes(), 0u);
        continue;
      }
      EXPECT_LE(got, wanted);
      for (uint32_t unit = 0; unit < 1u << got; ++unit) {
        ASSERT_FALSE(used[buffer.value - 100 + unit]);
        used[buffer.value - 100 + unit] = true;
      }
      held.push_back({buffer, got});
    } else if (!held.empty()) {
      const size_t which = random() % held.size();
      for (uint32_t unit = 0; unit < 1u << held[which].order; ++unit)
        used[held[which].buffer.value - 100 + unit] = false;
      allocator.free(held[which].buffer, held[which].order);
      held[which] = held.back();
      held.pop_back();
    }
    ASSERT_EQ(allocator.free_bytes(),
              static_cast<uint64_t>(std::count(used.begin(), used.end(), false)) * arena_unit_bytes);
  }
  for (const Held& one : held) allocator.free(one.buffer, one.order);
  // Everything has joined again: the three largest buffers fit.
  for (int i = 0; i < 3; ++i) EXPECT_NE(allocator.allocate(BufferAllocator::order_max), no_buffer);
}

TEST(BufferAllocator, OrderForBytes) {
  EXPECT_EQ(BufferAllocator::order_for(1), 0);
  EXPECT_EQ(BufferAllocator::order_for(4096), 0);
  EXPECT_EQ(BufferAllocator::order_for(4097), 1);
  EXPECT_EQ(BufferAllocator::order_for(1 << 20), 8);
  EXPECT_EQ(BufferAllocator::order_for(1 << 30), 8);
}

}  // namespace
}  // namespace penstock
