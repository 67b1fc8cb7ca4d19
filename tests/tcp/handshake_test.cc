// LISTEN and SYN-RECEIVED: tcp/listen.cc.
#include "tests/tcp/tcp_world.h"

namespace penstock::test {
namespace {

TEST(Handshake, OptionsAreAnsweredInKind) {
  TcpWorld world;
  Peer peer{world};
  peer.connect();
  EXPECT_EQ(peer.syn_ack.options.mss, 1460);
  EXPECT_EQ(peer.syn_ack.options.scale, 5);
  EXPECT_TRUE(peer.syn_ack.options.sack_permitted);
  ASSERT_TRUE(peer.syn_ack.options.timestamps.has_value());
  EXPECT_EQ(peer.syn_ack.options.timestamps->second, 100u);
  EXPECT_EQ(peer.syn_ack.window, 4096);
  EXPECT_EQ(world.opened, 1);
  EXPECT_EQ(world.opened_event.peer.port, 40000);
  EXPECT_EQ(world.opened_event.local.port, 9092);
  EXPECT_EQ(world.opened_event.peer.address[15], 2);
  EXPECT_EQ(world.streams->stack().view(world.stream).state, TcpState::established);
  EXPECT_EQ(world.streams->stack().view(world.stream).mss_bytes, 1448u);
}

TEST(Handshake, NothingOfferedNothingUsed) {
  TcpWorld world;
  Peer peer{world};
  peer.timestamps = peer.sack = false;
  peer.scale.reset();
  peer.connect();
  EXPECT_FALSE(peer.syn_ack.options.scale.has_value());
  EXPECT_FALSE(peer.syn_ack.options.sack_permitted);
  EXPECT_FALSE(peer.syn_ack.options.timestamps.has_value());
  EXPECT_EQ(world.opened, 1);
}

TEST(Handshake, OverIpv6AndVlan) {
  TcpWorld world;
  Peer peer{world};
  peer.base.v6 = true;
  peer.base.vlan = 0x2007;
  peer.connect();
  EXPECT_EQ(peer.syn_ack.options.mss, 1440);
  EXPECT_EQ(peer.syn_ack.vlan, 0x2007);
  EXPECT_TRUE(peer.syn_ack.v6);
  EXPECT_EQ(world.opened, 1);
}

TEST(Handshake, SynAckIsRepeatedWithBackoffThenForgotten) {
  TcpWorld world;
  Peer peer{world};
  peer.syn();
  int sent = 0;
  for (int i = 0; i < 1000; ++i) {
    world.poll(100 * millisecond_ns);
    sent += static_cast<int>(world.all_out().size());
  }
  EXPECT_EQ(sent, 6);  // one and five more
  EXPECT_EQ(world.streams->stack().half_open_connections(), 0u);
  EXPECT_EQ(world.streams->stack().window_bytes(), 0u);
  EXPECT_EQ(world.counted(TcpCount::syn_timeouts), 1u);
}

TEST(Handshake, ResetOnlyByTheNextSequenceNumber) {
  TcpWorld world;
  Peer peer{world};
  peer.syn();
  world.all_out();
  Wire reset = peer.segment(RST);
  reset.seq = peer.seq + 100;
  world.in(reset);
  world.poll();
  EXPECT_EQ(world.streams->stack().half_open_connections(), 1u);
  reset.seq = peer.seq + 1;
  world.in(reset);
  world.poll();
  EXPECT_EQ(world.streams->stack().half_open_connections(), 0u);
}

TEST(Handshake, WrongAcknowledgmentIsReset) {
  TcpWorld world;
  Peer peer{world};
  peer.syn();
  const auto answer = world.out();
  Wire wrong = peer.segment(ACK);
  wrong.seq += 1;
  wrong.ack = answer->seq + 2;
  world.in(wrong);
  world.poll();
  const auto reset = world.out();
  ASSERT_TRUE(reset.has_value());
  EXPECT_EQ(reset->flags, RST);
  EXPECT_EQ(reset->seq, wrong.ack);
  EXPECT_EQ(world.opened, 0);
}

TEST(Handshake, NobodyListens) {
  TcpWorld world;
  Peer peer{world};
  peer.base.port = 9;
  peer.syn();
  const auto reset = world.out();
  ASSERT_TRUE(reset.has_value());
  EXPECT_EQ(reset->flags, RST | ACK);
  EXPECT_EQ(reset->ack, peer.seq + 1);
}

TEST(Handshake, CookiesKeepScaleAndSack) {
  TcpWorld world;
  for (uint16_t i = 0; i < 16; ++i) {
    Peer flood{world};
    flood.base.peer_port = static_cast<uint16_t>(50000 + i);
    flood.syn();
  }
  world.all_out();
  for (const bool timestamps : {true, false}) {
    Peer peer{world};
    peer.timestamps = timestamps;
    peer.base.peer_port = timestamps ? 41000 : 41001;
    peer.connect();
    EXPECT_EQ(peer.syn_ack.window, 0);
    EXPECT_EQ(peer.syn_ack.options.scale.has_value(), timestamps);
    EXPECT_EQ(peer.syn_ack.options.sack_permitted, timestamps);
    const auto update = world.out();  // the reader's credit
    ASSERT_TRUE(update.has_value());
    EXPECT_EQ(uint32_t{update->window} << (timestamps ? 5 : 0), 4096u);
    peer.data("hello");
    world.poll();
    EXPECT_EQ(world.streams->stack().view(world.stream).mss_bytes, timestamps ? 1448u : 1460u);
  }
  EXPECT_EQ(world.counted(TcpCount::syn_cookies_accepted), 2u);
  EXPECT_EQ(world.opened, 2);
  EXPECT_EQ(world.received, "hellohello");
  // A guess is refused.
  Peer liar{world};
  liar.base.peer_port = 41002;
  liar.ack = 77;
  world.in(liar.segment(ACK));
  world.poll();
  EXPECT_EQ(world.counted(TcpCount::drop_cookie_invalid), 1u);
}

TEST(Handshake, DataWithTheLastAcknowledgment) {
  TcpWorld world;
  Peer peer{world};
  peer.syn();
  peer.seq += 1;
  peer.ack = world.out()->seq + 1;
  peer.data("early");
  world.poll();
  EXPECT_EQ(world.received, "early");
}

TEST(Handshake, FullTableDropsAndRecovers) {
  TcpConfig config = small_config();
  config.connections_max = 1;
  TcpWorld world(config);
  Peer first{world};
  first.connect();
  Peer second{world};
  second.base.peer_port = 40001;
  second.syn();
  EXPECT_TRUE(world.all_out().empty());
  EXPECT_EQ(world.counted(TcpCount::drop_syn_connections_full), 1u);
  world.in(first.segment(RST | ACK));
  world.poll();
  EXPECT_EQ(world.closed, 1);
  world.all_out();
  second.connect();
  EXPECT_EQ(world.opened, 2);
}

}  // namespace
}  // namespace penstock::test
