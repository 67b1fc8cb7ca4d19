#include "dataplane/tcp/flow_secret.h"

#include <gtest/gtest.h>

namespace penstock::tcp {
namespace {

// From the reference implementation's vectors (key 00..0f, input 00..07 and 00..0f).
TEST(SipHash, ReferenceVectors) {
  const HashKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  const std::array<uint64_t, 2> words{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  EXPECT_EQ(siphash(key, std::span(words).first(0)), 0x726fdb47dd0e0e31u);
  EXPECT_EQ(siphash(key, std::span(words).first(1)), 0x93f5f5799a932462u);
  EXPECT_EQ(siphash(key, words), 0x3f2acc7f57c29bdbu);
}

net::Flow flow_of(uint16_t port) {
  return {net::IpAddress::v4(10, 0, 0, 1), net::IpAddress::v4(10, 0, 0, 2), 9092, port};
}

TEST(FlowSecret, SequenceNumbersGrowWithTimeAndDifferByFlow) {
  const FlowSecret secret({1, 2});
  const SeqNumber first = secret.initial_sequence(flow_of(1), second_ns);
  EXPECT_EQ(secret.initial_sequence(flow_of(1), 2 * second_ns) - first, 250'000u);
  EXPECT_NE(secret.initial_sequence(flow_of(2), second_ns), first);
  EXPECT_NE(FlowSecret({1, 3}).initial_sequence(flow_of(1), second_ns), first);
}

TEST(FlowSecret, CookiesRememberTheSynAndLastTwoPeriods) {
  const FlowSecret secret({7, 8});
  for (uint32_t i = 0; i < 2000; ++i) {
    const net::Flow flow = flow_of(static_cast<uint16_t>(1000 + i));
    const SeqNumber peer(i * 1'000'003);
    SynOptions said;
    said.mss = static_cast<uint16_t>(536 + i * 5);
    said.window_scale = i % 4 == 0 ? net::Segment::no_window_scale : static_cast<uint8_t>(i % 15);
    said.sack = i % 2 == 0;
    said.timestamps = true;
    const Nanoseconds now = second_ns * (1000 + i);
    const SeqNumber cookie = secret.cookie(flow, peer, said.mss, now);
    const uint32_t stamp = secret.cookie_timestamp(flow, said, now);
    const uint32_t clock = FlowSecret::timestamp_clock(now, secret.timestamp_offset(flow));
    EXPECT_LT(clock - stamp, 128u);
    const auto known = secret.check_cookie(flow, cookie, peer, stamp, now + 60 * second_ns);
    ASSERT_TRUE(known.has_value());
    EXPECT_EQ(known->window_scale, said.window_scale);
    EXPECT_EQ(known->sack, said.sack);
    EXPECT_LE(known->mss, said.mss);
    EXPECT_GE(known->mss + 3900, said.mss);
    EXPECT_FALSE(secret.check_cookie(flow, cookie, peer, stamp, now + 129 * second_ns).has_value());
    EXPECT_FALSE(secret.check_cookie(flow, cookie + 8, peer, stamp, now).has_value());
    EXPECT_FALSE(secret.check_cookie(flow, cookie, peer + 64, stamp, now).has_value());
    EXPECT_FALSE(secret.check_cookie(flow, cookie, peer + 1, stamp, now).has_value());
    EXPECT_FALSE(secret.check_cookie(flow, cookie, peer - 1, stamp, now).has_value());
    EXPECT_FALSE(secret.check_cookie(flow_of(1), cookie, peer, stamp, now).has_value());
  }
}

TEST(FlowSecret, CookieNeverKeepsMoreThanTheMss) {
  const FlowSecret secret({7, 8});
  const SeqNumber peer(12345);
  for (uint16_t mss = 88; mss < 10'000; ++mss) {
    const SeqNumber cookie = secret.cookie(flow_of(1), peer, mss, second_ns);
    const auto known = secret.check_cookie(flow_of(1), cookie, peer, std::nullopt, second_ns);
    ASSERT_TRUE(known.has_value());
    ASSERT_LE(known->mss, mss);
  }
}

}  // namespace
}  // namespace penstock::tcp
