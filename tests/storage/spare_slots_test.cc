#include "storage/spare_slots.h"

#include <gtest/gtest.h>

#include "storage/limits.h"

namespace penstock {
namespace {

using Need = SpareSlots::Need;

// Prepares all that is wanted; how many that were.
int prepare(SpareSlots& spares, Nanoseconds now = 0) {
  int count = 0;
  for (; const auto slot = spares.wanted(now); ++count) {
    spares.preparing(*slot);
    EXPECT_FALSE(spares.wanted(now));  // one at a time
    spares.prepared(0, now);
  }
  return count;
}

TEST(SpareSlots, PreparesAgainWhenHalfAreGone) {
  struct Row {
    uint32_t spare_count;
    int taken_before;  // this many are taken before any is prepared again
  };
  for (const Row& row : {Row{1, 1}, Row{2, 1}, Row{3, 1}, Row{4, 2}, Row{5, 2}, Row{8, 4}, Row{64, 32}}) {
    SpareSlots spares(row.spare_count);
    spares.begin({});
    EXPECT_EQ(prepare(spares), static_cast<int>(row.spare_count));
    for (int taken = 1; taken <= row.taken_before; ++taken) {
      EXPECT_FALSE(spares.wanted(0)) << row.spare_count;
      EXPECT_TRUE(spares.available(Need::roll)) << row.spare_count;
      spares.take(Need::roll);
    }
    EXPECT_EQ(prepare(spares), row.taken_before) << row.spare_count;
  }
}

// With four or more the lane can still go on while the next is being prepared.
TEST(SpareSlots, OneIsLeftWhenPreparingBegins) {
  for (uint32_t spare_count = 4; spare_count < 70; ++spare_count) {
    SpareSlots spares(spare_count);
    spares.begin({});
    prepare(spares);
    while (!spares.wanted(0)) spares.take(Need::roll);
    EXPECT_TRUE(spares.available(Need::roll)) << spare_count;
  }
}

TEST(SpareSlots, TheLastIsKeptBackAndARefusalIsTriedAgain) {
  SpareSlots spares(2);
  spares.begin({SlotUse::unused});
  EXPECT_EQ(spares.wanted(0), SegmentSlot(0));  // what exists goes first
  prepare(spares);
  EXPECT_EQ(spares.take(Need::roll), SegmentSlot(0));
  EXPECT_FALSE(spares.available(Need::roll));
  EXPECT_TRUE(spares.available(Need::rewrite));
  spares.preparing(*spares.wanted(0));
  spares.prepared(-28, 5);
  EXPECT_TRUE(spares.drive_full());
  EXPECT_FALSE(spares.wanted(5));
  EXPECT_EQ(spares.next_deadline(), 5 + limits::prepare_retry_ns);
  EXPECT_EQ(prepare(spares, spares.next_deadline()), 1);
  EXPECT_FALSE(spares.drive_full());
  EXPECT_TRUE(spares.available(Need::roll));
}

TEST(SpareSlots, RecycledSlotsAreReadyAsTheyAre) {
  SpareSlots spares(2);
  spares.begin({});
  prepare(spares);
  spares.take(Need::roll);
  spares.recycled(SegmentSlot(7));
  EXPECT_FALSE(spares.wanted(0));  // nothing has to be prepared
  EXPECT_EQ(spares.take(Need::roll), SegmentSlot(1));
  EXPECT_EQ(spares.take(Need::rewrite), SegmentSlot(7));
}

TEST(SpareSlots, OnAFullDriveOneIsKeptBackUntilTwoCameBack) {
  SpareSlots spares(1);
  spares.begin({});
  prepare(spares);
  spares.take(Need::roll);
  spares.preparing(*spares.wanted(0));
  spares.prepared(-28, 0);
  spares.recycled(SegmentSlot(0));
  EXPECT_TRUE(spares.drive_full());
  EXPECT_FALSE(spares.available(Need::roll));
  EXPECT_TRUE(spares.available(Need::rewrite));
  spares.recycled(SegmentSlot(1));
  EXPECT_FALSE(spares.drive_full());
  EXPECT_TRUE(spares.available(Need::roll));
}

}  // namespace
}  // namespace penstock
