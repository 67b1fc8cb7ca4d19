#include "dataplane/tcp/congestion.h"

#include <gtest/gtest.h>

#include <cmath>

#include "dataplane/tcp/rtt.h"

namespace penstock::tcp {
namespace {

TEST(Congestion, SlowStartThenCubicPassesTheOldMaximum) {
  Congestion c;
  c.start(CongestionKind::cubic, 1000);
  EXPECT_EQ(c.window(), 10'000u);
  c.acknowledged(5000, millisecond_ns, true, second_ns);
  EXPECT_EQ(c.window(), 15'000u);
  c.acknowledged(5000, millisecond_ns, false, second_ns);
  EXPECT_EQ(c.window(), 15'000u);  // not limited by it
  while (c.window() < 1'000'000) c.acknowledged(10'000, millisecond_ns, true, second_ns);
  const uint64_t maximum = c.window();
  c.lost(maximum);
  EXPECT_NEAR(static_cast<double>(c.window()), 0.7 * static_cast<double>(maximum), 1000);
  // RFC 9438 4.2: back at W_max after K = cbrt(W_max (1 - beta) / C) seconds, at one segment less cbrt(1 / C) earlier.
  Nanoseconds now = 2 * second_ns, back_at = 0;
  const Nanoseconds rtt = 50 * millisecond_ns;
  for (int i = 0; i < 2000 && back_at == 0; ++i, now += rtt) {
    c.acknowledged(c.window(), rtt, true, now);
    if (c.window() >= maximum - 1000) back_at = now - 2 * second_ns;
  }
  EXPECT_NEAR(static_cast<double>(back_at) / second_ns, std::cbrt(1000 * 0.3 / 0.4) - std::cbrt(1 / 0.4), 0.2);
}

TEST(Congestion, NewRenoAddsASegmentForAWindow) {
  Congestion c;
  c.start(CongestionKind::new_reno, 1000);
  c.lost(20'000);
  EXPECT_EQ(c.window(), 10'000u);
  c.acknowledged(10'000, millisecond_ns, true, second_ns);
  EXPECT_EQ(c.window(), 11'000u);
  c.timed_out(11'000, true);
  EXPECT_EQ(c.window(), 1000u);
  EXPECT_EQ(c.threshold(), 5500u);
  c.timed_out(1000, false);
  EXPECT_EQ(c.threshold(), 5500u);
}

TEST(RoundTrip, AsRfc6298Says) {
  const TcpTimes times;
  RoundTrip rtt;
  rtt.start(times);
  EXPECT_EQ(rtt.timeout(times), second_ns);
  rtt.sample(400 * millisecond_ns, times);
  EXPECT_EQ(rtt.timeout(times), 1200 * millisecond_ns);
  rtt.back_off();
  EXPECT_EQ(rtt.timeout(times), 2400 * millisecond_ns);
  for (int i = 0; i < 100; ++i) rtt.sample(millisecond_ns, times);
  EXPECT_EQ(rtt.timeout(times), times.rto_min);
  for (int i = 0; i < 30; ++i) rtt.back_off();
  EXPECT_EQ(rtt.timeout(times), times.rto_max);
}

}  // namespace
}  // namespace penstock::tcp
