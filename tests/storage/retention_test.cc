#include "storage/retention.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Retention, WhatExpires) {
  struct Row {
    RetentionPolicy policy;
    Milliseconds now, timestamp;
    uint64_t bytes_behind;
    bool expired;
  };
  constexpr Row rows[] = {
      {{}, 1'000'000, 0, 1 << 30, false},              // everything for ever
      {{.age_max = 100}, 1000, 899, 0, true},          //
      {{.age_max = 100}, 1000, 900, 0, false},         // not older than, but as old as it may be
      {{.age_max = 0}, 1000, 1000, 0, false},          //
      {{.age_max = 0}, 1000, 999, 0, true},            //
      {{.age_max = 100}, 1000, 5000, 0, false},        // from the future
      {{.age_max = 100}, 1000, -1, 0, false},          // of no time
      {{.age_max = 100}, -1, 500, 0, false},           // no clock
      {{.bytes_max = 100}, 1000, 1000, 99, false},     // what stays must be enough
      {{.bytes_max = 100}, 1000, 1000, 100, true},     //
      {{.bytes_max = 0}, 1000, 1000, 0, true},         //
      {{100, 1000}, 1000, 1000, 1000, true},           // either
      {{100, 1000}, 1000, 100, 0, true},               //
  };
  for (const Row& row : rows) {
    EXPECT_EQ(has_expired(row.policy, row.now, row.timestamp, row.bytes_behind), row.expired) << &row - rows;
  }
}

constexpr Milliseconds year_ms = 365LL * 24 * 3600 * 1000;

// A clock looked at every ten seconds, that shows `ahead` ms more than it should. What is believed, as ms ahead.
class Watched {
 public:
  Watched(Milliseconds newest, Milliseconds wall) : clock_(newest), wall_(wall) { at_start = look(0, 0); }
  Milliseconds look(Nanoseconds after, Milliseconds ahead) {
    now_ += after;
    const Milliseconds real = wall_ + now_ / millisecond_ns;
    return clock_.believe(now_, real + ahead) - real;
  }
  Milliseconds look_for(Nanoseconds span, Milliseconds ahead) {
    Milliseconds last = 0;
    for (const Nanoseconds end = now_ + span; now_ < end;) last = look(10 * second_ns, ahead);
    return last;
  }
  Milliseconds at_start = 0;

 private:
  RetentionClock clock_;
  Milliseconds wall_;
  Nanoseconds now_ = 0;
};

TEST(RetentionClock, FollowsASaneClock) {
  Watched clock(-1, year_ms);
  EXPECT_EQ(clock.at_start, 0);
  EXPECT_EQ(clock.look_for(3600 * second_ns, 0), 0);
  EXPECT_EQ(clock.look(10 * second_ns, 900), 900);  // a small step
}

TEST(RetentionClock, AShortJumpAheadIsNeverBelieved) {
  Watched clock(-1, year_ms);
  clock.look_for(60 * second_ns, 0);
  EXPECT_EQ(clock.look_for(590 * second_ns, year_ms), 0);
  EXPECT_EQ(clock.look(10 * second_ns, 0), 0);
  // And the next one waits from its own beginning.
  EXPECT_EQ(clock.look_for(590 * second_ns, year_ms), 0);
}

TEST(RetentionClock, ALastingJumpIsBelievedAfterTenMinutes) {
  Watched clock(-1, year_ms);
  clock.look_for(60 * second_ns, 0);
  EXPECT_EQ(clock.look_for(600 * second_ns, year_ms), 0);
  EXPECT_EQ(clock.look(10 * second_ns, year_ms), year_ms);
}

TEST(RetentionClock, AClockThatKeepsJumpingIsNotBelieved) {
  Watched clock(-1, year_ms);
  for (int i = 1; i <= 1000; ++i) EXPECT_EQ(clock.look(10 * second_ns, 5000 * i), 0);
}

TEST(RetentionClock, GoingBackIsBelievedAtOnce) {
  Watched clock(-1, year_ms);
  EXPECT_EQ(clock.look(10 * second_ns, -year_ms / 2), -year_ms / 2);
  // Back to the truth is a jump like any other.
  EXPECT_EQ(clock.look_for(600 * second_ns, 0), -year_ms / 2);
  EXPECT_EQ(clock.look(10 * second_ns, 0), 0);
}

TEST(RetentionClock, AtStartTheNewestRecordIsTheMeasure) {
  EXPECT_EQ(Watched(year_ms - 1000, year_ms).at_start, 0);
  EXPECT_EQ(Watched(2 * year_ms, year_ms).at_start, 0);  // records of the future
  Watched off_for_long(year_ms, 2 * year_ms);
  EXPECT_EQ(off_for_long.at_start, -year_ms);
  EXPECT_EQ(off_for_long.look_for(590 * second_ns, 0), -year_ms);
  EXPECT_EQ(off_for_long.look_for(20 * second_ns, 0), 0);
}

}  // namespace
}  // namespace penstock
