#include "storage/durable_prefix.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

CommitSequence commit(uint64_t sequence) { return CommitSequence(sequence); }
constexpr SegmentSlot file{1};
constexpr SegmentSlot next_file{2};

TEST(DurablePrefix, OnlyTheContiguousPrefixCounts) {
  DurablePrefix prefix(8, commit(0));
  for (uint64_t i = 1; i <= 3; ++i) prefix.add(commit(i), file);
  prefix.written(commit(2), true);
  EXPECT_EQ(prefix.durable(), commit(0));
  prefix.written(commit(1), true);
  EXPECT_EQ(prefix.durable(), commit(2));
  prefix.written(commit(3), true);
  EXPECT_EQ(prefix.durable(), commit(3));
}

TEST(DurablePrefix, FlushCoversOnlyWhatCompletedBeforeItWasSubmitted) {
  DurablePrefix prefix(8, commit(0));
  for (uint64_t i = 1; i <= 3; ++i) prefix.add(commit(i), file);
  prefix.written(commit(1), false);
  EXPECT_TRUE(prefix.wants_flush());
  prefix.flush_submitted();
  EXPECT_FALSE(prefix.wants_flush());
  prefix.written(commit(2), false);
  prefix.flush_finished();
  EXPECT_EQ(prefix.durable(), commit(1));
  EXPECT_TRUE(prefix.wants_flush());
  prefix.flush_submitted();
  prefix.flush_finished();
  EXPECT_EQ(prefix.durable(), commit(2));
  EXPECT_FALSE(prefix.wants_flush()) << "the third is still in flight";
}

TEST(DurablePrefix, FlushBehindAHoleWaits) {
  DurablePrefix prefix(8, commit(0));
  prefix.add(commit(1), file);
  prefix.add(commit(2), file);
  prefix.written(commit(2), false);
  EXPECT_FALSE(prefix.wants_flush()) << "it would not move the prefix on";
  prefix.written(commit(1), true);
  EXPECT_EQ(prefix.durable(), commit(1));
  EXPECT_TRUE(prefix.wants_flush());
}

TEST(DurablePrefix, FlushCoversOneFile) {
  DurablePrefix prefix(8, commit(10));
  prefix.add(commit(11), file);
  prefix.add(commit(12), next_file);
  prefix.written(commit(11), false);
  prefix.written(commit(12), false);
  EXPECT_EQ(prefix.flush_file(), file);
  prefix.flush_submitted();
  prefix.flush_finished();
  EXPECT_EQ(prefix.durable(), commit(11));
  EXPECT_EQ(prefix.flush_file(), next_file);
}

TEST(DurablePrefix, InterruptedFlushIsWantedAgain) {
  DurablePrefix prefix(8, commit(0));
  prefix.add(commit(1), file);
  prefix.written(commit(1), false);
  prefix.flush_submitted();
  prefix.flush_interrupted();
  EXPECT_EQ(prefix.durable(), commit(0));
  EXPECT_TRUE(prefix.wants_flush());
}

TEST(DurablePrefix, StartsOverAfterAFailure) {
  DurablePrefix prefix(4, commit(0));
  for (uint64_t i = 1; i <= 4; ++i) prefix.add(commit(i), file);
  prefix.written(commit(1), true);
  prefix.written(commit(3), true);
  prefix.restart(prefix.durable());
  EXPECT_EQ(prefix.last(), commit(1));
  for (uint64_t i = 2; i <= 4; ++i) prefix.add(commit(i), next_file);
  prefix.written(commit(2), true);
  EXPECT_EQ(prefix.durable(), commit(2)) << "that the third completed once no longer counts";
}

}  // namespace
}  // namespace penstock
