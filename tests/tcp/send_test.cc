// What we send: tcp/output.cc, tcp/acknowledge.cc, tcp/repair.cc, tcp/timers.cc.
#include <algorithm>
#include <map>

#include "tests/tcp/tcp_world.h"

namespace penstock::test {
namespace {

std::string text(size_t bytes) {
  std::string out(bytes, ' ');
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>('a' + i % 23);
  return out;
}

struct Send : ::testing::Test {
  TcpWorld world;
  Peer peer{world};
  void SetUp() override { start(); }
  void start() {
    peer.connect();
    world.all_out();
  }
  void acknowledge(uint32_t ack, std::vector<std::pair<uint32_t, uint32_t>> sacks = {}) {
    peer.ack = ack;
    Wire wire = peer.segment(ACK);
    wire.options.sacks = std::move(sacks);
    world.in(wire);
    world.poll(millisecond_ns);
  }
};

TEST_F(Send, InitialWindowThenAsAcknowledged) {
  const std::string sent = text(100'000);
  EXPECT_EQ(world.send(sent), sent.size());
  world.poll();
  auto first = world.all_out();
  ASSERT_EQ(first.size(), 10u);  // RFC 6928
  for (const Wire& wire : first) EXPECT_EQ(wire.payload.size(), 1448u);
  EXPECT_EQ(world.sent, 0u);
  acknowledge(peer.ack + 2896);
  EXPECT_EQ(world.sent, 2896u);
  EXPECT_EQ(world.all_out().size(), 4u);  // slow start: two left, two more
}

TEST_F(Send, WholeStreamInOrderAndReferencesLetGo) {
  const std::string sent = text(300'000);
  std::string got;
  size_t offered = 0;
  for (int round = 0; round < 1000 && got.size() < sent.size(); ++round) {
    offered += world.send(sent.substr(offered, 50'000));
    world.poll(millisecond_ns);
    for (const Wire& wire : world.all_out()) {
      if (wire.payload.empty()) continue;
      EXPECT_EQ(wire.seq, peer.ack);
      got.append(wire.payload.begin(), wire.payload.end());
      peer.ack += static_cast<uint32_t>(wire.payload.size());
    }
    world.in(peer.segment(ACK));
  }
  world.poll();
  EXPECT_EQ(got, sent);
  EXPECT_EQ(world.sent, sent.size());
  EXPECT_EQ(world.streams->stack().view(world.stream).queued_bytes, 0u);
}

TEST_F(Send, TimeoutsDoubleAndEndTheConnection) {
  world.send("lost");
  world.poll();
  EXPECT_EQ(world.all_out().size(), 1u);
  std::vector<Nanoseconds> at;
  const Nanoseconds begin = world.now;
  for (int i = 0; i < 200'000 && world.closed == 0; ++i) {
    world.poll(4 * millisecond_ns);
    for (const Wire& wire : world.all_out()) {
      if (!wire.payload.empty()) at.push_back(world.now - begin);
    }
  }
  EXPECT_EQ(world.closed, 1);
  ASSERT_GE(at.size(), 6u);
  for (size_t i = 3; i + 1 < at.size(); ++i) {
    const double ratio = static_cast<double>(at[i + 1] - at[i]) / static_cast<double>(at[i] - at[i - 1]);
    EXPECT_NEAR(ratio, 2.0, 0.15);
  }
  EXPECT_EQ(world.counted(TcpCount::connections_timed_out), 1u);
}

TEST_F(Send, SackBringsFastRetransmit) {
  world.send(text(14'480));
  world.poll();
  const uint32_t base = peer.ack;
  EXPECT_EQ(world.all_out().size(), 10u);
  // The first and the fourth are lost.
  acknowledge(base, {{base + 1448, base + 3 * 1448}});
  acknowledge(base, {{base + 4 * 1448, base + 6 * 1448}, {base + 1448, base + 3 * 1448}});
  auto again = world.all_out();
  std::vector<uint32_t> retransmitted;
  for (const Wire& wire : again) {
    if (!wire.payload.empty()) retransmitted.push_back(wire.seq);
  }
  acknowledge(base, {{base + 4 * 1448, base + 10 * 1448}, {base + 1448, base + 3 * 1448}});
  for (const Wire& wire : world.all_out()) {
    if (!wire.payload.empty()) retransmitted.push_back(wire.seq);
  }
  EXPECT_EQ(retransmitted, (std::vector<uint32_t>{base, base + 3 * 1448}));
  EXPECT_EQ(world.counted(TcpCount::fast_recoveries), 1u);
  EXPECT_EQ(world.counted(TcpCount::retransmission_timeouts), 0u);
  acknowledge(base + 14'480);
  EXPECT_EQ(world.sent, 14'480u);
}

TEST(SendWithoutSack, ThreeDuplicatesAndPartialAcknowledgments) {
  TcpWorld world;
  Peer peer{world};
  peer.sack = false;
  peer.connect();
  world.send(text(14'480));
  world.poll();
  world.all_out();
  const uint32_t base = peer.ack;
  for (int i = 0; i < 3; ++i) world.in(peer.segment(ACK));
  world.poll();
  auto sent = world.all_out();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent[0].seq, base);
  EXPECT_EQ(world.counted(TcpCount::fast_recoveries), 1u);
  peer.ack = base + 1448 * 3;  // partial: the next is lost too (RFC 6582)
  world.in(peer.segment(ACK));
  world.poll();
  sent = world.all_out();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent[0].seq, base + 1448 * 3);
  EXPECT_EQ(world.counted(TcpCount::retransmission_timeouts), 0u);
}

TEST_F(Send, TailLossIsProbed) {
  // A round trip of 20 ms.
  world.send(text(1448));
  world.poll();
  world.poll(20 * millisecond_ns);
  acknowledge(peer.ack + 1448);
  world.all_out();
  world.send(text(4344));
  world.poll();
  EXPECT_EQ(world.all_out().size(), 3u);
  for (int i = 0; i < 40; ++i) world.poll(4 * millisecond_ns);
  const auto probe = world.all_out();
  ASSERT_EQ(probe.size(), 1u);
  EXPECT_EQ(probe[0].seq, peer.ack + 2896);
  EXPECT_EQ(world.counted(TcpCount::loss_probes), 1u);
  EXPECT_EQ(world.counted(TcpCount::retransmission_timeouts), 0u);
}

TEST_F(Send, ClosedWindowIsProbedAndOpens) {
  peer.window = 0;
  world.in(peer.segment(ACK));
  world.poll();
  world.send(text(3000));
  world.poll();
  EXPECT_TRUE(world.all_out().empty());
  int probes = 0;
  for (int i = 0; i < 500; ++i) {
    world.poll(10 * millisecond_ns);
    for (const Wire& wire : world.all_out()) {
      ++probes;
      EXPECT_EQ(wire.seq, peer.ack - 1);
      EXPECT_TRUE(wire.payload.empty());
      world.in(peer.segment(ACK));
    }
  }
  EXPECT_GE(probes, 2);
  EXPECT_LE(probes, 6);
  peer.window = 1000;
  world.in(peer.segment(ACK));
  world.poll();
  uint32_t got = 0;
  for (const Wire& wire : world.all_out()) got += static_cast<uint32_t>(wire.payload.size());
  EXPECT_EQ(got, 3000u);  // window scale 7: 128,000 bytes
  peer.ack += got;
  world.in(peer.segment(ACK));
  world.poll();
  EXPECT_EQ(world.sent, 3000u);
}

TEST_F(Send, AWindowClosedForGoodEndsTheConnection) {
  peer.window = 0;
  world.in(peer.segment(ACK));
  world.poll();
  world.send(text(3000));
  for (int i = 0; i < 4000 && world.closed == 0; ++i) {
    world.poll(100 * millisecond_ns);
    for (const Wire& wire : world.all_out()) {
      if ((wire.flags & RST) == 0) world.in(peer.segment(ACK));
    }
  }
  EXPECT_EQ(world.closed, 1);
}

TEST(SendKeepalive, SilentPeersAreFoundOut) {
  TcpConfig config = small_config();
  config.times.keepalive_idle = 10 * second_ns;
  config.times.keepalive_interval = 2 * second_ns;
  config.times.keepalive_probes_max = 3;
  TcpWorld world(config);
  Peer peer{world};
  peer.connect();
  world.all_out();
  for (int i = 0; i < 110; ++i) world.poll(100 * millisecond_ns);
  auto probes = world.all_out();
  ASSERT_EQ(probes.size(), 1u);
  EXPECT_EQ(probes[0].seq, peer.ack - 1);
  world.in(peer.segment(ACK));  // it is there
  for (int i = 0; i < 80; ++i) world.poll(100 * millisecond_ns);
  EXPECT_TRUE(world.all_out().empty());
  for (int i = 0; i < 150; ++i) world.poll(100 * millisecond_ns);
  EXPECT_EQ(world.closed, 1);
}

TEST_F(Send, PathMtuFromTheNetwork) {
  world.send(text(14'480));
  world.poll();
  world.all_out();
  const uint32_t base = peer.ack;
  const auto too_big = [&](uint32_t seq) {
    Bytes quoted_tcp;
    put16(quoted_tcp, 9092);
    put16(quoted_tcp, 40000);
    put32(quoted_tcp, seq);
    const Bytes quoted = with_ip(false, our_v4, peer_v4, 6, quoted_tcp);
    Bytes message{3, 4, 0, 0, 0, 0};
    put16(message, 1000);
    message.insert(message.end(), quoted.begin(), quoted.end());
    const uint32_t sum = ~plain_sum(message.data(), message.size());
    message[2] = static_cast<uint8_t>(sum >> 8);
    message[3] = static_cast<uint8_t>(sum);
    world.frames.incoming.push_back(
        with_link(our_link, {2, 0, 0, 0, 0, 8}, {}, 0x0800, with_ip(false, {10, 0, 0, 254}, our_v4, 1, message)));
    world.poll();
  };
  too_big(base - 5000);  // not in flight: somebody guesses
  EXPECT_EQ(world.counted(TcpCount::path_mtu_lowered), 0u);
  too_big(base);
  EXPECT_EQ(world.counted(TcpCount::path_mtu_lowered), 1u);
  const auto again = world.all_out();
  ASSERT_FALSE(again.empty());
  EXPECT_EQ(again[0].seq, base);
  for (const Wire& wire : again) EXPECT_LE(wire.payload.size(), 948u);
}

TEST(SendSegmentation, LargeFramesWhereThePortCutsThem) {
  PortFeatures features = small_port();
  features.segmentation = true;
  features.segmentation_bytes_max = 60'000;
  features.pieces_max = 5;
  TcpWorld world(small_config(), features);
  Peer peer{world};
  peer.connect();
  world.all_out();
  world.send(text(14'000));
  world.poll();
  const auto sent = world.all_out();
  uint32_t got = 0;
  for (const Wire& wire : sent) {
    EXPECT_EQ(wire.seq, peer.ack + got);
    got += static_cast<uint32_t>(wire.payload.size());
  }
  EXPECT_EQ(got, 14'000u);
  EXPECT_LE(sent.size(), 3u);
}

TEST_F(Send, APortWithoutRoomLosesNothing) {
  world.frames.room = 3;
  world.send(text(14'480));
  world.poll();
  EXPECT_EQ(world.all_out().size(), 3u);
  world.frames.room = 1000;
  world.poll();
  EXPECT_EQ(world.all_out().size(), 7u);
}

// A peer that loses frames at random in both directions and acknowledges as it should: everything arrives, once.
TEST(SendLossy, EverythingArrives) {
  for (const bool sack : {true, false}) {
    for (uint32_t seed = 1; seed <= 6; ++seed) {
      TcpWorld world;
      Peer peer{world};
      peer.sack = sack;
      peer.connect();
      world.all_out();
      uint32_t random = seed * 7919;
      const auto chance = [&](uint32_t percent) {
        random = random * 1664525 + 1013904223;
        return (random >> 16) % 100 < percent;
      };
      const std::string sent = text(200'000);
      size_t offered = 0;
      std::map<uint32_t, Wire> waiting;  // by offset
      std::string got;
      const uint32_t base = peer.ack;
      int rounds = 0;
      for (; rounds < 20'000 && got.size() < sent.size(); ++rounds) {
        offered += world.send(sent.substr(offered, 20'000));
        world.poll(5 * millisecond_ns);
        for (const Wire& wire : world.all_out()) {
          ASSERT_EQ(wire.flags & RST, 0);
          if (wire.payload.empty() || chance(10)) continue;
          waiting[wire.seq - base] = wire;
          while (!waiting.empty() && waiting.begin()->first <= got.size()) {
            const auto& [offset, next] = *waiting.begin();
            if (offset + next.payload.size() > got.size()) {
              got.append(next.payload.begin() + static_cast<long>(got.size() - offset), next.payload.end());
            }
            waiting.erase(waiting.begin());
          }
          peer.ack = base + static_cast<uint32_t>(got.size());
          Wire answer = peer.segment(ACK);
          if (sack) {
            for (const auto& [offset, out] : waiting) {
              if (answer.options.sacks.size() == 3) break;
              answer.options.sacks.emplace_back(base + offset, base + offset + out.payload.size());
            }
          }
          if (!chance(10)) world.in(answer);
        }
      }
      EXPECT_EQ(got, sent) << "sack " << sack << " seed " << seed;
      EXPECT_LT(rounds, 5000) << "sack " << sack << " seed " << seed;
    }
  }
}

}  // namespace
}  // namespace penstock::test
