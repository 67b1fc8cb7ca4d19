#include "dataplane/base/timer_wheel.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace penstock {
namespace {

TEST(TimerWheel, FiresNeverEarlyAndAtTheFirstCallAfter) {
  TimerWheel wheel(100);
  std::map<uint32_t, Nanoseconds> model;
  std::mt19937_64 random(11);
  Nanoseconds now = 0;
  for (int step = 0; step < 20'000; ++step) {
    const auto index = static_cast<uint32_t>(random() % 100);
    switch (random() % 3) {
      case 0: {
        // Some beyond a turn of the wheel, some already past.
        const Nanoseconds deadline = now - millisecond_ns + static_cast<Nanoseconds>(random() % (5 * second_ns));
        wheel.set(index, deadline);
        model[index] = deadline;
        break;
      }
      case 1:
        wheel.clear(index);
        model.erase(index);
        break;
      default: {
        now += static_cast<Nanoseconds>(random() % (random() % 50 == 0 ? 6 * second_ns : 20 * millisecond_ns));
        Nanoseconds earliest = never_ns;
        for (const auto& [i, deadline] : model) earliest = std::min(earliest, deadline);
        ASSERT_LE(wheel.next_deadline(), earliest);
        wheel.expire(now, [&](uint32_t fired) {
          ASSERT_TRUE(model.contains(fired));
          ASSERT_LE(model[fired], now);
          model.erase(fired);
        });
        for (const auto& [i, deadline] : model) ASSERT_GT(deadline, now) << "not fired: " << i;
      }
    }
    ASSERT_EQ(wheel.count(), model.size());
  }
}

TEST(TimerWheel, ManyFarDeadlinesAreNotSearchedToTheEnd) {
  constexpr uint32_t far_count = 20'000;
  TimerWheel wheel(far_count + 1);
  for (uint32_t i = 0; i < far_count; ++i) wheel.set(i, 7200 * second_ns + i * millisecond_ns);
  const Nanoseconds near = second_ns;
  wheel.set(far_count, 10 * millisecond_ns);
  Nanoseconds now = 0, fired_at = 0;
  uint32_t calls = 0;
  while (fired_at == 0 && calls < 2000) {
    now = std::max(now + 1, wheel.next_deadline());
    ++calls;
    wheel.expire(now, [&](uint32_t index) {
      ASSERT_EQ(index, far_count);
      if (now < near) {
        wheel.set(index, near);
      } else {
        fired_at = now;
      }
    });
  }
  EXPECT_GE(fired_at, near);
  EXPECT_LE(fired_at, near + TimerWheel::tick_ns);
  EXPECT_LE(calls, near / TimerWheel::tick_ns + 3);
}

}  // namespace
}  // namespace penstock
