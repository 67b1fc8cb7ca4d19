// Ends: tcp/close.cc, tcp/linger.cc.
#include "tests/tcp/tcp_world.h"

namespace penstock::test {
namespace {

struct Close : ::testing::Test {
  TcpWorld world;
  Peer peer{world};
  void SetUp() override {
    peer.connect();
    world.all_out();
  }
  TcpState state() const { return world.streams->stack().view(world.stream).state; }
};

TEST_F(Close, PeerFirst) {
  peer.data("bye", ACK | FIN);
  world.poll();
  EXPECT_EQ(world.received, "bye");
  EXPECT_EQ(world.finished, 1);
  EXPECT_EQ(state(), TcpState::close_wait);
  EXPECT_EQ(world.all_out().back().ack, peer.seq);
  world.send("answer");
  world.streams->close(world.stream);
  world.poll();
  EXPECT_EQ(state(), TcpState::last_ack);
  const auto sent = world.all_out();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].payload.size(), 6u);
  EXPECT_TRUE((sent[0].flags & FIN) != 0);
  EXPECT_EQ(world.closed, 0);
  peer.ack += 7;
  world.in(peer.segment(ACK));
  world.poll();
  EXPECT_EQ(world.closed, 1);
  EXPECT_EQ(world.streams->stack().open_connections(), 0u);
  EXPECT_EQ(world.streams->stack().window_bytes(), 0u);
}

TEST_F(Close, WeFirstThenTimeWait) {
  world.streams->close(world.stream);
  world.poll();
  auto sent = world.all_out();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].flags, FIN | ACK);
  EXPECT_EQ(state(), TcpState::fin_wait_1);
  peer.ack += 1;
  world.in(peer.segment(ACK));
  world.poll();
  EXPECT_EQ(world.closed, 1);  // the lane is done with it
  EXPECT_EQ(world.streams->stack().time_wait_connections(), 1u);
  peer.data("", FIN | ACK);
  world.poll();
  sent = world.all_out();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].ack, peer.seq);
  // Our acknowledgement was lost.
  Wire again = peer.segment(FIN | ACK);
  again.seq -= 1;
  world.in(again);
  world.poll();
  EXPECT_EQ(world.all_out().size(), 1u);
  world.poll(59 * second_ns);
  EXPECT_EQ(world.streams->stack().time_wait_connections(), 1u);
  world.poll(2 * second_ns);
  EXPECT_EQ(world.streams->stack().time_wait_connections(), 0u);
}

TEST_F(Close, BothAtOnce) {
  world.streams->close(world.stream);
  world.poll();
  world.all_out();
  peer.data("", FIN | ACK);  // does not acknowledge ours
  world.poll();
  EXPECT_EQ(state(), TcpState::closing);
  peer.ack += 1;
  world.in(peer.segment(ACK));
  world.poll();
  EXPECT_EQ(world.closed, 1);
  EXPECT_EQ(world.streams->stack().time_wait_connections(), 1u);
}

TEST_F(Close, FinAndItsAcknowledgmentInOne) {
  world.streams->close(world.stream);
  world.poll();
  world.all_out();
  peer.ack += 1;
  peer.data("", FIN | ACK);
  world.poll();
  EXPECT_EQ(world.closed, 1);
  const auto sent = world.all_out();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent.back().ack, peer.seq);
  EXPECT_EQ(world.counted(TcpCount::time_wait_entered), 1u);
}

TEST_F(Close, DataAfterCloseIsReset) {
  world.streams->close(world.stream);
  world.poll();
  world.all_out();
  peer.data("too late");
  world.poll();
  const auto sent = world.all_out();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE((sent[0].flags & RST) != 0);
  EXPECT_EQ(world.closed, 1);
}

TEST_F(Close, FinBehindAHole) {
  const uint32_t base = peer.seq;
  peer.seq = base + 5;
  peer.data("world", ACK | FIN);
  world.poll();
  EXPECT_EQ(world.finished, 0);
  peer.seq = base;
  peer.data("hello");
  world.poll();
  EXPECT_EQ(world.received, "helloworld");
  EXPECT_EQ(world.finished, 1);
  EXPECT_EQ(world.all_out().back().ack, base + 11);
}

TEST_F(Close, AbortSendsReset) {
  world.send("unsent");
  world.streams->abort(world.stream);
  world.poll();
  const auto sent = world.all_out();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].flags, RST | ACK);
  EXPECT_EQ(sent[0].seq, peer.ack);
  EXPECT_EQ(world.closed, 1);
}

TEST_F(Close, ANewConnectionMayFollowInTimeWait) {
  world.streams->close(world.stream);
  world.poll();
  peer.ack += 1;
  peer.data("", FIN | ACK);
  world.poll();
  world.all_out();
  Peer next{world};
  next.seq = peer.seq + 100;
  next.clock = peer.clock + 10;
  next.connect();
  EXPECT_EQ(world.opened, 2);
}

TEST(CloseMany, TimeWaitIsBounded) {
  TcpWorld world;
  for (uint16_t i = 0; i < 20; ++i) {
    Peer peer{world};
    peer.base.peer_port = static_cast<uint16_t>(43000 + i);
    peer.connect();
    world.streams->close(world.stream);
    world.poll();
    peer.ack += 1;
    peer.data("", FIN | ACK);
    world.poll();
  }
  EXPECT_EQ(world.closed, 20);
  EXPECT_EQ(world.streams->stack().time_wait_connections(), 8u);
  EXPECT_EQ(world.counted(TcpCount::time_wait_evicted), 12u);
}

}  // namespace
}  // namespace penstock::test
