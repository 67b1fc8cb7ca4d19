// Segments of a connection: tcp/receive.cc, tcp/deliver.cc, tcp/window.cc.
#include "tests/tcp/tcp_world.h"

namespace penstock::test {
namespace {

std::string text(size_t bytes, uint32_t from = 0) {
  std::string out(bytes, ' ');
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>('a' + (from + i) % 23);
  return out;
}

struct Receive : ::testing::Test {
  TcpWorld world;
  Peer peer{world};
  void SetUp() override {
    world.credit_at_open = 100'000;
    peer.connect();
    world.all_out();
  }
  uint32_t window_of(const Wire& wire) const { return uint32_t{wire.window} << 5; }
};

TEST_F(Receive, InOrderGoesTheFastWayWithoutCopy) {
  for (int i = 0; i < 10; ++i) peer.data(text(1448, static_cast<uint32_t>(i) * 1448));
  world.poll();
  EXPECT_EQ(world.received, text(14480));
  EXPECT_EQ(world.counted(TcpCount::segments_fast_path), 10u);
  EXPECT_EQ(world.counted(TcpCount::bytes_copied), 0u);
  const auto sent = world.all_out();
  ASSERT_EQ(sent.size(), 1u);  // one acknowledgement for the burst
  EXPECT_EQ(sent[0].ack, peer.seq);
}

TEST_F(Receive, OneSegmentIsAcknowledgedLater) {
  for (int i = 0; i < 20; ++i) {  // the first ones at once
    peer.data(text(1448));
    world.poll();
  }
  world.all_out();
  peer.data(text(100));
  world.poll();
  EXPECT_TRUE(world.all_out().empty());
  world.poll(44 * millisecond_ns);
  EXPECT_EQ(world.all_out().size(), 1u);
}

TEST_F(Receive, HolesAreFilledAndReported) {
  const uint32_t base = peer.seq;
  const auto at = [&](uint32_t offset, uint32_t bytes) {
    peer.seq = base + offset;
    peer.data(text(bytes, offset));
    world.poll();
    auto sent = world.all_out();
    EXPECT_EQ(sent.size(), 1u);
    return sent.at(0);
  };
  using Blocks = std::vector<std::pair<uint32_t, uint32_t>>;
  EXPECT_EQ(at(1448, 1448).options.sacks, (Blocks{{base + 1448, base + 2896}}));
  EXPECT_EQ(at(5000, 1000).options.sacks, (Blocks{{base + 5000, base + 6000}, {base + 1448, base + 2896}}));
  EXPECT_EQ(at(8000, 1000).options.sacks,
            (Blocks{{base + 8000, base + 9000}, {base + 5000, base + 6000}, {base + 1448, base + 2896}}));
  // The one touched last comes first.
  EXPECT_EQ(at(2896, 100).options.sacks,
            (Blocks{{base + 1448, base + 2996}, {base + 8000, base + 9000}, {base + 5000, base + 6000}}));
  // Twice (RFC 2883): the duplicate, then the block that holds it.
  EXPECT_EQ(at(5000, 500).options.sacks,
            (Blocks{{base + 5000, base + 5500}, {base + 5000, base + 6000}, {base + 1448, base + 2996}}));
  EXPECT_EQ(world.received, "");
  const Wire filled = at(0, 1448);
  EXPECT_EQ(filled.ack, base + 2996);
  EXPECT_EQ(world.received, text(2996));
  at(2996, 2004);
  EXPECT_EQ(world.received, text(6000));
  EXPECT_EQ(at(6000, 2000).ack, base + 9000);
  EXPECT_EQ(world.received, text(9000));
  // Below what is acknowledged.
  const Wire below = at(0, 1448);
  EXPECT_EQ(below.ack, base + 9000);
  EXPECT_EQ(below.options.sacks, (Blocks{{base, base + 1448}}));
  EXPECT_EQ(world.streams->stack().view(world.stream).out_of_order_bytes, 0u);
}

TEST_F(Receive, ShortPiecesArePackedTogether) {
  world.keep = true;
  const uint64_t before = world.receive.free_bytes();
  std::string sent;
  for (uint32_t i = 0; i < 300; ++i) {
    peer.data(text(100, i));
    sent += text(100, i);
    if (i % 50 == 0) world.poll();
  }
  world.poll();
  EXPECT_EQ(world.received, sent);
  const uint64_t held = before - world.receive.free_bytes();
  EXPECT_LE(held, world.streams->receive_cost(30'000));
  EXPECT_LE(held, 12u * 4096);  // 30,000 bytes: eight buffers and what is left over in them
  world.streams->request_done(world.stream);
}

TEST_F(Receive, ShortPiecesOutOfOrderToo) {
  const uint64_t before = world.receive.free_bytes();
  const uint32_t base = peer.seq;
  for (uint32_t i = 1; i < 200; ++i) {
    peer.seq = base + i * 50;
    peer.data(text(50, i * 50));
    if (i % 60 == 0) world.poll();
  }
  world.poll();
  EXPECT_EQ(world.streams->stack().view(world.stream).out_of_order_bytes, 199u * 50);
  EXPECT_LE(before - world.receive.free_bytes(), 6u * 4096);
  peer.seq = base;
  peer.data(text(50, 0));
  world.poll();
  EXPECT_EQ(world.received, text(10'000));
}

TEST_F(Receive, OldTimestampsAreRefused) {
  peer.clock = 200;
  peer.data(text(2000).substr(0, 1448));
  world.poll();
  world.all_out();
  peer.clock = 150;
  peer.data("late");
  world.poll();
  EXPECT_EQ(world.counted(TcpCount::drop_paws), 1u);
  const auto sent = world.all_out();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].ack, peer.seq - 4);
  EXPECT_EQ(sent[0].options.timestamps->second, 200u);
}

TEST_F(Receive, ResetAndSynInTheWindowAreChallenged) {
  Wire wire = peer.segment(RST);
  wire.seq += 10;
  world.in(wire);
  world.poll();
  EXPECT_EQ(world.all_out().size(), 1u);
  world.in(peer.segment(SYN));
  world.poll();
  EXPECT_EQ(world.all_out().size(), 1u);
  wire = peer.segment(ACK);
  wire.ack += 1000;
  world.in(wire);
  world.poll();
  EXPECT_EQ(world.all_out().size(), 1u);
  EXPECT_EQ(world.closed, 0);
  EXPECT_EQ(world.counted(TcpCount::challenge_acks_sent), 3u);
  wire = peer.segment(RST);
  world.in(wire);
  world.poll();
  EXPECT_EQ(world.closed, 1);
}

TEST_F(Receive, ProbesAreAnswered) {
  Wire keepalive = peer.segment(ACK);
  keepalive.seq -= 1;
  world.in(keepalive);
  world.poll();
  EXPECT_EQ(world.all_out().size(), 1u);
}

TEST_F(Receive, ChecksumsAndFragmentsAndOptionLists) {
  Bytes frame = frame_of(peer.segment(ACK, "wrong"));
  frame.back() ^= 1;
  world.frames.incoming.push_back(frame);
  frame = frame_of(peer.segment(ACK, "fragment"));
  frame[20] |= 0x20;
  frame[24] = static_cast<uint8_t>(frame[24] - 0x20);
  world.frames.incoming.push_back(frame);
  world.poll();
  EXPECT_EQ(world.counted(TcpCount::drop_tcp_checksum), 1u);
  EXPECT_EQ(world.counted(TcpCount::drop_ip_fragment) + world.counted(TcpCount::drop_ip_checksum), 1u);
  EXPECT_EQ(world.received, "");
}

TEST(Window, EdgeFollowsCreditAndNeverMovesBack) {
  TcpWorld world;
  world.credit_at_open = 4096;
  Peer peer{world};
  peer.connect();
  world.all_out();
  uint32_t edge = peer.seq + 4096, sent = 0;
  std::string all;
  for (uint32_t step = 0; step < 2000; ++step) {
    const uint32_t room = edge - peer.seq;
    const uint32_t bytes = std::min<uint32_t>(room, 1 + step * 37 % 1448);
    if (bytes > 0) {
      peer.data(text(bytes, sent));
      all += text(bytes, sent);
      sent += bytes;
    }
    if (step % 3 == 0) world.streams->allow(world.stream, step % 5 * 400);
    world.poll(step % 7 == 0 ? 50 * millisecond_ns : 0);
    for (const Wire& wire : world.all_out()) {
      const uint32_t shown = wire.ack + (uint32_t{wire.window} << 5);
      ASSERT_GE(static_cast<int32_t>(shown - edge), -31);  // less than the scale, and only when it has crept
      if (static_cast<int32_t>(shown - edge) > 0) edge = shown;
    }
  }
  EXPECT_GT(all.size(), 100'000u);
  const auto view = world.streams->stack().view(world.stream);
  EXPECT_GE(world.received.size() + 4096, all.size());
  EXPECT_EQ(all.substr(0, world.received.size()), world.received);
  EXPECT_LE(view.window_bytes, view.credit_bytes + 4096 + 31);
}

TEST(Window, TheLastBytesOfARequestFit) {
  TcpWorld world;
  world.credit_at_open = 0;
  Peer peer{world};
  peer.connect();
  const std::string request = text(4096 + 13);
  peer.data(request.substr(0, 1448));
  peer.data(request.substr(1448, 1448));
  peer.data(request.substr(2896, 1200));
  world.poll();
  EXPECT_EQ(world.received, "");
  world.all_out();
  world.streams->allow(world.stream, 4096);
  world.poll();
  EXPECT_EQ(world.received.size(), 4096u);
  world.all_out();
  world.streams->allow(world.stream, 13);
  world.poll();
  const auto update = world.all_out();
  ASSERT_EQ(update.size(), 1u);
  EXPECT_GE(uint32_t{update[0].window} << 5, 13u);
  peer.data(request.substr(4096));
  world.poll();
  EXPECT_EQ(world.received, request);
}

// A request whose end is nearer than a segment, the next one behind it: the peer cuts nothing to fit.
TEST(Window, HoldsAFullSegmentAtTheEndOfARequest) {
  TcpWorld world(small_config(), small_port());
  world.credit_at_open = 4096;
  Peer peer{world};
  peer.connect();
  const auto window = [&] { return world.streams->stack().view(world.stream).window_bytes; };
  constexpr uint32_t segment_bytes = 1460;
  peer.data(text(1400));
  peer.data(text(1400));
  peer.data(text(371));
  world.poll();
  world.all_out();
  EXPECT_EQ(world.received.size(), 3171u);  // 925 bytes of credit are left
  EXPECT_GE(window(), segment_bytes);
  peer.data(text(1400));
  world.poll();
  world.all_out();
  EXPECT_EQ(world.received.size(), 4096u);
  world.streams->allow(world.stream, 4096);
  world.poll();
  EXPECT_EQ(world.received.size(), 4571u);
  world.streams->stack().check_invariants();
}

// A peer with more to send waits for a window that takes a full segment.
TEST(Window, HoldsAFullSegmentWhereSegmentsAreLong) {
  PortFeatures features = small_port();
  features.mtu_bytes = 9000;
  TcpWorld world(small_config(), features);
  world.credit_at_open = 4096;  // what a connection has before a request has begun
  Peer peer{world};
  peer.connect();
  constexpr uint32_t segment_bytes = 8192;
  const auto window = [&] { return world.streams->stack().view(world.stream).window_bytes; };
  world.poll();
  world.all_out();
  EXPECT_GE(window(), segment_bytes);
  const std::string request = text(6000);
  peer.data(request);
  world.poll();
  world.all_out();
  EXPECT_EQ(world.received.size(), 4096u);  // the rest waits: no credit, and no promise beyond what was made
  world.streams->allow(world.stream, request.size() - 4096 + 100);
  world.poll();
  world.all_out();
  EXPECT_EQ(world.received, request);
  EXPECT_GE(window(), segment_bytes);
  world.streams->stack().check_invariants();
}

TEST(Window, SumOfEdgesStaysWithinTheBudget) {
  TcpConfig config = small_config();
  config.receive_budget_bytes = 64 * KiB;
  TcpWorld world(config);
  std::vector<Peer> peers;
  std::vector<StreamId> ids;
  for (uint16_t i = 0; i < 10; ++i) {
    peers.push_back(Peer{world});
    peers.back().base.peer_port = static_cast<uint16_t>(42000 + i);
    peers.back().connect();
    ids.push_back(world.stream);
  }
  for (const StreamId id : ids) world.streams->allow(id, 30'000);
  world.poll();
  EXPECT_LE(world.streams->stack().window_bytes(), 64 * KiB);
  std::vector<uint64_t> got(10);
  // Everybody gets there: what one receives makes room for the next.
  for (int round = 0; round < 200; ++round) {
    for (size_t i = 0; i < peers.size(); ++i) {
      const auto view = world.streams->stack().view(ids[i]);
      const uint64_t bytes = std::min<uint64_t>({view.window_bytes, 1448, 34'096 - got[i]});
      if (bytes == 0) continue;
      peers[i].data(text(bytes));
      got[i] += bytes;
    }
    world.poll(millisecond_ns);
    ASSERT_LE(world.streams->stack().window_bytes(), 64 * KiB);
  }
  for (const uint64_t bytes : got) EXPECT_EQ(bytes, 34'096u);
}

TEST(Window, BeyondTheEdgeIsCutOff) {
  TcpWorld world;
  Peer peer{world};
  peer.connect();
  const uint32_t base = peer.seq;
  for (int i = 0; i < 5; ++i) peer.data(text(1448, static_cast<uint32_t>(i) * 1448));
  world.poll();
  EXPECT_EQ(world.received, text(4096));
  EXPECT_GE(world.counted(TcpCount::drop_beyond_window), 1u);
  const auto sent = world.all_out();
  EXPECT_EQ(sent.back().ack, base + 4096);
  EXPECT_EQ(sent.back().window, 0);
}

}  // namespace
}  // namespace penstock::test
