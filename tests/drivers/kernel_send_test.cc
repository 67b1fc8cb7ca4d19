#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/drivers/kernel_world.h"

namespace penstock::test {
namespace {

class KernelSendTest : public ::testing::TestWithParam<Kernel> {
 protected:
  RingConfig ring() const { return ring_like(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Kernels, KernelSendTest, ::testing::Values(Kernel::newest, Kernel::oldest));

// Pieces of `piece_bytes` each in buffers of their own, held as send.
std::vector<Piece> make_pieces(KernelWorld& world, const std::string& text, uint32_t piece_bytes) {
  std::vector<Piece> pieces;
  for (size_t at = 0; at < text.size(); at += piece_bytes) {
    const auto length = static_cast<uint32_t>(std::min<size_t>(piece_bytes, text.size() - at));
    const uint8_t order = BufferAllocator::order_for(length);
    const BufferIndex buffer = world.allocator.allocate(order);
    check(buffer != no_buffer, "test arena too small");
    world.buffers.open(buffer, order, Holder::send);
    std::memcpy(world.memory.arena().at(buffer), text.data() + at, length);
    pieces.push_back({world.memory.arena().at(buffer), length, buffer});
  }
  return pieces;
}

// Sends all, as the stream takes them.
void send_all(KernelWorld& world, StreamId id, std::span<const Piece> pieces) {
  ASSERT_TRUE(world.run_until([&] {
    pieces = pieces.subspan(world.streams->send(id, pieces));
    return pieces.empty();
  }));
}

TEST_P(KernelSendTest, ManySmallSendsArriveInOrder) {
  KernelWorld world(KernelWorld::small_config(), ring());
  Client client = world.connect();
  const std::string text = pattern(1000 * 37);
  send_all(world, world.last().id, make_pieces(world, text, 37));
  ASSERT_TRUE(world.run_until([&] { return world.last().sent == text.size(); }));
  EXPECT_TRUE(client.receive(text.size()) == text);
  EXPECT_EQ(world.buffers.held(Holder::send), 0u);
}

TEST_P(KernelSendTest, ASlowReaderAndATinySocketBuffer) {
  KernelStreamsConfig config = KernelWorld::small_config();
  config.socket_send_bytes = 4096;
  KernelWorld world(config, ring());
  Client client(world.streams->port(), 4096);
  ASSERT_TRUE(world.run_until([&] { return !world.order.empty(); }));
  const std::string text = pattern(3'000'000);
  std::string got;
  std::thread reader([&] {
    while (got.size() < text.size()) {
      const std::string part = client.receive(std::min<size_t>(50'000, text.size() - got.size()));
      if (part.empty()) break;
      got += part;
      if (got.size() < 500'000) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  send_all(world, world.last().id, make_pieces(world, text, 9'999));
  EXPECT_TRUE(world.run_until([&] { return world.last().sent == text.size(); }));
  reader.join();
  EXPECT_TRUE(got == text);
  EXPECT_EQ(world.buffers.held(Holder::send), 0u);
}

TEST_P(KernelSendTest, TakesNoMoreThanItsBound) {
  KernelStreamsConfig config = KernelWorld::small_config();
  config.socket_send_bytes = 4096;
  config.send_pieces_max = 10;
  KernelWorld world(config, ring());
  Client client(world.streams->port(), 4096);  // never reads
  ASSERT_TRUE(world.run_until([&] { return !world.order.empty(); }));
  const auto pieces = make_pieces(world, pattern(5'000'000), 250'000);
  size_t taken = world.streams->send(world.last().id, pieces);
  EXPECT_EQ(taken, 10u);
  world.run_for(20 * millisecond_ns);
  taken += world.streams->send(world.last().id, std::span(pieces).subspan(taken));
  EXPECT_LT(taken, pieces.size());
  for (size_t i = taken; i < pieces.size(); ++i) world.buffers.release(pieces[i].buffer, Holder::send);
}

TEST_P(KernelSendTest, CloseLetsEverythingLeaveFirst) {
  KernelStreamsConfig config = KernelWorld::small_config();
  config.socket_send_bytes = 16'384;
  KernelWorld world(config, ring());
  Client client = world.connect();
  ASSERT_TRUE(client.send("unread request"));
  const std::string text = pattern(2'000'000);
  send_all(world, world.last().id, make_pieces(world, text, 50'000));
  world.streams->close(world.last().id);
  EXPECT_EQ(world.streams->send(world.last().id, std::span<const Piece>()), 0u);
  std::string got;
  int error = 0;
  std::thread reader([&] { got = client.receive(text.size() + 1, &error); });
  EXPECT_TRUE(world.run_until([&] { return world.last().closed; }));
  reader.join();
  EXPECT_TRUE(got == text);
  EXPECT_EQ(error, 0);
  EXPECT_EQ(world.buffers.held(Holder::send), 0u);
}

TEST_P(KernelSendTest, AbortResetsAtOnce) {
  KernelStreamsConfig config = KernelWorld::small_config();
  config.socket_send_bytes = 4096;
  KernelWorld world(config, ring());
  Client client(world.streams->port(), 4096);
  ASSERT_TRUE(world.run_until([&] { return !world.order.empty(); }));
  const auto pieces = make_pieces(world, pattern(2'000'000), 200'000);
  ASSERT_EQ(world.streams->send(world.last().id, pieces), pieces.size());
  world.run_for(10 * millisecond_ns);  // one send is in flight and stuck
  world.streams->abort(world.last().id);
  ASSERT_TRUE(world.run_until([&] { return world.last().closed; }));
  int error = 0;
  client.receive(2'000'000, &error);
  EXPECT_EQ(error, ECONNRESET);
  EXPECT_EQ(world.buffers.held(Holder::send), 0u);
}

TEST_P(KernelSendTest, SendingToAPeerThatIsGoneCloses) {
  KernelWorld world(KernelWorld::small_config(), ring());
  world.first_credit = 0;  // so only sending can notice
  Client client = world.connect();
  client.reset();
  const auto pieces = make_pieces(world, pattern(100'000), 50'000);
  ASSERT_EQ(world.streams->send(world.last().id, pieces), 2u);
  ASSERT_TRUE(world.run_until([&] { return world.last().closed; }));
  EXPECT_EQ(world.buffers.held(Holder::send), 0u);
}

TEST_P(KernelSendTest, AnswersAfterThePeerHasFinished) {
  KernelWorld world(KernelWorld::small_config(), ring());
  Client client = world.connect();
  ASSERT_TRUE(client.send("last words"));
  ::shutdown(client.socket(), SHUT_WR);
  ASSERT_TRUE(world.run_until([&] { return world.last().peer_finished; }));
  send_all(world, world.last().id, make_pieces(world, "the answer", 4));
  world.streams->close(world.last().id);
  EXPECT_TRUE(world.run_until([&] { return world.last().closed; }));
  EXPECT_EQ(client.receive(100), "the answer");
}

TEST_P(KernelSendTest, EchoesFromInsideTheHandlerWithoutCopying) {
  KernelWorld world(KernelWorld::small_config(), ring());
  world.on_event = [&](Received& stream, const StreamEvent& event) {
    if (event.kind != StreamEventKind::data) return;
    world.buffers.pass(event.piece.buffer, Holder::request, Holder::send);
    stream.pieces.pop_back();
    ASSERT_EQ(world.streams->send(stream.id, std::span(&event.piece, 1)), 1u);
    world.streams->request_done(stream.id);
    world.streams->allow(stream.id, event.piece.length);
  };
  Client client = world.connect();
  for (int i = 0; i < 100; ++i) {
    const std::string word = pattern(40, static_cast<uint32_t>(i));
    std::string got;
    ASSERT_TRUE(client.send(word));
    ASSERT_TRUE(world.run_until([&] { return world.last().sent == uint64_t{40} * (i + 1); }));
    EXPECT_EQ(client.receive(40), word);
  }
}

}  // namespace
}  // namespace penstock::test
