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

}  // namespace
}  // namespace penstock
