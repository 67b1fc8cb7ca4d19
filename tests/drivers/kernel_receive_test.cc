#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "tests/drivers/count_allocations.h"
#include "tests/drivers/kernel_world.h"

namespace penstock::test {
namespace {

static_assert(Streams<KernelStreams>);

class KernelReceiveTest : public ::testing::TestWithParam<Kernel> {
 protected:
  RingConfig ring() const { return ring_like(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Kernels, KernelReceiveTest,
                         ::testing::Values(Kernel::newest, Kernel::without_buffer_ring, Kernel::oldest));

TEST_P(KernelReceiveTest, ASmallRequestIsOnePiece) {
  KernelWorld world(KernelWorld::small_config(), ring());
  Client client = world.connect();
  EXPECT_EQ(world.buffers.held(Holder::device), 0u);
  ASSERT_TRUE(client.send(pattern(100)));
  ASSERT_TRUE(world.run_until([&] { return world.last().bytes.size() == 100; }));
  EXPECT_EQ(world.last().bytes, pattern(100));
  EXPECT_EQ(world.last().piece_count, 1u);
  EXPECT_EQ(to_string(world.last().local), "127.0.0.1:" + std::to_string(world.streams->port()));
  EXPECT_EQ(to_string(world.last().peer).substr(0, 10), "127.0.0.1:");
}

TEST_P(KernelReceiveTest, NothingBeyondTheCreditIsDelivered) {
  KernelWorld world(KernelWorld::small_config(), ring());
  world.first_credit = 10;
  Client client = world.connect();
  const std::string text = pattern(20'000);
  ASSERT_TRUE(client.send(text));
  uint64_t allowed = 10;
  for (const uint64_t more : {0ul, 1ul, 500ul, 4096ul, 9000ul, 20ul}) {
    if (more > 0) world.streams->allow(world.last().id, more);
    allowed += more;
    ASSERT_TRUE(world.run_until([&] { return world.last().bytes.size() >= allowed; })) << more;
    world.run_for(2 * millisecond_ns);
    ASSERT_EQ(world.last().bytes, text.substr(0, allowed));
  }
}

// The length is learnt from the first bytes; what follows lies on page edges, and no piece is short but the last.
TEST_P(KernelReceiveTest, ALargeRequestLiesOnPageEdges) {
  for (const bool head_alone : {false, true}) {
    KernelWorld world(KernelWorld::small_config(), ring());
    const std::string text = pattern(900'000);
    bool granted = false;
    world.on_event = [&](Received& stream, const StreamEvent& event) {
      if (event.kind != StreamEventKind::data || granted) return;
      granted = true;
      world.streams->allow(stream.id, text.size() - 4096);  // 4096 were allowed before
    };
    Client client = world.connect();
    std::thread sender([&] {
      client.send(text.substr(0, 300));
      if (head_alone) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      client.send(text.substr(300));
    });
    ASSERT_TRUE(world.run_until([&] { return world.last().bytes.size() == text.size(); }));
    sender.join();
    EXPECT_TRUE(world.last().bytes == text);

    const std::vector<Piece>& pieces = world.last().pieces;
    const Arena& arena = world.memory.arena();
    const auto in_page = [&](const std::byte* address) { return (address - arena.base) % 4096; };
    for (size_t i = 0; i + 1 < pieces.size(); ++i) {
      const std::byte* end = pieces[i].data + pieces[i].length;
      EXPECT_TRUE(in_page(end) == 0 || end == pieces[i + 1].data) << "piece " << i << " ends inside a page";
    }
    EXPECT_LE(pieces.size(), 2u + 8u);
    EXPECT_EQ(world.streams->statistics().exact_receives, 1u);
    // At the end of the request nothing is kept.
    world.streams->request_done(world.last().id);
    EXPECT_EQ(world.buffers.held(Holder::device), 0u);
  }
}

// Requests of many sizes one after another, as fast as they come, cut by a length prefix as a lane does it.
TEST_P(KernelReceiveTest, RequestsOfAllSizesInARow) {
  KernelWorld world(KernelWorld::small_config(), ring());
  struct Cutter {
    std::string request;
    uint64_t outstanding = 4096;  // credit not used up
    int done = 0;
  } cutter;
  std::vector<std::string> expected;
  uint32_t state = 7;
  std::string all;
  for (int i = 0; i < 400; ++i) {
    state = state * 1664525 + 1013904223;
    constexpr uint32_t classes[] = {20, 300, 4092, 4093, 8188, 70'000, 1'200'000};
    const uint32_t size = i % 7 == 6 && i % 4 != 0 ? 5000 : classes[i % 7] + (state >> 16) % 50;
    std::string request(4, '\0');
    std::memcpy(request.data(), &size, 4);
    request += pattern(size, static_cast<uint32_t>(i));
    expected.push_back(request);
    all += request;
  }
  world.on_event = [&](Received& stream, const StreamEvent& event) {
    if (event.kind != StreamEventKind::data) return;
    cutter.request.append(reinterpret_cast<const char*>(event.piece.data), event.piece.length);
    cutter.outstanding -= event.piece.length;
    uint64_t rest = 0;
    for (;;) {
      uint32_t size = 0;
      if (cutter.request.size() < 4) break;
      std::memcpy(&size, cutter.request.data(), 4);
      if (cutter.request.size() < 4 + size) {
        rest = 4 + size - cutter.request.size();
        break;
      }
      ASSERT_TRUE(cutter.request.substr(0, 4 + size) == expected[static_cast<size_t>(cutter.done)]) << cutter.done;
      ++cutter.done;
      cutter.request.erase(0, 4 + size);
    }
    world.release_pieces(stream);
    if (cutter.request.empty()) {
      world.streams->request_done(stream.id);
      rest = 4096;  // the next request's first buffer
    }
    if (rest > cutter.outstanding) {
      world.streams->allow(stream.id, rest - cutter.outstanding);
      cutter.outstanding = rest;
    } else if (cutter.outstanding == 0) {
      world.streams->allow(stream.id, 4);
      cutter.outstanding = 4;
    }
  };
  Client client = world.connect();
  std::thread sender([&] { client.send(all); });
  EXPECT_TRUE(world.run_until([&] { return cutter.done == 400; })) << cutter.done;
  sender.join();
  world.run_for(5 * millisecond_ns);
  EXPECT_EQ(world.buffers.leak_report(), "");  // idle: owns nothing
}

TEST_P(KernelReceiveTest, AStalledRequestShowsProgressWhenProbed) {
  KernelWorld world(KernelWorld::small_config(), ring());
  const std::string text = pattern(300'000);
  world.first_credit = text.size();
  Client client = world.connect();
  ASSERT_TRUE(client.send(text.substr(0, 123'456)));
  world.run_for(50 * millisecond_ns);
  EXPECT_EQ(world.last().bytes.size(), 0u);
  EXPECT_EQ(world.streams->bytes_received(world.last().id), 123'456u);
  world.streams->probe(world.last().id);
  ASSERT_TRUE(world.run_until([&] { return world.last().bytes.size() == 123'456; }));
  EXPECT_EQ(world.streams->bytes_received(world.last().id), 0u);
  world.streams->probe(world.last().id);  // nothing new: nothing happens
  world.run_for(5 * millisecond_ns);
  ASSERT_TRUE(client.send(text.substr(123'456)));
  ASSERT_TRUE(world.run_until([&] { return world.last().bytes.size() == text.size(); }));
  EXPECT_TRUE(world.last().bytes == text);
}

TEST_P(KernelReceiveTest, TwoThousandIdleConnectionsOwnNoBuffers) {
  constexpr size_t connections = 2000;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 2 * connections + 100) GTEST_SKIP() << "only " << files.rlim_cur << " open files allowed";
  KernelWorld world({.streams_max = connections, .small_buffers = 64}, ring());
  const uint64_t free_before = world.allocator.free_bytes();
  std::vector<Client> clients;
  for (size_t i = 0; i < connections; ++i) clients.push_back(world.connect());
  EXPECT_EQ(world.streams->open_streams(), connections);
  EXPECT_EQ(world.buffers.leak_report(), "");
  EXPECT_EQ(world.allocator.free_bytes(), free_before);

  // All speak at once: 64 buffers serve them in turn.
  world.on_event = [&](Received& stream, const StreamEvent&) {
    world.release_pieces(stream);
    world.streams->request_done(stream.id);
  };
  for (Client& client : clients) ASSERT_TRUE(client.send("hello"));
  ASSERT_TRUE(world.run_until([&] { return world.streams->statistics().received_bytes == 5 * connections; }));
  world.give_back();
  EXPECT_EQ(world.buffers.leak_report(), "");
}

TEST_P(KernelReceiveTest, StreamsWaitForMemoryAndGoOn) {
  // A region of 64 small buffers and 1 MiB: two requests of 800 KB cannot both be received.
  KernelWorld world(KernelWorld::small_config(), ring(), MiB + 64 * 4096);
  world.first_credit = 0;
  const std::string text = pattern(800'000);
  Client first = world.connect();
  Received& one = world.last();
  Client second = world.connect();
  Received& two = world.last();
  std::thread senders[] = {std::thread([&] { first.send(text); }), std::thread([&] { second.send(text); })};
  world.streams->allow(one.id, text.size());
  world.streams->allow(two.id, text.size());
  ASSERT_TRUE(world.run_until([&] { return one.bytes.size() == text.size(); }));
  world.run_for(50 * millisecond_ns);
  EXPECT_LT(two.bytes.size(), text.size());
  EXPECT_GT(world.streams->statistics().memory_waits, 0u);
  world.release_pieces(one);
  world.streams->request_done(one.id);
  ASSERT_TRUE(world.run_until([&] {
    world.release_pieces(two);
    return two.bytes.size() == text.size();
  }));
  for (std::thread& sender : senders) sender.join();
  EXPECT_TRUE(one.bytes == text && two.bytes == text);
}

TEST_P(KernelReceiveTest, SmallBuffersRunOutAndComeBack) {
  KernelWorld world({.streams_max = 16, .small_buffers = 4}, ring(), uint64_t{4} * arena_unit_bytes);
  std::vector<Client> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(world.connect());
  for (Client& client : clients) ASSERT_TRUE(client.send("words"));
  const auto heard = [&] {
    size_t count = 0;
    for (const auto& [index, stream] : world.received) count += stream.bytes.empty() ? 0 : 1;
    return count;
  };
  ASSERT_TRUE(world.run_until([&] { return heard() == 4; }));
  world.run_for(20 * millisecond_ns);
  EXPECT_EQ(heard(), 4u);
  // A waiting connection may go away meanwhile.
  for (auto& [index, stream] : world.received) {
    if (stream.bytes.empty()) {
      world.streams->abort(stream.id);
      break;
    }
  }
  for (auto& [index, stream] : world.received) {
    world.release_pieces(stream);
    if (!stream.bytes.empty()) world.streams->request_done(stream.id);
  }
  world.on_event = [&](Received& stream, const StreamEvent& event) {
    if (event.kind != StreamEventKind::data) return;
    world.release_pieces(stream);
    world.streams->request_done(stream.id);
  };
  EXPECT_TRUE(world.run_until([&] { return heard() == 9; })) << heard();
}

TEST_P(KernelReceiveTest, TheEndOfTheStreamAndWhatCameBefore) {
  KernelWorld world(KernelWorld::small_config(), ring());
  world.first_credit = 100'000;  // waits for all of it
  Client client = world.connect();
  ASSERT_TRUE(client.send(pattern(50'000)));
  ASSERT_EQ(::shutdown(client.socket(), SHUT_WR), 0);
  ASSERT_TRUE(world.run_until([&] { return world.last().peer_finished; }));
  EXPECT_TRUE(world.last().bytes == pattern(50'000));
  EXPECT_FALSE(world.last().closed);
  world.streams->close(world.last().id);
  ASSERT_TRUE(world.run_until([&] { return world.last().closed; }));
  EXPECT_EQ(client.receive(1), "");
}

TEST_P(KernelReceiveTest, AResetClosesTheStream) {
  for (const uint64_t credit : {4096ul, 100'000ul}) {
    KernelWorld world(KernelWorld::small_config(), ring());
    world.first_credit = credit;
    Client client = world.connect();
    ASSERT_TRUE(client.send("half a req"));
    world.run_for(10 * millisecond_ns);
    client.reset();
    ASSERT_TRUE(world.run_until([&] { return world.last().closed; }));
    EXPECT_EQ(world.streams->open_streams(), 0u);
    EXPECT_EQ(world.buffers.held(Holder::device), 0u);
    world.streams->allow(world.last().id, 10);  // late calls are harmless
    world.streams->abort(world.last().id);
    EXPECT_EQ(world.streams->send(world.last().id, {}), 0u);
  }
}

TEST_P(KernelReceiveTest, LettingGoOfTheTailWhileAReceiveIsInIt) {
  KernelWorld world(KernelWorld::small_config(), ring());
  Client client = world.connect();
  ASSERT_TRUE(client.send("part"));
  ASSERT_TRUE(world.run_until([&] { return world.last().bytes == "part"; }));
  world.run_for(5 * millisecond_ns);
  EXPECT_EQ(world.buffers.held(Holder::device), 1u);  // the tail
  world.streams->request_done(world.last().id);
  world.run_for(5 * millisecond_ns);
  EXPECT_EQ(world.buffers.held(Holder::device), 0u);
  ASSERT_TRUE(client.send("more"));
  ASSERT_TRUE(world.run_until([&] { return world.last().bytes == "partmore"; }));
  EXPECT_NE(world.last().pieces[0].buffer, world.last().pieces[1].buffer);
}

// The lane never says that the request was whole, but nobody holds it any more.
TEST_P(KernelReceiveTest, AnIdleTailIsLetGo) {
  KernelWorld world(KernelWorld::small_config(), ring());
  Client client = world.connect();
  ASSERT_TRUE(client.send("ping"));
  ASSERT_TRUE(world.run_until([&] { return world.last().bytes == "ping"; }));
  world.run_for(5 * millisecond_ns);
  EXPECT_EQ(world.buffers.held(Holder::device), 1u);
  world.release_pieces(world.last());
  ASSERT_TRUE(world.run_until([&] { return world.buffers.held(Holder::device) == 0; }));
  ASSERT_TRUE(client.send("pong"));
  ASSERT_TRUE(world.run_until([&] { return world.last().bytes == "pingpong"; }));
  // Released inside the handler, it goes at once.
  world.on_event = [&](Received& stream, const StreamEvent&) { world.release_pieces(stream); };
  ASSERT_TRUE(client.send("ping"));
  ASSERT_TRUE(world.run_until([&] { return world.last().bytes == "pingpongping"; }));
  EXPECT_EQ(world.buffers.held(Holder::device), 0u);
}

TEST_P(KernelReceiveTest, DestructionWithEverythingInFlight) {
  KernelWorld world(KernelWorld::small_config(), ring());
  std::vector<Client> clients;
  for (int i = 0; i < 10; ++i) {
    world.first_credit = i % 2 == 0 ? 4096 : MiB;
    clients.push_back(world.connect());
    ASSERT_TRUE(clients.back().send(pattern(2000)));
  }
  world.run_for(10 * millisecond_ns);
  // The world's destructor looks for leaks.
}

TEST(KernelReceive, NothingIsAllocatedInSteadyState) {
  KernelWorld world;
  Client client = world.connect();
  const StreamId id = world.last().id;
  uint64_t received = 0;
  const auto turn = [&] {
    world.streams->poll(0, [&](const StreamEvent& event) {
      if (event.kind != StreamEventKind::data) return;
      received += event.piece.length;
      world.buffers.release(event.piece.buffer, Holder::request);
      world.streams->request_done(id);
      world.streams->allow(id, event.piece.length);
    });
    world.give_back();
    world.ring->wait(0, millisecond_ns);
  };
  std::atomic<bool> done = false;
  std::thread sender([&] {
    for (int i = 0; i < 2000; ++i) client.send("a small request of some bytes");
    done = true;
  });
  while (received < 1000) turn();
  const uint64_t before = allocations_of_this_thread();
  while (received < 2000 * 29) turn();
  EXPECT_EQ(allocations_of_this_thread(), before);
  sender.join();
}

}  // namespace
}  // namespace penstock::test
